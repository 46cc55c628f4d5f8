//! AF_PACKET ports on a veth pair against a plain socket at the other end.
#![allow(clippy::unwrap_used, reason = "a test's own helper")]

mod packet_lab;

use packet_lab::{Lab, Wire, eventually, experiment, number_of};
use port::{BURST_FRAMES_MAX, FRAME_BYTES_MAX, HEAD_ROOM_BYTES};
use rings::interface;
use rings::packet::{LinkHealth, PacketOptions, PacketPort};
use rings::wait::Waiter;
use std::collections::HashMap;
use std::os::fd::AsRawFd;

const FRAMES: u32 = 10_000;

fn open(interface: &str) -> PacketPort {
    PacketPort::open(interface, &PacketOptions::default()).unwrap()
}

fn length_of(number: u32) -> usize {
    18 + (number as usize * 7) % (1_514 - 17)
}

/// All experiments that wait at `port`, as they were lent.
fn drain(port: &mut PacketPort) -> Vec<Vec<u8>> {
    let burst = port.receive();
    assert!(burst.iter().all(|frame| usize::from(frame.start()) >= HEAD_ROOM_BYTES));
    let frames = burst.iter().map(|frame| frame.bytes().to_vec()).filter(|frame| number_of(frame).is_some());
    let frames = frames.collect();
    drop(burst);
    port.release();
    frames
}

fn next(port: &mut PacketPort) -> Vec<u8> {
    let mut frames =
        eventually("a frame at the port", || Some(drain(port)).filter(|frames| !frames.is_empty()));
    assert_eq!(frames.len(), 1);
    frames.remove(0)
}

#[test]
fn frames_come_in_whole_in_order_and_with_head_room() {
    Lab::run(1, |lab| {
        let wire = lab.far_wire();
        let mut port = open("near0");
        let mut expected = 0;
        for first in (0..FRAMES).step_by(100) {
            for number in first..first + 100 {
                wire.send(&experiment(number, length_of(number)));
            }
            while expected < first + 100 {
                for frame in
                    eventually("the next frames", || Some(drain(&mut port)).filter(|all| !all.is_empty()))
                {
                    assert!(frame == experiment(expected, length_of(expected)), "frame {expected} differs");
                    expected += 1;
                }
            }
        }
        let counted = port.statistics();
        assert_eq!(
            (counted.ring_full, counted.oversize, counted.truncated, counted.unfinished),
            (0, 0, 0, 0)
        );
    });
}

fn frames_go_out(bypass_queueing: bool) {
    Lab::run(1, |lab| {
        let mut peer = lab.in_far(|| open("far0"));
        let options = PacketOptions { bypass_queueing, ..PacketOptions::default() };
        let mut port = PacketPort::open("near0", &options).unwrap();
        let mut expected = 0;
        for first in (0..FRAMES).step_by(100) {
            for number in first..first + 100 {
                assert!(port.transmit(&experiment(number, length_of(number))));
            }
            port.flush();
            while expected < first + 100 {
                for frame in
                    eventually("the next frames", || Some(drain(&mut peer)).filter(|all| !all.is_empty()))
                {
                    assert!(frame == experiment(expected, length_of(expected)), "frame {expected} differs");
                    expected += 1;
                }
            }
        }
        assert_eq!((port.statistics().transmit_refused, port.statistics().transmit_withdrawn), (0, 0));
    });
}

#[test]
fn frames_go_out_whole_and_in_order() {
    frames_go_out(false);
}

#[test]
fn frames_go_out_past_the_queueing_discipline() {
    frames_go_out(true);
}

#[test]
fn a_lent_frame_is_rewritten_reflected_and_forwarded_in_place() {
    Lab::run(1, |lab| {
        let wire = lab.far_wire();
        let mut port = open("near0");
        wire.send(&experiment(7, 100));
        let (index, start, length) = eventually("the frame", || {
            let mut burst = port.receive();
            let index = burst.iter().position(|frame| number_of(frame.bytes()) == Some(7))?;
            let frame = &mut burst[index];
            frame.bytes_mut()[99] = 0xee;
            frame.prepend(4).unwrap();
            frame.bytes_mut()[..16].copy_from_slice(&experiment(8, 18)[..16]);
            Some((index, usize::from(frame.start()), usize::from(frame.length())))
        });
        assert_eq!(length, 104);
        assert_eq!(port.lent(index, start, length).map(|bytes| bytes[103]), Some(0xee));
        assert_eq!(port.lent(index, start, 65_000), None);
        assert_eq!(port.lent(index, usize::MAX, 1), None);
        assert_eq!(port.lent(BURST_FRAMES_MAX, start, length), None);
        assert!(port.reflect(index, start, length));
        assert!(!port.reflect(BURST_FRAMES_MAX, start, length));
        port.release();
        assert_eq!(port.lent(index, start, length), None);
        port.flush();
        let reflected =
            eventually("the reflected frame", || wire.receive().filter(|frame| frame.len() == 104));
        assert_eq!(reflected[103], 0xee);
    });
}

