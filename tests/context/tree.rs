//! Trees of contexts: deep ones, broad ones, and such as are built, cancelled and dropped at once by many.

use fibers::context::{CancelHandle, Context, ContextError, Key};
use fibers::time;
use fibers_tests::{Drops, Rng, rounds, under_stress};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// A chain of contexts, each the child of the one before, with their handles.
fn chain(length: usize) -> (Vec<Context>, Vec<CancelHandle>) {
    let mut contexts = vec![Context::background()];
    let mut handles = Vec::new();
    for _ in 0..length {
        let (ctx, cancel) = contexts.last().unwrap().with_cancel();
        contexts.push(ctx);
        handles.push(cancel);
    }
    contexts.remove(0);
    (contexts, handles)
}

fn depth() -> usize {
    if cfg!(miri) { 100 } else { 100_000 }
}

#[test]
fn a_deep_chain_is_cancelled_and_dropped_without_recursion() {
    let (contexts, handles) = chain(depth());
    handles[0].cancel();
    assert!(contexts.iter().all(|ctx| ctx.err() == Some(ContextError::Cancelled)));
    let deepest = contexts.last().cloned().unwrap();
    drop((contexts, handles));
    assert_eq!(deepest.err(), Some(ContextError::Cancelled));
    drop(deepest);
}

#[test]
fn a_deep_chain_that_nobody_cancels_is_dropped_without_recursion() {
    let (contexts, handles) = chain(depth());
    handles.into_iter().for_each(CancelHandle::detach);
    let deepest = contexts.last().cloned().unwrap();
    drop(contexts);
    assert_eq!(deepest.err(), None);
    drop(deepest);
}

#[test]
fn a_deep_chain_ends_at_its_deadline() {
    let (mut ctx, _cancel) = Context::background().with_timeout_cause(Duration::from_millis(1), "late");
    let mut handles = Vec::new();
    for _ in 0..depth() {
        let (child, cancel) = ctx.with_cancel();
        ctx = child;
        handles.push(cancel);
    }
    assert_eq!(ctx.done(), ContextError::DeadlineExceeded);
    assert_eq!(ctx.cause().unwrap().to_string(), "late");
}

#[test]
fn many_values_are_found_and_dropped_without_recursion() {
    static FIRST: Key<u64> = Key::new("first");
    static LAST: Key<Arc<()>> = Key::new("last");
    let counted = Arc::new(());
    let mut ctx = Context::background().with_value(&FIRST, 1);
    for _ in 0..depth() {
        ctx = ctx.with_value(&LAST, counted.clone());
    }
    assert_eq!(ctx.value(&FIRST), Some(&1));
    assert_eq!(Arc::strong_count(&counted), depth() + 1);
    drop(ctx);
    assert_eq!(Arc::strong_count(&counted), 1);
}

/// A context that its user has dropped, without its handle, is in nobody's list.
#[test]
fn a_dropped_context_leaves_its_parent_at_once() {
    let (root, _cancel) = Context::background().with_cancel();
    for _ in 0..rounds(4_000, 1_000_000) {
        let (ctx, cancel) = root.with_deadline(time::now() + HOUR);
        cancel.detach();
        assert!(format!("{root:?}").contains("children: 1"), "{root:?}");
        drop(ctx);
        assert!(format!("{root:?}").contains("children: 0"), "{root:?}");
    }
}

/// Whoever drops the last of it drops the values and the cause; no lock is held then, so that their destructors may use the
/// context that they come from.
#[test]
fn destructors_of_values_and_causes_may_use_contexts() {
    #[derive(Debug)]
    struct Curious(Arc<Mutex<Option<Context>>>, Drops);
    impl Drop for Curious {
        fn drop(&mut self) {
            if let Some(ctx) = &*self.0.lock().unwrap() {
                let (child, _cancel) = ctx.with_cancel();
                assert!(child.err().is_none_or(|error| error == ContextError::Cancelled));
                self.1.make(()); // seen below
            }
        }
    }
    impl std::fmt::Display for Curious {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("curious")
        }
    }
    impl std::error::Error for Curious {}
    static VALUE: Key<Curious> = Key::new("value");
    let (slot, drops) = (Arc::new(Mutex::new(None)), Drops::default());
    let curious = || Curious(slot.clone(), drops.clone());
    let (root, cancel) = Context::background().with_cancel_cause();
    *slot.lock().unwrap() = Some(root.clone());
    let (valued, _valued) = root.with_value(&VALUE, curious()).with_cancel();
    cancel.cancel(curious());
    cancel.cancel(curious()); // loses: dropped here
    assert_eq!(drops.made(), 1);
    drop(valued);
    assert_eq!(drops.made(), 2);
    slot.lock().unwrap().take();
}

/// A tree that several performers grow, cancel and drop at random.
#[test]
fn random_trees_under_stress() {
    under_stress(|on| {
        for round in 0..rounds(20, 1000) {
            let (root, cancel) = Context::background().with_cancel_cause();
            let growers: Vec<_> = (0..4)
                .map(|i| {
                    let root = root.clone();
                    on.spawn(move || grow(&root, Rng::new(round * 4 + i)))
                })
                .collect();
            let mut rng = Rng::new(!round);
            (0..rng.below(20)).for_each(|_| on.pause());
            cancel.cancel("the root");
            for grower in growers {
                for ctx in grower.join() {
                    assert_eq!(ctx.done(), ContextError::Cancelled);
                    let cause = ctx.cause().unwrap().to_string();
                    assert!(cause == "the root" || cause == "the context was cancelled", "{cause}");
                }
            }
            assert!(format!("{root:?}").contains("children: 0"), "{root:?}");
        }
    });
}

/// Makes descendants of `root`; some are cancelled, some dropped, the others returned without their handles.
fn grow(root: &Context, mut rng: Rng) -> Vec<Context> {
    let mut all = vec![root.clone()];
    for _ in 0..if cfg!(miri) { 10 } else { 60 } {
        let parent = all[rng.below(all.len() as u64) as usize].clone();
        let (ctx, cancel) = match rng.below(2) {
            0 => parent.with_cancel(),
            _ => parent.with_timeout(HOUR),
        };
        match rng.below(4) {
            0 => cancel.cancel(),
            1 => drop(cancel),
            _ => cancel.detach(),
        }
        match rng.below(3) {
            0 if all.len() > 1 => drop(all.swap_remove(1)),
            _ => all.push(ctx),
        }
    }
    all
}
