//! The pool: carves slots out of slabs, and takes back those that nobody needs.
//!
//! A slot is in one of four places: not carved yet; `bare`, carved but without a guard since guarding it failed; `free`,
//! guarded and trimmed; or in a [`Stack`]. The lock is held for a few instructions and a rare `mmap`, never while a guard
//! is installed or memory is given back; the workers' caches keep it off the hot path.
//!
//! Slabs grow: each new one is twice as large as the last, so that a million stacks need few mappings and ten stacks
//! little address space. When the system refuses a large one, smaller ones are tried, down to a single slot.
#![expect(unsafe_code, reason = "slots are raw memory")]

use std::io;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::exhausted::{Exhausted, Step};
use super::mapping::{Guards, Mapping};
use super::{Stack, StackConfig};
use crate::prim::plain::{AtomicBool, AtomicUsize, Ordering};
use crate::sys::{self, Advice};

/// The first slab: 64 slots of the default size, 65 pages each.
const FIRST_SLAB: usize = (64 * 65) << 12;
/// The largest slab: 64 of them hold a million slots of the default size.
const LARGEST_SLAB: usize = 4 << 30;

/// The stacks of one runtime, all of one size.
pub(crate) struct StackPool {
    config: StackConfig,
    pub(super) guards: Guards,
    state: Mutex<State>,
    /// Statistics: stacks in the hands of fibers and caches.
    in_use: AtomicUsize,
    /// Mirrors `state.failure.is_some()`, for a look without the lock. Relaxed: it is a hint to whoever is about to spawn.
    exhausted: AtomicBool,
}

/// A slot: its lowest byte, where its guard begins.
type Slot = NonNull<u8>;

struct State {
    slabs: Vec<Slab>,
    /// Bytes of the last slab that have been carved.
    carved: usize,
    /// Guarded slots without memory, the one last given back at the end.
    free: Vec<Slot>,
    /// Carved slots that could not be guarded.
    bare: Vec<Slot>,
    next_slab: usize,
    /// Why the last attempt to make a stack failed, if no stack was given back since.
    failure: Option<Exhausted>,
}

// SAFETY: slots are memory that belongs to no thread.
unsafe impl Send for State {}

struct Slab {
    memory: Mapping,
    /// A stack in it was leaked: it stays for ever.
    keep: bool,
}

impl StackPool {
    /// A pool of stacks of this size. Maps nothing yet.
    ///
    /// # Errors
    /// `InvalidInput` if no stack of this size can be made.
    pub(crate) fn new(config: StackConfig) -> io::Result<Arc<StackPool>> {
        let config = config.checked()?;
        let state = State {
            slabs: Vec::new(),
            carved: 0,
            free: Vec::new(),
            bare: Vec::new(),
            next_slab: FIRST_SLAB.max(config.stride()),
            failure: None,
        };
        Ok(Arc::new(StackPool {
            config,
            guards: Guards::new(),
            state: Mutex::new(state),
            in_use: AtomicUsize::new(0),
            exhausted: AtomicBool::new(false),
        }))
    }

    /// The sizes of this pool's stacks, in whole pages.
    pub(crate) fn config(&self) -> StackConfig {
        self.config
    }

    /// Stacks that exist: in use by fibers, in the workers' caches, or leaked.
    pub(crate) fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    /// A stack of the pool's size.
    ///
    /// # Errors
    /// When the system gives no more memory or guards. The error names the limit; the pool is as it was before.
    pub(crate) fn alloc(self: &Arc<Self>) -> io::Result<Stack> {
        let free = self.lock().free.pop();
        let slot = match free {
            Some(slot) => slot,
            None => self.make_slot()?,
        };
        // SAFETY: guard and usable part lie in one slab, above the slot's base.
        let top = unsafe { slot.add(self.config.size) };
        Ok(self.own(top, self.config.usable()))
    }

