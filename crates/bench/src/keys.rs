//! Keys and values of the workloads: numbered keys of one length below a
//! prefix, and values cut from one block of noise. All of it follows from the
//! seed, so that two servers get the same requests.

use crate::options::Load;

/// Noise that values are cut from, in bytes.
const NOISE: usize = 1 << 20;

/// A small generator of pseudo-random numbers (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, small ones more often: every doubling
    /// is equally likely.
    pub(crate) fn log_between(&mut self, low: u64, high: u64) -> u64 {
        let share = self.next() as f64 / u64::MAX as f64;
        let ratio = high as f64 / low as f64;
        ((low as f64 * ratio.powf(share)) as u64).clamp(low, high)
    }
}

/// The key space: `prefix` followed by a number with leading zeros.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: Vec<u8>,
    size: usize,
    pub(crate) count: u64,
}

impl Keys {
    pub(crate) fn new(load: &Load) -> Self {
        Self {
            prefix: load.prefix.clone().into_bytes(),
            size: load.key_size,
            count: load.keys,
        }
    }

    pub(crate) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The end of the range of all keys of the prefix.
    pub(crate) fn end(&self) -> Vec<u8> {
        prefix_end(&self.prefix)
    }

    /// Writes key number `index` into `out`, whose content it replaces.
    pub(crate) fn key(&self, index: u64, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.prefix);
        out.resize(self.size, b'0');
        let mut rest = index;
        for digit in out[self.prefix.len()..].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
}

/// The first key after all keys that begin with `prefix`; `\0`, which means
/// the end of the keyspace, where there is none.
pub(crate) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

/// Values of any size up to 1 MiB, cut from noise.
#[derive(Debug, Clone)]
pub(crate) struct Values {
    noise: Vec<u8>,
    random: Random,
}

impl Values {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let noise = (0..NOISE / 8)
            .flat_map(|_| random.next().to_le_bytes())
            .collect();
        Self { noise, random }
    }

    /// The next value, of `size` bytes (1 MiB at most).
    pub(crate) fn next(&mut self, size: usize) -> &[u8] {
        let size = size.min(NOISE);
        let at = self.random.below((NOISE - size + 1) as u64) as usize;
        &self.noise[at..at + size]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_one_length_and_sort_by_number() {
        let keys = Keys {
            prefix: b"/p/".to_vec(),
            size: 8,
            count: 100_000,
        };
        let (mut small, mut large) = (Vec::new(), Vec::new());
        keys.key(9, &mut small);
        keys.key(10, &mut large);
        assert_eq!(small, b"/p/00009");
        assert!(small < large && large.len() == 8 && large < keys.end());
    }

    #[test]
    fn the_end_of_a_prefix_carries() {
        assert_eq!(prefix_end(b"/a/"), b"/a0");
        assert_eq!(prefix_end(b"a\xff"), b"b");
        assert_eq!(prefix_end(b"\xff"), b"\0");
    }

    #[test]
    fn random_numbers_stay_in_their_bounds() {
        let mut random = Random::new(7);
        for _ in 0..1000 {
            assert!(random.below(3) < 3);
            assert!((200..=400).contains(&random.log_between(200, 400)));
        }
        assert_eq!(Values::new(1).next(NOISE + 5).len(), NOISE);
    }
}
