//! Tests of [`Blocks`]: patterns, so that a block which is given out twice shows; memory, which goes back; threads.

use super::*;
use std::sync::{Arc, Mutex};
use std::thread;

const ROUNDS: usize = if cfg!(miri) { 300 } else { 100_000 };

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap()
}

/// A block that knows what was written into it.
struct Held {
    block: NonNull<u8>,
    size: usize,
    pattern: u8,
}

// SAFETY: a block belongs to no thread.
unsafe impl Send for Held {}

impl Held {
    fn new(blocks: &Blocks, size: usize, pattern: u8) -> Held {
        let block = blocks.alloc(layout(size)).expect("there is memory");
        assert!(block.addr().get().is_multiple_of(STEP));
        // SAFETY: the block is ours, and of this size.
        unsafe { block.as_ptr().write_bytes(pattern, size) };
        Held { block, size, pattern }
    }

    fn free(self, here: Option<&Blocks>) {
        // SAFETY: as above; nobody else uses it.
        unsafe {
            let bytes = std::slice::from_raw_parts(self.block.as_ptr(), self.size);
            assert!(
                bytes.iter().all(|byte| *byte == self.pattern),
                "somebody else wrote into a block"
            );
            Blocks::free(self.block, here);
        }
    }
}

fn xorshift(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state as usize
}

/// How many blocks are out.
fn used(blocks: &Blocks) -> usize {
    let current = blocks.current.iter().filter(|chunk| chunk.get().is_some()).count();
    blocks.regions.borrow().iter().map(Region::used).sum::<usize>() - current
}

fn regions(blocks: &Blocks) -> usize {
    blocks.regions.borrow().len()
}

#[test]
fn layouts_that_fit() {
    let fits = |size, align| Blocks::fits(Layout::from_size_align(size, align).unwrap());
    let sanitized = cfg!(fibers_asan);
    assert_eq!([fits(1, 1), fits(120, 8), fits(LARGEST, 16)], [!sanitized; 3]);
    assert!(!fits(0, 1) && !fits(LARGEST + 1, 8) && !fits(64, 32));
}

#[test]
fn last_freed_first_used() {
    if cfg!(fibers_asan) {
        return;
    }
    let blocks = Blocks::new();
    let (a, b) = (Held::new(&blocks, 100, 1), Held::new(&blocks, 100, 2));
    let (first, second) = (a.block, b.block);
    assert_eq!(second.addr().get() - first.addr().get(), 112);
    a.free(Some(&blocks));
    b.free(Some(&blocks));
    let (c, d) = (Held::new(&blocks, 112, 3), Held::new(&blocks, 97, 4));
    assert_eq!((c.block, d.block), (second, first));
    c.free(Some(&blocks));
    d.free(Some(&blocks));
}

#[test]
fn any_order_and_size() {
    if cfg!(fibers_asan) {
        return;
    }
    let (blocks, mut random) = (Blocks::new(), 1);
    let mut held = Vec::new();
    for round in 0..ROUNDS {
        // Fills up and drains in waves, so that chunks become full, roomy and vacant.
        let growing = (round / (ROUNDS / 10)).is_multiple_of(2);
        if xorshift(&mut random) % 8 < if growing { 6 } else { 2 } || held.is_empty() {
            let size = 1 + xorshift(&mut random) % LARGEST;
            held.push(Held::new(&blocks, size, round as u8));
        } else {
            let at = xorshift(&mut random) % held.len();
            held.swap_remove(at).free(Some(&blocks));
        }
    }
    held.into_iter().for_each(|block| block.free(Some(&blocks)));
    assert_eq!(used(&blocks), 0);
}

#[test]
#[cfg_attr(miri, ignore = "too much memory for an interpreter")]
fn bursts_give_their_memory_back() {
    if cfg!(fibers_asan) {
        return;
    }
    let blocks = Blocks::new();
    let per_region = CHUNKS * ((CHUNK - size_of::<Chunk>()) / 128);
    for _ in 0..3 {
        let held: Vec<_> = (0..5 * per_region).map(|i| Held::new(&blocks, 128, i as u8)).collect();
        assert_eq!(regions(&blocks), 5);
        held.into_iter().for_each(|block| block.free(Some(&blocks)));
        // One with the current chunk, and one that is vacant.
        assert!(regions(&blocks) <= 2, "{blocks:?}");
        blocks.tidy();
        assert_eq!(regions(&blocks), 1);
    }
}

#[test]
fn other_threads_free() {
    if cfg!(fibers_asan) {
        return;
    }
    let blocks = Blocks::new();
    let n = ROUNDS / 10;
    for round in 0..3 {
        let held: Vec<_> = (0..n).map(|i| Held::new(&blocks, 64, (i + round) as u8)).collect();
        let held = Arc::new(Mutex::new(held));
        let freers = [0; 2].map(|_| {
            let held = held.clone();
            thread::spawn(move || {
                let own = Blocks::new();
                loop {
                    let Some(block) = held.lock().unwrap().pop() else { break };
                    block.free(Some(&own));
                }
            })
        });
        freers.into_iter().for_each(|freer| freer.join().unwrap());
        let before = regions(&blocks);
        blocks.tidy();
        assert_eq!((used(&blocks), regions(&blocks)), (0, before.min(1)));
    }
}

/// The last block may be freed long after its maker has gone, and while it goes. What is left over, Miri would report.
#[test]
fn blocks_outlive_their_maker() {
    if cfg!(fibers_asan) {
        return;
    }
    for round in 0..if cfg!(miri) { 10 } else { 1000 } {
        let blocks = Blocks::new();
        let mut held: Vec<_> = (0..6).map(|i| Held::new(&blocks, 200, i)).collect();
        let later = held.split_off(round % 7);
        let freer = thread::spawn(move || held.into_iter().for_each(|block| block.free(None)));
        drop(blocks);
        later.into_iter().for_each(|block| block.free(None));
        freer.join().unwrap();
    }
}
