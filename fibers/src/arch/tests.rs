//! Contexts by themselves: a tiny asymmetric coroutine on a stack of its own, and what has to hold on it.
#![expect(unsafe_code, reason = "what is tested is unsafe")]

use super::{Sp, asan, init, switch};
use std::any::Any;
use std::backtrace::Backtrace;
use std::ffi::c_void;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::ptr::{null, null_mut};

#[derive(Clone, Copy)]
#[repr(align(4096))]
struct Page(#[allow(dead_code, reason = "only its address matters")] [u8; 4096]);

type Body = dyn FnMut(&mut Coroutine);

/// A context, the place to come back to, and what the address sanitizer wants to know about both.
struct Coroutine {
    stack: Box<[Page]>,
    inside: Sp,
    outside: Sp,
    inside_fake: *mut c_void,
    outside_fake: *mut c_void,
    outside_bounds: (*const c_void, usize),
    body: Option<Box<Body>>,
    panic: Option<Box<dyn Any + Send>>,
    done: bool,
}

impl Coroutine {
    /// Boxed, since the context keeps its address.
    fn new(kib: usize, body: impl FnMut(&mut Coroutine) + 'static) -> Box<Coroutine> {
        let mut c = Box::new(Coroutine {
            stack: vec![Page([0xAA; 4096]); kib.div_ceil(4)].into_boxed_slice(),
            inside: Sp::NULL,
            outside: Sp::NULL,
            inside_fake: null_mut(),
            outside_fake: null_mut(),
            outside_bounds: (null(), 0),
            body: None,
            panic: None,
            done: true,
        });
        c.restart(body);
        c
    }

    /// Begins anew on the same stack.
    fn restart(&mut self, body: impl FnMut(&mut Coroutine) + 'static) {
        assert!(self.done, "a suspended body would never be dropped");
        let (bottom, size) = self.bounds();
        let top = self.stack.as_mut_ptr_range().end.cast::<u8>();
        self.body = Some(Box::new(body));
        self.inside_fake = null_mut();
        self.done = false;
        let this = (&raw mut *self).cast::<()>();
        // SAFETY: the stack is ours, ends page-aligned, and no context is on it; `entry` takes a coroutine.
        unsafe {
            asan::unpoison(bottom, size);
            self.inside = init(top, entry, this);
        }
    }

    fn bounds(&self) -> (*const c_void, usize) {
        (self.stack.as_ptr().cast(), size_of_val(&*self.stack))
    }

    /// Runs the body to its next suspension; false if it has ended. Passes its panic on.
    fn resume(&mut self) -> bool {
        self.switch_in();
        if let Some(payload) = self.panic.take() {
            resume_unwind(payload);
        }
        !self.done
    }

    #[inline(never)]
    fn switch_in(&mut self) {
        assert!(!self.done, "resumed after its end");
        let (bottom, size) = self.bounds();
        let (this, to) = (&raw mut *self, self.inside);
        let (mut from, mut from_size) = (null(), 0);
        // SAFETY: `inside` is fresh or was stored by the last `suspend`; both sides use the coroutine in turns only.
        unsafe {
            asan::start_switch(Some(&mut (*this).outside_fake), bottom, size);
            switch(&raw mut (*this).outside, to);
            asan::finish_switch((*this).outside_fake, &mut from, &mut from_size);
        }
    }

    /// Called by the body: goes back to whoever resumed it.
    #[inline(never)]
    fn suspend(&mut self) {
        let (bottom, size) = self.outside_bounds;
        let (this, to, ends) = (&raw mut *self, self.outside, self.done);
        // SAFETY: `outside` was stored by the `resume` that waits for us, with the bounds we learned on arrival.
        unsafe {
            let fake = (!ends).then_some(&mut (*this).inside_fake);
            asan::start_switch(fake, bottom, size);
            switch(&raw mut (*this).inside, to);
            let fake = (*this).inside_fake;
            asan::finish_switch(fake, &mut (*this).outside_bounds.0, &mut (*this).outside_bounds.1);
        }
    }
}

/// The root of every coroutine.
///
/// # Safety
/// `this` is the coroutine that is being resumed.
unsafe extern "C" fn entry(this: *mut ()) -> ! {
    // SAFETY: as promised, and `resume` touches it only while we are suspended.
    let c = unsafe { &mut *this.cast::<Coroutine>() };
    // SAFETY: we have just arrived on a fresh stack.
    unsafe { asan::finish_switch(null_mut(), &mut c.outside_bounds.0, &mut c.outside_bounds.1) };
    let mut body = c.body.take().expect("restart sets it");
    c.panic = catch_unwind(AssertUnwindSafe(|| body(c))).err();
    drop(body);
    c.done = true;
    c.suspend();
    unreachable!("resumed after its end")
}

fn run(kib: usize, body: impl FnMut(&mut Coroutine) + 'static) {
    let mut c = Coroutine::new(kib, body);
    while c.resume() {}
}

/// Stack for a body that formats, panics or captures a backtrace: the sanitizer's frames are large.
const ROOMY: usize = 1024;

#[test]
fn two_contexts_take_turns_a_million_times() {
    let (send, got) = std::sync::mpsc::channel();
    let mut c = Coroutine::new(64, move |c| {
        for i in 0..500_000_u64 {
            send.send(i).expect("the receiver waits");
            c.suspend();
        }
    });
    for i in 0..500_000 {
        assert!(c.resume());
        assert_eq!(got.try_recv(), Ok(i));
    }
    assert!(!c.resume());
}

/// More live values than there are callee-saved registers, integers and floats, across each of `rounds` calls.
#[inline(never)]
fn live_values(seed: u64, rounds: u64, mut between: impl FnMut()) {
    let ints: [u64; 14] = std::array::from_fn(|i| black_box(seed.wrapping_mul(i as u64 + 3)));
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n] = ints;
    for round in 0..rounds {
        between();
        let now = [a, b, c, d, e, f, g, h, i, j, k, l, m, n].map(black_box);
        assert_eq!(now, std::array::from_fn(|i| seed.wrapping_mul(i as u64 + 3)), "round {round}");
    }
}