#[test]
fn stripped_vlan_tags_are_put_back() {
    Lab::run(1, |lab| {
        let wire = lab.far_wire();
        let mut port = open("near0");
        let plain = experiment(1, 100);
        for tags in
            [&[[0x81, 0x00, 0x60, 0x14]][..], &[[0x88, 0xa8, 0, 5]], &[[0x88, 0xa8, 0, 5], [0x81, 0, 0, 6]]]
        {
            let tagged = [&plain[..12], tags.as_flattened(), &plain[12..]].concat();
            wire.send(&tagged);
            let received = eventually("the tagged frame", || {
                let burst = port.receive();
                let frame = burst.iter().find(|frame| frame.bytes().len() == tagged.len())?;
                assert!(usize::from(frame.start()) >= HEAD_ROOM_BYTES);
                Some(frame.bytes().to_vec())
            });
            assert_eq!(received, tagged);
        }
    });
}

#[test]
fn a_frame_longer_than_a_port_carries_is_counted_not_lent() {
    Lab::run(1, |lab| {
        lab.near("link set near0 mtu 9000");
        lab.far("link set far0 mtu 9000");
        let wire = lab.far_wire();
        let mut port = open("near0");
        for (number, length) in [(1, 5_000), (2, FRAME_BYTES_MAX + 1), (3, FRAME_BYTES_MAX)] {
            wire.send(&experiment(number, length));
        }
        assert_eq!(next(&mut port), experiment(3, FRAME_BYTES_MAX));
        assert_eq!(port.statistics().oversize, 2);
        assert!(!port.transmit(&experiment(4, FRAME_BYTES_MAX + 1)));
        assert!(!port.transmit(&[0; 13]));
        assert_eq!(port.statistics().transmit_refused, 2);
    });
}

#[test]
fn a_full_receive_ring_is_counted_and_drained() {
    Lab::run(1, |lab| {
        let wire = lab.far_wire();
        let options = PacketOptions { receive_slots: 100, ..PacketOptions::default() };
        let mut port = PacketPort::open("near0", &options).unwrap();
        for number in 0..1_000 {
            wire.send(&experiment(number, 60));
        }
        let mut received = 0;
        eventually("every frame, received or counted", || {
            received += drain(&mut port).len() as u64;
            // Not only ours find the ring full.
            (received + port.statistics().ring_full >= 1_000).then_some(())
        });
        assert!((64..=128).contains(&received), "{received} of a ring of 128 slots");
        assert!(port.statistics().ring_full >= 872);
        wire.send(&experiment(1_000, 60));
        assert_eq!(number_of(&next(&mut port)), Some(1_000));
    });
}

#[test]
fn frames_that_leave_by_the_interface_are_not_received() {
    Lab::run(1, |lab| {
        let wire = lab.far_wire();
        let mut port = open("near0");
        let near = Wire::open("near0");
        let mut group = PacketPort::open_group("near0", 2, &PacketOptions::default()).unwrap();
        assert!(port.transmit(&experiment(1, 60)));
        port.flush();
        near.send(&experiment(2, 60));
        for number in [1, 2] {
            eventually("the frame at the far end", || {
                wire.receive().filter(|frame| number_of(frame) == Some(number))
            });
        }
        wire.send(&experiment(3, 60));
        assert_eq!(number_of(&next(&mut port)), Some(3));
        let ours = eventually("the frame in the group", || {
            let both = [drain(&mut group[0]), drain(&mut group[1])].concat();
            Some(both).filter(|both| !both.is_empty())
        });
        assert_eq!(ours.iter().map(|frame| number_of(frame)).collect::<Vec<_>>(), [Some(3)]);
    });
}

#[test]
fn transmit_never_blocks_on_a_peer_or_a_link_that_is_down() {
    Lab::run(1, |lab| {
        let options = PacketOptions { transmit_slots: 128, ..PacketOptions::default() };
        let mut port = PacketPort::open("near0", &options).unwrap();
        let send = |port: &mut PacketPort| {
            let mut accepted = 0;
            for number in 0..5_000 {
                accepted += u64::from(port.transmit(&experiment(number, 60)));
                if number % 64 == 63 {
                    port.flush();
                }
            }
            port.flush();
            accepted
        };
        lab.far("link set far0 down");
        let before = port.statistics();
        let accepted = send(&mut port);
        let after = port.statistics();
        assert_eq!(accepted + after.transmit_refused - before.transmit_refused, 5_000);

        lab.near("link set near0 down");
        assert_eq!(port.health(), LinkHealth::Down);
        let before = port.statistics();
        let accepted = send(&mut port);
        let after = port.statistics();
        assert!(after.transmit_withdrawn - before.transmit_withdrawn >= accepted);

        lab.link_up();
        let wire = lab.far_wire();
        assert!(port.transmit(&experiment(9_999, 60)));
        port.flush();
        let first = eventually("a frame after the link returned", || {
            port.flush();
            wire.receive().and_then(|frame| number_of(&frame))
        });
        assert_eq!(first, 9_999, "a frame of the time when the link was down was sent late");
    });
}

