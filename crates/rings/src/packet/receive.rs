//! The receive ring: slots that the kernel fills and we lend, in place.
//!
//! ```text
//!  0          32             52      64                     178 192                             2048
//!  ├ header ──┼ link address ┼─ gap ─┼──── head room (114) ──┼E─┼ network header … ─── tail room ─┤
//!  └─ tp_status: kernel's (0) or ours └──────────────── the lent buffer ──────────────────────────┘
//! ```

use super::mapping::{BLOCK_SLOTS, SLOT_BYTES, Slots};
use super::mend;
use libc::{
    TP_STATUS_CSUMNOTREADY, TP_STATUS_KERNEL, TP_STATUS_USER, TP_STATUS_VLAN_TPID_VALID,
    TP_STATUS_VLAN_VALID, tpacket2_hdr,
};
use port::{BURST_FRAMES_MAX, Burst, FRAME_BYTES_MAX, Frame, HEAD_ROOM_BYTES};
use prefetch::prefetch;
use std::sync::atomic::Ordering;

/// Where the lent buffer begins in its slot: behind the header, which stays ours, on a cache line of its own.
const BUFFER_OFFSET: usize = 64;

/// Bytes that the kernel is told to leave free before a frame. With its own 80 they put the network header on
/// a cache line and leave 114 bytes of head room: [`HEAD_ROOM_BYTES`], a VLAN tag and some.
pub(super) const RESERVE_BYTES: u32 = 112;

/// How many slots ahead headers are asked for: the kernel has written them on another CPU.
const HEADERS_AHEAD: usize = 8;
const _: () = assert!(HEADERS_AHEAD < BLOCK_SLOTS);

/// Bytes of an Ethernet header.
const ETHERNET_BYTES: usize = 14;

/// Bytes of one VLAN tag.
const TAG_BYTES: usize = 4;

// The kernel puts the network header at TPACKET_ALIGN(52 + 16) + RESERVE_BYTES and the MAC header 14 before
// it.
const FRAME_OFFSET: usize = 80 + RESERVE_BYTES as usize - 14;
const _: () = assert!(FRAME_OFFSET - BUFFER_OFFSET >= HEAD_ROOM_BYTES + TAG_BYTES);
const _: () = assert!(FRAME_OFFSET + FRAME_BYTES_MAX <= SLOT_BYTES);
const _: () = assert!(libc::TPACKET2_HDRLEN <= BUFFER_OFFSET);
const _: () = assert!(std::mem::offset_of!(tpacket2_hdr, tp_status) == 0);

/// Frames that the ring held and that were not lent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refusals {
    pub oversize: u64,
    pub truncated: u64,
    pub unfinished: u64,
}

enum Refusal {
    Oversize,
    Truncated,
    Unfinished,
}

/// The receive half of a port.
#[derive(Debug)]
pub(super) struct ReceiveRing {
    slots: Slots,
    /// First slot that is ours and not given back.
    oldest: usize,
    /// Slots from `oldest` on that the last burst looked at.
    taken: usize,
    /// The slots of the frames that the last burst lent.
    lent: [u32; BURST_FRAMES_MAX],
    lent_count: usize,
    pub refusals: Refusals,
}

impl ReceiveRing {
    pub(super) fn new(slots: Slots) -> Self {
        let lent = [0; BURST_FRAMES_MAX];
        Self { slots, oldest: 0, taken: 0, lent, lent_count: 0, refusals: Refusals::default() }
    }

    /// Lends what the kernel has filled, in order. Looks at no more slots than a burst holds, whatever they
    /// hold.
    pub(super) fn receive(&mut self) -> Burst<'_> {
        self.release();
        let mut index = self.oldest;
        if self.slots.status(index).load(Ordering::Relaxed) & TP_STATUS_USER == 0 {
            // A burst that was filled is copied on return, all 2 KiB of it; this one is not.
            return Burst::new();
        }
        let mut burst = Burst::new();
        while self.taken < BURST_FRAMES_MAX.min(self.slots.count()) {
            let status = self.slots.status(index).load(Ordering::Acquire);
            if status & TP_STATUS_USER == 0 {
                break;
            }
            self.slots.prefetch_header(index, HEADERS_AHEAD);
            let address = self.slots.address(index);
            // SAFETY: the header lies at the head of a slot that is ours since the acquiring load above.
            let header = unsafe { address.cast::<tpacket2_hdr>().read() };
            // SAFETY: the bytes behind the header lie inside the slot. It is ours until `release`, which the
            // returned borrow of `self` keeps away, and each slot is visited once, so nothing else refers to
            // them.
            let buffer = unsafe {
                std::slice::from_raw_parts_mut(
                    address.as_ptr().add(BUFFER_OFFSET),
                    SLOT_BYTES - BUFFER_OFFSET,
                )
            };
            match make_ready(&header, status, buffer) {
                Ok((start, length)) => {
                    if let Some(frame) = Frame::new(buffer, start, length) {
                        // A frame begins at the end of a line, and its network header with the next one.
                        frame.bytes().get(ETHERNET_BYTES).into_iter().for_each(prefetch);
                        self.lent[self.lent_count] = index as u32;
                        self.lent_count += 1;
                        burst.push(frame);
                    }
                }
                Err(Refusal::Oversize) => self.refusals.oversize += 1,
                Err(Refusal::Truncated) => self.refusals.truncated += 1,
                Err(Refusal::Unfinished) => self.refusals.unfinished += 1,
            }
            self.taken += 1;
            index = self.slots.after(index);
        }
        burst
    }

    /// `length` bytes at `start` of the buffer of frame `index` of the last burst; `None` outside of it.
    pub(super) fn lent(&self, index: usize, start: usize, length: usize) -> Option<&[u8]> {
        let slot = *self.lent[..self.lent_count].get(index)?;
        if start.checked_add(length)? > SLOT_BYTES - BUFFER_OFFSET {
            return None;
        }
        let address = self.slots.address(slot as usize);
        // SAFETY: checked to lie inside the slot, which is ours until `release`; the `&mut` that the burst
        // held ended with its borrow of `self`.
        Some(unsafe { std::slice::from_raw_parts(address.as_ptr().add(BUFFER_OFFSET + start), length) })
    }

    /// Gives the slots of the last burst back to the kernel.
    pub(super) fn release(&mut self) {
        for _ in 0..self.taken {
            self.slots.status(self.oldest).store(TP_STATUS_KERNEL, Ordering::Release);
            self.oldest = self.slots.after(self.oldest);
        }
        self.taken = 0;
        self.lent_count = 0;
    }
}

