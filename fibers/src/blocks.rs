//! Memory for small blocks that one thread makes and any thread frees: what a spawn allocates.
//!
//! ```text
//!    Region  2 MiB, mapped at a multiple of its size; each but the first asks for a huge page
//!    +- Chunk  64 KiB: a header, then blocks of one size; found from a block by masking its address
//!       +- block, block, block ..  handed out for the first time in order, later last freed first
//! ```
//!
//! Why not `malloc`: that takes 275 instructions for a block and its end, this one 30. A burst of fibers costs most where its
//! memory is touched for the first time: a million blocks of 128 bytes are 31,000 page faults of 1.5 µs, or 61 of a huge page.
//!
//! The maker is the one thread that has the [`Blocks`]; it frees by ordinary stores. Others push what they free to a list in
//! the maker's [`Home`], which the maker empties when a chunk is used up. A maker that goes closes that list, and counts the
//! blocks that are still out; each of them is then taken off the count, and whoever brings it to nothing gives all memory back.
//!
//! Invariants
//! - A chunk is *current* (blocks of its size are taken from it), or listed as having room, or full, or vacant (its region knows).
//! - `used` is the number of blocks that are out, those in the list of the home included, and one more in a current chunk: its
//!   last block may come and go without anybody taking the chunk for vacant.
//! - One vacant region is kept at most, for the next burst. So memory is bounded by what was in use at once, and 2 MiB.
//!
//! Under AddressSanitizer nothing fits in here: it has to see each block.
#![expect(unsafe_code, reason = "an allocator")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::{Cell, RefCell, UnsafeCell};
use std::fmt;
use std::ops::Deref;
use std::ptr::{self, NonNull, null_mut};

use crate::prim::plain::{AtomicPtr, AtomicUsize, Ordering};
use crate::sys;

const REGION: usize = 2 << 20;
const CHUNK: usize = 64 << 10;
const CHUNKS: usize = REGION / CHUNK;
/// Sizes are multiples of this, and so are addresses.
const STEP: usize = 16;
const LARGEST: usize = 256;
const SIZES: usize = LARGEST / STEP;
/// The chunks of a region that is vacant, one bit each.
const ALL: u32 = u32::MAX;
const _: () = assert!(CHUNKS == u32::BITS as usize);

/// What a free block holds.
struct Free {
    next: *mut Free,
}

/// The header of a chunk. Everything but `home` is the maker's alone.
#[repr(C, align(64))]
struct Chunk {
    /// Blocks that have come back.
    free: Cell<*mut Free>,
    /// Where in the chunk the first block begins that was never handed out.
    fresh: Cell<u32>,
    size: Cell<u32>,
    used: Cell<u32>,
    /// It is current or listed. If not, it is full or vacant.
    roomy: Cell<bool>,
    /// Neighbours in the list of chunks that have room.
    next: Cell<Option<ChunkRef>>,
    before: Cell<Option<ChunkRef>>,
    away: Away,
}

/// On a line of its own, since other threads read it.
#[repr(align(64))]
struct Away {
    /// Whose chunk it is. Set before its first block is handed out.
    home: Cell<*const Home>,
    /// In the first chunk of a region: the region's place among the maker's.
    region: Cell<usize>,
}

/// What outlives the maker, for as long as blocks are out.
struct Home {
    /// Blocks that other threads have freed; [`CLOSED`] when the maker is gone.
    returned: AtomicPtr<Free>,
    /// After the maker has gone: how many blocks are out. Before that, minus those that came back too late for it, modulo 2^64.
    left: AtomicUsize,
    /// After the maker has gone: its regions. Touched by whoever brings `left` to 0.
    regions: UnsafeCell<Vec<Region>>,
}

const CLOSED: *mut Free = ptr::without_provenance_mut(1);

struct Region {
    start: NonNull<u8>,
    /// One bit for each chunk that is not in use.
    vacant: u32,
}

/// A chunk that is mapped: one that is in use, as seen by its maker.
#[derive(Clone, Copy, PartialEq, Eq)]
struct ChunkRef(NonNull<Chunk>);

impl Deref for ChunkRef {
    type Target = Chunk;

    #[inline(always)]
    fn deref(&self) -> &Chunk {
        // SAFETY: whoever makes a `ChunkRef` sees to it that the chunk is mapped, and its header initialised.
        unsafe { self.0.as_ref() }
    }
}

