//! Forwarding between two ports over real rings, with the kernel of the peers as the oracle.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod packet_lab;
mod worker_lab;

use packet_lab::{Wire, eventually};
use port::{PortIndex, Ports, Verdict};
use rings::WorkerPorts;
use rings::steering::{Attach, Driver};
use std::time::Duration;
use worker_lab::{LEFT, Lab, RIGHT, number_of, open_both, turn, udp};

const FRAMES: u32 = 10_000;
const BATCH: u32 = 100;
const VIP: [u8; 4] = [198, 18, 0, 10];

const NATIVE: (Driver, Attach) = (Driver::AfXdp, Attach::Native);
const GENERIC: (Driver, Attach) = (Driver::AfXdp, Attach::Generic);
const PACKET: (Driver, Attach) = (Driver::AfPacket, Attach::Auto);

fn length_of(number: u32) -> usize {
    60 + (number as usize * 7) % (1_514 - 59)
}

/// Every chunk is free or waits for a frame: nothing was lost on the way.
fn assert_all_chunks_at_rest(ports: &mut WorkerPorts) {
    eventually("the end of all transmissions", || {
        ports.receive(LEFT);
        ports.receive(RIGHT);
        let count = ports.umem_use();
        (count.sending == 0).then_some(())
    });
    let count = ports.umem_use();
    assert_eq!(count.free + count.receiving, count.chunks, "{count:?}");
    assert_eq!(count.lent, 0);
}

fn assert_no_losses(ports: &mut WorkerPorts) {
    for port in [LEFT, RIGHT] {
        let losses: Vec<_> = ports.statistics(port).unwrap().losses().filter(|loss| loss.1 > 0).collect();
        assert_eq!(losses, []);
    }
}

/// Sends `FRAMES` frames from the left, in batches that every buffer on the way can hold, and takes each at
/// the right.
fn cross(lab: &Lab, workers: &mut [WorkerPorts]) {
    let left = lab.inside(&lab.left, || Wire::open("left0"));
    let right = lab.inside(&lab.right, || Wire::open("right0"));
    let mut taken_by = vec![0; workers.len()];
    for first in (0..FRAMES).step_by(BATCH as usize) {
        for number in first..first + BATCH {
            left.send(&udp(number, VIP, length_of(number)));
        }
        let mut missing: Vec<u32> = (first..first + BATCH).collect();
        eventually("the batch", || {
            for (worker, taken) in workers.iter_mut().zip(&mut taken_by) {
                *taken += turn(worker);
            }
            while let Some(frame) = right.receive() {
                let Some(number) = number_of(&frame) else { continue };
                assert!(frame == udp(number, VIP, length_of(number)), "frame {number} differs");
                let place = missing.iter().position(|&one| one == number);
                missing.remove(place.unwrap_or_else(|| panic!("frame {number} came twice")));
            }
            missing.is_empty().then_some(())
        });
    }
    assert_eq!(taken_by.iter().sum::<usize>(), FRAMES as usize);
    assert!(taken_by.iter().all(|&taken| taken > 0), "a worker saw nothing: {taken_by:?}");
    for ports in workers {
        assert_no_losses(ports);
        assert_all_chunks_at_rest(ports);
    }
}

fn all_frames_cross(kinds: [(Driver, Attach); 2], queues: u32, workers: usize, mode: &str) {
    Lab::run(queues, |lab| {
        let (_steering, mut opened) = open_both(kinds, workers);
        let facts = opened.gates[0].facts();
        assert_eq!((facts.mode, facts.reason), (mode, None));
        cross(lab, &mut opened.workers);
        let counted = opened.gates[0].counters().unwrap();
        assert_eq!((counted.to_socket, counted.socket_missing), (u64::from(FRAMES), 0));
    });
}

#[test]
fn all_frames_cross_in_the_driver_on_one_queue() {
    all_frames_cross([NATIVE, NATIVE], 1, 1, "native copy");
}

#[test]
fn all_frames_cross_in_the_driver_on_two_queues_of_one_worker() {
    all_frames_cross([NATIVE, NATIVE], 2, 1, "native copy");
}

#[test]
fn all_frames_cross_in_the_driver_on_three_queues_of_two_workers() {
    all_frames_cross([NATIVE, NATIVE], 3, 2, "native copy");
}

#[test]
fn all_frames_cross_in_the_emulation_on_one_queue() {
    all_frames_cross([GENERIC, GENERIC], 1, 1, "generic copy");
}

#[test]
fn all_frames_cross_in_the_emulation_on_two_queues_of_one_worker() {
    all_frames_cross([GENERIC, GENERIC], 2, 1, "generic copy");
}

#[test]
fn all_frames_cross_on_af_packet() {
    all_frames_cross([PACKET, PACKET], 1, 1, "af_packet ring");
}

#[test]
fn all_frames_cross_on_af_packet_of_two_workers() {
    all_frames_cross([PACKET, PACKET], 1, 2, "af_packet ring");
}

#[test]
fn all_frames_cross_from_af_xdp_to_af_packet() {
    all_frames_cross([NATIVE, PACKET], 1, 1, "native copy");
}

