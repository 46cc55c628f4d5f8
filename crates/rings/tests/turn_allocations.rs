//! A turn over real rings takes no memory from the allocator.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod packet_lab;
mod worker_lab;

use packet_lab::{Wire, eventually};
use port::{BURST_FRAMES_MAX, Ports, Verdict};
use rings::steering::{Attach, Driver};
use rings::{HostLegSpec, RingLengths, WorkerPorts, open};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use worker_lab::{LEFT, Lab, RIGHT, number_of, open_both, spec, steering, udp};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: the system's allocator does all of it; the counter of the thread allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Sends on to the right what comes in on the left, and one frame of its own; gives back how many came.
fn turn(ports: &mut WorkerPorts, own: &[u8]) -> usize {
    let mut verdicts = [Verdict::Drop; BURST_FRAMES_MAX];
    let mut count = 0;
    for frame in ports.receive(LEFT) {
        let (start, length) = (frame.start(), frame.length());
        verdicts[count] = Verdict::Transmit { port: RIGHT, start, length };
        count += 1;
    }
    ports.settle(LEFT, &verdicts[..count]);
    ports.receive(RIGHT);
    ports.settle(RIGHT, &[]);
    assert!(ports.inject(LEFT, own));
    ports.flush();
    count
}

#[test]
fn a_turn_with_a_host_leg_allocates_nothing() {
    for (driver, attach) in [(Driver::AfXdp, Attach::Native), (Driver::AfPacket, Attach::Auto)] {
        Lab::run(1, |lab| {
            let leg = HostLegSpec { name: "host0".to_owned(), mac: [2, 0, 0, 0, 0, 0x50], mtu: 1_500 };
            let (steering, lengths) = (steering(), RingLengths::default());
            let mut opened = open(&steering, &[spec("eth0", driver, attach)], &[leg], 1, &lengths).unwrap();
            opened.gates[0].open().unwrap();
            let left = lab.inside(&lab.left, || Wire::open("left0"));
            let host = Wire::open("host0");
            let ports = &mut opened.workers[0];
            let mut verdicts = [Verdict::Drop; BURST_FRAMES_MAX];
            for first in (0..1_000).step_by(100) {
                for number in first..first + 100 {
                    left.send(&udp(number, [198, 18, 0, 10], 100));
                    host.send(&udp(number, [198, 18, 0, 10], 100));
                }
                let (mut crossed, mut allocations) = ([0, 0], 0);
                eventually("both batches", || {
                    let before = ALLOCATIONS.get();
                    for ((from, to), crossed) in [(LEFT, RIGHT), (RIGHT, LEFT)].into_iter().zip(&mut crossed)
                    {
                        let mut count = 0;
                        for frame in ports.receive(from) {
                            let (start, length) = (frame.start(), frame.length());
                            verdicts[count] = Verdict::Transmit { port: to, start, length };
                            count += 1;
                        }
                        ports.settle(from, &verdicts[..count]);
                        *crossed += count;
                    }
                    ports.flush();
                    allocations += ALLOCATIONS.get() - before;
                    (crossed == [100, 100]).then_some(())
                });
                assert_eq!(allocations, 0, "{driver:?}");
            }
        });
    }
}

#[test]
fn a_turn_allocates_nothing() {
    let native = (Driver::AfXdp, Attach::Native);
    let packet = (Driver::AfPacket, Attach::Auto);
    for kinds in [[native, native], [packet, packet], [native, packet], [packet, native]] {
        Lab::run(2, |lab| {
            let (_steering, mut opened) = open_both(kinds, 1);
            let ports = &mut opened.workers[0];
            let left = lab.inside(&lab.left, || Wire::open("left0"));
            let right = lab.inside(&lab.right, || Wire::open("right0"));
            let own = udp(0, [198, 18, 0, 2], 60);
            for first in (0..1_000).step_by(100) {
                (first..first + 100).for_each(|number| left.send(&udp(number, [198, 18, 0, 10], 100)));
                let (mut sent, mut allocations) = (0, 0);
                eventually("the batch", || {
                    let before = ALLOCATIONS.get();
                    sent += turn(ports, &own);
                    allocations += ALLOCATIONS.get() - before;
                    (sent == 100).then_some(())
                });
                assert_eq!(allocations, 0, "{kinds:?}");
                let mut arrived = 0;
                eventually("the batch at the right", || {
                    ports.flush();
                    arrived += right.receive().as_deref().and_then(number_of).map_or(0, |_| 1);
                    (arrived == 100).then_some(())
                });
            }
        });
    }
}
