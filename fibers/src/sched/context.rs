//! The stacks of started fibers: what stands at their top, how they start, suspend and end.
//!
//! ```text
//!    top      +--------------+
//!             | StackHeader  |  what the scheduler knows of a started fiber
//!             | root         |  loops: runs a fiber, then the next unstarted one
//!             | Body::run    |
//!             | ...          |
//!             | park         |  where a suspended fiber is
//!    limit    +--------------+
//! ```
//!
//! The stack of a fiber that ends runs the next unstarted one in a loop, without a switch. If there is none it goes to
//! the cache as it is: its root frame is suspended inside that loop, and goes on when the stack is used again by the same
//! worker. A worker's own stack (of its thread) is its *native* context: whatever needs more than a few frames runs there.
//!
//! A million fibers are parked here, so root, `run` and `park` must fit into the first page together with the user's own
//! frames: nothing in this file may need a large frame.
#![expect(unsafe_code, reason = "fibers are switched here")]

use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::{NonNull, null, null_mut};

use super::current::Wait;
use super::local::Locals;
use super::task::{PARKED, Task, flag};
use super::worker::{Core, NO_SLICE};
use crate::arch::{self, Sp, asan};
use crate::prim::plain::Ordering;
use crate::stack::{Fresh, Stack};

/// What stands at the top of a stack. All zero on a fresh page.
#[repr(C, align(64))]
pub(super) struct StackHeader {
    /// The worker and run whose root frame is on this stack; 0: none is.
    serial: Cell<u64>,
    core: Cell<*const Core>,
    /// The fiber that runs here.
    task: Cell<*const Task>,
    /// What it waits for; valid while it is parked.
    pub(super) wait: Cell<*const Wait<'static>>,
    /// Where the root frame suspended, while the stack is in the cache.
    root: Cell<Sp>,
    /// The stack's place in the registry.
    key: Cell<usize>,
    /// How many times a shutdown has unwound the fiber.
    pub(super) raises: Cell<u32>,
    /// Made for one fiber that asked for its own size.
    single: Cell<bool>,
    pub(super) locals: Locals,
    stack: UnsafeCell<MaybeUninit<Stack>>,
}

impl StackHeader {
    /// The fiber that runs here; `None` on a warm stack.
    pub(super) fn task(&self) -> Option<&Task> {
        // SAFETY: the fiber of a stack has not ended.
        unsafe { self.task.get().as_ref() }
    }

    /// The stack on which this header stands.
    pub(super) fn stack(&self) -> &Stack {
        // SAFETY: filled in from `claim` to `give_back`, and the header is only reachable in between.
        unsafe { (*self.stack.get()).assume_init_ref() }
    }

    pub(super) fn take_stack(&self) -> Stack {
        // SAFETY: filled in by `claim`, and taken once: nobody reaches this header before the next `claim`.
        unsafe { (*self.stack.get()).assume_init_read() }
    }
}

impl Core {
    /// Gives an unstarted fiber a stack and makes it the owner's. It is not running yet.
    ///
    /// # Errors
    /// The fiber is untouched if there is no stack.
    fn equip(&self, task: NonNull<Task>) -> std::io::Result<Sp> {
        // SAFETY: the caller has taken it out of a queue.
        let header = unsafe { task.as_ref() };
        let own = header.take_own_stack();
        if own.is_none()
            && let Some(place) = self.warm.take()
        {
            // SAFETY: a warm stack is registered, and nobody's.
            let place = unsafe { place.as_ref() };
            self.adopt(task, place);
            return Ok(place.root.get());
        }
        let single = own.is_some();
        let (stack, fresh) = match own {
            None => self.cache.borrow_mut().take()?,
            Some(stack) => (stack, Fresh(true)),
        };
        let place = self.claim(stack, fresh, single);
        self.adopt(task, place);
        Ok(place.root.get())
    }