#[test]
fn a_port_goes_on_after_its_link_was_down_and_tells_when_it_is_removed() {
    Lab::run(1, |lab| {
        let mut port = open("near0");
        assert_eq!(port.health(), LinkHealth::Up);
        lab.near("link set near0 down");
        assert_eq!(port.health(), LinkHealth::Down);
        assert_eq!(drain(&mut port), Vec::<Vec<u8>>::new());
        lab.link_up();
        assert_eq!(port.health(), LinkHealth::Up);
        let wire = lab.far_wire();
        wire.send(&experiment(1, 60));
        assert_eq!(number_of(&next(&mut port)), Some(1));
        // Down and up between two turns: the error that the socket keeps costs no frame.
        lab.near("link set near0 down");
        lab.link_up();
        assert!(port.transmit(&experiment(2, 60)));
        port.flush();
        eventually("the frame", || wire.receive().filter(|frame| number_of(frame) == Some(2)));
        assert_eq!(port.statistics().transmit_withdrawn, 0);
        // Away and back again, under the same number: the kernel has untied the socket for good.
        let index = interface::find("near0").unwrap().index;
        lab.move_away_and_back("near0");
        lab.near("link set near0 up");
        assert_eq!(interface::find("near0").unwrap().index, index);
        assert_eq!(port.health(), LinkHealth::Removed);
        lab.near("link del near0");
        assert_eq!(port.health(), LinkHealth::Removed);
        assert!(port.transmit(&experiment(2, 60)));
        port.flush();
        assert_eq!(port.statistics().transmit_withdrawn, 1);
        assert_eq!(drain(&mut port), Vec::<Vec<u8>>::new());
    });
}

#[test]
fn a_group_and_a_port_open_on_a_link_that_is_still_down() {
    Lab::run(1, |lab| {
        lab.near("link set near0 down");
        let mut port = open("near0");
        let mut group = match PacketPort::open_group("near0", 2, &PacketOptions::default()) {
            Ok(group) => group,
            Err(error) => {
                println!("skipped: this kernel wants the link up for a group ({error})");
                return;
            }
        };
        lab.link_up();
        let wire = lab.far_wire();
        wire.send(&experiment(1, 60));
        assert_eq!(number_of(&next(&mut port)), Some(1));
        eventually("the frame in the group", || {
            let both = [drain(&mut group[0]), drain(&mut group[1])].concat();
            (both.len() == 1).then_some(())
        });
    });
}

/// IPv4 and UDP with `ports`, in one direction or the other; the payload carries `number`.
fn datagram(number: u32, ports: (u16, u16), reply: bool) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0, 0]);
    let (from, to, ports) = if reply { (2, 1, (ports.1, ports.0)) } else { (1, 2, ports) };
    frame.extend([198, 18, 0, from, 198, 18, 0, to]);
    frame.extend([ports.0.to_be_bytes(), ports.1.to_be_bytes(), [0, 12], [0, 0]].concat());
    frame.extend(number.to_be_bytes());
    frame
}

#[test]
fn a_group_shares_the_frames_by_flow_and_loses_none() {
    Lab::run(1, |lab| {
        let wire = lab.far_wire();
        let mut group = PacketPort::open_group("near0", 2, &PacketOptions::default()).unwrap();
        let mut seen = HashMap::new();
        let mut shares = [0; 2];
        for number in 0..FRAMES {
            let flow = number / 2 % 500;
            wire.send(&datagram(number, (1_000 + flow as u16, 53), number % 2 == 1));
            if number % 100 < 99 {
                continue;
            }
            eventually("the last hundred frames", || {
                for (member, port) in group.iter_mut().enumerate() {
                    for frame in port.receive().iter().filter(|frame| frame.bytes()[12..14] == [8, 0]) {
                        let number = u32::from_be_bytes(*frame.bytes()[42..].first_chunk().unwrap());
                        assert_eq!(seen.insert(number, member), None, "frame {number} came twice");
                        shares[member] += 1;
                    }
                }
                (seen.len() as u32 > number).then_some(())
            });
        }
        assert!(shares[0] > 0 && shares[1] > 0, "one member got nothing: {shares:?}");
        for number in (0..FRAMES).step_by(2) {
            assert_eq!(seen[&number], seen[&(number + 1)], "the two directions of a flow were parted");
        }
    });
}

/// Whether a poll would return at once.
fn is_ready(port: &PacketPort) -> bool {
    let mut watched = libc::pollfd { fd: port.fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which outlives the call.
    unsafe { libc::poll(&raw mut watched, 1, 0) > 0 }
}

#[test]
fn a_waiter_sleeps_until_a_frame_comes_and_not_less_after_a_link_was_down() {
    Lab::run(1, |lab| {
        let wire = lab.far_wire();
        let mut port = open("near0");
        let mut waiter = Waiter::new().unwrap();
        wire.send(&experiment(1, 60));
        waiter.wait([port.fd()], None);
        assert_eq!(number_of(&next(&mut port)), Some(1));
        assert!(!is_ready(&port));
        lab.near("link set near0 down");
        // Ends for the error that the socket keeps, and takes it.
        waiter.wait([port.fd()], None);
        assert!(!is_ready(&port));
    });
}
