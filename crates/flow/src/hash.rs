//! The two keyed hashes, under one secret of 128 bits, so that an outsider can aim no collision.
//!
//! *Where a flow is kept* is asked for every packet and concerns one appliance: a multilinear hash of two levels, which
//! is universal. For any two keys that were chosen without knowing the secret, the chance that they agree in any `b`
//! bits is 2^-b, to within 2^-64: J. Black et al., "UMAC: Fast and Secure Message Authentication" (section 4, NH), for
//! the first level; M. Dietzfelbinger, "Universal Hashing and k-wise Independent Random Variables via Integer Arithmetic
//! without Primes", for the second. It costs a fifth of SipHash. What it decides is not seen from outside, so nobody
//! can work the secret out from it. The two directions of a flow hash apart: each side of a session has its own slot.
//!
//! *Who serves a flow* is asked for its first packet and must be the same at every appliance with the secret, in both
//! directions: SipHash-1-3 of chosen fields ([`FlowHasher::dispatch`]). 1-3 rather than 2-4: what is protected is a
//! balance table, not a message, and no attack on 1-3 beats guessing the key.

use crate::key::{DatagramKey, KeyV4, KeyV6};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// Sets the hash of a source apart from those of flows, as [`FlowHasher::dispatch`] does: "fragment", little-endian.
const PURPOSE_SOURCE: u64 = u64::from_le_bytes(*b"fragment");

/// Sets the keys of the multilinear hash apart: "multilin", little-endian.
const PURPOSE_KEYS: u64 = u64::from_le_bytes(*b"multilin");

/// Hashes flows under one secret key. Copies are cheap; every worker has its own.
#[derive(Clone, Copy)]
pub struct FlowHasher {
    key: (u64, u64),
    multilinear: Multilinear,
}

/// The secret of the multilinear hash: words that are added to those of a key, and the second level's factors.
#[derive(Clone, Copy)]
struct Multilinear {
    words: [u64; 6],
    factors: [u128; 2],
    start: u128,
}

impl Multilinear {
    fn new(hasher: &FlowHasher) -> Self {
        let word = |number: u8| hasher.dispatch(PURPOSE_KEYS, &[number]);
        let wide = |number: u8| u128::from(word(number)) << 64 | u128::from(word(number + 1));
        Self { words: std::array::from_fn(|at| word(at as u8)), factors: [wide(6), wide(8)], start: wide(10) }
    }

    /// The first level for two words of a key: those of number `at` and the next of the secret are added to them.
    #[inline(always)]
    fn product(&self, at: usize, one: u64, other: u64) -> u128 {
        let (one, other) = (one.wrapping_add(self.words[at]), other.wrapping_add(self.words[at + 1]));
        u128::from(one) * u128::from(other)
    }

    /// The second level.
    #[inline(always)]
    fn finish(&self, sum: u128) -> u64 {
        let high = self.factors[0].wrapping_mul(sum >> 64);
        let low = self.factors[1].wrapping_mul(u128::from(sum as u64));
        (self.start.wrapping_add(high).wrapping_add(low) >> 64) as u64
    }
}

impl std::fmt::Debug for FlowHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FlowHasher(secret)")
    }
}

impl FlowHasher {
    /// A hasher under `key`: the 16 bytes of `hash_key` in the configuration.
    pub fn new(key: [u8; 16]) -> Self {
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
        let key = (word(&key[..8]), word(&key[8..]));
        let unkeyed = Multilinear { words: [0; 6], factors: [0; 2], start: 0 };
        let hasher = Self { key, multilinear: unkeyed };
        Self { multilinear: Multilinear::new(&hasher), ..hasher }
    }

    /// Where an IPv4 flow is kept; another place for each direction.
    #[inline(always)]
    pub fn flow_v4(&self, key: &KeyV4) -> u64 {
        let [addresses, ports] = key.0;
        self.multilinear.finish(self.multilinear.product(0, addresses, ports))
    }

    /// Where an IPv6 flow is kept; another place for each direction.
    #[inline(always)]
    pub fn flow_v6(&self, key: &KeyV6) -> u64 {
        let ([a, b, c, d, ports], secret) = (key.0, &self.multilinear);
        let sum = secret.product(0, a, b).wrapping_add(secret.product(2, c, d));
        secret.finish(sum.wrapping_add(secret.product(4, ports, 0)))
    }

    /// Where something that one word names is kept; another place under each secret, as for flows.
    #[inline(always)]
    pub fn word(&self, word: u64) -> u64 {
        self.multilinear.finish(self.multilinear.product(0, word, 0))
    }

    /// The hash of the sender of a fragmented datagram, which says where the fragment map keeps it.
    #[inline]
    pub fn source_hash(&self, datagram: &DatagramKey) -> u64 {
        let (low, high) = self.key;
        Self { key: (low ^ PURPOSE_SOURCE, high), ..*self }.words(&datagram.source_words())
    }

    /// A hash of any bytes, for dispatch by chosen fields and for scores. `purpose` separates uses of the one secret,
    /// so that equal bytes hash differently in each.
    pub fn dispatch(&self, purpose: u64, bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.key.0 ^ purpose, self.key.1);
        hasher.write(bytes);
        hasher.finish()
    }

    #[inline]
    fn words<const N: usize>(&self, words: &[u64; N]) -> u64 {
        let mut state = SipState::new(self.key);
        for &word in words {
            state.absorb(word);
        }
        // The last word of a message says how long it was, modulo 256, in its highest byte.
        state.absorb((8 * N as u64) << 56);
        state.finish()
    }
}

/// SipHash-1-3 over whole words, where the general hasher would look for odd bytes at every step (J.-P. Aumasson and
/// D. J. Bernstein, "SipHash: a fast short-input PRF", section 2).
struct SipState([u64; 4]);

