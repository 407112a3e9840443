//! What the scheduler keeps of a fiber: the header of its heap block, and the handles to it.
//!
//! A spawn is one allocation, from the worker's own [blocks](crate::blocks) if it is small. Everything that only a started fiber needs stands at the top of its stack instead (see
//! [`context`](super::context)), so that a fiber that waits for its first turn is small:
//!
//! ```text
//!    [ Extras ]   only if the spawn gave a name or a stack size, or the spawner something to inherit
//!    [ Task   ]   64 bytes, what the scheduler knows
//!    [ Body   ]   the closure, its result and whoever waits for it: belongs to the floors above
//! ```
//!
//! Invariants:
//! - The block is freed when the last reference is given back. The fiber itself holds one until it has ended.
//! - `link` belongs to the queue the fiber is in. In no queue it is [`PARKED`]; whoever takes a fiber out of a queue says
//!   so. Only the pusher writes it while the fiber is in no queue, and a fiber is pushed once for each time it parks.
//! - `sp`, `stack`, `owner` and the flags of a started fiber are written by its owner only.
#![expect(unsafe_code, reason = "the block is allocated, counted and freed by hand")]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::ptr::{NonNull, null};
use std::sync::Arc;

use super::context::StackHeader;
use super::current;
use super::inherit::{self, Inherited};
use super::local::Locals;
use super::shared::Remote;
use crate::arch::Sp;
use crate::blocks::Blocks;
use crate::prim::plain::{AtomicPtr, AtomicU32, Ordering, fence};
use crate::stack::{Stack, StackPool};

/// The `link` of a fiber that is in no queue.
pub(super) const PARKED: *mut Task = std::ptr::without_provenance_mut(1);

/// One bit each of a task's flags.
pub(super) mod flag {
    /// It is the main fiber: never cancelled, never unwound by a shutdown.
    pub(in crate::sched) const MAIN: u32 = 1 << 0;
    /// It has run its first instruction, so it has a stack and an owner. Set by the owner.
    pub(in crate::sched) const STARTED: u32 = 1 << 1;
    /// It starts on the worker it was given to: thieves do not see it. Set at the spawn.
    pub(in crate::sched) const FIXED: u32 = 1 << 2;
    /// A panic of this fiber has been seen by the hook, or a shutdown unwinds it. Set and cleared by the owner.
    pub(in crate::sched) const PANICKING: u32 = 1 << 3;
    /// Its last park returned `Unwind` or `Deadlock`, and it has not said yet whether its operation was withdrawn. Its
    /// next park waits for the wake that is owed to it.
    pub(in crate::sched) const OFFERED: u32 = 1 << 4;
    /// Given up by a shutdown: its stack stays as it is, for ever, and wakes for it are ignored.
    pub(in crate::sched) const LEAKED: u32 = 1 << 5;
    /// Suspended in the middle of a panic, and counted as such by its worker.
    pub(in crate::sched) const PANIC_COUNTED: u32 = 1 << 6;
}

/// What a fiber runs. It lives inside the fiber's block, hence the shared reference: the implementor keeps its closure in
/// a cell. `run` is called exactly once.
pub(crate) trait Body {
    /// Runs on the fiber's own stack, and must not unwind. `cancelled` says that the closure is to be dropped, not run:
    /// the runtime ends. Then the caller may also be a plain thread (the one that drops the runtime).
    fn run(&self, cancelled: bool);
    /// The fiber has been given up: it will never run, or go on. Called at most once, on a worker's own stack. Whoever
    /// waits for its end is told; nothing that belongs to the fiber is touched.
    fn abandon(&self) {}
}

/// Where a fiber may start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// With its spawner, unless the placement policy moves it before it starts.
    #[default]
    Auto,
    /// On the workers in turn.
    Spread,
    /// On this worker.
    Worker(usize),
    /// On the spawner's worker, for a body that is not `Send`.
    Local,
}

/// How to spawn a fiber.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) name: Option<Box<str>>,
    pub(crate) stack_size: Option<usize>,
    pub(crate) place: Place,
    pub(crate) site: &'static Location<'static>,
}

#[cfg(test)]
impl Spec {
    /// No name, the default stack.
    pub(crate) const fn new(place: Place, site: &'static Location<'static>) -> Spec {
        Spec {
            name: None,
            stack_size: None,
            place,
            site,
        }
    }
}

