//! Odd frames out of other people's captures, in every mode: what is malformed reaches no server and makes no session, a
//! frame may end anywhere, and connections that live go on.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../../../tests/vectors.rs"]
mod captured;
mod modes;

use captured::Vector;
use modes::{MODES, Mode, Opened, SERVER_MAC, VIP_V4, VIP_V6};
use sim::golden::Bench;

/// Those that a ring takes, with the room of a tag.
fn vectors() -> Option<Vec<Vector>> {
    let carried = |vector: &Vector| vector.frame.len() + 4 <= port::FRAME_BYTES_MAX;
    Some(captured::vectors()?.into_iter().filter(carried).collect())
}

impl Mode {
    /// The frame as it is, to the appliance's MAC address, and to the VIP as well: each as clients would send it.
    fn aimed(&self, frame: &[u8]) -> [Vec<u8>; 3] {
        let mut to_us = frame.to_vec();
        to_us.iter_mut().zip(self.mac).for_each(|(byte, own)| *byte = own);
        let mut to_vip = to_us.clone();
        call_vip(&mut to_vip);
        [frame.to_vec(), to_us, to_vip].map(|frame| self.tagged(frame))
    }

    fn tagged(&self, mut frame: Vec<u8>) -> Vec<u8> {
        if self.vlan != 0 && frame.len() >= 12 {
            let [high, low] = self.vlan.to_be_bytes();
            frame.splice(12..12, [0x81, 0x00, high, low]);
        }
        frame
    }
}

/// Writes the VIP where the destination of an IP packet is. A right IPv4 header checksum stays right, and a wrong one
/// wrong (RFC 1624).
fn call_vip(frame: &mut [u8]) -> Option<()> {
    match *frame.get(12..14)? {
        [0x08, 0x00] => {
            let header = frame.get_mut(14..34)?;
            let word = |at: usize, header: &[u8]| u32::from(u16::from_be_bytes([header[at], header[at + 1]]));
            let (old, checksum) = ([16, 18].map(|at| word(at, header)), word(10, header));
            header[16..].copy_from_slice(&VIP_V4);
            let new = [16, 18].map(|at| word(at, header));
            let sum = (0xffff - checksum) + old.map(|old| 0xffff - old).iter().chain(&new).sum::<u32>();
            let folded = (sum & 0xffff) + (sum >> 16);
            let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        [0x86, 0xdd] => frame.get_mut(38..54)?.copy_from_slice(&VIP_V6),
        _ => {}
    }
    Some(())
}

fn dropped(opened: &mut Opened) -> u64 {
    opened.bench.world().manager.counters().map(engine::WorkerCounters::dropped).sum()
}

/// Everything that any ring has sent since it was asked last.
fn sent(opened: &mut Opened) -> Vec<Vec<u8>> {
    let rings = opened.bench.world().manager.rings();
    let world = opened.bench.world();
    (0..rings).flat_map(|ring| std::iter::from_fn(|| world.take(ring)).collect::<Vec<_>>()).collect()
}

#[test]
fn a_malformed_frame_reaches_no_server_and_makes_no_session_in_any_mode() {
    let Some(vectors) = vectors() else { return };
    for mode in MODES {
        let mut opened = mode.open();
        let sessions = opened.bench.world().sessions();
        for Vector { id, frame, .. } in vectors.iter().filter(|vector| vector.is_malformed()) {
            let [_, to_us, to_vip] = mode.aimed(frame);
            for frame in [to_us, to_vip] {
                let what = format!("{}: vector {id}", mode.name);
                let before = dropped(&mut opened);
                assert!(opened.bench.world().push(0, opened.clients, &frame), "{what}");
                opened.bench.settle();
                let sent = sent(&mut opened);
                let served = sent.iter().find(|frame| frame.starts_with(&SERVER_MAC));
                assert_eq!(served, None, "{what} reached the server");
                assert_eq!(opened.bench.world().sessions(), sessions, "{what} made a session");
                let counted = dropped(&mut opened) > before || !sent.is_empty();
                assert!(counted, "{what} was neither dropped nor answered");
                opened.go_on(&what);
            }
        }
    }
}

#[test]
fn connections_live_through_every_frame_in_any_mode() {
    let Some(vectors) = vectors() else { return };
    for mode in MODES {
        let mut opened = mode.open();
        for Vector { id, frame, .. } in &vectors {
            for frame in mode.aimed(frame) {
                assert!(opened.bench.world().push(0, opened.clients, &frame));
            }
            opened.bench.settle();
            opened.bench.world().discard_sent();
            opened.go_on(&format!("{}: vector {id}", mode.name));
        }
    }
}

#[test]
fn a_frame_may_end_anywhere_in_any_mode() {
    let Some(vectors) = vectors() else { return };
    for mode in MODES {
        let mut opened = mode.open();
        for Vector { id, frame, .. } in &vectors {
            for frame in mode.aimed(frame) {
                for length in 0..frame.len() {
                    assert!(opened.bench.world().push(0, opened.clients, &frame[..length]));
                    if length % 32 == 31 {
                        opened.bench.settle();
                        opened.bench.world().discard_sent();
                    }
                }
                opened.bench.settle();
                opened.bench.world().discard_sent();
            }
            opened.go_on(&format!("{}: vector {id}", mode.name));
            let world = opened.bench.world();
            world.check_buffers().unwrap_or_else(|wrong| panic!("{}: vector {id}: {wrong}", mode.name));
        }
    }
}
