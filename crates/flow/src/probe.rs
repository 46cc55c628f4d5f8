//! Path probes, as far as a worker must know them: the head of their payload, which both ends of a sandwich speak.
//!
//! ```text
//!   0        4      5     6          8          16
//!   │ magic  │ kind │ 0   │ length   │ tag      │ what control says, to `length` bytes in all
//! ```
//!
//! The tag is a keyed hash over everything from byte 16 on, so that nobody without the secret makes a probe that is
//! believed, or answered by UDP. `kind` is left out of it: whoever answers a datagram turns a question into an answer, and
//! knows no more of it. All numbers are big-endian. Any thread; refuses nothing, tells what is there.

use crate::hash::FlowHasher;

/// Bytes of the head.
pub const HEAD_BYTES: usize = 16;
/// Where the kind stands.
pub const KIND_AT: usize = 4;

/// What every probe begins with: its name, and the version of its layout.
const MAGIC: [u8; 4] = *b"JPP1";
const LENGTH_AT: usize = 6;
const TAG_AT: usize = 8;

/// Separates the tag from the secret's other uses.
const PURPOSE_TAG: u64 = 0x7072_6f62_6500_0001;

/// What a probe is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// It is to be answered by the way that it came.
    Question = 0,
    /// It has been.
    Answer = 1,
}

/// A payload that says that it is a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe<'a> {
    /// What it says that it is.
    pub kind: Kind,
    /// What control says, behind the head.
    pub body: &'a [u8],
    tag: u64,
}

impl<'a> Probe<'a> {
    /// The probe in `payload`; `None` where that does not say that it is one.
    pub fn of(payload: &'a [u8]) -> Option<Self> {
        let head = payload.first_chunk::<HEAD_BYTES>()?;
        let kind = match head[KIND_AT] {
            0 => Kind::Question,
            1 => Kind::Answer,
            _ => return None,
        };
        let length = usize::from(u16::from_be_bytes([head[LENGTH_AT], head[LENGTH_AT + 1]]));
        let body = payload.get(HEAD_BYTES..length)?;
        let tag = head[TAG_AT..].iter().fold(0, |tag, &byte| tag << 8 | u64::from(byte));
        (head[..KIND_AT] == MAGIC).then_some(Self { kind, body, tag })
    }

    /// Whether somebody with our secret has made it.
    pub fn is_authentic(&self, hasher: &FlowHasher) -> bool {
        self.tag == hasher.dispatch(PURPOSE_TAG, self.body)
    }

    /// The payload of a question that says `body`; `None` where it is longer than 65,519 bytes.
    pub fn question(body: &[u8], hasher: &FlowHasher) -> Option<Vec<u8>> {
        let length = u16::try_from(HEAD_BYTES + body.len()).ok()?;
        let mut payload = MAGIC.to_vec();
        payload.extend_from_slice(&[Kind::Question as u8, 0]);
        payload.extend_from_slice(&length.to_be_bytes());
        payload.extend_from_slice(&hasher.dispatch(PURPOSE_TAG, body).to_be_bytes());
        payload.extend_from_slice(body);
        Some(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hasher(key: u8) -> FlowHasher {
        FlowHasher::new([key; 16])
    }

    #[test]
    fn a_question_is_believed_with_its_key_alone_and_as_it_was_made() {
        let payload = Probe::question(b"what control says", &hasher(1)).unwrap();
        let probe = Probe::of(&payload).unwrap();
        assert_eq!((probe.kind, probe.body), (Kind::Question, &b"what control says"[..]));
        assert!(probe.is_authentic(&hasher(1)) && !probe.is_authentic(&hasher(2)));
        let mut answer = payload.clone();
        answer[KIND_AT] = Kind::Answer as u8;
        let answer = Probe::of(&answer).unwrap();
        assert!(answer.is_authentic(&hasher(1)) && answer.kind == Kind::Answer);
        for place in (0..payload.len()).filter(|&place| place != KIND_AT && place != KIND_AT + 1) {
            let mut damaged = payload.clone();
            damaged[place] ^= 4;
            assert!(!Probe::of(&damaged).is_some_and(|probe| probe.is_authentic(&hasher(1))), "byte {place}");
        }
        let mut padded = payload.clone();
        padded.extend([0; 9]);
        assert_eq!(Probe::of(&padded), Some(probe), "padding is no part of it");
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_apart(bytes in prop::collection::vec(any::<u8>(), 0..64), magic: bool) {
            let mut bytes = bytes;
            if magic && bytes.len() >= MAGIC.len() {
                bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
            }
            let _taken = Probe::of(&bytes);
        }
    }
}