    /// Puts a header, and below it a root frame, on the stack, unless this worker left both there.
    fn claim(&self, stack: Stack, Fresh(fresh): Fresh, single: bool) -> &StackHeader {
        let top = stack.top();
        let at = top
            .wrapping_byte_sub(size_of::<StackHeader>())
            .map_addr(|a| a & !(align_of::<StackHeader>() - 1));
        // SAFETY: the stack is ours and far larger than its header; a fresh page is all zero, which is a valid header, and
        // an old one holds the header of its last use, since nothing else is ever written there.
        let header = unsafe { &*at.cast::<StackHeader>() };
        if fresh || header.serial.get() != self.serial {
            // SAFETY: as above, and nobody refers to what was there.
            unsafe {
                asan::unpoison(stack.limit().cast(), stack.size());
                at.cast::<StackHeader>().write(StackHeader {
                    serial: Cell::new(self.serial),
                    core: Cell::new(self),
                    task: Cell::new(null()),
                    wait: Cell::new(null()),
                    root: Cell::new(arch::init(at, root, at.cast())),
                    key: Cell::new(0),
                    raises: Cell::new(0),
                    single: Cell::new(false),
                    locals: Locals::new(),
                    stack: UnsafeCell::new(MaybeUninit::uninit()),
                });
            }
        }
        header.single.set(single);
        // SAFETY: the header's stack was taken at the end of its last use, or never filled in.
        unsafe { (*header.stack.get()).write(stack) };
        let mut registry = self.registry.borrow_mut();
        header.key.set(registry.insert(NonNull::from(header)));
        self.remote().counters.live.store(registry.len(), Ordering::Relaxed);
        header
    }

    /// Makes the fiber the one that runs on this stack.
    fn adopt(&self, task: NonNull<Task>, place: &StackHeader) {
        // SAFETY: the caller has taken it out of a queue.
        let header = unsafe { task.as_ref() };
        header.set_owner(self.remote);
        self.started_site.set(header.site);
        header.stack.set(place);
        header.set(flag::STARTED);
        place.task.set(header);
        debug_assert_eq!(header.link.load(Ordering::Relaxed), PARKED);
    }

    #[inline(always)]
    fn note_fresh(&self, task: NonNull<Task>) {
        self.fresh.set(self.slice());
        self.fresh_task.set(task.as_ptr());
    }

    /// Starts a fiber; returns when the worker's own context is wanted again.
    ///
    /// # Errors
    /// The fiber is untouched if there is no stack.
    ///
    /// # Safety
    /// Called on the native context, with an unstarted fiber that is in no queue.
    pub(super) unsafe fn start(&self, task: NonNull<Task>) -> std::io::Result<()> {
        let sp = self.equip(task)?;
        self.note_fresh(task);
        // SAFETY: the root frame of a stack that nobody else uses.
        unsafe { self.leave_native(task, sp) };
        Ok(())
    }

    /// Goes on with a started fiber; returns when the worker's own context is wanted again.
    ///
    /// # Safety
    /// Called on the native context, with a suspended fiber of this worker that is in no queue.
    pub(super) unsafe fn resume(&self, task: NonNull<Task>) {
        // SAFETY: suspended, so `sp` is where.
        unsafe { self.leave_native(task, task.as_ref().sp.get()) }
    }

    /// # Safety
    /// `to` is the suspended context of `task`.
    unsafe fn leave_native(&self, task: NonNull<Task>, to: Sp) {
        self.current.set(task.as_ptr());
        if cfg!(fibers_asan) {
            self.left_native.set(true);
        }
        // SAFETY: the caller's promise; the native context is suspended meanwhile, and its place is its own.
        unsafe { self.hop(self.native.as_ptr(), to) };
        debug_assert!(self.current.get().is_null());
        if let Some(header) = self.ended.take() {
            self.give_back(header);
        }
    }

    /// Switches from what runs here to what `current` says (null: the worker's own context), and tells the sanitizer.
    ///
    /// # Safety
    /// As for [`arch::switch`].
    #[inline(always)]
    unsafe fn hop(&self, save: *mut Sp, to: Sp) {
        // SAFETY: the caller's promise; the sanitizer is told of the very stack that is switched to.
        unsafe {
            let mut fake = null_mut();
            let (bottom, size) = if cfg!(fibers_asan) {
                self.target_bounds()
            } else {
                (null(), 0)
            };
            asan::start_switch(Some(&mut fake), bottom, size);
            arch::switch(save, to);
            self.arrive(fake);
        }
    }

