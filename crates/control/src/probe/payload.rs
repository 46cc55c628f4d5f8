//! What a path probe says, behind the head that workers know ([`flow::probe`]).
//!
//! ```text
//!   0        8             16         24                32         36        40        48      49  50
//!   │ path   │ fingerprint │ instance │ heard instance  │ sequence │ next ms │ sent µs │ count │ 0 │ count × 18 bytes
//!
//!   0        8        12         16      17      18
//!   │ path   │ age ms │ sequence │ over  │ state │          each: what is known of one path of the group
//! ```
//!
//! All numbers are big-endian. *Path* is a path's id, *fingerprint* the group's. *Instance* is drawn at every start, so that
//! nobody takes what was heard of an earlier life for news; *heard instance* is whose probes the rest tells of. *Sequence*
//! counts the probes of one path; *next* is how long the next one stays away at the most. *Sent* is the sender's own clock,
//! for who reads a capture. Of each path: how long ago the sender last heard the other end on it, all ones for never; that
//! probe's sequence; *over* which path of this list it came, 255 where that is not known; and what the sender thinks of it.
//!
//! With the most paths a probe is 1,266 bytes long in IPv6: any IPv6 link carries it in one piece (RFC 8200 section 5).

use crate::members::Health;
use flow::FlowHasher;
use std::net::IpAddr;

const FIXED_BYTES: usize = 50;
const HEARD_BYTES: usize = 18;
const NEVER: u32 = u32::MAX;
const UNKNOWN: u8 = u8::MAX;

/// Separates the ids of paths from the secret's other uses.
const PURPOSE_PATH: u64 = 0x7072_6f62_6500_0002;

/// What one probe says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The path that it is for: see [`path_id`].
    pub path: u64,
    /// What the sender's group has in common with the receiver's, if they agree: [`plan::fingerprint`].
    pub fingerprint: u64,
    /// This life of the sender; never 0.
    pub instance: u64,
    /// The life of the receiver that `report` tells of; 0: it was never heard.
    pub heard_instance: u64,
    /// Counts the sender's probes of this path.
    pub sequence: u32,
    /// Milliseconds until the next one, at the most.
    pub next_ms: u32,
    /// Microseconds of the sender's clock.
    pub sent_us: u64,
    /// What is known of each path of the group, this one among them; at most [`plan::FIREWALLS_MAX`].
    pub report: Vec<Heard>,
}

/// What the sender knows of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The path.
    pub path: u64,
    /// Milliseconds since the other end was last heard on it; `None`: never.
    pub age_ms: Option<u32>,
    /// Which of its probes that was.
    pub sequence: u32,
    /// Over which path of the report it came; `None`: over none of them.
    pub over: Option<u8>,
    /// What the sender thinks of the path.
    pub health: Health,
}

/// The id of a path: alike at both ends if they call the firewall alike, and made from the same secret.
pub fn path_id(firewall: &str, ends: (IpAddr, IpAddr), hasher: &FlowHasher) -> u64 {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    let (one, other) = (octets(ends.0), octets(ends.1));
    let mut bytes = [one.min(other), one.max(other)].concat();
    bytes.extend_from_slice(firewall.as_bytes());
    hasher.dispatch(PURPOSE_PATH, &bytes)
}

impl Payload {
    /// The bytes behind the head.
    pub fn to_bytes(&self) -> Vec<u8> {
        let report = &self.report[..self.report.len().min(plan::FIREWALLS_MAX)];
        let mut bytes = Vec::with_capacity(FIXED_BYTES + report.len() * HEARD_BYTES);
        for number in [self.path, self.fingerprint, self.instance, self.heard_instance] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.next_ms.to_be_bytes());
        bytes.extend_from_slice(&self.sent_us.to_be_bytes());
        bytes.extend_from_slice(&[report.len() as u8, 0]);
        for heard in report {
            bytes.extend_from_slice(&heard.path.to_be_bytes());
            // What is older than 49 days is told as never.
            bytes.extend_from_slice(&heard.age_ms.unwrap_or(NEVER).to_be_bytes());
            bytes.extend_from_slice(&heard.sequence.to_be_bytes());
            bytes.extend_from_slice(&[heard.over.unwrap_or(UNKNOWN), state(heard.health)]);
        }
        bytes
    }

    /// What `bytes` say; `None` where they are no payload.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut payload = Self {
            path: number(&mut rest)?,
            fingerprint: number(&mut rest)?,
            instance: number(&mut rest)?,
            heard_instance: number(&mut rest)?,
            sequence: u32::from_be_bytes(take(&mut rest)?),
            next_ms: u32::from_be_bytes(take(&mut rest)?),
            sent_us: number(&mut rest)?,
            report: Vec::new(),
        };
        let [count, _] = take(&mut rest)?;
        if usize::from(count) > plan::FIREWALLS_MAX {
            return None;
        }
        for _ in 0..count {
            payload.report.push(heard(&mut rest)?);
        }
        Some(payload)
    }
}

fn heard(rest: &mut &[u8]) -> Option<Heard> {
    let path = number(rest)?;
    let age_ms = Some(u32::from_be_bytes(take(rest)?)).filter(|&age_ms| age_ms != NEVER);
    let sequence = u32::from_be_bytes(take(rest)?);
    let [over, state] = take(rest)?;
    let over = Some(over).filter(|&over| over != UNKNOWN);
    Some(Heard { path, age_ms, sequence, over, health: health(state)? })
}

