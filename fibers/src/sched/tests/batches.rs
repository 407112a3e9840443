//! The queue of unstarted fibers against a model of plain deques.

use std::ptr::NonNull;

use super::super::random::Random;
use super::super::task::{FiberRef, Task, allocate};
use super::super::unstarted::{Settled, Shares, Unstarted};
use super::*;
use crate::stack::{StackConfig, StackPool};

/// Batches, oldest first; `None` instead of a slice: handed over.
#[derive(Default)]
struct Model(VecDeque<(Option<u64>, VecDeque<u64>)>);

impl Model {
    fn push(&mut self, slice: u64, id: u64) {
        match self.0.back_mut() {
            Some((of, ids)) if *of == Some(slice) => ids.push_back(id),
            _ => self.0.push_back((Some(slice), [id].into())),
        }
    }

    fn remove(&mut self, batch: usize, at: usize) -> Option<u64> {
        let id = self.0.get_mut(batch)?.1.remove(at);
        self.0.retain(|(_, ids)| !ids.is_empty());
        id
    }

    fn newest(&self) -> usize {
        self.0.len().wrapping_sub(1)
    }

    fn pop_where(&mut self, wanted: impl Fn(u64) -> bool) -> Option<u64> {
        let ids = &self.0.back()?.1;
        let near = |i: &usize| *i < 4 || *i + 4 >= ids.len();
        let (front, back) = (0..ids.len().min(4), (4..ids.len()).rev());
        let at = front.chain(back).filter(near).find(|i| wanted(ids[*i]))?;
        self.remove(self.newest(), at)
    }

    fn split(&mut self, keep: usize) -> Vec<u64> {
        let Some((slice @ Some(_), ids)) = self.0.back_mut() else {
            return Vec::new();
        };
        *slice = None;
        let rest = ids.split_off(keep.min(ids.len()));
        self.0.retain(|(_, ids)| !ids.is_empty());
        rest.into()
    }

    fn len(&self) -> usize {
        self.0.iter().map(|(_, ids)| ids.len()).sum()
    }
}

type Block = FiberRef<Job<fn()>>;

/// Fibers that are never run; their ids are their places.
fn blocks(count: u64) -> Vec<Block> {
    let stacks = StackPool::new(StackConfig::default()).unwrap();
    let nothing: fn() = || ();
    let make = |id| allocate(spec(Place::Auto), id, job(nothing), &stacks, None).unwrap();
    (0..count).map(make).collect()
}

fn id(task: NonNull<Task>) -> u64 {
    // SAFETY: the test holds all blocks.
    unsafe { task.as_ref() }.id
}

#[test]
fn unstarted_fibers_come_out_as_from_plain_deques() {
    let fibers = blocks(64);
    let random = Random::new(1, 0);
    for shared in [false, true] {
        let (queue, mut model) = (Unstarted::new(shared), Model::default());
        let mut free: Vec<u64> = (0..64).collect();
        for _ in 0..20_000 {
            let slice = random.below(4);
            let mut out = Vec::new();
            match random.below(16) {
                0..8 => {
                    for _ in 0..random.below(8) {
                        let Some(id) = free.pop() else { break };
                        assert!(queue.push(slice, fibers[id as usize].task().0));
                        model.push(slice, id);
                    }
                }
                8 => {
                    let given: Vec<u64> = free.drain(..free.len().min(3)).collect();
                    let tasks: Vec<_> = given.iter().map(|id| fibers[*id as usize].task().0).collect();
                    assert!(queue.push_oldest(tasks.into_iter()));
                    if !given.is_empty() {
                        model.0.push_front((None, given.into()));
                    }
                }
                9..12 => {
                    out.extend(queue.pop_newest());
                    assert_eq!(out.first().map(|t| id(*t)), model.remove(model.newest(), 0));
                }
                12 => {
                    out.extend(queue.pop_oldest());
                    assert_eq!(out.first().map(|t| id(*t)), model.remove(0, 0));
                }
                13 => {
                    queue.take_oldest(3, Settled::Dealt, &mut out);
                    let expected: Vec<u64> = (0..3).filter_map(|_| model.remove(0, 0)).collect();
                    assert_eq!(out.iter().map(|t| id(*t)).collect::<Vec<_>>(), expected);
                }
                14 => {
                    let wanted = |id: u64| id % 5 == slice;
                    out.extend(queue.pop_where(|t| wanted(id(t))));
                    assert_eq!(out.first().map(|t| id(*t)), model.pop_where(wanted));
                }
                _ => {
                    let keep = random.below(12) as usize;
                    let plan = |shares: Shares| {
                        let before = shares.started + shares.gone;
                        move |i| usize::from(i - before >= keep)
                    };
                    queue.split_newest(false, plan, std::slice::from_mut(&mut out));
                    assert_eq!(out.iter().map(|t| id(*t)).collect::<Vec<_>>(), model.split(keep));
                }
            }
            free.extend(out.iter().map(|t| id(*t)));
            assert_eq!(queue.len(), model.len());
            let newest = model.0.back().map(|(_, ids)| ids[0]);
            assert!(queue.peek_to_split(id).is_none_or(|first| Some(first) == newest));
            if shared {
                let look = queue.look();
                assert!(
                    look.oldest <= look.next && (look.oldest < look.next) == (look.len > 0),
                    "{look:?}"
                );
            }
        }
        let rest: Vec<u64> = queue.close().into_iter().map(id).collect();
        let expected: Vec<u64> = model.0.into_iter().flat_map(|(_, ids)| ids).collect();
        assert_eq!(rest, expected);
        assert!(!queue.push(0, fibers[0].task().0));
    }
    // Each block has two references, one of which a run would have given back.
    for fiber in &fibers {
        // SAFETY: in no queue, and never run.
        unsafe { Task::release(fiber.task().0) };
    }
}

