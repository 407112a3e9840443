//! A room to chat in, for any program that sends lines: `nc`, `telnet`.
//!
//! `cargo run --release --example chat -- 127.0.0.1:7000`, and then, elsewhere and several times, `nc 127.0.0.1 7000`
//!
//! Each guest has a fiber, which waits for a line, for news and for the end of the room in one `select!`: half a line stays with the
//! reader, whichever of them comes. The room keeps the last news for those who are slow, and drops the oldest: a guest that does not
//! read holds up nobody, is told how much it has missed, and has to go if it takes nothing for too long. Lines have a limit, and so has
//! the memory of everything.
//!
//! Ctrl-C or SIGTERM: all guests are told, and the program ends when they are gone.

use fibers::io::{BufReader, TooLong};
use fibers::net::{AcceptBackoff, TcpListener, TcpStream};
use fibers::sync::{Broadcast, BroadcastRecvError, Lag, Mutex, Subscriber};
use fibers::{Cond, WaitGroup, go, select, time};
use fibers_examples::{Args, complain, say, seconds, stop_on_signal};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const USAGE: &str = "\
usage: chat [ADDRESS] [--patience SECONDS]

Opens a room to chat in.

  ADDRESS             host:port (default: 127.0.0.1:7000); port 0 is any free one
  --patience SECONDS  let go who takes nothing for so long (default: 30)
  -h, --help          print this text";

const HELP: &str = "/nick NAME, /me DOES, /who, /help, /quit; anything else is said to all";

/// The longest line, in bytes, without its end.
const LONGEST: usize = 1000;

/// How many news the room keeps for those who are slow.
const KEPT: usize = 64;

/// How many bytes the system keeps of what was sent to a guest: a slow one shall be noticed.
const SENT: usize = 64 << 10;

/// How long anything may take when the room closes.
const GRACE: Duration = Duration::from_secs(1);

struct Options {
    address: String,
    patience: Duration,
}

fn parse(args: &mut Args) -> Result<Options, String> {
    let (mut address, mut patience) = (None, Duration::from_secs(30));
    while let Some(arg) = args.text()? {
        match &*arg {
            "--patience" => patience = args.value("--patience", "a number of seconds", seconds)?,
            option if option.starts_with('-') => return Err(format!("unknown option {option}")),
            _ if address.is_some() => return Err("more than one ADDRESS".into()),
            _ => address = Some(arg),
        }
    }
    let address = address.unwrap_or_else(|| "127.0.0.1:7000".into());
    Ok(Options { address, patience })
}

#[fibers::main]
fn main() -> ExitCode {
    let options = fibers_examples::options(USAGE, parse);
    match serve(&options) {
        Ok(guests) => {
            say(format_args!("{guests} guests were here"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(format_args!("chat: {error}"));
            ExitCode::from(if error.kind() == ErrorKind::InvalidInput { 2 } else { 1 })
        }
    }
}

/// Lets guests in until it is told to stop, and waits until all of them have left. Returns how many have come.
fn serve(options: &Options) -> io::Result<usize> {
    let listener = TcpListener::bind(&options.address)?;
    let stop = stop_on_signal()?;
    say(format_args!("listening on {}", listener.local_addr()?));

    let room = Arc::new(Room::new());
    let guests = WaitGroup::new();
    let mut count = 0;
    let mut backoff = AcceptBackoff::new();
    let mut pause = None; // Some: the process has no descriptor for one more guest
    loop {
        select! {
            accepted = listener.accept_op() if pause.is_none() => match accepted {
                Ok((stream, _)) => {
                    backoff.reset();
                    count += 1;
                    let (left, number, patience) = (guests.guard(), count, options.patience);
                    go!(spread, name = "guest", clone(room, stop); {
                        let _left = left;
                        receive(number, &stream, &room, patience, &stop);
                    });
                }
                Err(error) => pause = Some(time::after(backoff.pause(error)?)),
            },
            <-pause => pause = None,
            <-stop => break,
        }
    }
    drop(listener);
    guests.wait();
    Ok(count)
}

/// What all guests share.
struct Room {
    /// By what they are in small letters: names that differ in nothing else are the same.
    names: Mutex<BTreeMap<String, String>>,
    news: Broadcast<News>,
}

#[derive(Clone)]
struct News {
    text: Arc<str>,
    /// The number of the guest from whom it comes, and who needs not be told.
    from: usize,
}

impl Room {
    fn new() -> Self {
        Room {
            names: Mutex::new(BTreeMap::new()),
            news: Broadcast::new(Lag::DropOldest(KEPT)),
        }
    }

    /// A name for the guest with this number that nobody has.
    fn enter(&self, number: usize) -> String {
        let mut names = self.names.lock();
        let name = (number..).map(|n| format!("guest{n}")).find(|name| !names.contains_key(name));
        let name = name.expect("fewer guests than numbers");
        names.insert(name.clone(), name.clone());
        name
    }

    /// Gives `to` to who is called `from`, unless it is taken.
    fn rename(&self, from: &str, to: &str) -> bool {
        let (old, new) = (from.to_ascii_lowercase(), to.to_ascii_lowercase());
        let mut names = self.names.lock();
        let free = old == new || !names.contains_key(&new);
        if free {
            names.remove(&old);
            names.insert(new, to.to_owned());
        }
        free
    }

    fn leave(&self, name: &str) {
        self.names.lock().remove(&name.to_ascii_lowercase());
    }

    fn who(&self) -> String {
        Vec::from_iter(self.names.lock().values().map(String::as_str)).join(", ")
    }

    /// Tells everybody but the guest from whom it comes.
    fn tell(&self, from: usize, text: String) {
        let news = News { text: text.into(), from };
        self.news.send(news).expect("nobody closes it");
    }
}

/// Why somebody leaves.
enum Leaving {
    /// By their own will, or because the connection has failed.
    Gone,
    TooSlow,
    TooLong,
    /// The room closes.
    Closing,
}

/// From the first word to the last one.
fn receive(number: usize, stream: &TcpStream, room: &Room, patience: Duration, stop: &Cond) {
    let _ = stream.set_send_buffer_size(SENT);
    let mut guest = Guest {
        number,
        name: room.enter(number),
        news: room.news.subscribe(),
        has_said: false,
        room,
        stream,
        patience,
        stop,
    };
    room.tell(number, format!("* {} is here", guest.name));
    let leaving = guest.stay();
    guest.bid_farewell(&leaving);
    room.leave(&guest.name);
    let why = match leaving {
        Leaving::Gone => "",
        Leaving::TooSlow => " (too slow)",
        Leaving::TooLong => " (line too long)",
        Leaving::Closing => return,
    };
    room.tell(number, format!("* {} has left{why}", guest.name));
}

fn is_too_long(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|cause| cause.is::<TooLong>())
}

/// What may be shown on the terminals of others: no control characters, none that end a line, and none that turn the
/// direction of what comes after them.
fn clean(line: &[u8]) -> String {
    let turns = |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let text = String::from_utf8_lossy(line);
    text.chars()
        .filter(|c| !c.is_control() && !turns(*c))
        .collect::<String>()
        .trim()
        .to_owned()
}

struct Guest<'a> {
    number: usize,
    name: String,
    news: Subscriber<News>,
    /// Something of this guest is among the news that it has not taken.
    has_said: bool,
    room: &'a Room,
    stream: &'a TcpStream,
    patience: Duration,
    stop: &'a Cond,
}