/// What few fibers have.
pub(super) struct Extras {
    name: Option<Box<str>>,
    /// Of the size that the spawn asked for; until the start.
    stack: Cell<Option<Stack>>,
    /// Until it runs.
    inherited: Cell<Option<Inherited>>,
}

struct VTable {
    run: unsafe fn(&Task, bool),
    abandon: unsafe fn(&Task),
    free: unsafe fn(NonNull<Task>, Option<&Locals>),
    /// How many bytes before the task its extras stand; 0: it has none.
    extras: usize,
}

/// The header of every fiber.
#[repr(C)]
pub(crate) struct Task {
    vtable: &'static VTable,
    /// The next one in the queue this fiber is in.
    pub(super) link: AtomicPtr<Task>,
    /// Where it suspended. Meaningful while it is started and not running.
    pub(super) sp: Cell<Sp>,
    /// Its stack, from the start on. Until then the fiber before it in its [batch](super::batch).
    pub(super) stack: Cell<*const StackHeader>,
    /// The worker that runs it, from the start on; null again once it has been given up, so that a late wake goes nowhere.
    /// Written by the owner: before anybody can owe it a wake, and when it gives the fiber up.
    owner: AtomicPtr<Remote>,
    refs: AtomicU32,
    /// Relaxed throughout: read by others only where something else orders it.
    flags: AtomicU32,
    pub(super) id: u64,
    pub(super) site: &'static Location<'static>,
}

#[repr(C)]
struct Block<B> {
    task: Task,
    body: B,
}

#[repr(C)]
struct Extended<B> {
    extras: Extras,
    block: Block<B>,
}

impl Task {
    pub(super) fn has(&self, bits: u32) -> bool {
        self.flags.load(Ordering::Relaxed) & bits != 0
    }

    pub(super) fn set(&self, bits: u32) {
        self.flags.store(self.flags.load(Ordering::Relaxed) | bits, Ordering::Relaxed);
    }

    pub(super) fn clear(&self, bits: u32) {
        self.flags
            .store(self.flags.load(Ordering::Relaxed) & !bits, Ordering::Relaxed);
    }

    /// The worker that runs it. Null if it has not started, or was given up.
    #[inline(always)]
    pub(super) fn owner(&self) -> *const Remote {
        // Relaxed: who is owed a wake is known through a lock. Whoever just misses that a fiber was given up sends the wake to
        // the inbox of its owner, where it is ignored.
        self.owner.load(Ordering::Relaxed)
    }

    pub(super) fn set_owner(&self, owner: *const Remote) {
        self.owner.store(owner.cast_mut(), Ordering::Relaxed);
    }

    /// The unstarted fiber before this one, where the queue has set it.
    pub(super) fn before(&self) -> *mut Task {
        debug_assert!(!self.has(flag::STARTED));
        self.stack.get().cast_mut().cast()
    }

    #[inline(always)]
    pub(super) fn set_before(&self, before: *mut Task) {
        debug_assert!(!self.has(flag::STARTED));
        self.stack.set(before.cast());
    }

    /// Asks for the memory that the fiber needs when it goes on. For a fiber that is woken long before its turn comes, or
    /// after a long time; for one that was here a moment ago it costs more than it gains (a round trip 56 -> 59 ns).
    ///
    /// Called by the owner.
    #[inline(always)]
    pub(super) fn prefetch(&self) {
        /// A perform that waits, and the frame that called it.
        const LINES: usize = 5;
        self.sp.get().prefetch(LINES);
    }

    pub(super) fn extras(&self) -> Option<&Extras> {
        if self.vtable.extras == 0 {
            return None;
        }
        // SAFETY: the vtable of an extended block says how far before the task its extras lie, and they live as long.
        Some(unsafe { &*std::ptr::from_ref(self).byte_sub(self.vtable.extras).cast() })
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.extras()?.name.as_deref()
    }

    /// Whether it came with a stack of its own size.
    pub(super) fn has_own_stack(&self) -> bool {
        self.extras().is_some_and(|extras| {
            let stack = extras.stack.take();
            let has = stack.is_some();
            extras.stack.set(stack);
            has
        })
    }

    pub(super) fn take_own_stack(&self) -> Option<Stack> {
        self.extras()?.stack.take()
    }