    /// A stack with at least `bytes` usable bytes: one of the pool's if that suffices, else one with a mapping to itself,
    /// which ends with it. Its guard, as large as that of any other, comes on top.
    ///
    /// # Errors
    /// As [`StackPool::alloc`], and `InvalidInput` for a size of which no stack can be made.
    pub(crate) fn alloc_sized(self: &Arc<Self>, bytes: usize) -> io::Result<Stack> {
        let guard = self.config.guard;
        if bytes > StackConfig::MAX_SIZE - guard || bytes < StackConfig::MIN_USABLE {
            return Err(unusable(bytes, guard));
        }
        let size = bytes + guard;
        let config = StackConfig { size, guard }.checked()?;
        if config.size <= self.config.size {
            return self.alloc();
        }
        let fail = |step, e| Exhausted::new(step, self.in_use(), &e).to_error();
        let mapping = Mapping::new(config.size).map_err(|e| fail(Step::Map(config.size), e))?;
        // SAFETY: the range lies at the low end of the new mapping.
        unsafe { self.guards.install(mapping.start(), guard) }.map_err(|e| fail(self.guard_step(), e))?;
        // SAFETY: one past the end of the mapping.
        let top = unsafe { mapping.into_raw().add(config.size) };
        Ok(self.own(top, config.usable()))
    }

    /// The error of the last attempt to make a stack, again, if it failed and no stack was given back since. Costs one
    /// load if there is none.
    #[inline]
    pub(crate) fn exhausted(&self) -> Option<io::Error> {
        if !self.exhausted.load(Ordering::Relaxed) {
            return None;
        }
        self.failure()
    }

    #[cold]
    fn failure(&self) -> Option<io::Error> {
        self.lock().failure.as_ref().map(Exhausted::to_error)
    }

    /// A stack is free again: an earlier failure says nothing about the next attempt.
    #[inline]
    pub(super) fn forget_failure(&self) {
        if self.exhausted.load(Ordering::Relaxed) {
            self.recovered(&mut self.lock());
        }
    }

    #[cold]
    fn recovered(&self, state: &mut State) {
        state.failure = None;
        self.exhausted.store(false, Ordering::Relaxed);
    }

