//! The runtime's generator of random numbers: one stream per worker, all from one seed.

use std::cell::Cell;

/// SplitMix64: one addition and two multiplications a number, any state is a good one.
#[derive(Debug)]
pub(super) struct Random {
    state: Cell<u64>,
}

impl Random {
    /// The stream of number `stream`.
    pub(super) fn new(seed: u64, stream: u64) -> Random {
        Random {
            state: Cell::new(mix(seed ^ mix(stream.wrapping_add(0x9e37_79b9_7f4a_7c15)))),
        }
    }

    #[inline]
    pub(super) fn next(&self) -> u64 {
        let state = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.set(state);
        mix(state)
    }

    /// Uniform enough below `bound`, which is not 0.
    pub(super) fn below(&self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let take = |seed, stream| {
            let r = Random::new(seed, stream);
            [r.next(), r.next(), r.next()]
        };
        assert_eq!(take(1, 0), take(1, 0));
        assert_ne!(take(1, 0), take(1, 1));
        assert_ne!(take(1, 0), take(2, 0));
    }

    #[test]
    fn below_hits_every_value() {
        let r = Random::new(7, 0);
        let mut seen = [0; 5];
        (0..1000).for_each(|_| seen[r.below(5) as usize] += 1);
        assert!(seen.iter().all(|&n| (120..280).contains(&n)), "{seen:?}");
    }
}
