//! Numbers that nobody outside can guess: sequence numbers and tokens of checks.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// SipHash of a counter under a key of the operating system's randomness.
#[derive(Debug, Default)]
pub(in crate::check) struct Secret {
    key: RandomState,
    drawn: u64,
}

impl Secret {
    pub(in crate::check) fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.key.hash_one(self.drawn)
    }
}