#[test]
fn all_frames_cross_from_af_packet_to_af_xdp() {
    all_frames_cross([PACKET, NATIVE], 1, 1, "af_packet ring");
}

#[test]
fn a_flow_keeps_to_its_queue_and_its_order() {
    const FLOWS: u32 = 16;
    Lab::run(2, |lab| {
        let (_steering, mut opened) = open_both([NATIVE, NATIVE], 1);
        let left = lab.inside(&lab.left, || Wire::open("left0"));
        // One worker for each queue at the far end tells by which queue a frame has left.
        let (_far_steering, mut far) = lab.inside(&lab.right, || {
            let steering = worker_lab::steering();
            let ports = [worker_lab::spec("right0", NATIVE.0, NATIVE.1)];
            let far = rings::open(&steering, &ports, &[], 2, &rings::RingLengths::default()).unwrap();
            far.gates[0].set_takes_all(true).unwrap();
            far.gates[0].open().unwrap();
            (steering, far)
        });
        // Of each flow: its queue, and the number of its last frame.
        let mut last: [Option<(usize, u32)>; FLOWS as usize] = [None; FLOWS as usize];
        for first in (0..FRAMES).step_by(BATCH as usize) {
            (first..first + BATCH).for_each(|number| left.send(&udp(number, VIP, 100)));
            let mut arrived = 0;
            eventually("the batch", || {
                turn(&mut opened.workers[0]);
                for (queue, ports) in far.workers.iter_mut().enumerate() {
                    for number in ports.receive(LEFT).iter().filter_map(|frame| number_of(frame.bytes())) {
                        let before = last[(number % FLOWS) as usize].replace((queue, number));
                        let expected = number.checked_sub(FLOWS).map(|previous| (queue, previous));
                        assert_eq!(before, expected, "frame {number}");
                        arrived += 1;
                    }
                }
                (arrived == BATCH).then_some(())
            });
        }
        for queue in 0..2 {
            assert!(
                last.iter().flatten().any(|flow| flow.0 == queue),
                "queue {queue} sent nothing: {last:?}"
            );
        }
    });
}

/// The next frame of [`udp`] that `port` lends, answered with `verdicts`.
fn next(ports: &mut WorkerPorts, port: PortIndex, verdicts: &[Verdict]) -> (u32, u32) {
    eventually("a frame at the port", || {
        let number = ports.receive(port).first().and_then(|frame| number_of(frame.bytes()))?;
        let refused = ports.settle(port, verdicts).refused;
        ports.flush();
        Some((number, refused))
    })
}

#[test]
fn a_frame_is_reflected_injected_refused_and_dropped() {
    for kinds in [[NATIVE, NATIVE], [PACKET, PACKET]] {
        Lab::run(1, |lab| {
            let (_steering, mut opened) = open_both(kinds, 1);
            let ports = &mut opened.workers[0];
            let left = lab.inside(&lab.left, || Wire::open("left0"));
            let answer = || eventually("an answer", || left.receive().as_deref().and_then(number_of));

            left.send(&udp(1, VIP, 100));
            let frame = eventually("a frame", || {
                let burst = ports.receive(LEFT);
                burst.first().map(|frame| (frame.start(), frame.length()))
            });
            let back = Verdict::Transmit { port: LEFT, start: frame.0, length: frame.1 };
            assert_eq!(ports.settle(LEFT, &[back]).refused, 0);
            ports.flush();
            assert_eq!(answer(), 1);

            assert!(ports.inject(LEFT, &udp(2, VIP, 1_514)));
            ports.flush();
            assert_eq!(answer(), 2);
            assert!(!ports.inject(PortIndex(9), &udp(2, VIP, 100)));
            assert!(!ports.inject(LEFT, &[0; 3_000]));

            let nowhere = Verdict::Transmit { port: PortIndex(9), start: frame.0, length: frame.1 };
            let outside = Verdict::Transmit { port: RIGHT, start: 65_000, length: 500 };
            for (number, verdicts, refused) in
                [(3, &[nowhere][..], 1), (4, &[outside], 1), (5, &[Verdict::Drop], 0), (6, &[], 0)]
            {
                left.send(&udp(number, VIP, 100));
                assert_eq!(next(ports, LEFT, verdicts), (number, refused));
            }
            assert_eq!(left.receive().as_deref().and_then(number_of), None);
            assert_all_chunks_at_rest(ports);
        });
    }
}

/// Numbers of the next `count` frames that came to a peer, in order.
fn arrivals(wire: &Wire, count: usize) -> Vec<u32> {
    let mut numbers = Vec::new();
    eventually("frames at the peer", || {
        while let Some(frame) = wire.receive() {
            numbers.extend(number_of(&frame));
        }
        (numbers.len() >= count).then_some(())
    });
    numbers
}