impl Guest<'_> {
    /// Talks and listens.
    fn stay(&mut self) -> Leaving {
        let mut reader = BufReader::new(self.stream);
        reader.set_max_line(LONGEST + 1);
        let mut line = Vec::new();
        let welcome = format!("* welcome, you are {}; /help tells what there is", self.name);
        let mut answer = self.write(&welcome);
        loop {
            if let Err(leaving) = answer {
                return leaving;
            }
            line.clear();
            answer = select! {
                // Who says much has to hear as much.
                read = reader.read_until_op(b'\n', &mut line) if !self.has_said => match read {
                    Ok(1..) => self.hear(&clean(&line)),
                    Err(error) if is_too_long(&error) => Err(Leaving::TooLong),
                    Ok(0) | Err(_) => Err(Leaving::Gone),
                },
                news = <-self.news => match news {
                    Ok(news) if news.from == self.number => {
                        self.has_said = false;
                        Ok(())
                    }
                    Ok(news) => self.write(&news.text),
                    Err(BroadcastRecvError::Lagged(count)) => {
                        self.has_said = false;
                        self.write(&format!("* you have missed {count} lines"))
                    }
                    Err(_) => Err(Leaving::Closing),
                },
                <-self.stop => Err(Leaving::Closing),
            };
        }
    }

    /// Does what a line asks for.
    fn hear(&mut self, line: &str) -> Result<(), Leaving> {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let name = &self.name;
        match (command, rest.trim()) {
            ("/quit", "") => return Err(Leaving::Gone),
            ("/who", "") => return self.write(&format!("* here are {}", self.room.who())),
            ("/help", "") => return self.write(&format!("* {HELP}")),
            ("/nick", to) => return self.rename(to),
            ("/me", does) if !does.is_empty() => self.tell(format!("* {name} {does}")),
            _ if command.starts_with('/') => return self.write("* that is no command; /help tells what there is"),
            _ if line.is_empty() => {}
            _ => self.tell(format!("{name}: {line}")),
        }
        Ok(())
    }

    fn tell(&mut self, text: String) {
        self.has_said = true;
        self.room.tell(self.number, text);
    }

    fn rename(&mut self, to: &str) -> Result<(), Leaving> {
        if to.is_empty() || to.len() > 20 || !to.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)) {
            return self.write("* a name is 1 to 20 letters, digits, - and _");
        }
        if !self.room.rename(&self.name, to) {
            return self.write(&format!("* {to} is taken"));
        }
        let from = std::mem::replace(&mut self.name, to.to_owned());
        self.tell(format!("* {from} is now {to}"));
        self.write(&format!("* you are now {to}"))
    }

    /// Sends a line, if the guest takes it before long. Told of the end, it still ends the line.
    fn write(&self, line: &str) -> Result<(), Leaving> {
        let bytes = format!("{line}\r\n").into_bytes();
        let mut rest = &bytes[..];
        let mut closing = self.stop.is_signalled();
        while !rest.is_empty() {
            select! {
                written = self.stream.write_op(rest) => match written {
                    Ok(count) => rest = &rest[count..],
                    Err(_) => return Err(Leaving::Gone),
                },
                <-time::after(if closing { GRACE } else { self.patience }) => return Err(Leaving::TooSlow),
                <-self.stop if !closing => closing = true,
            }
        }
        Ok(())
    }

    /// A last word. Who does not take it does without.
    fn bid_farewell(&self, leaving: &Leaving) {
        let _ = match leaving {
            Leaving::Gone => self.write("* good-bye"),
            Leaving::TooSlow => Ok(()),
            Leaving::TooLong => self.write("* that line is too long; good-bye"),
            Leaving::Closing => self.write("* the room closes; good-bye"),
        };
    }
}
