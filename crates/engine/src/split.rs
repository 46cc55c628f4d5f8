//! Packets that are longer than their way out carries, and may be split: IPv4 without DF (RFC 791 section 3.2, RFC 1812
//! section 5.2.6), and what a tunnel over IPv6 has made too long (RFC 2473 section 7.1), which the appliance itself sends.
//!
//! The first piece stays in the frame; the others are kept as copies and leave with the burst. Pieces of pieces are
//! pieces. A packet that may not be split is answered instead; so is one with IP options, some of which belong to the
//! first piece only.

use crate::copies::{Copies, Ways};
use crate::reason::DropReason;
use crate::tags;
use port::{FRAME_BYTES_MAX, Frame};
use wire::ipv4::Ipv4;
use wire::ipv6::{Ipv6, write_fragment};
use wire::protocol;

/// Offsets count in units of so many bytes.
const UNIT_BYTES: usize = 8;

/// Ethernet, two tags, IPv6, its fragment header.
const FRONT_BYTES_MAX: usize = 14 + 2 * 4 + Ipv6::LENGTH + Ipv6::FRAGMENT_LENGTH;

/// What is cut, and what every piece has in front.
struct Cut {
    front: [u8; FRONT_BYTES_MAX],
    link_bytes: usize,
    front_bytes: usize,
    /// Where the data begins that is cut.
    data_at: usize,
    data_bytes: usize,
    /// Where the data itself has its place in a larger packet, and whether more follows.
    place: (usize, bool),
    is_v4: bool,
    /// Of an IPv6 packet's pieces.
    kind: u8,
    identification: u32,
}

impl Cut {
    /// Reads what the packet in `frame` is.
    fn of(frame: &mut Frame<'_>, identification: u32) -> Result<Self, DropReason> {
        let link_bytes = tags::link_layer_bytes(frame.bytes());
        let packet = frame.bytes_mut().get_mut(link_bytes..).ok_or(DropReason::AnswerImpossible)?;
        let is_v4 = packet.first().is_some_and(|byte| byte >> 4 == 4);
        let (header_bytes, added_bytes, data_bytes, place, kind) = if is_v4 {
            let header = Ipv4::split(packet)?.header;
            let place = header.fragment().map_or((0, false), |piece| (piece.offset_bytes.into(), piece.more));
            let data_bytes = usize::from(header.total_length()).saturating_sub(Ipv4::LENGTH);
            (Ipv4::LENGTH, 0, data_bytes, place, 0)
        } else {
            let header = Ipv6::split(packet)?.header;
            let data_bytes = usize::from(header.payload_length());
            (Ipv6::LENGTH, Ipv6::FRAGMENT_LENGTH, data_bytes, (0, false), header.next_header())
        };
        let data_at = link_bytes + header_bytes;
        let front_bytes = data_at + added_bytes;
        let mut front = [0; FRONT_BYTES_MAX];
        let (head, room) = (frame.bytes().get(..data_at), front.get_mut(..data_at));
        let (Some(head), Some(room)) = (head, room) else { return Err(DropReason::AnswerImpossible) };
        room.copy_from_slice(head);
        Ok(Self { front, link_bytes, front_bytes, data_at, data_bytes, place, is_v4, kind, identification })
    }

    /// The front of the piece of `length_bytes` that begins at `at`.
    fn write(&mut self, at: usize, length_bytes: usize) -> Result<&[u8], DropReason> {
        let is_more = self.place.1 || at + length_bytes < self.data_bytes;
        // Both are parts of a packet that was no longer than 65,535 bytes.
        let offset_bytes = (self.place.0 + at) as u16;
        let headers = self.front.get_mut(self.link_bytes..self.front_bytes).unwrap_or_default();
        if self.is_v4 {
            let mut header = Ipv4::over(headers.first_chunk_mut().ok_or(DropReason::AnswerImpossible)?);
            header.set_total_length((Ipv4::LENGTH + length_bytes) as u16);
            header.set_fragment(offset_bytes, is_more);
            header.set_checksum(header.compute_checksum(&[]));
        } else {
            let (header, rest) = headers.split_first_chunk_mut().ok_or(DropReason::AnswerImpossible)?;
            let mut header = Ipv6::over(header);
            header.set_payload_length((Ipv6::FRAGMENT_LENGTH + length_bytes) as u16);
            header.set_next_header(protocol::FRAGMENT);
            let fragment = rest.first_chunk_mut().ok_or(DropReason::AnswerImpossible)?;
            write_fragment(fragment, self.kind, (offset_bytes, is_more), self.identification);
        }
        self.front.get(..self.front_bytes).ok_or(DropReason::AnswerImpossible)
    }
}