impl SipState {
    #[inline]
    fn new(key: (u64, u64)) -> Self {
        // "somepseudorandomlygeneratedbytes"
        Self([
            key.0 ^ 0x736f_6d65_7073_6575,
            key.1 ^ 0x646f_7261_6e64_6f6d,
            key.0 ^ 0x6c79_6765_6e65_7261,
            key.1 ^ 0x7465_6462_7974_6573,
        ])
    }

    #[inline]
    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        c = c.wrapping_add(d);
        b = b.rotate_left(13) ^ a;
        d = d.rotate_left(16) ^ c;
        a = a.rotate_left(32).wrapping_add(d);
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        d = d.rotate_left(21) ^ a;
        self.0 = [a, b, c.rotate_left(32), d];
    }

    #[inline]
    fn absorb(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.0[0] ^= word;
    }

    #[inline]
    fn finish(mut self) -> u64 {
        self.0[2] ^= 0xff;
        for _ in 0..3 {
            self.round();
        }
        self.0.iter().fold(0, |hash, word| hash ^ word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{FlowKey, Zone};
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn hasher() -> FlowHasher {
        FlowHasher::new(std::array::from_fn(|index| index as u8))
    }

    proptest! {
        /// Each side of a session that keeps its addresses has a place of its own.
        #[test]
        fn the_two_directions_of_a_flow_hash_apart(a: u32, b: u32, c: u128, d: u128, p: u16, q: u16, protocol: u8) {
            prop_assume!((a, p) != (b, q) && (c, p) != (d, q));
            let (v4a, v4b) = (Ipv4Addr::from_bits(a), Ipv4Addr::from_bits(b));
            let key = KeyV4::new(Zone(0), protocol, (v4a, p), (v4b, q));
            prop_assert_ne!(hasher().flow_v4(&key), hasher().flow_v4(&key.swapped()));
            let (v6a, v6b) = (Ipv6Addr::from_bits(c), Ipv6Addr::from_bits(d));
            let key = KeyV6::new(Zone(0), protocol, (v6a, p), (v6b, q));
            prop_assert_ne!(hasher().flow_v6(&key), hasher().flow_v6(&key.swapped()));
        }

        /// The same in arithmetic that a person can check: remainders of big numbers.
        #[test]
        fn the_multilinear_hash_is_what_the_papers_say(words: [u64; 5]) {
            let (hasher, wrap) = (hasher(), |a: u64, b: u64| u128::from((u128::from(a) + u128::from(b)) as u64));
            let Multilinear { words: secret, factors, start } = hasher.multilinear;
            let second = |sum: u128| {
                let low_half = |a: u128, b: u128| (0..64).fold(0u128, |all, bit| {
                    if b >> bit & 1 == 1 { all.wrapping_add(a << bit) } else { all }
                });
                let parts = [low_half(factors[0], sum >> 64), low_half(factors[1], sum & u128::from(u64::MAX))];
                (parts.iter().fold(start, |all, part| all.wrapping_add(*part)) >> 64) as u64
            };
            let [a, b, c, d, e] = words;
            let one = wrap(a, secret[0]) * wrap(b, secret[1]);
            prop_assert_eq!(hasher.flow_v4(&KeyV4([a, b])), second(one));
            let two = wrap(c, secret[2]) * wrap(d, secret[3]);
            let three = wrap(e, secret[4]) * u128::from(secret[5]);
            let sum = one.wrapping_add(two).wrapping_add(three);
            prop_assert_eq!(hasher.flow_v6(&KeyV6(words)), second(sum));
        }

        #[test]
        fn a_key_gives_back_what_made_it(a: u32, b: u32, p: u16, q: u16, protocol: u8, zone: u8) {
            let ends = ((Ipv4Addr::from_bits(a), p), (Ipv4Addr::from_bits(b), q));
            let key = KeyV4::new(Zone(zone), protocol, ends.0, ends.1);
            prop_assert_eq!((key.source(), key.destination()), ends);
            prop_assert_eq!((key.protocol(), key.zone()), (protocol, Zone(zone)));
            let ends = ((ends.0.0.to_ipv6_mapped(), p), (ends.1.0.to_ipv6_mapped(), q));
            let key = KeyV6::new(Zone(zone), protocol, ends.0, ends.1);
            prop_assert_eq!((key.source(), key.destination()), ends);
            prop_assert_eq!((key.protocol(), key.zone()), (protocol, Zone(zone)));
        }
    }

    #[test]
    fn zone_protocol_port_and_secret_each_change_the_hash() {
        let ends = ((Ipv4Addr::new(198, 18, 0, 1), 1), (Ipv4Addr::new(198, 18, 0, 2), 2));
        let base = KeyV4::new(Zone(0), 6, ends.0, ends.1);
        let others = [
            KeyV4::new(Zone(1), 6, ends.0, ends.1),
            KeyV4::new(Zone(0), 17, ends.0, ends.1),
            KeyV4::new(Zone(0), 6, (ends.0.0, 2), (ends.1.0, 1)),
        ];
        for other in others {
            assert_ne!(hasher().flow_v4(&base), hasher().flow_v4(&other), "{other:?}");
        }
        assert_ne!(hasher().flow_v4(&base), FlowHasher::new([7; 16]).flow_v4(&base));
    }

    proptest! {
        #[test]
        fn words_are_hashed_as_their_little_endian_bytes(secret: [u8; 16], words: [u64; 5]) {
            let hasher = FlowHasher::new(secret);
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            prop_assert_eq!(hasher.words(&words), hasher.dispatch(0, &bytes));
            prop_assert_eq!(hasher.words(&[words[0], words[1]]), hasher.dispatch(0, &bytes[..16]));
        }
    }
}