    /// Runs the body.
    ///
    /// # Safety
    /// Called once for each task, by whoever took it out of its queue.
    #[inline]
    pub(super) unsafe fn run(&self, cancelled: bool) {
        // SAFETY: the vtable was made for the type of this block.
        unsafe { (self.vtable.run)(self, cancelled) }
    }

    /// Tells whoever waits for the end of the fiber that there will be none.
    pub(super) fn abandon(&self) {
        // SAFETY: the vtable was made for the type of this block.
        unsafe { (self.vtable.abandon)(self) }
    }

    /// Gives one reference back, and frees the block with the last one.
    ///
    /// # Safety
    /// The caller owns a reference and does not touch the task after this.
    #[inline]
    pub(super) unsafe fn release(task: NonNull<Task>) {
        // SAFETY: the caller's promise.
        unsafe { Task::give_back(task, None) }
    }

    /// As [`Task::release`], by the fiber itself, at its end. What is left of the body is dropped as a part of the fiber:
    /// destructors may suspend and use the fiber's locals, and what they raise ends here.
    ///
    /// # Safety
    /// As for `release`.
    #[inline]
    pub(super) unsafe fn end(task: NonNull<Task>, locals: &Locals) {
        // SAFETY: the caller's promise.
        unsafe { Task::give_back(task, Some(locals)) }
    }

    #[inline]
    unsafe fn give_back(task: NonNull<Task>, locals: Option<&Locals>) {
        // SAFETY: the caller's reference keeps the block alive until the decrement.
        let header = unsafe { task.as_ref() };
        // The only reference left is the caller's: nobody can make another one. Acquire pairs with the decrements of the
        // others. It saves the decrement for fibers whose handle is gone before they end.
        if header.refs.load(Ordering::Acquire) != 1 {
            if header.refs.fetch_sub(1, Ordering::Release) != 1 {
                return;
            }
            fence(Ordering::Acquire); // pairs with the decrements of the others
        }
        // SAFETY: nobody has a reference any more.
        unsafe { (header.vtable.free)(task, locals) }
    }

    fn retain(&self) {
        let before = self.refs.fetch_add(1, Ordering::Relaxed);
        assert!(before < u32::MAX / 2, "too many handles to one fiber");
    }
}

struct Tables<B>(PhantomData<B>);

impl<B: Body> Tables<B> {
    const PLAIN: &'static VTable = &VTable {
        run: run::<B>,
        abandon: abandon::<B>,
        free: free::<B>,
        extras: 0,
    };
    /// In one of the worker's own blocks.
    const POOLED: &'static VTable = &VTable {
        run: run::<B>,
        abandon: abandon::<B>,
        free: free_pooled::<B>,
        extras: 0,
    };
    const EXTENDED: &'static VTable = &VTable {
        run: run_extended::<B>,
        abandon: abandon::<B>,
        free: free_extended::<B>,
        extras: std::mem::offset_of!(Extended<B>, block),
    };
}

/// # Safety
/// `task` is the header of a `Block<B>`.
unsafe fn run<B: Body>(task: &Task, cancelled: bool) {
    // SAFETY: the body stands behind the header, in the same allocation, and is only ever borrowed shared.
    unsafe { (*std::ptr::from_ref(task).cast::<Block<B>>()).body.run(cancelled) }
}

/// # Safety
/// `task` is the header inside an `Extended<B>`.
unsafe fn run_extended<B: Body>(task: &Task, cancelled: bool) {
    let inherited = task.extras().and_then(|extras| extras.inherited.take());
    let entered = inherited.map(inherit::enter);
    // SAFETY: a block stands inside.
    unsafe { run::<B>(task, cancelled) };
    if entered.is_some() {
        // What is inherited belongs to the user. A panic of its destructor has been reported by the hook.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(entered)));
    }
}

/// # Safety
/// `task` is the header of a `Block<B>`.
unsafe fn abandon<B: Body>(task: &Task) {
    // SAFETY: as in `run`.
    unsafe { (*std::ptr::from_ref(task).cast::<Block<B>>()).body.abandon() }
}

/// # Safety
/// `task` is the header of a `Block<B>` made by [`allocate`], and nobody refers to it.
unsafe fn free<B>(task: NonNull<Task>, locals: Option<&Locals>) {
    // SAFETY: as above; the value is dropped once (the header needs no drop) and its memory given back with the layout it was
    // allocated with.
    unsafe {
        drop_body(&raw mut (*task.cast::<Block<B>>().as_ptr()).body, locals);
        dealloc(task.as_ptr().cast(), Layout::new::<Block<B>>());
    }
}

