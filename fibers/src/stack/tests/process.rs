//! Tests that end their process, or bring it to its limits: each runs the test binary again, for itself alone, with a
//! variable that tells the process what to do there.

use super::*;
use std::env;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::sync::OnceLock;

/// What the process is to do.
const TASK: &str = "FIBERS_TEST_TASK";

/// The process of the test of this name (its path below `stack::tests`) with this task.
fn process(test: &str, task: &str) -> Output {
    let mut child = match emulator() {
        Some(words) => {
            let mut child = Command::new(&words[0]);
            child.args(&words[1..]).arg(env::current_exe().unwrap());
            child
        }
        None => Command::new(env::current_exe().unwrap()),
    };
    child.args([&format!("stack::tests::{test}"), "--exact", "--nocapture", "--test-threads=1"]);
    child.env(TASK, task).env("RUST_BACKTRACE", "0").output().unwrap()
}

/// Whether this runs under qemu-user: guards are made by `mprotect` there, and limits are those of the emulator.
pub(super) fn is_emulated() -> bool {
    !sys::refuses_unknown_advice()
}

/// The command that runs a program for this machine, as cargo was told it, if there is need of one.
fn emulator() -> Option<Vec<String>> {
    let command = env::var("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER").ok()?;
    is_emulated().then(|| command.split_whitespace().map(String::from).collect())
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// True in a process of the test's own; elsewhere runs that process, and demands that it succeeds.
pub(super) fn alone(test: &str) -> bool {
    if env::var_os(TASK).is_some() {
        return true;
    }
    let output = process(test, "alone");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && report.contains("1 passed"),
        "{report}{}",
        stderr(&output)
    );
    false
}

/// Allocates until that fails, or `most` stacks.
fn fill(pool: &Arc<StackPool>, most: usize) -> (Vec<Stack>, Option<io::Error>) {
    let mut stacks = Vec::with_capacity(most);
    while stacks.len() < most {
        match pool.alloc() {
            Ok(stack) => stacks.push(stack),
            Err(e) => return (stacks, Some(e)),
        }
    }
    (stacks, None)
}

#[test]
fn guard_marks_need_no_mappings() {
    if !alone("process::guard_marks_need_no_mappings") {
        return;
    }
    let pool = pool();
    let before = mappings();
    let (stacks, error) = fill(&pool, 40_000);
    if pool.guards.split_mappings() {
        let error = error.expect("a kernel without guard marks has no room for so many");
        assert!(error.to_string().contains("vm.max_map_count"), "{error}");
    } else {
        assert_eq!((stacks.len(), error.map(|e| e.to_string())), (40_000, None));
        assert!(mappings() < before + 50, "{before} -> {}", mappings());
    }
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

#[test]
fn split_mappings_run_into_their_limit() {
    if !alone("process::split_mappings_run_into_their_limit") {
        return;
    }
    let limit = sys::read_setting("vm/max_map_count").unwrap() as usize;
    if cfg!(fibers_asan) || is_emulated() {
        return eprintln!("not tried: the sanitizer or emulator itself needs mappings");
    }
    if limit > 1 << 18 {
        return eprintln!("not tried: vm.max_map_count = {limit} is too much to use up");
    }
    let pool = pool();
    let _old_kernel = scoped(Call::MadviseGuard, Fault::always(libc::EINVAL));
    let (mut stacks, error) = fill(&pool, limit);
    let error = error.unwrap();
    assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
    let text = error.to_string();
    assert!(
        text.contains(&format!("{limit} mappings")) && text.contains("vm.max_map_count"),
        "{text}"
    );
    assert!(text.contains(&format!("with {} stacks in use", stacks.len())), "{text}");
    assert!(stacks.len() > limit / 2 - 500, "{text}");
    assert!(pool.exhausted().is_some());
    stacks.iter().map(usable_range).for_each(|range| touch_first(&range));
    stacks.truncate(10);
    assert!(pool.exhausted().is_none());
    stacks.push(pool.alloc().unwrap());
}

#[test]
fn a_limited_address_space_is_used_up_and_named() {
    if !alone("process::a_limited_address_space_is_used_up_and_named") {
        return;
    }
    if is_emulated() {
        return eprintln!("not tried: the emulator does not impose limits");
    }
    const ROOM: u64 = 200 << 20;
    let pages: u64 = std::fs::read_to_string("/proc/self/statm")
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let bytes = pages * sys::page_size() as u64 + ROOM;
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: lowers a limit of this process, which is the test's own.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) }, 0);
    let pool = pool();
    let (stacks, error) = fill(&pool, 1000);
    let text = error.unwrap().to_string();
    assert!(
        text.contains(&format!("limited to {bytes} bytes")) && text.contains("ulimit -v"),
        "{text}"
    );
    assert!(stacks.len() > 600, "small slabs fill what is left: {text}");
    stacks.iter().for_each(touch);
}

// Faults.

/// The guard that the test's `describe` knows.
static GUARD: OnceLock<Range<usize>> = OnceLock::new();

fn describe(address: usize, out: &mut dyn FnMut(&[u8])) -> bool {
    let hit = GUARD.get().is_some_and(|guard| guard.contains(&address));
    if hit {
        out(b"it was ");
        out(b"fiber 7\n");
    }
    hit
}

extern "C" fn simple_handler(signal: libc::c_int) {
    sys::write_stderr(if signal == libc::SIGSEGV {
        b"simple handler\n"
    } else {
        b"wrong signal\n"
    });
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(3) };
}

