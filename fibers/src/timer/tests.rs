//! The wheel against tables, invariants and a sorted map. `FIBERS_TEST_SEED` repeats a random run.

use super::*;
use std::collections::BTreeMap;

const START: u64 = 1 << 36;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let seed = std::env::var("FIBERS_TEST_SEED")
            .ok()
            .and_then(|s| s.parse().ok())
            .unwrap_or_else(|| std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_nanos() as u64));
        println!("FIBERS_TEST_SEED={seed}");
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// A number of up to `bits` bits, every length equally likely.
    fn of_bits(&mut self, bits: u64) -> u64 {
        self.next() >> (63 - self.below(bits))
    }
}

impl<T> Wheel<T> {
    /// Checks what the head of the file promises.
    fn check(&self) {
        let mut found = 0;
        for (slot, list) in self.lists.iter().enumerate() {
            let (level, bit) = (slot / SLOTS, slot % SLOTS);
            assert_eq!(self.occupied[level] >> bit & 1 == 1, list.head != NIL, "slot {slot}");
            assert_eq!(self.levels >> level & 1 == 1, self.occupied[level] != 0, "level {level}");
            let (mut prev, mut index) = (NIL, list.head);
            while index != NIL {
                let entry = &self.entries[index as usize];
                assert!(entry.value.is_some() && entry.prev == prev && entry.slot as usize == slot);
                assert!(entry.at >= self.cursor && slot_of(self.cursor, entry.at) == slot);
                assert!(list.min <= entry.at && list.min >= self.cursor);
                (prev, index, found) = (index, entry.next, found + 1);
            }
            assert_eq!(list.tail, prev);
        }
        assert!(self.cursor <= self.now);
        assert_eq!((found, found == 0), (self.len(), self.is_empty()));
    }

    fn drain(&mut self) -> Vec<T> {
        std::iter::from_fn(|| self.pop_due()).collect()
    }
}

#[test]
fn deadlines_round_up_and_the_present_rounds_down() {
    const TICK: u64 = 1 << TICK_NS_SHIFT;
    const { assert!(TICK <= 64_000) };
    for (ns, floor, ceil) in [(0, 0, 0), (1, 0, 1), (TICK - 1, 0, 1), (TICK, 1, 1), (TICK + 1, 1, 2)] {
        assert_eq!((ticks_floor(ns), ticks_ceil(ns)), (floor, ceil), "{ns} ns");
    }
    assert_eq!(ticks_ceil(u64::MAX), NEVER);
    assert_eq!(ticks_ceil(u64::MAX - 1), 1 << (64 - TICK_NS_SHIFT));
    assert!(ticks_floor(u64::MAX) < ticks_ceil(u64::MAX - 1));
    assert_eq!(
        (ticks_to_ns(3), ticks_to_ns(1 << 49), ticks_to_ns(NEVER)),
        (3 * TICK, u64::MAX, u64::MAX)
    );
}

#[test]
fn a_key_is_small() {
    assert_eq!(size_of::<Option<Key>>(), 8);
}

#[test]
fn every_power_of_two_is_met_to_the_tick() {
    for start in (0..64)
        .flat_map(|k| [(1 << k) - 1, 1 << k, (1 << k) + 1])
        .chain([0, START + 4095])
    {
        let offsets = (0..64)
            .flat_map(|k| [(1u64 << k) - 1, 1 << k, (1 << k) + 1])
            .chain([u64::MAX]);
        for deadline in offsets.map(|o: u64| start.saturating_add(o)).filter(|&d| d > start) {
            let mut wheel = Wheel::new(start);
            wheel.insert(deadline, ());
            assert_eq!((wheel.pop_due(), wheel.next()), (None, Some(deadline)));
            wheel.advance(deadline - 1);
            assert_eq!(
                (wheel.pop_due(), wheel.next()),
                (None, Some(deadline)),
                "{start} -> {deadline}"
            );
            wheel.check();
            wheel.advance(deadline);
            assert_eq!(
                (wheel.pop_due(), wheel.next(), wheel.len()),
                (Some(()), None, 0),
                "{start} -> {deadline}"
            );
        }
    }
}