impl ChunkRef {
    /// The chunk of a block that is out. The pointer to a block may be used for its whole region.
    #[inline(always)]
    fn of(block: NonNull<Free>) -> *mut Chunk {
        block.as_ptr().map_addr(|address| address & !(CHUNK - 1)).cast()
    }

    #[inline(always)]
    fn take(self) -> Option<NonNull<u8>> {
        let block = match NonNull::new(self.free.get()) {
            Some(free) => {
                // SAFETY: a free block holds the link to the next one.
                self.free.set(unsafe { free.read().next });
                free.cast()
            }
            None => self.take_fresh()?,
        };
        self.used.set(self.used.get() + 1);
        Some(block)
    }

    #[inline(always)]
    fn take_fresh(self) -> Option<NonNull<u8>> {
        let (at, size) = (self.fresh.get(), self.size.get());
        let end = at + size;
        if end > CHUNK as u32 {
            return None;
        }
        self.fresh.set(end);
        // SAFETY: within the chunk.
        Some(unsafe { self.0.byte_add(at as usize).cast() })
    }
}

/// One maker's blocks.
pub(crate) struct Blocks {
    current: [Cell<Option<ChunkRef>>; SIZES],
    /// The first of the other chunks that have room.
    roomy: [Cell<Option<ChunkRef>>; SIZES],
    regions: RefCell<Vec<Region>>,
    /// Some region is vacant.
    spare: Cell<bool>,
    home: NonNull<Home>,
}

impl Blocks {
    /// Maps nothing yet.
    pub(crate) fn new() -> Blocks {
        let home = Box::new(Home {
            returned: AtomicPtr::new(null_mut()),
            left: AtomicUsize::new(0),
            regions: UnsafeCell::default(),
        });
        Blocks {
            current: [const { Cell::new(None) }; SIZES],
            roomy: [const { Cell::new(None) }; SIZES],
            regions: RefCell::default(),
            spare: Cell::new(false),
            home: NonNull::from(Box::leak(home)),
        }
    }

    /// Whether such a block can be had here.
    pub(crate) const fn fits(layout: Layout) -> bool {
        !cfg!(fibers_asan) && layout.size() > 0 && layout.size() <= LARGEST && layout.align() <= STEP
    }

    /// A block for a layout that [fits](Self::fits). `None` if the system gives no memory.
    #[inline(always)]
    pub(crate) fn alloc(&self, layout: Layout) -> Option<NonNull<u8>> {
        debug_assert!(Blocks::fits(layout));
        let class = (layout.size() - 1) / STEP;
        let block = self.current[class].get().and_then(ChunkRef::take);
        if block.is_some() { block } else { self.alloc_from_next(class) }
    }

    /// The current chunk is full: another one becomes it.
    #[inline(never)]
    fn alloc_from_next(&self, class: usize) -> Option<NonNull<u8>> {
        if let Some(full) = self.current[class].take() {
            full.roomy.set(false);
            full.used.set(full.used.get() - 1);
        }
        self.take_returned();
        let chunk = match self.roomy[class].get() {
            Some(chunk) => {
                self.unlist(chunk, class);
                chunk
            }
            None => self.new_chunk(class)?,
        };
        chunk.used.set(chunk.used.get() + 1);
        self.current[class].set(Some(chunk));
        chunk.take()
    }

    fn new_chunk(&self, class: usize) -> Option<ChunkRef> {
        let mut regions = self.regions.borrow_mut();
        let at = match regions.iter().position(|region| region.vacant != 0) {
            Some(at) => at,
            None => {
                let region = Region::new(!regions.is_empty())?;
                regions.push(region);
                regions.len() - 1
            }
        };
        let region = &mut regions[at];
        if region.vacant == ALL {
            // It is new, or the one that was kept.
            self.spare.set(false);
            region.set_place(at);
        }
        let number = region.vacant.trailing_zeros();
        region.vacant &= !(1 << number);
        let chunk = ChunkRef(region.chunk(number));
        chunk.free.set(null_mut());
        chunk.fresh.set(size_of::<Chunk>() as u32);
        chunk.size.set(((class + 1) * STEP) as u32);
        chunk.used.set(0);
        chunk.roomy.set(true);
        chunk.away.home.set(self.home.as_ptr());
        Some(chunk)
    }