    fn own(self: &Arc<Self>, top: NonNull<u8>, usable: usize) -> Stack {
        self.in_use.fetch_add(1, Ordering::Relaxed);
        Stack {
            top,
            usable,
            pool: Arc::clone(self),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new slot with its guard.
    fn make_slot(&self) -> io::Result<Slot> {
        let slot = {
            let mut state = self.lock();
            match state.carve(self.config.stride()) {
                Ok(slot) => slot,
                Err(e) => return Err(self.failed(&mut state, Step::Map(self.config.stride()), &e)),
            }
        };
        // SAFETY: the slot was carved for us, and nothing uses it.
        match unsafe { self.guards.install(slot, self.config.guard) } {
            Ok(()) => Ok(slot),
            Err(e) => {
                let mut state = self.lock();
                state.bare.push(slot);
                Err(self.failed(&mut state, self.guard_step(), &e))
            }
        }
    }

    fn guard_step(&self) -> Step {
        if self.guards.split_mappings() {
            Step::Split
        } else {
            Step::Mark
        }
    }

    #[cold]
    fn failed(&self, state: &mut State, step: Step, cause: &io::Error) -> io::Error {
        let failure = Exhausted::new(step, self.in_use(), cause);
        let error = failure.to_error();
        state.failure = Some(failure);
        self.exhausted.store(true, Ordering::Relaxed);
        error
    }

    /// Takes a slot back and gives its memory, not its guard, to the system.
    ///
    /// # Safety
    /// The slot came out of this pool, and nobody uses it any more.
    pub(super) unsafe fn give_back(&self, slot: Slot) {
        // SAFETY: the caller's promise.
        unsafe { self.give_back_all(&[slot]) }
    }

    /// As if each of these stacks of the pool were dropped, in one call to the system.
    pub(super) fn take_back(&self, stacks: Vec<Stack>) {
        let whole = |stack: &Stack| !stack.has_own_mapping() && !stack.is_under_our_feet();
        debug_assert!(stacks.iter().all(whole), "these are slots of the pool, and not in use");
        let slots: Vec<Slot> = stacks.iter().map(Stack::base).collect();
        // Their slots are owned by the list now.
        stacks.into_iter().for_each(Stack::dissolve);
        // SAFETY: the stacks were owned, and are no more.
        unsafe { self.give_back_all(&slots) }
    }

    /// # Safety
    /// As for `give_back`, for each of them.
    unsafe fn give_back_all(&self, slots: &[Slot]) {
        // SAFETY: limit and top lie within the slot.
        let usable = |slot: &Slot| unsafe { (slot.add(self.config.guard), self.config.usable()) };
        let usable: Vec<_> = slots.iter().map(usable).collect();
        // SAFETY: these are parts of slots whose contents nobody needs.
        let advised = unsafe { sys::advise_all(&usable, Advice::DontNeed) };
        // A stack that keeps its memory (it may be locked) is as good as any other.
        drop(advised);
        self.in_use.fetch_sub(slots.len(), Ordering::Relaxed);
        let mut state = self.lock();
        state.free.extend_from_slice(slots);
        if state.failure.is_some() {
            self.recovered(&mut state);
        }
    }

    /// A stack with a mapping of its own has ended.
    pub(super) fn forget_own(&self) {
        self.in_use.fetch_sub(1, Ordering::Relaxed);
        self.forget_failure();
    }

    /// The slab of this slot is never to be unmapped.
    pub(super) fn keep_slab_of(&self, slot: Slot) {
        let mut state = self.lock();
        if let Some(slab) = state.slabs.iter_mut().find(|slab| slab.memory.holds(slot.as_ptr())) {
            slab.keep = true;
        }
    }
}

/// The caller has given a size without the guard, so that is what the error speaks of.
#[cold]
fn unusable(bytes: usize, guard: usize) -> io::Error {
    let (least, most) = (StackConfig::MIN_USABLE, StackConfig::MAX_SIZE - guard);
    let message = match bytes < least {
        true => format!("a stack of {bytes} bytes is too small: a fiber needs at least {least}"),
        false => format!("a stack of {bytes} bytes is too large: give at most {most}"),
    };
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

impl State {
    /// A slot without a guard.
    fn carve(&mut self, size: usize) -> io::Result<Slot> {
        if let Some(slot) = self.bare.pop() {
            return Ok(slot);
        }
        if self.slabs.last().is_none_or(|slab| self.carved + size > slab.memory.len()) {
            self.grow(size)?;
        }
        let slab = self.slabs.last().expect("a slab has just been added, or has room");
        // SAFETY: the slot lies within the slab, as was checked.
        let slot = unsafe { slab.memory.start().add(self.carved) };
        self.carved += size;
        Ok(slot)
    }

    /// Maps another slab of whole slots, as large as the system allows.
    fn grow(&mut self, size: usize) -> io::Result<()> {
        let wanted = (self.next_slab / size).max(1);
        loop {
            let slots = (self.next_slab / size).max(1);
            match Mapping::new(slots * size) {
                Ok(_) if slots < wanted && !leaves_room() => return Err(io::Error::from_raw_os_error(libc::ENOMEM)),
                Ok(memory) => {
                    self.slabs.push(Slab { memory, keep: false });
                    self.carved = 0;
                    self.next_slab = (self.next_slab * 2).min(LARGEST_SLAB.max(size));
                    return Ok(());
                }
                Err(e) if slots == 1 => return Err(e),
                Err(_) => self.next_slab = slots / 2 * size,
            }
        }
    }
}

/// Address space that is not used for stacks when it runs short: it belongs to the heap, without which nothing goes on.
const RESERVE: usize = 16 << 20;

/// Whether the reserve is untouched.
#[cold]
fn leaves_room() -> bool {
    Mapping::new(RESERVE).is_ok()
}

impl Drop for StackPool {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        for slab in state.slabs.drain(..).filter(|slab| slab.keep) {
            slab.memory.into_raw();
        }
    }
}

impl std::fmt::Debug for StackPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StackPool")
            .field("config", &self.config)
            .field("in_use", &self.in_use())
            .finish_non_exhaustive()
    }
}