#[test]
fn neighbours_of_every_power_of_two_come_in_order() {
    let mut wheel = Wheel::new(0);
    let deadlines = (2..64).flat_map(|k| [(1u64 << k) - 1, 1 << k, (1 << k) + 1]);
    for deadline in deadlines.clone().rev() {
        wheel.insert(deadline, deadline);
    }
    wheel.check();
    let mut met = Vec::new();
    while let Some(tick) = wheel.next() {
        wheel.advance(tick);
        assert_eq!(wheel.drain(), [tick]);
        wheel.check();
        met.push(tick);
    }
    assert!(met.into_iter().eq(deadlines));
}

#[test]
fn a_deadline_in_the_past_is_due_at_once_behind_those_that_wait() {
    let mut wheel = Wheel::new(START);
    wheel.advance(START + 9);
    for (value, deadline) in [START + 9, START + 10, 0, START + 9, START + 3].into_iter().enumerate() {
        wheel.insert(deadline, value);
    }
    assert_eq!(wheel.next(), Some(START + 9));
    assert_eq!(wheel.drain(), [0, 2, 3, 4]);
    assert_eq!(wheel.next(), Some(START + 10));
}

#[test]
fn never_stays_asleep() {
    let mut wheel = Wheel::new(START);
    let key = wheel.insert(NEVER, ());
    for now in (36..64).map(|k| 1 << k).chain([NEVER - 1]) {
        wheel.advance(now);
        assert_eq!((wheel.pop_due(), wheel.next()), (None, Some(NEVER)));
    }
    assert_eq!((wheel.remove(key), wheel.next()), (Some(()), None));
}

#[test]
fn time_does_not_run_backwards() {
    let mut wheel = Wheel::new(START);
    wheel.advance(0);
    wheel.insert(1, ());
    assert_eq!((wheel.next(), wheel.pop_due()), (Some(START), Some(())));
}

#[test]
fn a_stale_key_finds_nothing() {
    let mut wheel = Wheel::new(0);
    let fired = wheel.insert(0, 1);
    assert_eq!((wheel.pop_due(), wheel.remove(fired)), (Some(1), None));
    let removed = wheel.insert(70, 2);
    assert_eq!(
        (wheel.remove(fired), wheel.remove(removed), wheel.remove(removed)),
        (None, Some(2), None)
    );
    let live = wheel.insert(70, 3);
    assert_eq!((live.index, wheel.remove(fired), wheel.remove(removed)), (0, None, None));
    assert_eq!((wheel.len(), wheel.remove(live)), (1, Some(3)));
}

#[test]
fn a_place_without_further_generations_is_given_up() {
    let mut wheel = Wheel::new(0);
    let first = wheel.insert(5, 1);
    wheel.remove(first);
    wheel.entries[0].generation = NonZeroU32::MAX;
    let last = wheel.insert(5, 2);
    assert_eq!((last.index, wheel.remove(last), wheel.remove(last)), (0, Some(2), None));
    assert_eq!((wheel.insert(5, 3).index, wheel.remove(last)), (1, None));
    wheel.check();
}

#[test]
fn equal_deadlines_keep_the_order_of_insertion_through_every_level() {
    let deadline = START + (1 << 20) + 77;
    let mut wheel = Wheel::new(0);
    let mut value = 0;
    for k in (0..20).rev() {
        wheel.advance(deadline - (1 << k));
        assert_eq!(wheel.pop_due(), None);
        for _ in 0..2 {
            wheel.insert(deadline, value);
            value += 1;
        }
    }
    wheel.advance(NEVER);
    assert!(wheel.drain().into_iter().eq(0..value));
}

#[test]
fn losing_timeouts_take_one_place_and_are_never_moved() {
    let mut wheel = Wheel::new(START);
    for round in 0..1_000_000 {
        wheel.advance(START + round / 100);
        let key = wheel.insert(START + round / 100 + round % 5000, round);
        assert_eq!(wheel.remove(key), Some(round));
    }
    assert_eq!((wheel.entries.len(), wheel.next()), (1, None));
}