    /// Frees a block. `here` is what the calling thread makes blocks with, if it does.
    ///
    /// # Safety
    /// The block was made by [`Blocks::alloc`], here or elsewhere, and nobody uses it any more.
    #[inline]
    pub(crate) unsafe fn free(block: NonNull<u8>, here: Option<&Blocks>) {
        let block = block.cast::<Free>();
        let chunk = ChunkRef::of(block);
        // SAFETY: the chunk of a block that is out is mapped. Of another maker's only the home is read, which does not change
        // while a block is out.
        unsafe {
            let home = (*chunk).away.home.get();
            match here {
                Some(here) if ptr::eq(home, here.home.as_ptr()) => here.free_own(block),
                _ => Home::free(home, block),
            }
        }
    }

    /// # Safety
    /// A block of this maker that nobody uses any more.
    #[inline(always)]
    unsafe fn free_own(&self, block: NonNull<Free>) {
        // SAFETY: a block that is out lies in a chunk that is in use, so this is not null.
        let chunk = ChunkRef(unsafe { NonNull::new_unchecked(ChunkRef::of(block)) });
        let next = chunk.free.replace(block.as_ptr());
        // SAFETY: nobody uses the block, and it is large enough.
        unsafe { block.write(Free { next }) };
        let used = chunk.used.get() - 1;
        chunk.used.set(used);
        if used == 0 || !chunk.roomy.get() {
            self.settle(chunk);
        }
    }

    /// A chunk that was full has room again, or one has nothing but room.
    #[inline(never)]
    fn settle(&self, chunk: ChunkRef) {
        let class = chunk.size.get() as usize / STEP - 1;
        if chunk.used.get() != 0 {
            return self.list(chunk, class);
        }
        if chunk.roomy.replace(false) {
            self.unlist(chunk, class);
        }
        self.vacate(chunk);
    }

    fn list(&self, chunk: ChunkRef, class: usize) {
        let next = self.roomy[class].replace(Some(chunk));
        if let Some(next) = next {
            next.before.set(Some(chunk));
        }
        chunk.next.set(next);
        chunk.before.set(None);
        chunk.roomy.set(true);
    }

    /// Takes a chunk out of the list; it counts as having room all the same.
    fn unlist(&self, chunk: ChunkRef, class: usize) {
        let (next, before) = (chunk.next.get(), chunk.before.get());
        match before {
            Some(before) => before.next.set(next),
            None => self.roomy[class].set(next),
        }
        if let Some(next) = next {
            next.before.set(before);
        }
    }

    fn vacate(&self, chunk: ChunkRef) {
        let mut regions = self.regions.borrow_mut();
        let (at, number) = Region::place_of(chunk);
        regions[at].vacant |= 1 << number;
        if regions[at].vacant == ALL && self.spare.replace(true) {
            Blocks::release(&mut regions, at);
        }
    }

    /// Gives a vacant region back.
    fn release(regions: &mut Vec<Region>, at: usize) {
        let vacant = regions.swap_remove(at);
        if let Some(moved) = regions.get(at) {
            moved.set_place(at);
        }
        // SAFETY: no block of it is out.
        unsafe { vacant.unmap() };
    }

    /// Takes back what other threads have freed.
    fn take_returned(&self) {
        // SAFETY: the home lives for as long as its maker.
        let returned = unsafe { &self.home.as_ref().returned };
        if !returned.load(Ordering::Relaxed).is_null() {
            // Acquire pairs with the pushes.
            self.free_all(returned.swap(null_mut(), Ordering::Acquire));
        }
    }

    fn free_all(&self, mut list: *mut Free) {
        while let Some(block) = NonNull::new(list) {
            // SAFETY: a block of this maker that its freer has handed to us, with its link to the next one.
            unsafe {
                list = block.read().next;
                self.free_own(block);
            }
        }
    }