/// # Safety
/// As for `free`, except that the memory is one of some worker's blocks.
unsafe fn free_pooled<B>(task: NonNull<Task>, locals: Option<&Locals>) {
    // SAFETY: as above; the worker that this thread is lives.
    unsafe {
        drop_body(&raw mut (*task.cast::<Block<B>>().as_ptr()).body, locals);
        let here = current::worker().map(|core| &core.as_ref().blocks);
        Blocks::free(task.cast(), here);
    }
}

/// # Safety
/// `task` is the header inside an `Extended<B>` made by [`allocate`], and nobody refers to it.
unsafe fn free_extended<B>(task: NonNull<Task>, locals: Option<&Locals>) {
    // SAFETY: as above. The extras go last: destructors may ask for the name.
    unsafe {
        let whole = task
            .byte_sub(std::mem::offset_of!(Extended<B>, block))
            .cast::<Extended<B>>()
            .as_ptr();
        drop_body(&raw mut (*whole).block.body, locals);
        (&raw mut (*whole).extras).drop_in_place();
        dealloc(whole.cast(), Layout::new::<Extended<B>>());
    }
}

/// Drops what is left of a body: for the fiber itself (`locals`), whose last act this is, or for whoever has had the last
/// handle.
///
/// # Safety
/// The body is dropped once, and nobody refers to it.
#[inline(always)]
unsafe fn drop_body<B>(body: *mut B, locals: Option<&Locals>) {
    let Some(locals) = locals else {
        // SAFETY: the caller's promise.
        return unsafe { body.drop_in_place() };
    };
    // SAFETY: the caller's promise. A panic has been reported by the hook; the end of the runtime may raise here as well.
    let _ = catch_unwind(AssertUnwindSafe(|| unsafe { body.drop_in_place() }));
    locals.end();
}

/// Makes a block that is in no queue, with two references: the fiber's own and the one returned. `blocks` are those of the
/// calling thread, if it has any.
///
/// # Errors
/// If there is no stack of the size that is asked for.
#[inline]
pub(super) fn allocate<B: Body>(
    spec: Spec,
    id: u64,
    body: B,
    stacks: &Arc<StackPool>,
    blocks: Option<&Blocks>,
) -> io::Result<FiberRef<B>> {
    // The closure is moved once, whichever way the block has come about: as the argument of a call it would be moved twice.
    let place = match spec.name.is_some() || spec.stack_size.is_some() || inherit::in_use() {
        true => begin_unusual(spec.name, spec.stack_size, (spec.place, spec.site), id, stacks, blocks)?,
        false => begin::<B>((spec.place, spec.site), id, blocks),
    };
    // SAFETY: a block whose header has been written, and whose body has not.
    unsafe { (&raw mut (*place.as_ptr()).body).write(body) };
    Ok(FiberRef { block: place })
}

/// Where a fiber is to start, and where it was spawned. With the rest of its [`Spec`] it would be written to memory for the sake of
/// the few that need that rest.
type Origin = (Place, &'static Location<'static>);

/// A block without extras, of which the body is to be written.
#[inline]
fn begin<B: Body>(origin: Origin, id: u64, blocks: Option<&Blocks>) -> NonNull<Block<B>> {
    let layout = Layout::new::<Block<B>>();
    let pooled = match blocks {
        Some(blocks) if Blocks::fits(layout) => blocks.alloc(layout),
        _ => None,
    };
    let vtable = if pooled.is_some() {
        Tables::<B>::POOLED
    } else {
        Tables::<B>::PLAIN
    };
    let place = pooled.unwrap_or_else(|| allocate_plain(layout)).cast::<Block<B>>();
    // SAFETY: fresh memory of the right layout.
    unsafe { (&raw mut (*place.as_ptr()).task).write(header(vtable, origin, id)) };
    place
}