/// The same for floats, whose callee-saved registers (v8 to v15 on aarch64) hold nothing else.
#[inline(never)]
fn live_floats(seed: f64, rounds: u32, mut between: impl FnMut()) {
    let (mut a, mut b, mut c, mut d) = (seed, seed + 1.0, seed + 2.0, seed + 3.0);
    let (mut e, mut f, mut g, mut h) = (seed + 4.0, seed + 5.0, seed + 6.0, seed + 7.0);
    let step = black_box(0.5);
    for _ in 0..rounds {
        between();
        (a, b, c, d) = (a + step, b - step, c + step, d - step);
        (e, f, g, h) = (e + step, f - step, g + step, h - step);
    }
    let moved = f64::from(rounds) / 2.0;
    assert_eq!([a, c, e, g], [0.0, 2.0, 4.0, 6.0].map(|x| seed + x + moved));
    assert_eq!([b, d, f, h], [1.0, 3.0, 5.0, 7.0].map(|x| seed + x - moved));
}

#[test]
fn live_values_survive_on_both_sides() {
    let mut c = Coroutine::new(64, |c| {
        live_values(7, 1001, || c.suspend());
        live_values(77_777, 1001, || c.suspend());
        live_floats(1e6, 1001, || c.suspend());
    });
    live_values(11, 1501, || assert!(c.resume()));
    live_floats(-300.0, 1502, || assert!(c.resume()));
    assert!(!c.resume());
}

/// A dynamically aligned frame is where a compiler reaches for its base pointer (rbx, x19).
#[inline(never)]
fn over_aligned(seed: u8, mut between: impl FnMut()) {
    #[repr(align(128))]
    struct Wide([u8; 256]);
    let mut wide = Wide([seed; 256]);
    assert!(black_box(&raw mut wide).addr().is_multiple_of(128));
    between();
    assert!(black_box(&mut wide).0.iter().all(|b| *b == seed));
}