    /// For a maker that has nothing else to do: takes back what others have freed, and gives back what nobody needs now.
    pub(crate) fn tidy(&self) {
        self.take_returned();
        if self.spare.take() {
            let mut regions = self.regions.borrow_mut();
            if let Some(at) = regions.iter().position(|region| region.vacant == ALL) {
                Blocks::release(&mut regions, at);
            }
        }
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        // SAFETY: the home lives until `left` comes to 0 after the count below was added. From here on only whoever achieves that
        // touches the regions.
        unsafe {
            let home = self.home.as_ref();
            // Acquire pairs with the pushes before. Those that come now see that it is closed.
            self.free_all(home.returned.swap(CLOSED, Ordering::Acquire));
            for chunk in self.current.iter().filter_map(Cell::take) {
                chunk.used.set(chunk.used.get() - 1);
            }
            let regions = self.regions.take();
            let left: usize = regions.iter().map(Region::used).sum();
            *home.regions.get() = regions;
            // AcqRel pairs with those who take their block off.
            if home.left.fetch_add(left, Ordering::AcqRel).wrapping_add(left) == 0 {
                Home::end(self.home.as_ptr());
            }
        }
    }
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocks")
            .field("regions", &self.regions.borrow().len())
            .finish_non_exhaustive()
    }
}

impl Home {
    /// Frees a block from another thread than its maker's.
    ///
    /// # Safety
    /// `home` is that of the block, which nobody uses any more.
    #[inline(never)]
    unsafe fn free(home: *const Home, block: NonNull<Free>) {
        // SAFETY: the home lives for as long as the block is out, that is up to the exchange that hands it over, or up to the
        // subtraction that takes it off.
        unsafe {
            let mut next = (*home).returned.load(Ordering::Relaxed);
            while next != CLOSED {
                block.write(Free { next });
                // Release pairs with the maker's exchange.
                match (*home)
                    .returned
                    .compare_exchange_weak(next, block.as_ptr(), Ordering::Release, Ordering::Relaxed)
                {
                    Ok(_) => return,
                    Err(now) => next = now,
                }
            }
            // AcqRel: all uses of all blocks, and what the maker has left behind, come before the end.
            if (*home).left.fetch_sub(1, Ordering::AcqRel) == 1 {
                Home::end(home.cast_mut());
            }
        }
    }

    /// # Safety
    /// The maker is gone, no block is out, and nobody else does this.
    #[cold]
    unsafe fn end(home: *mut Home) {
        // SAFETY: made from a box; the rest is the caller's promise.
        unsafe {
            let home = Box::from_raw(home);
            home.regions.into_inner().into_iter().for_each(|region| region.unmap());
        }
    }
}

impl Region {
    const LAYOUT: Layout = match Layout::from_size_align(REGION, REGION) {
        Ok(layout) => layout,
        Err(_) => unreachable!(),
    };

    /// `None` if there is no memory.
    fn new(huge: bool) -> Option<Region> {
        let start = match cfg!(miri) {
            // SAFETY: the size is not zero.
            true => NonNull::new(unsafe { alloc_zeroed(Region::LAYOUT) })?,
            false => sys::map_aligned(REGION, huge).ok()?,
        };
        Some(Region { start, vacant: ALL })
    }

    fn chunk(&self, number: u32) -> NonNull<Chunk> {
        // SAFETY: within the region.
        unsafe { self.start.byte_add(number as usize * CHUNK).cast() }
    }

    /// Writes down which of the maker's regions it is.
    fn set_place(&self, at: usize) {
        // SAFETY: the region is mapped and the maker's; zeros, as a new mapping has, are a valid header.
        unsafe { self.chunk(0).as_ref() }.away.region.set(at);
    }

    /// Which region a chunk is in, and its number there.
    fn place_of(chunk: ChunkRef) -> (usize, u32) {
        let start = chunk.0.as_ptr().map_addr(|address| address & !(REGION - 1));
        let number = (chunk.0.addr().get() - start.addr()) / CHUNK;
        // SAFETY: the first chunk of a region that is mapped, where its place was written when it came into use.
        (unsafe { (*start).away.region.get() }, number as u32)
    }

    /// How many of its blocks are out.
    fn used(&self) -> usize {
        let in_use = (0..CHUNKS as u32).filter(|number| self.vacant & (1 << number) == 0);
        in_use.map(|number| ChunkRef(self.chunk(number)).used.get() as usize).sum()
    }

    /// # Safety
    /// No block of it is out.
    unsafe fn unmap(self) {
        // SAFETY: made by `new`. If the kernel refuses, it stays mapped: there is nobody who could do better.
        unsafe {
            match cfg!(miri) {
                true => dealloc(self.start.as_ptr(), Region::LAYOUT),
                false => drop(sys::unmap(self.start, REGION)),
            }
        }
    }
}

#[cfg(test)]
#[path = "blocks/tests.rs"]
mod tests;
