//! Where randomness comes from: named streams of the recipe's seed; and fingerprints, which say that two inputs are equal.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// A 64-bit FNV-1a hash that is the same on every machine and in every version of the program.
///
/// It tells changed inputs from unchanged ones; it is no defence against someone who wants a collision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(FNV_OFFSET)
    }
}

impl Fingerprint {
    /// Adds bytes, and a mark of their end, so that `"ab" "c"` differs from `"a" "bc"`.
    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().chain(&(bytes.len() as u64).to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        }
    }

    /// Sixteen hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        format!("{:016x}", self.0)
    }
}

/// The random stream of one purpose: same seed, name and indices give the same numbers, whatever else was drawn before.
#[must_use]
pub fn stream(seed: u64, name: &str, indices: &[u64]) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    for (part, bytes) in key.chunks_exact_mut(8).enumerate() {
        let mut hash = Fingerprint::default();
        hash.add(&[part as u8]);
        hash.add(&seed.to_le_bytes());
        hash.add(name.as_bytes());
        indices.iter().for_each(|index| hash.add(&index.to_le_bytes()));
        bytes.copy_from_slice(&hash.0.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::RngCore;

    use super::*;

    #[test]
    fn streams_differ_by_name_seed_and_index_and_repeat() {
        let first = |seed, name, indices: &[u64]| stream(seed, name, indices).next_u64();
        assert_eq!(first(7, "videos", &[1, 2]), first(7, "videos", &[1, 2]));
        let others = [first(8, "videos", &[1, 2]), first(7, "people", &[1, 2]), first(7, "videos", &[2, 1])];
        assert!(others.iter().all(|other| *other != first(7, "videos", &[1, 2])));
    }

    #[test]
    fn a_fingerprint_knows_where_its_parts_end() {
        let of = |parts: &[&str]| {
            let mut f = Fingerprint::default();
            parts.iter().for_each(|p| f.add(p.as_bytes()));
            f.hex()
        };
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_eq!(of(&["ab", "c"]).len(), 16);
    }
}
