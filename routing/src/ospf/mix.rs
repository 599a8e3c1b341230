//! The hash of what is looked up for each LSA and each link: SipHash took as long as the rest. Who sends LSAs to make keys
//! collide does not know the secret, and is stopped by the bounds of the database.
//!
//! A key hashes itself as one [`u128`](Hasher::write_u128).

use std::hash::{BuildHasher, Hasher, RandomState};

/// One multiplication with a secret instead of SipHash.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mix(u64);

impl Default for Mix {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0) | 1)
    }
}

impl BuildHasher for Mix {
    type Hasher = Mixer;

    fn build_hasher(&self) -> Mixer {
        Mixer { secret: self.0, state: 0 }
    }
}

pub(super) struct Mixer {
    secret: u64,
    state: u64,
}

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.state
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u128(u128::from(*byte)));
    }

    fn write_u128(&mut self, value: u128) {
        let (low, high) = (value as u64, (value >> 64) as u64);
        let product = u128::from(low ^ self.state ^ self.secret)
            * u128::from(high ^ self.secret.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15);
        self.state = product as u64 ^ (product >> 64) as u64;
    }
}