/// A month passes at once. Batches keep the order, and what is inserted between them falls into its place.
#[test]
fn a_jump_of_a_month_keeps_the_order() {
    const MONTH: u64 = (30 * 86_400 * 1_000_000_000) >> TICK_NS_SHIFT;
    const COUNT: usize = if cfg!(miri) { 1_000 } else { 1_000_000 };
    let mut random = Random::seeded();
    let mut wheel = Wheel::new(START);
    for _ in 0..COUNT {
        let deadline = START + random.below(MONTH);
        wheel.insert(deadline, deadline);
    }
    wheel.advance(START + MONTH);
    let (mut last, mut popped) = (0, 0);
    while !wheel.is_empty() {
        wheel.insert(START, START + MONTH);
        for _ in 0..COUNT / 100 {
            let Some(deadline) = wheel.pop_due() else {
                break;
            };
            assert!(last <= deadline);
            (last, popped) = (deadline, popped + 1);
        }
    }
    assert!(popped > COUNT && wheel.entries.len() <= COUNT + 101);
}

/// Neighbours that are removed make `next` too early, but only once.
#[test]
fn a_sleeper_reaches_every_deadline_in_two_steps() {
    let mut random = Random::seeded();
    for _ in 0..if cfg!(miri) { 5 } else { 2_000 } {
        let start = random.of_bits(60);
        let mut wheel = Wheel::new(start);
        let keys: Vec<_> = (0..random.below(30))
            .map(|_| start + random.of_bits(50))
            .map(|deadline| (deadline, wheel.insert(deadline, deadline)))
            .collect();
        let (gone, mut left): (Vec<_>, Vec<_>) = keys.into_iter().partition(|_| random.below(2) == 0);
        gone.into_iter().for_each(|(_, key)| assert!(wheel.remove(key).is_some()));
        left.sort_by_key(|&(deadline, _)| deadline);
        let mut steps = 0;
        let mut left = left.into_iter().map(|(deadline, _)| deadline).peekable();
        while let Some(tick) = wheel.next() {
            steps += 1;
            assert!(steps <= 2 && Some(&tick) <= left.peek());
            wheel.advance(tick);
            while let Some(deadline) = wheel.pop_due() {
                assert_eq!((Some(deadline), deadline), (left.next(), tick));
                steps = 0;
            }
            wheel.check();
            assert!(wheel.next() > Some(tick) || wheel.is_empty());
        }
        assert_eq!(left.next(), None);
    }
}

#[test]
fn it_behaves_like_a_sorted_map() {
    let mut random = Random::seeded();
    for _ in 0..if cfg!(miri) { 2 } else { 300 } {
        let mut now = random.of_bits(62);
        let mut wheel = Wheel::new(now);
        let mut model = BTreeMap::new();
        let mut keys = Vec::new();
        let range = 1 + random.below(40);
        for id in 0..500u64 {
            match random.below(10) {
                0..5 => {
                    let deadline = (now + random.of_bits(range)).saturating_sub(random.of_bits(3));
                    model.insert((deadline.max(now), id), id);
                    keys.push((wheel.insert(deadline, id), (deadline.max(now), id)));
                }
                5..7 if !keys.is_empty() => {
                    let (key, name) = keys[random.below(keys.len() as u64) as usize];
                    assert_eq!(wheel.remove(key), model.remove(&name));
                }
                7 => {
                    now += random.of_bits(range);
                    wheel.advance(now);
                }
                8 => {
                    now = now.max(wheel.next().unwrap_or(now));
                    wheel.advance(now);
                }
                _ => {
                    wheel.advance(now);
                    for _ in 0..random.below(20) {
                        let due = model.first_entry().filter(|e| e.key().0 <= now).map(|e| e.remove());
                        assert_eq!(wheel.pop_due(), due);
                    }
                }
            }
            wheel.check();
            let first = model.first_key_value().map(|(&(deadline, _), _)| deadline);
            assert!(wheel.next() <= first && wheel.next().is_some() == first.is_some());
        }
        wheel.advance(NEVER);
        assert!(wheel.drain().into_iter().eq(model.into_values()));
    }
}
