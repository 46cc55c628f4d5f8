//! The keyed flow hash: SipHash-1-3 under a secret of 128 bits, so that an outsider can aim no collision.
//!
//! SipHash-1-3 rather than 2-4: what is protected is a table with bounded probes and a balance table, not a message;
//! half the rounds halve the cost per packet, and no attack on 1-3 beats guessing the key.

use crate::key::{DatagramKey, FlowKey, KeyV4, KeyV6};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// Sets the hash of a source apart from those of flows, as [`FlowHasher::dispatch`] does: "fragment", little-endian.
const PURPOSE_SOURCE: u64 = u64::from_le_bytes(*b"fragment");

/// Hashes flows under one secret key. Copies are cheap; every worker has its own.
#[derive(Clone, Copy)]
pub struct FlowHasher {
    key: (u64, u64),
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
        Self { key: (word(&key[..8]), word(&key[8..])) }
    }

    /// The hash of an IPv4 flow; the same for both directions.
    #[inline]
    pub fn flow_v4(&self, key: &KeyV4) -> u64 {
        // The two ends in a fixed order make the hash symmetric: end = address ‖ port.
        let (source, destination) = (key.source(), key.destination());
        let a = u64::from(source.0.to_bits()) << 16 | u64::from(source.1);
        let b = u64::from(destination.0.to_bits()) << 16 | u64::from(destination.1);
        let tail = u64::from(key.protocol()) << 8 | u64::from(key.zone().0);
        self.words(&[a.min(b) | tail << 48, a.max(b)])
    }

    /// The hash of an IPv6 flow; the same for both directions.
    #[inline]
    pub fn flow_v6(&self, key: &KeyV6) -> u64 {
        let (source, destination) = (key.source(), key.destination());
        let a = (source.0.to_bits(), source.1);
        let b = (destination.0.to_bits(), destination.1);
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        let tail = u64::from(key.protocol()) << 8 | u64::from(key.zone().0);
        self.words(&[
            (low.0 >> 64) as u64,
            low.0 as u64,
            (high.0 >> 64) as u64,
            high.0 as u64,
            tail << 32 | u64::from(low.1) << 16 | u64::from(high.1),
        ])
    }

    /// The hash of the sender of a fragmented datagram, which says where the fragment map keeps it.
    #[inline]
    pub fn source_hash(&self, datagram: &DatagramKey) -> u64 {
        let Self { key: (low, high) } = *self;
        Self { key: (low ^ PURPOSE_SOURCE, high) }.words(&datagram.source_words())
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
    use crate::key::Zone;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn hasher() -> FlowHasher {
        FlowHasher::new(std::array::from_fn(|index| index as u8))
    }

    proptest! {
        #[test]
        fn both_directions_of_a_flow_hash_alike(a: u32, b: u32, c: u128, d: u128, p: u16, q: u16, protocol: u8) {
            let (v4a, v4b) = (Ipv4Addr::from_bits(a), Ipv4Addr::from_bits(b));
            let key = KeyV4::new(Zone(0), protocol, (v4a, p), (v4b, q));
            prop_assert_eq!(hasher().flow_v4(&key), hasher().flow_v4(&key.swapped()));
            let (v6a, v6b) = (Ipv6Addr::from_bits(c), Ipv6Addr::from_bits(d));
            let key = KeyV6::new(Zone(0), protocol, (v6a, p), (v6b, q));
            prop_assert_eq!(hasher().flow_v6(&key), hasher().flow_v6(&key.swapped()));
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
