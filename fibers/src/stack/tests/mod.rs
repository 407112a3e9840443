//! Tests of the stacks as a whole.

mod process;

use super::*;
use crate::sys::fault::{Call, Fault, scoped};
use std::thread;

fn pool() -> Arc<StackPool> {
    StackPool::new(StackConfig::default()).unwrap()
}

/// Bytes of this process in memory within the range.
fn resident(range: Range<usize>) -> usize {
    let page = sys::page_size();
    let mut map = vec![0u8; range.len() / page];
    // SAFETY: `map` has a byte for each page of the range.
    let result = unsafe { libc::mincore(range.start as *mut _, range.len(), map.as_mut_ptr()) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    map.iter().filter(|&&byte| byte & 1 == 1).count() * page
}

fn usable_range(stack: &Stack) -> Range<usize> {
    stack.limit().addr()..stack.top().addr()
}

/// Writes the first and the last byte of every page.
fn touch(stack: &Stack) {
    let page = sys::page_size();
    for start in (0..stack.size()).step_by(page) {
        // SAFETY: both bytes lie within the stack, which nobody else uses.
        unsafe {
            stack.limit().add(start).write_volatile(1);
            stack.limit().add(start + page - 1).write_volatile(2);
        }
    }
}

/// The calls that making a stack takes here: an emulator has no guard marks.
fn calls() -> impl Iterator<Item = Call> {
    let guard = if process::is_emulated() {
        Call::Mprotect
    } else {
        Call::MadviseGuard
    };
    [Call::Mmap, Call::Madvise, guard].into_iter()
}

#[test]
fn usable_to_the_last_byte_and_guarded_below() {
    let pool = pool();
    let (a, b) = (pool.alloc().unwrap(), pool.alloc().unwrap());
    for stack in [&a, &b] {
        assert_eq!(stack.size(), (256 - 64) << 10);
        assert_eq!(stack.guard_range(), stack.limit().addr() - (64 << 10)..stack.limit().addr());
        assert_eq!(stack.top().addr() % 16, 0);
        touch(stack);
        assert_eq!(resident(usable_range(stack)), stack.size());
    }
    let page = sys::page_size();
    assert_eq!(
        a.top().addr() + page,
        b.guard_range().start,
        "slots lie side by side, the first at the low end, a page apart"
    );
    assert!(
        !(b.top().addr() - a.top().addr()).is_multiple_of(2 * page),
        "their tops spread over all sets of a translation cache"
    );
    assert_eq!(pool.in_use(), 2);
    drop(a);
    assert_eq!(pool.in_use(), 1);
}

#[test]
fn a_stack_given_back_loses_its_memory_and_is_the_next_one() {
    let pool = pool();
    let stack = pool.alloc().unwrap();
    touch(&stack);
    let range = usable_range(&stack);
    drop(stack);
    assert_eq!(resident(range.clone()), 0);
    // Reuse does no system call: the guard is still there.
    let _faults = [Call::Mmap, Call::Madvise, Call::MadviseGuard].map(|call| scoped(call, Fault::always(libc::EIO)));
    assert_eq!(usable_range(&pool.alloc().unwrap()), range);
}

#[test]
fn memory_falls_after_a_burst() {
    let pool = pool();
    let mut cache = StackCache::new(Arc::clone(&pool), 16);
    let burst: Vec<Stack> = (0..10_000).map(|_| cache.pop().unwrap()).collect();
    for stack in &burst {
        // SAFETY: the byte lies within the stack, which nobody else uses.
        unsafe { stack.top().sub(1).write_volatile(1) };
    }
    let ranges: Vec<_> = burst.iter().map(usable_range).collect();
    let total = |ranges: &[Range<usize>]| ranges.iter().cloned().map(resident).sum::<usize>();
    assert_eq!(total(&ranges), 10_000 * sys::page_size());
    burst.into_iter().for_each(|stack| cache.push(stack));
    assert_eq!((cache.surplus(), pool.in_use()), (10_000 - 16, 10_000));
    assert!(cache.trim_some(100), "a bounded piece of the work");
    assert_eq!(cache.surplus(), 10_000 - 116);
    cache.trim();
    assert_eq!((cache.surplus(), pool.in_use()), (0, 16));
    assert_eq!(total(&ranges), 16 * sys::page_size());
    drop(cache);
    assert_eq!((total(&ranges), pool.in_use()), (0, 0));
}

#[test]
fn the_cache_hands_out_what_was_used_last() {
    let pool = pool();
    let mut cache = StackCache::new(Arc::clone(&pool), 2);
    let stacks: Vec<Stack> = (0..4).map(|_| cache.pop().unwrap()).collect();
    let tops: Vec<_> = stacks.iter().map(Stack::top).collect();
    stacks.into_iter().for_each(|stack| cache.push(stack));
    let last = cache.pop().unwrap();
    assert_eq!(last.top(), tops[3]);
    cache.push(last);
    cache.trim();
    let kept = [cache.pop().unwrap(), cache.pop().unwrap()];
    assert_eq!(kept.each_ref().map(Stack::top), [tops[3], tops[2]], "the hottest two");
}

#[test]
fn a_mapping_of_its_own_ends_with_the_stack() {
    // Alone: other threads might map something else at the very place.
    if !process::alone("a_mapping_of_its_own_ends_with_the_stack") {
        return;
    }
    let pool = pool();
    let small = pool.alloc_sized(1).unwrap_err();
    assert_eq!(small.kind(), io::ErrorKind::InvalidInput);
    let from_pool = pool.alloc_sized(100 << 10).unwrap();
    assert_eq!(from_pool.size(), 192 << 10, "what the pool has is large enough");
    let own = pool.alloc_sized(1 << 20).unwrap();
    assert_eq!((own.size(), own.guard_range().len()), (1 << 20, 64 << 10));
    touch(&own);
    let range = usable_range(&own);
    let mut cache = StackCache::new(Arc::clone(&pool), 4);
    cache.push(own);
    touch_first(&range);
    assert_eq!(cache.surplus(), 1, "still there, perhaps it is run on");
    cache.trim();
    assert_eq!(pool.in_use(), 1);
    assert!(!is_mapped(&range));
}

fn touch_first(range: &Range<usize>) {
    // SAFETY: the test knows that the range is mapped, and its own.
    unsafe { (range.start as *mut u8).write_volatile(1) };
}

fn is_mapped(range: &Range<usize>) -> bool {
    let mut byte = 0u8;
    // SAFETY: asks about one page of the address space, which need not exist.
    unsafe { libc::mincore(range.start as *mut _, 1, &mut byte) == 0 }
}

#[test]
fn slabs_end_with_the_last_stack_unless_one_was_leaked() {
    if !process::alone("slabs_end_with_the_last_stack_unless_one_was_leaked") {
        return;
    }
    let pool = pool();
    let stack = pool.alloc().unwrap();
    let range = usable_range(&stack);
    drop(pool);
    touch_first(&range);
    drop(stack);
    assert!(!is_mapped(&range));

    let pool = StackPool::new(StackConfig::default()).unwrap();
    let stack = pool.alloc().unwrap();
    let own = pool.alloc_sized(1 << 20).unwrap();
    let ranges = [usable_range(&stack), usable_range(&own)];
    stack.leak();
    own.leak();
    let weak = Arc::downgrade(&pool);
    drop(pool);
    assert!(weak.upgrade().is_none(), "the pool itself is not leaked");
    ranges.iter().for_each(touch_first);
}

#[test]
fn sizes_that_make_no_sense_are_refused() {
    let refused = |size, guard| StackPool::new(StackConfig { size, guard }).unwrap_err();
    for (size, guard, says) in [
        (0, 64 << 10, "too small"),
        (64 << 10, 64 << 10, "needs at least 81920"),
        (64 << 10, 0, "needs a guard"),
        (usize::MAX, 4096, "too large"),
        (1 << 20, usize::MAX, "too large"),
        (1 << 50, 4096, "too large"),
    ] {
        let error = refused(size, guard);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(says), "{error}");
    }
    let odd = StackPool::new(StackConfig { size: 100_001, guard: 1 }).unwrap();
    assert_eq!(
        odd.config(),
        StackConfig {
            size: 102_400,
            guard: 4096
        },
        "whole pages"
    );
    touch(&odd.alloc().unwrap());
    for bytes in [usize::MAX, usize::MAX - 4096, 0] {
        assert_eq!(odd.alloc_sized(bytes).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    assert_eq!(odd.in_use(), 0);
}

#[test]
fn large_slots_have_slabs_of_their_own() {
    let pool = StackPool::new(StackConfig {
        size: 5 << 30,
        guard: 4096,
    })
    .unwrap();
    let stacks = [pool.alloc().unwrap(), pool.alloc().unwrap()];
    for stack in &stacks {
        touch_first(&usable_range(stack));
    }
}

#[test]
fn a_kernel_without_guard_marks_gets_split_mappings_and_names_their_limit() {
    let pool = pool();
    let _old_kernel = scoped(Call::MadviseGuard, Fault::always(libc::EINVAL));
    let limit = Fault {
        after: 100,
        times: 2,
        errno: libc::ENOMEM,
    };
    let _limit = scoped(Call::Mprotect, limit);
    let mut stacks: Vec<Stack> = (0..100).map(|_| pool.alloc().unwrap()).collect();
    let error = pool.alloc().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
    let value = sys::read_setting("vm/max_map_count").unwrap().to_string();
    for part in ["vm.max_map_count", &value, "100 stacks", "run fewer fibers"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(pool.exhausted().unwrap().to_string(), error.to_string());
    assert!(pool.alloc_sized(1 << 20).is_err());
    assert_eq!(pool.in_use(), 100);
    stacks.iter().for_each(touch);
    // One comes back: there is a stack again, and the slot that could not be guarded is not lost.
    stacks.pop();
    assert!(pool.exhausted().is_none());
    stacks.push(pool.alloc().unwrap());
    stacks.push(pool.alloc().unwrap());
    touch(&stacks[100]);
    assert_eq!(pool.in_use(), 101);
}

#[test]
fn failures_leave_no_half_built_stack() {
    for call in calls() {
        let pool = pool();
        let fault = scoped(call, Fault::always(libc::ENOMEM));
        for alloc in [StackPool::alloc, |pool: &Arc<StackPool>| pool.alloc_sized(1 << 20)] {
            let error = alloc(&pool).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::OutOfMemory, "{call:?}: {error}");
            assert!(error.to_string().contains("run fewer fibers"), "{error}");
            assert_eq!(pool.in_use(), 0);
        }
        assert!(pool.exhausted().is_some());
        drop(fault);
        let stack = pool.alloc().unwrap();
        touch(&stack);
        drop(stack);
        assert!(pool.exhausted().is_none());
    }
}

#[test]
fn smaller_slabs_are_tried_when_large_ones_are_refused() {
    let pool = pool();
    let _fault = scoped(
        Call::Mmap,
        Fault {
            after: 0,
            times: 6,
            errno: libc::ENOMEM,
        },
    );
    let stacks: Vec<Stack> = (0..200).map(|_| pool.alloc().unwrap()).collect();
    stacks.iter().for_each(touch);
    assert_eq!(pool.in_use(), 200);
}

#[test]
fn many_threads_share_a_pool() {
    let pool = pool();
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || {
                let mut cache = StackCache::new(pool, 2);
                for round in 1..50 {
                    let stacks: Vec<Stack> = (0..round).map(|_| cache.pop().unwrap()).collect();
                    for stack in &stacks {
                        // SAFETY: the byte lies within the stack, which only this thread uses.
                        unsafe { stack.limit().write_volatile(stack.limit().read_volatile() + 1) };
                    }
                    stacks.into_iter().for_each(|stack| cache.push(stack));
                    cache.trim();
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn threads_get_an_alternate_stack_and_keep_a_good_one() {
    thread::spawn(|| {
        // Whatever the thread has, from the standard library or a sanitizer: it is to need one.
        // SAFETY: needs no memory.
        unsafe { sys::AlternateStack::none().set().unwrap() };
        let before = sys::alternate_stack().unwrap();
        let ours = AltStack::install().unwrap();
        let now = sys::alternate_stack().unwrap();
        assert!(now.len() >= AltStack::LEAST);
        let nested = AltStack::install().unwrap();
        assert_eq!(sys::alternate_stack().unwrap().start(), now.start(), "good enough");
        drop(nested);
        assert_eq!(sys::alternate_stack().unwrap().start(), now.start());
        drop(ours);
        assert_eq!(sys::alternate_stack().unwrap().start(), before.start());
        for call in calls().chain([Call::Sigaltstack]) {
            let _fault = scoped(call, Fault::always(libc::ENOMEM));
            assert!(AltStack::install().is_err(), "{call:?}");
            assert_eq!(
                sys::alternate_stack().map_or(before.start(), |now| now.start()),
                before.start()
            );
        }
    })
    .join()
    .unwrap();
}