#[test]
fn a_batch_is_shared_once() {
    let fibers = blocks(13);
    let queue = Unstarted::new(true);
    let push = |slice, ids: std::ops::Range<usize>| ids.for_each(|i| assert!(queue.push(slice, fibers[i].task().0)));
    let take = |reach| {
        let mut out = Vec::new();
        queue.take_oldest(1, reach, &mut out);
        out.into_iter().map(id).collect::<Vec<_>>()
    };
    let share = |already, belongs: fn(u64) -> bool| {
        let mut out = Vec::new();
        queue.take_share(3, already, |task| belongs(id(task)), &mut out);
        out.into_iter().map(id).collect::<Vec<_>>()
    };
    push(1, 0..10);
    push(2, 10..13);
    assert_eq!(queue.pop_oldest().map(id), Some(0), "its worker starts one");
    assert_eq!(take(Settled::No), [1]);
    assert_eq!(share(1, |id| id > 5), [], "of another site");
    assert_eq!(share(1, |id| id < 10), [2, 3]);
    assert_eq!(take(Settled::No), [4]);
    assert_eq!(share(1, |_| true), [5, 6]);
    assert_eq!(take(Settled::No), [10], "both have their share of the first batch");
    assert_eq!(share(1, |_| true), []);
    assert_eq!(take(Settled::No), [11]);
    assert_eq!(take(Settled::Shared), [7]);
    assert_eq!(take(Settled::Shared), [8]);
    assert_eq!([(); 3].map(|()| queue.pop_newest().map(id)), [Some(12), Some(9), None]);
    assert_eq!(take(Settled::Shared), []);
    for fiber in &fibers {
        // SAFETY: in no queue, and never run.
        unsafe { Task::release(fiber.task().0) };
    }
}

#[test]
fn what_was_dealt_starts_in_order_and_is_out_of_reach() {
    let fibers = blocks(9);
    let queue = Unstarted::new(true);
    let take = |reach| {
        let mut out = Vec::new();
        queue.take_oldest(2, reach, &mut out);
        out.into_iter().map(id).collect::<Vec<_>>()
    };
    (0..3).for_each(|i| assert!(queue.push_dealt(fibers[i].task().0)));
    (3..5).for_each(|i| assert!(queue.push(1, fibers[i].task().0)));
    (5..8).for_each(|i| assert!(queue.push_dealt(fibers[i].task().0)));
    assert_eq!(take(Settled::No), [3, 4]);
    assert_eq!(take(Settled::No), []);
    assert_eq!(take(Settled::Shared), []);
    assert_eq!(take(Settled::Dealt), [0, 1]);
    assert!(queue.push_oldest(std::iter::once(fibers[8].task().0)));
    assert_eq!(take(Settled::No), [8], "handed over, and not dealt");
    let rest: Vec<_> = std::iter::from_fn(|| queue.pop_newest()).map(id).collect();
    assert_eq!(rest, [2, 5, 6, 7]);
    assert!(queue.is_empty() && queue.close().is_empty());
    for fiber in &fibers {
        // SAFETY: in no queue, and never run.
        unsafe { Task::release(fiber.task().0) };
    }
}

#[test]
fn a_share_is_taken_of_its_own_batch_only() {
    let fibers = blocks(12);
    let queue = Unstarted::new(true);
    let mut out = Vec::new();
    // Eight siblings, of which one waits; then others.
    (0..8).for_each(|i| assert!(queue.push(1, fibers[i].task().0)));
    (0..7).for_each(|_| out.extend(queue.pop_newest()));
    (8..12).for_each(|i| assert!(queue.push(2, fibers[i].task().0)));
    out.clear();
    queue.take_share(2, 0, |task| id(task) < 8, &mut out);
    assert_eq!(out.into_iter().map(id).collect::<Vec<_>>(), [7]);
    assert_eq!(queue.close().into_iter().map(id).collect::<Vec<_>>(), [8, 9, 10, 11]);
    for fiber in &fibers {
        // SAFETY: in no queue, and never run.
        unsafe { Task::release(fiber.task().0) };
    }
}