unsafe extern "C" fn full_handler(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gave `info`.
    sys::write_stderr(if unsafe { (*info).si_addr() }.is_null() {
        b"full handler\n"
    } else {
        b"wrong address\n"
    });
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(3) };
}

/// Puts what the task wants in the place of the standard library's handler.
fn set_earlier_handler(name: &str) {
    let mut action = sys::signal_action(libc::SIGSEGV).unwrap().0;
    action.sa_flags = 0;
    action.sa_sigaction = match name {
        "default" => libc::SIG_DFL,
        "ignore" => libc::SIG_IGN,
        "simple" => simple_handler as *const () as usize,
        "full" => {
            action.sa_flags = libc::SA_SIGINFO;
            full_handler as *const () as usize
        }
        _ => return,
    };
    // SAFETY: the handlers above are async-signal-safe.
    let result = unsafe { libc::sigaction(libc::SIGSEGV, &action, ptr::null_mut()) };
    assert_eq!(result, 0);
}

/// Commits the fault, given as "earlier handler: fault".
fn commit(task: &str) {
    let (earlier, fault) = task.split_once(": ").unwrap();
    set_earlier_handler(earlier);
    install_fault_handler(describe).unwrap();
    install_fault_handler(describe).unwrap();
    let _alternate = AltStack::install().unwrap();
    let _old_kernel = (fault == "split guard").then(|| scoped(Call::MadviseGuard, Fault::always(libc::EINVAL)));
    let pool = pool();
    let stack = pool.alloc().unwrap();
    touch(&stack);
    GUARD.set(stack.guard_range()).unwrap();
    drop(stack);
    let stack = pool.alloc().unwrap();
    match fault {
        "first byte of the guard" | "split guard" => poke(stack.limit().wrapping_sub(1)),
        "last byte of the guard" => poke(stack.limit().wrapping_sub(64 << 10)),
        "null" => poke(ptr::null_mut()),
        "non-canonical" => poke(ptr::without_provenance_mut(1 << 63)),
        "thread stack" => drop(thread::spawn(|| recurse(1)).join()),
        "beyond the file" => poke(beyond_a_file()),
        // SAFETY: sends a signal to this very thread.
        _ => drop(unsafe { libc::raise(libc::SIGSEGV) }),
    }
    println!("survived");
}

fn poke(place: *mut u8) {
    // SAFETY: none: this is the fault.
    unsafe { place.write_volatile(1) };
}

#[expect(unconditional_recursion, reason = "it is to overflow the stack")]
fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    recurse(depth + 1) + frame[3]
}

/// A page mapped from a file that has none: touching it is a SIGBUS.
fn beyond_a_file() -> *mut u8 {
    // SAFETY: creates a descriptor, which is leaked.
    let fd = unsafe { libc::memfd_create(c"empty".as_ptr(), 0) };
    // SAFETY: a new mapping at an address of the kernel's choice.
    let page = unsafe {
        libc::mmap(
            ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            fd.as_raw_fd(),
            0,
        )
    };
    assert_ne!(page, libc::MAP_FAILED);
    page.cast()
}

/// How a process ends.
#[derive(Debug, PartialEq)]
enum End {
    Signal(i32),
    Code(i32),
}

/// Runs the task and compares its end; returns what it wrote.
fn ends(test: &str, task: &str, end: End) -> String {
    let output = process(test, task);
    let text = stderr(&output);
    let survived = String::from_utf8_lossy(&output.stdout).contains("survived");
    assert_eq!(survived, end == End::Code(0), "{task}: {text}");
    let found = match output.status.signal() {
        Some(signal) => End::Signal(signal),
        None => End::Code(output.status.code().unwrap()),
    };
    assert_eq!(found, end, "{task}: {text}");
    text
}

#[test]
fn guard_hits_are_described_and_end_the_process() {
    if let Ok(task) = env::var(TASK) {
        return commit(&task);
    }
    for task in [
        "std: first byte of the guard",
        "std: last byte of the guard",
        "std: split guard",
        "ignore: split guard",
    ] {
        let text = ends(
            "process::guard_hits_are_described_and_end_the_process",
            task,
            End::Signal(libc::SIGABRT),
        );
        assert!(text.contains("it was fiber 7\n"), "{task}: {text}");
    }
}

#[test]
fn foreign_faults_reach_the_handler_before_ours() {
    if let Ok(task) = env::var(TASK) {
        return commit(&task);
    }
    let segv = || End::Signal(libc::SIGSEGV);
    for (task, end, says) in [
        ("std: null", segv(), ""),
        ("std: non-canonical", segv(), ""),
        ("std: thread stack", End::Signal(libc::SIGABRT), "has overflowed its stack"),
        ("std: beyond the file", End::Signal(libc::SIGBUS), ""),
        // The standard library's handler swallows the first signal that was sent, and takes itself away.
        ("std: raise", End::Code(0), ""),
        ("default: null", segv(), ""),
        ("default: raise", segv(), ""),
        ("ignore: null", segv(), ""),
        ("ignore: raise", End::Code(0), ""),
        ("simple: null", End::Code(3), "simple handler\n"),
        ("full: null", End::Code(3), "full handler\n"),
    ] {
        if cfg!(fibers_asan) && task.starts_with("std") {
            continue; // the earlier handler is that of the sanitizer
        }
        let text = ends("process::foreign_faults_reach_the_handler_before_ours", task, end);
        assert!(text.contains(says) && !text.contains("fiber 7"), "{task}: {text}");
    }
}
