//! Stacks that are too small, and faults that have nothing to do with stacks.

use fibers::Runtime;
use fibers::fiber::Builder;
use std::hint::black_box;

#[expect(unconditional_recursion, reason = "it is to overflow")]
#[inline(never)]
fn dive(depth: u64) -> u64 {
    let frame = black_box([depth; 16]);
    dive(depth + 1) + frame[3]
}

pub(crate) fn overflow() {
    let runtime = Runtime::builder()
        .workers(1)
        .stack_size(192 << 10)
        .guard_size(64 << 10)
        .build();
    runtime
        .unwrap()
        .run(|| Builder::new().name("deep diver").spawn(|| dive(0)).unwrap().join())
        .unwrap();
}

pub(crate) fn overflow_own_size() {
    fibers::run(|| {
        Builder::new()
            .name("wide diver")
            .stack_size(1 << 20)
            .spawn(|| dive(0))
            .unwrap()
            .join()
    })
    .unwrap();
}

pub(crate) fn overflow_elsewhere() {
    let runtime = Runtime::builder().workers(2).build().unwrap();
    runtime
        .run(|| Builder::new().name("far diver").worker(1).spawn(|| dive(0)).unwrap().join())
        .unwrap();
}

pub(crate) fn overflow_main() {
    black_box(fibers::run(|| dive(0)));
}

fn read_null() {
    let nowhere = black_box(std::ptr::null::<u8>());
    // SAFETY: none, it is to fault.
    black_box(unsafe { nowhere.read_volatile() });
}

pub(crate) fn null() {
    fibers::run(|| fibers::spawn(read_null).join()).unwrap();
}

pub(crate) fn previous_handler() {
    extern "C" fn leave(_signal: libc::c_int) {
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(42) }
    }
    // SAFETY: the handler is async-signal-safe.
    unsafe { libc::signal(libc::SIGSEGV, leave as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    null();
}

/// As a function of C would do it, this makes a frame of 48 KiB and touches only its lowest byte, again and again.
#[cfg(target_arch = "x86_64")]
#[inline(never)]
fn giant_frames(count: u64) {
    // SAFETY: the stack pointer comes back to where it was; what lies below it belongs to nobody.
    unsafe {
        std::arch::asm!(
            "mov {saved}, rsp",
            "2:",
            "sub rsp, 49152",
            "mov byte ptr [rsp], 1",
            "dec {count}",
            "jnz 2b",
            "mov rsp, {saved}",
            saved = out(reg) _,
            count = inout(reg) count => _,
        );
    }
}

/// As a function of C would do it, this makes a frame of 48 KiB and touches only its lowest byte, again and again.
#[cfg(target_arch = "aarch64")]
#[inline(never)]
fn giant_frames(count: u64) {
    // SAFETY: the stack pointer comes back to where it was; what lies below it belongs to nobody.
    unsafe {
        std::arch::asm!(
            "mov {saved}, sp",
            "2:",
            "sub sp, sp, #12, lsl #12",
            "strb wzr, [sp]",
            "subs {count}, {count}, #1",
            "b.ne 2b",
            "mov sp, {saved}",
            saved = out(reg) _,
            count = inout(reg) count => _,
        );
    }
}

pub(crate) fn unprobed() {
    // The neighbours' stacks are in use, so a jump over the guard would land in one of them.
    fibers::run(|| {
        let (tx, rx) = fibers::channel::<()>(0);
        for _ in 0..10 {
            let rx = rx.clone();
            fibers::spawn(move || rx.recv());
            fibers::yield_now();
        }
        Builder::new()
            .name("giant")
            .spawn(|| giant_frames(100))
            .unwrap()
            .join()
            .unwrap();
        drop(tx);
    });
}