/// Splits the packet in `frame` into pieces of at most `mtu_bytes`, of which all but the first are kept for `ways`. Those of
/// an IPv6 packet have `identification` in common. A packet that is short enough stays whole.
pub(crate) fn split(
    frame: &mut Frame<'_>,
    (mtu_bytes, identification): (u16, u32),
    copies: &mut Copies,
    ways: &Ways,
) -> Result<(), DropReason> {
    let mut cut = Cut::of(frame, identification)?;
    let Cut { link_bytes, front_bytes, data_at, data_bytes, .. } = cut;
    if data_at + data_bytes <= link_bytes + usize::from(mtu_bytes) {
        return Ok(());
    }
    let room_bytes =
        usize::from(mtu_bytes).saturating_sub(front_bytes - link_bytes) / UNIT_BYTES * UNIT_BYTES;
    if room_bytes == 0 {
        return Err(DropReason::TooLong);
    }
    let mut piece = [0; FRAME_BYTES_MAX];
    for at in (room_bytes..data_bytes).step_by(room_bytes) {
        let length_bytes = room_bytes.min(data_bytes - at);
        let data = frame.bytes().get(data_at + at..data_at + at + length_bytes);
        let whole = piece.get_mut(..front_bytes + length_bytes);
        let (Some(data), Some(whole)) = (data, whole) else { return Err(DropReason::TooLong) };
        whole[..front_bytes].copy_from_slice(cut.write(at, length_bytes)?);
        whole[front_bytes..].copy_from_slice(data);
        if !copies.keep(whole, ways.clone()) {
            return Err(DropReason::CopiesFull);
        }
    }
    // What the front has grown by is less than what the first piece has lost, so the frame's own bytes are room enough.
    let first = frame.bytes_mut().get_mut(..front_bytes + room_bytes).ok_or(DropReason::TooLong)?;
    first.copy_within(data_at..data_at + room_bytes, front_bytes);
    first[..front_bytes].copy_from_slice(cut.write(0, room_bytes)?);
    frame.set_length(front_bytes + room_bytes).map_err(|_| DropReason::AnswerImpossible)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Egress;
    use proptest::prelude::*;
    use wire::{Mac, build, check};

    const ROOM: usize = 16;
    const IDENTIFICATION: u32 = 0x1234_5678;

    fn pieces(whole: &[u8], mtu_bytes: u16) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; ROOM + whole.len()];
        buffer[ROOM..].copy_from_slice(whole);
        let mut frame = Frame::new(&mut buffer, ROOM, whole.len()).unwrap();
        let (mut copies, mut ways) = (Copies::new(), Ways::new());
        ways.push(Egress::Port(3));
        split(&mut frame, (mtu_bytes, IDENTIFICATION), &mut copies, &ways).unwrap();
        let mut pieces = vec![frame.bytes().to_vec()];
        copies.drain(|frame, way| {
            assert_eq!(way, Egress::Port(3));
            pieces.push(frame.bytes().to_vec());
        });
        pieces
    }

    /// The data of the pieces and what it is, once their places are found to fit.
    fn reassembled(pieces: &[Vec<u8>], link_bytes: usize) -> (Vec<u8>, u8) {
        let mut data = Vec::new();
        let (mut is_more, mut kind) = (true, 0);
        for piece in pieces {
            let mut bytes = piece[link_bytes..].to_vec();
            let (place, payload, protocol) = if bytes[0] >> 4 == 4 {
                let split = Ipv4::split(&mut bytes).unwrap();
                let protocol = split.header.protocol();
                (split.header.fragment(), split.payload, protocol)
            } else {
                let split = Ipv6::split(&mut bytes).unwrap();
                assert!(split.fragment.is_none_or(|place| place.identification == IDENTIFICATION));
                (split.fragment, split.payload, split.protocol)
            };
            assert_eq!(place.map_or(0, |place| usize::from(place.offset_bytes)), data.len());
            is_more = place.is_some_and(|place| place.more);
            kind = protocol;
            data.extend_from_slice(payload);
        }
        assert!(!is_more);
        (data, kind)
    }

    proptest! {
        #[test]
        fn pieces_are_short_enough_and_make_the_whole(
            data in prop::collection::vec(any::<u8>(), 0..1_400), mtu_bytes in 68u16..1_500, vlan: bool, is_v4: bool,
        ) {
            let link = build::ethernet(Mac([2; 6]), Mac([4; 6]));
            let link = if vlan { link.vlan(7) } else { link };
            let (ip, header_bytes) = match is_v4 {
                true => (link.ipv4([198, 18, 0, 1].into(), [198, 18, 0, 2].into()), 20),
                false => (link.ipv6([1; 16].into(), [2; 16].into()), 40),
            };
            let whole = ip.udp(7, 8).payload(&data).finish();
            let link_bytes = if vlan { 18 } else { 14 };
            let pieces = pieces(&whole, mtu_bytes);
            for piece in &pieces {
                prop_assert!(piece.len() - link_bytes <= usize::from(mtu_bytes));
                prop_assert_eq!(&piece[..link_bytes], &whole[..link_bytes]);
            }
            let (joined, kind) = reassembled(&pieces, link_bytes);
            prop_assert_eq!(&joined[..], &whole[link_bytes + header_bytes..]);
            prop_assert_eq!(kind, protocol::UDP);
            if pieces.len() == 1 {
                prop_assert_eq!(&pieces[0], &whole);
                prop_assert_eq!(check::frame_checksums(&pieces[0]), Ok(()));
            }
        }
    }
}
