//! The outermost 802.1Q tag of a frame: read, taken off, put on.

use crate::reason::DropReason;
use port::Frame;
use wire::ethernet::{self, ETHERTYPE_VLAN, TAGGED_BYTES, Tag, insert_tag, replace_tag, strip_tag};

/// The outermost tag.
fn outermost(bytes: &[u8]) -> Option<Tag> {
    let &[.., a, b, c, d] = bytes.first_chunk::<TAGGED_BYTES>()?;
    let (ethertype, control) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    ethernet::is_tag(ethertype).then_some(Tag { ethertype, control })
}

/// The VLAN of the outermost tag; 0 when there is none, or one that says a priority only.
pub(crate) fn outer_vlan(bytes: &[u8]) -> u16 {
    outermost(bytes).map_or(0, Tag::id)
}

/// Bytes in front of what a frame holds: the Ethernet header, and up to two tags.
pub(crate) fn link_layer_bytes(bytes: &[u8]) -> usize {
    let inner = |bytes: &[u8]| bytes.get(Tag::LENGTH..).is_some_and(|bytes| outermost(bytes).is_some());
    let tags =
        usize::from(outermost(bytes).is_some()) + usize::from(outermost(bytes).is_some() && inner(bytes));
    ethernet::LENGTH + Tag::LENGTH * tags
}

/// Takes the outermost tag off; a frame without one stays as it is.
pub(crate) fn pop(frame: &mut Frame<'_>) {
    if outermost(frame.bytes()).is_none() {
        return;
    }
    if let Some(start) = frame.bytes_mut().first_chunk_mut() {
        strip_tag(start);
        // The frame holds a tag, so it is longer than one.
        let _shortened = frame.trim_front(Tag::LENGTH);
    }
}

/// Puts a frame into `vlan`: a tag that says a priority only gets its number, every other frame a tag more.
pub(crate) fn push(frame: &mut Frame<'_>, vlan: u16) -> Result<(), DropReason> {
    let known = outermost(frame.bytes()).filter(|tag| tag.id() == 0);
    if known.is_none() {
        frame.prepend(Tag::LENGTH).map_err(|_| DropReason::AnswerImpossible)?;
    }
    let start = frame.bytes_mut().first_chunk_mut().ok_or(DropReason::AnswerImpossible)?;
    match known {
        Some(tag) => replace_tag(start, Tag { control: tag.control | vlan, ..tag }),
        None => insert_tag(start, Tag { ethertype: ETHERTYPE_VLAN, control: vlan }),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOM: usize = 32;

    fn frame(buffer: &mut [u8], length: usize) -> Frame<'_> {
        Frame::new(buffer, ROOM, length).unwrap()
    }

    proptest! {
        #[test]
        fn what_was_put_on_comes_off(mut content in prop::collection::vec(any::<u8>(), 14..80), vlan in 1u16..4_095) {
            content[12..14].copy_from_slice(&[0x08, 0x00]);
            let mut buffer = [vec![0; ROOM], content.clone()].concat();
            let mut frame = frame(&mut buffer, content.len());
            push(&mut frame, vlan).unwrap();
            prop_assert_eq!(outer_vlan(frame.bytes()), vlan);
            prop_assert_eq!(frame.bytes().len(), content.len() + Tag::LENGTH);
            pop(&mut frame);
            prop_assert_eq!(frame.bytes(), &content[..]);
            pop(&mut frame);
            prop_assert_eq!(frame.bytes(), &content[..], "there is nothing to take off");
        }
    }

    #[test]
    fn a_priority_stays_with_the_frame() {
        let mut buffer = [0; ROOM + 60];
        buffer[ROOM + 12..ROOM + 16].copy_from_slice(&[0x81, 0x00, 0xa0, 0x00]);
        let mut frame = frame(&mut buffer, 60);
        assert_eq!(outer_vlan(frame.bytes()), 0);
        push(&mut frame, 20).unwrap();
        assert_eq!((frame.bytes().len(), &frame.bytes()[12..16]), (60, &[0x81, 0x00, 0xa0, 20][..]));
    }

    #[test]
    fn a_frame_without_room_or_bytes_is_left_alone() {
        assert_eq!(outer_vlan(&[0; 13]), 0);
        let mut buffer = [0; 20];
        let mut frame = Frame::new(&mut buffer, 2, 18).unwrap();
        assert!(push(&mut frame, 20).is_err());
        assert_eq!(frame.bytes().len(), 18);
    }
}