fn take<const BYTES: usize>(rest: &mut &[u8]) -> Option<[u8; BYTES]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_be_bytes)
}

fn state(health: Health) -> u8 {
    match health {
        Health::Unchecked | Health::Checking => 0,
        Health::Up => 1,
        Health::Down => 2,
        Health::Asymmetric => 3,
    }
}

fn health(state: u8) -> Option<Health> {
    match state {
        0 => Some(Health::Checking),
        1 => Some(Health::Up),
        2 => Some(Health::Down),
        3 => Some(Health::Asymmetric),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow::probe::Probe;
    use proptest::prelude::*;

    const HEALTHS: [Health; 4] = [Health::Checking, Health::Up, Health::Down, Health::Asymmetric];

    fn heard() -> impl Strategy<Value = Heard> {
        let age = prop_oneof![Just(None), (0..NEVER).prop_map(Some)];
        let over = prop_oneof![Just(None), (0..UNKNOWN).prop_map(Some)];
        (any::<u64>(), age, any::<u32>(), over, 0..4usize).prop_map(
            |(path, age_ms, sequence, over, health)| Heard {
                path,
                age_ms,
                sequence,
                over,
                health: HEALTHS[health],
            },
        )
    }

    fn payload() -> impl Strategy<Value = Payload> {
        let numbers = (any::<[u64; 5]>(), any::<[u32; 2]>());
        (numbers, prop::collection::vec(heard(), 0..=plan::FIREWALLS_MAX)).prop_map(
            |(([path, fingerprint, instance, heard_instance, sent_us], [sequence, next_ms]), report)| {
                Payload { path, fingerprint, instance, heard_instance, sequence, next_ms, sent_us, report }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_said_is_understood(payload in payload(), padding in 0..9usize) {
            let bytes = payload.to_bytes();
            prop_assert_eq!(Payload::of(&bytes), Some(payload));
            for length in 0..bytes.len() {
                prop_assert_eq!(Payload::of(&bytes[..length]), None, "{} of {} bytes", length, bytes.len());
            }
            let padded = [bytes.clone(), vec![0; padding]].concat();
            prop_assert_eq!(Payload::of(&padded), Payload::of(&bytes));
        }

        #[test]
        fn any_bytes_are_taken_apart(bytes in prop::collection::vec(any::<u8>(), 0..1_300)) {
            if let Some(payload) = Payload::of(&bytes) {
                prop_assert!(payload.report.len() <= plan::FIREWALLS_MAX);
            }
        }
    }

    #[test]
    fn the_layout_is_the_one_that_is_written_down() {
        let heard =
            Heard { path: 0x11, age_ms: Some(5), sequence: 6, over: Some(7), health: Health::Asymmetric };
        let payload = Payload {
            path: 1,
            fingerprint: 2,
            instance: 3,
            heard_instance: 4,
            sequence: 5,
            next_ms: 6,
            sent_us: 7,
            report: vec![heard, Heard { age_ms: None, over: None, health: Health::Up, ..heard }],
        };
        let bytes = payload.to_bytes();
        let numbers = |range: std::ops::Range<usize>| {
            bytes[range].iter().fold(0u64, |all, &byte| all << 8 | u64::from(byte))
        };
        let fixed = [
            (0..8, 1),
            (8..16, 2),
            (16..24, 3),
            (24..32, 4),
            (32..36, 5),
            (36..40, 6),
            (40..48, 7),
            (48..50, 2 << 8),
        ];
        let first = [(50..58, 0x11), (58..62, 5), (62..66, 6), (66..67, 7), (67..68, 3)];
        let second = [(76..80, 0xffff_ffff), (84..85, 0xff), (85..86, 1)];
        for (range, expected) in fixed.into_iter().chain(first).chain(second) {
            assert_eq!(numbers(range.clone()), expected, "{range:?}");
        }
        assert_eq!(bytes.len(), 86);
    }

    #[test]
    fn the_longest_goes_over_any_link_of_ipv6_in_one_piece() {
        let heard = Heard { path: 1, age_ms: None, sequence: 0, over: None, health: Health::Up };
        let report = vec![heard; plan::FIREWALLS_MAX];
        let payload = Payload {
            path: 1,
            fingerprint: 2,
            instance: 3,
            heard_instance: 4,
            sequence: 5,
            next_ms: 6,
            sent_us: 7,
            report,
        };
        let question = Probe::question(&payload.to_bytes(), &FlowHasher::new([7; 16])).unwrap();
        assert_eq!(question.len() + 40 + 8, 1_266);
        assert!(question.len() + 40 + 8 <= 1_280);
    }

    #[test]
    fn a_paths_id_is_the_same_from_both_ends_and_another_for_another_name_or_key() {
        let hasher = FlowHasher::new([7; 16]);
        let [near, far]: [IpAddr; 2] = [[198, 18, 1, 101].into(), [198, 18, 2, 101].into()];
        let id = path_id("fw1", (near, far), &hasher);
        assert_eq!(id, path_id("fw1", (far, near), &hasher));
        assert_ne!(id, path_id("fw2", (near, far), &hasher));
        assert_ne!(id, path_id("fw1", (near, near), &hasher));
        assert_ne!(id, path_id("fw1", (near, far), &FlowHasher::new([8; 16])));
    }
}