    /// What comes after a switch, on its far side.
    #[inline(always)]
    fn arrive(&self, fake: *mut c_void) {
        let (mut bottom, mut size) = (null(), 0);
        // SAFETY: the switch just before this was announced by `hop`, which gave this context its `fake` (null: fresh).
        unsafe { asan::finish_switch(fake, &mut bottom, &mut size) };
        if cfg!(fibers_asan) && self.left_native.take() {
            self.native_bounds.set((bottom, size));
        }
    }

    /// The stack of what `current` says.
    fn target_bounds(&self) -> (*const c_void, usize) {
        // SAFETY: whoever is about to run has not ended, and has a stack.
        match unsafe { self.current.get().as_ref() } {
            None => self.native_bounds.get(),
            Some(task) => {
                // SAFETY: as above.
                let stack = unsafe { (*task.stack.get()).stack() };
                (stack.limit().cast_const().cast(), stack.size())
            }
        }
    }

    /// Suspends the running fiber and goes on with the next one, right from here if it has been started.
    #[inline(always)]
    pub(super) fn suspend(&self, task: &Task) {
        if !self.switch_to_started(task) {
            self.suspend_to_new(task);
        }
    }

    /// Goes on with the next started fiber, if there is one and the turn is not over; returns when this one is resumed. False,
    /// and nothing is done, otherwise.
    #[inline(always)]
    fn switch_to_started(&self, task: &Task) -> bool {
        let budget = self.budget.get();
        if budget != 0
            && let Some(next) = self.started.pop()
        {
            self.budget.set(budget - 1);
            if next != NonNull::from(task) {
                self.current.set(next.as_ptr());
                // SAFETY: a fiber in the queue is suspended, of this worker, and is now in no queue. This one is resumed
                // through a queue as well, or never, and then its stack stays as it is.
                unsafe { self.hop(task.sp.as_ptr(), next.as_ref().sp.get()) };
            }
            return true;
        }
        false
    }

    /// Suspends the running fiber where the turn is over, or no other one can go on. An unstarted one begins right from here if
    /// a stack lies ready and no rule asks for the worker's own look at it.
    #[inline(never)]
    fn suspend_to_new(&self, task: &Task) {
        if self.budget.get() == 0 && self.turn_in_place() && self.switch_to_started(task) {
            return;
        }
        if self.budget.get() != 0
            && let Some(place) = self.warm.get()
            && self.may_start_inline()
            && !(self.several && self.fresh.get() != NO_SLICE)
            && let Some(next) = self.pop_unstarted()
        {
            // SAFETY: taken out of a queue just now.
            if unsafe { next.as_ref() }.has_own_stack() {
                self.held.set(Some(next));
            } else {
                self.budget.set(self.budget.get() - 1);
                self.warm.set(None);
                // SAFETY: a warm stack is registered, and nobody's.
                let place = unsafe { place.as_ref() };
                self.note_fresh(next);
                self.adopt(next, place);
                self.current.set(next.as_ptr());
                // SAFETY: the root frame of a stack that nobody else uses. This fiber is resumed through a queue, or never.
                unsafe { self.hop(task.sp.as_ptr(), place.root.get()) };
                return;
            }
        }
        self.to_native(&task.sp);
    }

    /// Suspends what runs here, and goes on with the worker's own context.
    #[inline(always)]
    pub(super) fn to_native(&self, save: &Cell<Sp>) {
        self.current.set(null());
        // SAFETY: the native context is suspended whenever a fiber runs.
        unsafe { self.hop(save.as_ptr(), self.native.get()) };
    }

