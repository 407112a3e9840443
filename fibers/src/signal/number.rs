//! Signals by name.

use std::fmt;
use std::io;

/// A signal of the operating system.
///
/// ```
/// use fibers::signal::Signal;
/// assert_eq!(Signal::TERM.to_string(), "SIGTERM");
/// assert_eq!(Signal::from_raw(15), Some(Signal::TERM));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(i32);

macro_rules! signals {
    ($($(#[$doc:meta])+ $NAME:ident = $number:ident;)+) => {
        impl Signal {$(
            $(#[$doc])+
            pub const $NAME: Signal = Signal(libc::$number);
        )+}

        const NAMES: &[(Signal, &str)] = &[$((Signal::$NAME, stringify!($number)),)+];
    };
}

signals! {
    /// The terminal is gone; by custom: read the configuration again.
    HUP = SIGHUP;
    /// Ctrl-C.
    INT = SIGINT;
    /// Ctrl-\, with a core dump.
    QUIT = SIGQUIT;
    /// An instruction that does not exist. Cannot be received.
    ILL = SIGILL;
    /// A breakpoint. Cannot be received.
    TRAP = SIGTRAP;
    /// `abort` was called. Cannot be received.
    ABRT = SIGABRT;
    /// Memory that is not there. Cannot be received.
    BUS = SIGBUS;
    /// A division by zero. Cannot be received.
    FPE = SIGFPE;
    /// Ends a process, whatever it does. Cannot be received.
    KILL = SIGKILL;
    /// For the program's own use.
    USR1 = SIGUSR1;
    /// Memory that is not there, or a stack that is full. Cannot be received.
    SEGV = SIGSEGV;
    /// For the program's own use.
    USR2 = SIGUSR2;
    /// Nobody reads what was written; Rust programs ignore it.
    PIPE = SIGPIPE;
    /// `alarm` is over.
    ALRM = SIGALRM;
    /// The polite request to end.
    TERM = SIGTERM;
    /// A child has ended or stopped. (Not needed to wait for children.)
    CHLD = SIGCHLD;
    /// It goes on.
    CONT = SIGCONT;
    /// Stops a process, whatever it does. Cannot be received.
    STOP = SIGSTOP;
    /// Ctrl-Z.
    TSTP = SIGTSTP;
    /// Reads from the terminal in the background.
    TTIN = SIGTTIN;
    /// Writes to the terminal in the background.
    TTOU = SIGTTOU;
    /// Urgent data on a socket.
    URG = SIGURG;
    /// The limit of CPU time is reached.
    XCPU = SIGXCPU;
    /// The limit of file size is reached.
    XFSZ = SIGXFSZ;
    /// A timer of CPU time is over.
    VTALRM = SIGVTALRM;
    /// A profiling timer is over.
    PROF = SIGPROF;
    /// The terminal has another size.
    WINCH = SIGWINCH;
    /// A descriptor is ready.
    IO = SIGIO;
    /// The power fails.
    PWR = SIGPWR;
    /// A system call that does not exist. Cannot be received.
    SYS = SIGSYS;
}

impl Signal {
    /// The signal of that number, real-time signals (up to 64) included.
    pub fn from_raw(number: i32) -> Option<Signal> {
        (1..=64).contains(&number).then_some(Signal(number))
    }

    /// Its number.
    pub const fn as_raw(self) -> i32 {
        self.0
    }

    /// Sends it to this process.
    ///
    /// # Errors
    /// What the system fails with.
    pub fn raise(self) -> io::Result<()> {
        crate::sys::send_signal(std::process::id(), self.0)
    }

    pub(super) fn bit(self) -> u64 {
        1 << (self.0 - 1)
    }

    pub(super) fn of_bit(bit: u32) -> Signal {
        Signal(bit as i32 + 1)
    }

    /// Faults cannot go on after a handler that only takes note, and the C library keeps the first real-time signals for itself.
    pub(super) fn can_be_received(self) -> bool {
        const NOT: [Signal; 9] = [
            Signal::ILL,
            Signal::TRAP,
            Signal::ABRT,
            Signal::BUS,
            Signal::FPE,
            Signal::KILL,
            Signal::SEGV,
            Signal::STOP,
            Signal::SYS,
        ];
        !NOT.contains(&self) && !(32..libc::SIGRTMIN()).contains(&self.0)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(signal, _)| signal == self) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