/// Checks where the kernel says that the frame lies, puts its tag back and finishes its checksum.
fn make_ready(header: &tpacket2_hdr, status: u32, buffer: &mut [u8]) -> Result<(usize, usize), Refusal> {
    let tagged = status & TP_STATUS_VLAN_VALID != 0;
    let mut length = header.tp_len as usize;
    if length + if tagged { TAG_BYTES } else { 0 } > FRAME_BYTES_MAX {
        return Err(Refusal::Oversize);
    }
    if header.tp_snaplen < header.tp_len {
        return Err(Refusal::Truncated);
    }
    let mut start = usize::from(header.tp_mac).checked_sub(BUFFER_OFFSET).ok_or(Refusal::Truncated)?;
    let frame = buffer.get_mut(start..start + length).ok_or(Refusal::Truncated)?;
    if status & TP_STATUS_CSUMNOTREADY != 0 {
        mend::finish_checksum(frame).ok_or(Refusal::Unfinished)?;
    }
    if tagged {
        // A kernel that names no protocol means 802.1Q.
        let named = status & TP_STATUS_VLAN_TPID_VALID != 0;
        let protocol = if named { header.tp_vlan_tpid } else { libc::ETH_P_8021Q as u16 };
        start = mend::put_tag_back(buffer, start, protocol, header.tp_vlan_tci).ok_or(Refusal::Truncated)?;
        length += TAG_BYTES;
    }
    Ok((start, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(length: u32, mac: usize) -> tpacket2_hdr {
        tpacket2_hdr {
            tp_status: TP_STATUS_USER,
            tp_len: length,
            tp_snaplen: length,
            tp_mac: mac as u16,
            tp_net: 0,
            tp_sec: 0,
            tp_nsec: 0,
            tp_vlan_tci: 0x2014,
            tp_vlan_tpid: 0x88a8,
            tp_padding: [0; 4],
        }
    }

    fn ready(header: &tpacket2_hdr, status: u32) -> Option<(usize, usize)> {
        make_ready(header, status, &mut [0; SLOT_BYTES - BUFFER_OFFSET]).ok()
    }

    #[test]
    fn an_offset_outside_the_slot_is_refused() {
        assert_eq!(ready(&header(60, FRAME_OFFSET), 0), Some((114, 60)));
        assert_eq!(ready(&header(60, BUFFER_OFFSET - 1), 0), None);
        assert_eq!(ready(&header(60, SLOT_BYTES - 59), 0), None);
        assert_eq!(ready(&header(60, SLOT_BYTES - 60), 0), Some((SLOT_BYTES - BUFFER_OFFSET - 60, 60)));
        assert_eq!(ready(&header(60, usize::from(u16::MAX)), 0), None);
    }

    #[test]
    fn a_frame_longer_than_a_port_carries_or_cut_short_is_refused() {
        let longest = FRAME_BYTES_MAX as u32;
        assert!(ready(&header(longest, FRAME_OFFSET), 0).is_some());
        assert!(ready(&header(longest + 1, FRAME_OFFSET), 0).is_none());
        assert!(ready(&header(longest - 3, FRAME_OFFSET), TP_STATUS_VLAN_VALID).is_none());
        assert!(ready(&header(u32::MAX, FRAME_OFFSET), 0).is_none());
        let mut cut = header(100, FRAME_OFFSET);
        cut.tp_snaplen = 99;
        assert!(ready(&cut, 0).is_none());
    }

    #[test]
    fn the_tag_protocol_is_the_kernels_or_802_1q() {
        for (status, protocol) in [(TP_STATUS_VLAN_TPID_VALID, [0x88, 0xa8]), (0, [0x81, 0x00])] {
            let mut buffer = [0; SLOT_BYTES - BUFFER_OFFSET];
            let place =
                make_ready(&header(60, FRAME_OFFSET), status | TP_STATUS_VLAN_VALID, &mut buffer).ok();
            assert_eq!(place, Some((110, 64)));
            assert_eq!(buffer[122..126], [protocol[0], protocol[1], 0x20, 0x14]);
        }
    }
}