    /// What the stack of an ended fiber does next. Returns when it has another fiber to run (`current`).
    #[inline(always)]
    fn next_for(&self, place: &StackHeader) {
        self.fresh.set(NO_SLICE);
        let budget = self.budget.get();
        if budget != 0 && !place.single.get() {
            if self.started.is_empty() {
                if self.may_start_inline()
                    && let Some(task) = self.pop_unstarted()
                {
                    self.budget.set(budget - 1);
                    // SAFETY: taken out of the queue just now.
                    if !unsafe { task.as_ref() }.has_own_stack() {
                        self.note_fresh(task);
                        self.adopt(task, place);
                        self.current.set(task.as_ptr());
                        return;
                    }
                    self.held.set(Some(task));
                }
            } else if let Some(next) = self.started.pop() {
                self.budget.set(budget - 1);
                self.retire(place);
                self.current.set(next.as_ptr());
                // SAFETY: as in `suspend`. This stack is in the cache now, where only this worker finds it.
                unsafe { self.hop(place.root.as_ptr(), next.as_ref().sp.get()) };
                return;
            }
        }
        if place.single.get() {
            self.ended.set(Some(NonNull::from(place)));
        } else {
            self.retire(place);
        }
        self.to_native(&place.root);
    }

    /// Keeps a stack that still runs, for the next fiber: one stays warm (registered, with all that it needs to start
    /// another fiber), the others go to the cache.
    #[inline]
    fn retire(&self, place: &StackHeader) {
        place.task.set(null());
        if self.shared.stacks.exhausted().is_some() {
            // Others wait for a stack, and hear of it through the cache.
            return self.to_cache(place);
        }
        if let Some(cold) = self.warm.replace(Some(NonNull::from(place))) {
            // SAFETY: a warm stack is registered, and nobody's.
            self.to_cache(unsafe { cold.as_ref() });
        }
    }

    fn to_cache(&self, place: &StackHeader) {
        self.unregister(place);
        self.cache.borrow_mut().push(place.take_stack());
    }

    /// Gives the warm stack to the cache.
    pub(super) fn cool(&self) {
        if let Some(place) = self.warm.take() {
            // SAFETY: as above.
            self.to_cache(unsafe { place.as_ref() });
        }
    }

    /// Frees a stack of its own size, or leaks one that was abandoned, from another one.
    #[cold]
    fn give_back(&self, place: NonNull<StackHeader>) {
        if self.abandoned.take() {
            // SAFETY: its fiber is suspended for good, and registered.
            return self.bury(unsafe { place.as_ref() });
        }
        // SAFETY: its fiber has ended and nothing runs there; the header lives until the stack is dropped.
        let stack = unsafe {
            self.unregister(place.as_ref());
            place.as_ref().take_stack()
        };
        drop(stack);
    }

    pub(super) fn unregister(&self, place: &StackHeader) {
        let mut registry = self.registry.borrow_mut();
        registry.remove(place.key.get());
        self.remote().counters.live.store(registry.len(), Ordering::Relaxed);
    }

    /// The fiber that runs, from its first instruction to its last.
    #[inline(always)]
    fn run_current(&self, place: &StackHeader) {
        let Some(task) = place.task() else { return };
        // SAFETY: the fiber was taken out of the unstarted ones to be run here.
        unsafe { task.run(self.cancels(task)) };
        place.locals.end();
        // What is left of its body may be dropped by this, so the fiber is still the one that runs.
        // SAFETY: the fiber's own reference.
        unsafe { Task::end(NonNull::from(task), &place.locals) };
        self.current.set(null());
        place.raises.set(0);
    }
}

/// The first frame of every stack. As an `extern "C"` function it ends the process should a body unwind.
unsafe extern "C" fn root(place: *mut ()) -> ! {
    // SAFETY: `claim` has put the header there, and it stays for as long as the stack is in use or in the cache.
    let place = unsafe { &*place.cast::<StackHeader>().cast_const() };
    // SAFETY: a root frame never outlives the worker that made it: with another serial it is made anew.
    let core = unsafe { &*place.core.get() };
    core.arrive(null_mut());
    loop {
        core.run_current(place);
        core.next_for(place);
    }
}