#[test]
fn stacks_are_aligned() {
    let mut c = Coroutine::new(ROOMY, |c| {
        over_aligned(1, || c.suspend());
        // Formatting a float spills vector registers with instructions that fault unless sp is aligned.
        assert_eq!(format!("{:.3}", black_box(2.0_f64).sqrt()), "1.414");
        over_aligned(2, || c.suspend());
    });
    over_aligned(3, || assert!(c.resume()));
    over_aligned(4, || assert!(c.resume()));
    assert!(!c.resume());
}

#[test]
fn a_panic_is_caught_inside() {
    run(ROOMY, |c| {
        for i in 0..3_u32 {
            let payload = catch_unwind(|| resume_unwind(Box::new(i))).expect_err("it was raised");
            c.suspend();
            assert_eq!(payload.downcast_ref(), Some(&i));
        }
        catch_unwind(|| panic_any("a panic that the test expects")).expect_err("it was raised");
    });
}

#[test]
fn an_unwind_crosses_frames_that_suspended() {
    struct CountDrops<'a>(&'a mut u32);
    impl Drop for CountDrops<'_> {
        fn drop(&mut self) {
            *self.0 += 1;
        }
    }
    #[inline(never)]
    fn nested(depth: u32, c: &mut Coroutine, drops: &mut u32) {
        let guard = CountDrops(drops);
        c.suspend();
        if depth == 0 {
            resume_unwind(Box::new("bottom"));
        }
        nested(depth - 1, c, guard.0);
    }
    run(ROOMY, |c| {
        let mut drops = 0;
        let unwound = catch_unwind(AssertUnwindSafe(|| nested(9, c, &mut drops)));
        let payload: Box<dyn Any + Send> = unwound.expect_err("it was raised");
        assert_eq!((payload.downcast_ref(), drops), (Some(&"bottom"), 10));
    });
}

#[inline(never)]
fn depth_marker() -> String {
    format!("{}", black_box(Backtrace::force_capture()))
}

#[test]
fn a_backtrace_ends_at_the_entry() {
    run(ROOMY, |c| {
        c.suspend();
        let trace = depth_marker();
        let frames: Vec<&str> = trace.lines().filter(|line| !line.trim_start().starts_with("at ")).collect();
        assert!(frames.iter().any(|f| f.contains("depth_marker")), "{trace}");
        assert!(frames.iter().any(|f| f.ends_with("entry")), "{trace}");
        assert!(frames.last().is_some_and(|f| f.ends_with("entry_point")), "{trace}");
        assert!(!trace.contains("switch_in"), "the resumer is in it:\n{trace}");
    });
}

#[inline(never)]
fn sum_to(n: u64, c: &mut Coroutine) -> u64 {
    let frame = black_box([n; 16]);
    if n == 0 {
        c.suspend();
        return 0;
    }
    let below = sum_to(n - 1, c);
    below + black_box(&frame)[7]
}

#[test]
fn deep_recursion_suspends_at_the_bottom() {
    run(8 << 10, |c| assert_eq!(sum_to(10_000, c), 50_005_000));
}

#[test]
fn a_stack_can_be_used_again() {
    let mut c = Coroutine::new(ROOMY, |_| ());
    assert!(!c.resume());
    for i in 0..1000_u64 {
        c.restart(move |c| assert_eq!(sum_to(i % 50, c), (i % 50) * (i % 50 + 1) / 2));
        assert!(c.resume());
        assert!(!c.resume());
    }
}