#[test]
fn a_burst_goes_where_each_of_its_verdicts_says() {
    for kinds in [[NATIVE, NATIVE], [NATIVE, PACKET], [PACKET, NATIVE]] {
        Lab::run(1, |lab| {
            let (_steering, mut opened) = open_both(kinds, 1);
            let ports = &mut opened.workers[0];
            let left = lab.inside(&lab.left, || Wire::open("left0"));
            let right = lab.inside(&lab.right, || Wire::open("right0"));
            (0..10).for_each(|number| left.send(&udp(number, VIP, 100)));
            // All ten lie in the ring before it is looked at: sending on a veth ends in its receiver.
            let (start, length) = eventually("the burst", || {
                let burst = ports.receive(LEFT);
                (burst.len() == 10).then(|| (burst[0].start(), burst[0].length()))
            });
            let to = |port| Verdict::Transmit { port, start, length };
            let outside = Verdict::Transmit { port: RIGHT, start: 2_000, length: 100 };
            let (l, r, nowhere) = (to(LEFT), to(RIGHT), to(PortIndex(9)));
            let verdicts = [r, r, Verdict::Drop, l, r, nowhere, nowhere, outside, r];
            assert_eq!(ports.settle(LEFT, &verdicts).refused, 3, "{kinds:?}");
            let moved =
                [(kinds[0], 1), (kinds[1], 4)].map(|(kind, count)| usize::from(kind == NATIVE) * count);
            assert_eq!(ports.umem_use().sending, moved[0] + moved[1], "{kinds:?}");
            ports.flush();
            assert_eq!(arrivals(&right, 4), [0, 1, 4, 8], "{kinds:?}");
            assert_eq!(arrivals(&left, 1), [3], "{kinds:?}");
            assert_all_chunks_at_rest(ports);
        });
    }
}

#[test]
fn a_fill_ring_is_filled_by_the_burst_and_not_by_the_frame() {
    const BURST: u32 = port::BURST_FRAMES_MAX as u32;
    Lab::run(1, |lab| {
        let (_steering, mut opened) = open_both([NATIVE, NATIVE], 1);
        let ports = &mut opened.workers[0];
        let left = lab.inside(&lab.left, || Wire::open("left0"));
        let full = ports.umem_use().receiving;
        assert_eq!(full, 2 * rings::RING_ENTRIES_DEFAULT as usize);
        for number in 0..2 * BURST {
            left.send(&udp(number, VIP, 60));
            assert_eq!(next(ports, LEFT, &[]), (number, 0));
            let missing = ((number + 1) % BURST) as usize;
            assert_eq!(ports.umem_use().receiving, full - missing, "after frame {number}");
        }
    });
}

#[test]
fn a_sleeping_worker_wakes_for_a_frame_and_for_its_waker() {
    for kinds in [[NATIVE, NATIVE], [GENERIC, PACKET]] {
        Lab::run(2, |lab| {
            let (_steering, mut opened) = open_both(kinds, 1);
            let ports = &mut opened.workers[0];
            let left = lab.inside(&lab.left, || Wire::open("left0"));
            let waker = ports.waker();
            waker.wake();
            assert!(eventually("the waker", || ports.wait(None).then_some(true)));
            left.send(&udp(1, VIP, 100));
            eventually("the frame", || {
                assert!(!ports.wait(Some(Duration::from_secs(5))), "woken by a waker that nobody used");
                ports.receive(LEFT).first().and_then(|frame| number_of(frame.bytes()))
            });
        });
    }
}

#[test]
fn a_full_transmit_ring_refuses_and_keeps_no_more_than_its_length() {
    Lab::run(1, |_lab| {
        let (_steering, mut opened) = open_both([NATIVE, NATIVE], 1);
        let ports = &mut opened.workers[0];
        let entries = rings::RING_ENTRIES_DEFAULT;
        for number in 0..entries {
            assert!(ports.inject(RIGHT, &udp(number, VIP, 60)));
        }
        assert!(!ports.inject(RIGHT, &udp(0, VIP, 60)));
        assert!(ports.inject(LEFT, &udp(0, VIP, 60)), "the other port has its own share");
        assert_eq!(ports.umem_use().sending, entries as usize + 1);
        eventually("the ring to empty", || {
            ports.flush();
            ports.receive(LEFT);
            ports.receive(RIGHT);
            (ports.umem_use().sending == 0).then_some(())
        });
        assert!(ports.inject(RIGHT, &udp(0, VIP, 60)));
    });
}

#[test]
fn a_frame_too_long_is_counted_and_no_chunk_is_lost() {
    for kind in [GENERIC, PACKET] {
        Lab::run(1, |lab| {
            lab.ip("link set eth0 mtu 2000");
            lab.left_ip("link set left0 mtu 2000");
            let (_steering, mut opened) = open_both([kind, kind], 1);
            let ports = &mut opened.workers[0];
            let left = lab.inside(&lab.left, || Wire::open("left0"));
            for (number, length) in [(1, 1_601), (2, 1_900), (3, 1_600)] {
                left.send(&udp(number, VIP, length));
            }
            assert_eq!(next(ports, LEFT, &[]).0, 3);
            let losses = ports.statistics(LEFT).unwrap().losses();
            assert_eq!(losses.map(|loss| loss.1).sum::<u64>(), 2, "{kind:?}");
            assert_all_chunks_at_rest(ports);
        });
    }
}
