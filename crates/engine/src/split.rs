//! IPv4 packets that are longer than their way out carries, and may be split (RFC 791 section 3.2, RFC 1812 section 5.2.6).
//!
//! The first piece stays in the frame; the others are kept as copies and leave with the burst. Pieces of pieces are
//! pieces. A packet that may not be split, and every IPv6 packet, is answered instead; so is one with IP options, some of
//! which belong to the first piece only.

use crate::copies::{Copies, Ways};
use crate::reason::DropReason;
use crate::tags;
use port::{FRAME_BYTES_MAX, Frame};
use wire::ipv4::Ipv4;

/// Offsets count in units of so many bytes.
const UNIT_BYTES: usize = 8;

/// Splits the IPv4 packet in `frame` into pieces of at most `mtu_bytes`, of which all but the first are kept for `ways`.
/// A packet that is short enough stays whole.
pub(crate) fn split(
    frame: &mut Frame<'_>,
    mtu_bytes: u16,
    copies: &mut Copies,
    ways: &Ways,
) -> Result<(), DropReason> {
    let link_bytes = tags::link_layer_bytes(frame.bytes());
    let front_bytes = link_bytes + Ipv4::LENGTH;
    let (total_bytes, offset_bytes, is_more, mut front) = {
        let packet = frame.bytes_mut().get_mut(link_bytes..).ok_or(DropReason::AnswerImpossible)?;
        let header = Ipv4::split(packet)?.header;
        let piece = header.fragment();
        let place = piece.map_or((0, false), |piece| (piece.offset_bytes, piece.more));
        let total_bytes = usize::from(header.total_length());
        let mut front = [0; FRONT_BYTES_MAX];
        let head = frame.bytes().get(..front_bytes).ok_or(DropReason::AnswerImpossible)?;
        front.get_mut(..front_bytes).ok_or(DropReason::AnswerImpossible)?.copy_from_slice(head);
        (total_bytes, usize::from(place.0), place.1, front)
    };
    if total_bytes <= usize::from(mtu_bytes) {
        return Ok(());
    }
    let room_bytes = usize::from(mtu_bytes).saturating_sub(Ipv4::LENGTH) / UNIT_BYTES * UNIT_BYTES;
    if room_bytes == 0 {
        return Err(DropReason::TooLong);
    }
    let data_bytes = total_bytes - Ipv4::LENGTH;
    let mut piece = [0; FRAME_BYTES_MAX];
    for at in (room_bytes..data_bytes).step_by(room_bytes) {
        let length = room_bytes.min(data_bytes - at);
        let is_last = at + length == data_bytes;
        write_header(&mut front[link_bytes..], length, offset_bytes + at, is_more || !is_last)?;
        let data = frame.bytes().get(front_bytes + at..front_bytes + at + length);
        let whole = piece.get_mut(..front_bytes + length);
        let (Some(data), Some(whole)) = (data, whole) else { return Err(DropReason::TooLong) };
        whole[..front_bytes].copy_from_slice(&front[..front_bytes]);
        whole[front_bytes..].copy_from_slice(data);
        if !copies.keep(whole, ways.clone()) {
            return Err(DropReason::CopiesFull);
        }
    }
    write_header(&mut front[link_bytes..], room_bytes, offset_bytes, true)?;
    frame.set_length(front_bytes + room_bytes).map_err(|_| DropReason::AnswerImpossible)?;
    frame.bytes_mut()[..front_bytes].copy_from_slice(&front[..front_bytes]);
    Ok(())
}

/// Ethernet, two tags, IPv4.
const FRONT_BYTES_MAX: usize = 14 + 2 * 4 + Ipv4::LENGTH;

fn write_header(
    bytes: &mut [u8],
    data_bytes: usize,
    offset_bytes: usize,
    is_more: bool,
) -> Result<(), DropReason> {
    let header = bytes.first_chunk_mut().ok_or(DropReason::AnswerImpossible)?;
    let mut header = Ipv4::over(header);
    // Both are parts of a packet that was no longer than 65,535 bytes.
    header.set_total_length((Ipv4::LENGTH + data_bytes) as u16);
    header.set_fragment(offset_bytes as u16, is_more);
    header.set_checksum(header.compute_checksum(&[]));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Egress;
    use proptest::prelude::*;
    use wire::{Mac, build, check};

    const ROOM: usize = 16;

    fn pieces(whole: &[u8], mtu_bytes: u16) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; ROOM + whole.len()];
        buffer[ROOM..].copy_from_slice(whole);
        let mut frame = Frame::new(&mut buffer, ROOM, whole.len()).unwrap();
        let (mut copies, mut ways) = (Copies::new(), Ways::new());
        ways.push(Egress::Port(3));
        split(&mut frame, mtu_bytes, &mut copies, &ways).unwrap();
        let mut pieces = vec![frame.bytes().to_vec()];
        copies.drain(|frame, way| {
            assert_eq!(way, Egress::Port(3));
            pieces.push(frame.bytes().to_vec());
        });
        pieces
    }

    fn reassembled(pieces: &[Vec<u8>], link_bytes: usize) -> (Vec<u8>, bool) {
        let mut data = Vec::new();
        let mut is_more = true;
        for piece in pieces {
            let mut bytes = piece[link_bytes..].to_vec();
            let split = Ipv4::split(&mut bytes).unwrap();
            let place = split.header.fragment();
            assert_eq!(place.map_or(0, |place| usize::from(place.offset_bytes)), data.len());
            is_more = place.is_some_and(|place| place.more);
            data.extend_from_slice(split.payload);
        }
        (data, is_more)
    }

    proptest! {
        #[test]
        fn pieces_are_short_enough_and_make_the_whole(
            data in prop::collection::vec(any::<u8>(), 0..1_400), mtu_bytes in 68u16..1_500, vlan: bool,
        ) {
            let link = build::ethernet(Mac([2; 6]), Mac([4; 6]));
            let link = if vlan { link.vlan(7) } else { link };
            let ip = link.ipv4([198, 18, 0, 1].into(), [198, 18, 0, 2].into());
            let whole = ip.udp(7, 8).payload(&data).finish();
            let link_bytes = if vlan { 18 } else { 14 };
            let pieces = pieces(&whole, mtu_bytes);
            for piece in &pieces {
                prop_assert!(piece.len() - link_bytes <= usize::from(mtu_bytes));
                prop_assert_eq!(&piece[..link_bytes], &whole[..link_bytes]);
            }
            let (joined, is_more) = reassembled(&pieces, link_bytes);
            prop_assert_eq!(&joined[..], &whole[link_bytes + 20..]);
            prop_assert!(!is_more);
            if pieces.len() == 1 {
                prop_assert_eq!(check::frame_checksums(&pieces[0]), Ok(()));
            }
        }
    }
}