/// As [`begin`], with what few fibers have, unless there is nothing.
#[cold]
#[inline(never)]
fn begin_unusual<B: Body>(
    name: Option<Box<str>>,
    stack_size: Option<usize>,
    origin: Origin,
    id: u64,
    stacks: &Arc<StackPool>,
    blocks: Option<&Blocks>,
) -> io::Result<NonNull<Block<B>>> {
    let inherited = inherit::inherited();
    if name.is_none() && stack_size.is_none() && inherited.is_none() {
        return Ok(begin(origin, id, blocks));
    }
    let task = header(Tables::<B>::EXTENDED, origin, id);
    let stack = stack_size.map(|bytes| stacks.alloc_sized(bytes)).transpose()?;
    let extras = Extras {
        name,
        stack: Cell::new(stack),
        inherited: Cell::new(inherited),
    };
    let whole = allocate_plain(Layout::new::<Extended<B>>()).cast::<Extended<B>>();
    // SAFETY: fresh memory of the right layout, inside of which the block lies.
    unsafe {
        (&raw mut (*whole.as_ptr()).extras).write(extras);
        (&raw mut (*whole.as_ptr()).block.task).write(task);
        Ok(whole.byte_add(std::mem::offset_of!(Extended<B>, block)).cast())
    }
}

fn header(vtable: &'static VTable, (place, site): Origin, id: u64) -> Task {
    let flags = match place {
        Place::Auto | Place::Spread => 0,
        Place::Worker(_) | Place::Local => flag::FIXED,
    };
    Task {
        vtable,
        link: AtomicPtr::new(PARKED),
        sp: Cell::new(Sp::NULL),
        stack: Cell::new(null()),
        owner: AtomicPtr::default(),
        refs: AtomicU32::new(2),
        flags: AtomicU32::new(flags),
        id,
        site,
    }
}

/// Memory for a layout that is not of size zero.
#[cold]
fn allocate_plain(layout: Layout) -> NonNull<u8> {
    debug_assert_ne!(layout.size(), 0);
    // SAFETY: as asked for; every block has a header.
    NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

/// A fiber, uncounted: valid for as long as a wake for it is owed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TaskRef(pub(super) NonNull<Task>);

// SAFETY: it is an address. What may be done with it from another thread is a push to its owner's inbox, which is atomic.
unsafe impl Send for TaskRef {}
// SAFETY: as above.
unsafe impl Sync for TaskRef {}

impl fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskRef({:p})", self.0)
    }
}

/// A counted handle to a fiber and what it runs.
pub(crate) struct FiberRef<B> {
    block: NonNull<Block<B>>,
}

// SAFETY: a handle gives shared access to the body, and the last one drops it, on whatever thread that is. The header
// behind it is used through atomics, or through fields that do not change after the spawn.
unsafe impl<B: Send + Sync> Send for FiberRef<B> {}
// SAFETY: as above.
unsafe impl<B: Send + Sync> Sync for FiberRef<B> {}

impl<B> FiberRef<B> {
    /// The fiber, uncounted.
    pub(crate) fn task(&self) -> TaskRef {
        TaskRef(self.block.cast())
    }

    /// Forgets the handle, keeping its reference.
    pub(super) fn into_task(self) -> NonNull<Task> {
        let task = self.block.cast();
        std::mem::forget(self);
        task
    }

    pub(super) fn header(&self) -> &Task {
        // SAFETY: the handle's reference keeps the block alive.
        unsafe { &self.block.as_ref().task }
    }
}

impl<B> Deref for FiberRef<B> {
    type Target = B;

    fn deref(&self) -> &B {
        // SAFETY: the handle's reference keeps the block alive.
        unsafe { &self.block.as_ref().body }
    }
}

impl<B> Clone for FiberRef<B> {
    fn clone(&self) -> Self {
        self.header().retain();
        FiberRef { block: self.block }
    }
}

impl<B> Drop for FiberRef<B> {
    fn drop(&mut self) {
        // SAFETY: the handle's own reference.
        unsafe { Task::release(self.block.cast()) }
    }
}

impl<B> fmt::Debug for FiberRef<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.header().fmt(f)
    }
}

/// How messages name a fiber: `fiber 7 'acceptor', spawned at src/main.rs:12:5`.
impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fiber {}", self.id)?;
        if let Some(name) = self.name() {
            write!(f, " '{name}'")?;
        }
        if self.has(flag::MAIN) {
            return write!(f, " (main)");
        }
        write!(f, ", spawned at {}", self.site)
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fiber")
            .field("id", &self.id)
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}