#[test]
fn contexts_nest_and_threads_do_not_mix() {
    let threads = (0..4).map(|t| {
        std::thread::spawn(move || {
            run(ROOMY, move |outer| {
                let mut inner = Coroutine::new(ROOMY, move |c| live_values(t, 101, || c.suspend()));
                while inner.resume() {
                    outer.suspend();
                }
            });
        })
    });
    threads
        .collect::<Vec<_>>()
        .into_iter()
        .for_each(|t| t.join().expect("no assertion failed"));
}

/// Switches that nobody announces, between stacks that are given up while suspended: not for the address sanitizer.
#[cfg(not(fibers_asan))]
mod bare {
    use super::*;
    use std::time::Instant;

    /// Bare contexts that hand over in a ring, without coming back to the thread's own in between.
    struct Ring {
        contexts: [Sp; 4],
        home: Sp,
        visits: Vec<usize>,
    }

    /// A switch in a frame that is addressed through the frame pointer, since its alignment is only known when it runs.
    ///
    /// # Safety
    /// As for [`switch`].
    #[inline(never)]
    unsafe fn over_aligned_switch(save: *mut Sp, to: Sp) {
        #[repr(align(128))]
        struct Wide([*mut Sp; 16]);
        let mut wide = Wide([save; 16]);
        assert!(black_box(&raw mut wide).addr().is_multiple_of(128));
        // SAFETY: passed on.
        unsafe { switch(save, to) };
        assert!(black_box(&mut wide).0.iter().all(|s| *s == save));
    }

    /// # Safety
    /// `ring` is a `Ring` that outlives the context.
    unsafe extern "C" fn ring_entry(ring: *mut ()) -> ! {
        let ring = ring.cast::<Ring>();
        // SAFETY: one context runs at a time, and the test holds no reference while they do.
        unsafe {
            let me = (*ring).visits.len();
            loop {
                let visits = &mut (*ring).visits;
                visits.push(me);
                let (next, mut last) = ((me + 1) % 4, Sp::NULL);
                if visits.len() == 4000 {
                    switch(&raw mut last, (*ring).home);
                }
                over_aligned_switch(&raw mut (*ring).contexts[me], (*ring).contexts[next]);
            }
        }
    }

    #[test]
    fn any_context_may_switch_to_any_other() {
        let mut stacks = [(); 4].map(|()| vec![Page([0; 4096]); 4]);
        let mut ring = Ring {
            contexts: [Sp::NULL; 4],
            home: Sp::NULL,
            visits: Vec::with_capacity(4000),
        };
        let p = &raw mut ring;
        // SAFETY: the stacks are ours, and nothing on them has a destructor when the ring is given up.
        unsafe {
            for (i, stack) in stacks.iter_mut().enumerate() {
                let top = stack.as_mut_ptr_range().end.cast();
                (*p).contexts[i] = init(top, ring_entry, p.cast());
            }
            switch(&raw mut (*p).home, (*p).contexts[0]);
        }
        assert_eq!(ring.visits, (0..4000).map(|i| i % 4).collect::<Vec<_>>());
    }

    /// `cargo test --release --lib arch -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    fn cost_of_a_switch() {
        const ROUNDS: u32 = 50_000_000;
        /// # Safety
        /// `sps` is two contexts: the caller's and this one.
        unsafe extern "C" fn back(sps: *mut ()) -> ! {
            let sps = sps.cast::<Sp>();
            loop {
                // SAFETY: the caller waits in the first.
                unsafe { switch(sps.add(1), *sps) };
            }
        }
        let mut stack = vec![Page([0; 4096]); 4];
        let mut sps = [Sp::NULL; 2];
        let p = sps.as_mut_ptr();
        // SAFETY: a stack of ours, two contexts in turns.
        unsafe {
            *p.add(1) = init(stack.as_mut_ptr_range().end.cast(), back, p.cast());
            let start = Instant::now();
            for _ in 0..ROUNDS {
                switch(p, *p.add(1));
            }
            println!(
                "{:.2} ns per switch",
                start.elapsed().as_nanos() as f64 / f64::from(ROUNDS) / 2.0
            );
        }
    }
}
