//! Checksums that a sender on the same host leaves to hardware, and the filter in front of the ring.
#![allow(clippy::unwrap_used, reason = "a test's own helper")]

mod packet_lab;

use packet_lab::{Lab, Wire, eventually, experiment, number_of};
use rings::ethtool;
use rings::packet::{PacketOptions, PacketPort};
use std::io;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Whether a receiver takes the transport checksum of this untagged frame without options or extension
/// headers.
fn is_right(frame: &[u8]) -> bool {
    let (addresses, protocol, segment) = match frame[12..14] {
        [8, 0] => {
            let end = 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
            (&frame[26..34], frame[23], &frame[34..end])
        }
        _ => (&frame[22..54], frame[20], &frame[54..]),
    };
    let length = segment.len() as u16;
    let mut all = [addresses, &[0, protocol], &length.to_be_bytes(), segment].concat();
    all.resize(all.len().next_multiple_of(2), 0);
    let mut sum = 0u32;
    for pair in all.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum == 0xffff
}

fn is_ours(frame: &[u8]) -> bool {
    match frame[12..14] {
        [8, 0] => matches!(frame[23], 6 | 17),
        [0x86, 0xdd] => matches!(frame[20], 6 | 17),
        _ => false,
    }
}

/// What the far kernel sends to `target` by `send`, as the ring lends it and as a plain socket sees it.
fn seen_twice(lab: &Lab, send: impl FnOnce() + Send) -> (Vec<u8>, Vec<u8>) {
    let wire = Wire::open("near0");
    let mut port = PacketPort::open("near0", &PacketOptions::default()).unwrap();
    lab.in_far(send);
    let raw = eventually("the frame at the plain socket", || wire.receive().filter(|frame| is_ours(frame)));
    let lent = eventually("the frame in the ring", || {
        port.receive().iter().map(|frame| frame.bytes().to_vec()).find(|frame| is_ours(frame))
    });
    assert_eq!(port.statistics().unfinished, 0);
    (raw, lent)
}

#[test]
fn unfinished_checksums_are_finished() {
    Lab::run(1, |lab| {
        lab.enable_ipv6();
        lab.far("address add 198.18.0.2/24 dev far0");
        lab.far("address add 2001:db8::2/64 dev far0 nodad");
        lab.far("neighbour add 198.18.0.1 lladdr 02:00:00:00:00:01 dev far0 nud permanent");
        lab.far("neighbour add 2001:db8::1 lladdr 02:00:00:00:00:01 dev far0 nud permanent");
        for target in ["198.18.0.1:53", "[2001:db8::1]:53"] {
            let target: SocketAddr = target.parse().unwrap();
            let from = if target.is_ipv4() { "198.18.0.2:0" } else { "[2001:db8::2]:0" };
            let udp = || {
                UdpSocket::bind(from).unwrap().send_to(b"an odd number of bytes!", target).unwrap();
            };
            let tcp = || {
                TcpStream::connect_timeout(&target, Duration::from_millis(1)).unwrap_err();
            };
            for (raw, lent) in [seen_twice(lab, udp), seen_twice(lab, tcp)] {
                assert!(
                    !is_right(&raw),
                    "{target}: the peer finished its checksum itself; nothing was tested"
                );
                assert!(is_right(&lent), "{target}: {lent:02x?}");
            }
        }
    });
}

#[test]
fn a_peer_that_finishes_its_checksums_is_left_alone() {
    Lab::run(1, |lab| {
        lab.far("address add 198.18.0.2/24 dev far0");
        lab.far("neighbour add 198.18.0.1 lladdr 02:00:00:00:00:01 dev far0 nud permanent");
        lab.in_far(|| ethtool::set_feature("far0", "tx-checksum-ip-generic", false).unwrap());
        let (raw, lent) = seen_twice(lab, || {
            UdpSocket::bind("198.18.0.2:0").unwrap().send_to(b"payload", "198.18.0.1:53").unwrap();
        });
        assert!(is_right(&raw));
        assert_eq!(lent, raw);
    });
}

/// A socket filter that takes the frames whose last byte of the source MAC is odd.
fn filter() -> OwnedFd {
    let program: [u64; 5] = [
        0x0000_0000_0000_16bf, // r6 = r1: the context, where a load from the frame expects it
        0x0000_000b_0000_0030, // r0 = the frame's byte 11
        0x0000_0001_0000_0057, // r0 &= 1
        0x0000_0000_0000_0084, // w0 = -w0: none of the frame, or all of it
        0x0000_0000_0000_0095, // return r0
    ];
    let licence = c"GPL";
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        licence: u64,
        rest: [u64; 14],
    }
    let load = Load {
        kind: 1,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        licence: licence.as_ptr() as u64,
        rest: [0; 14],
    };
    // SAFETY: BPF_PROG_LOAD (5) with its attribute's true size; all that it points to outlives the call.
    let raw = unsafe { libc::syscall(libc::SYS_bpf, 5, &raw const load, size_of_val(&load)) };
    assert!(raw >= 0, "{}", io::Error::last_os_error());
    // SAFETY: a new descriptor that nobody else has.
    unsafe { OwnedFd::from_raw_fd(raw as i32) }
}

#[test]
fn the_ring_holds_only_what_its_filter_takes() {
    Lab::run(1, |lab| {
        let wire = lab.far_wire();
        let filter = filter();
        let options = PacketOptions { filter: Some(filter.as_fd()), ..PacketOptions::default() };
        let one = PacketPort::open("near0", &options).unwrap();
        let mut ports = PacketPort::open_group("near0", 2, &options).unwrap();
        ports.push(one);
        for number in 0..100 {
            let mut frame = experiment(number, 60);
            frame[11] = number as u8;
            wire.send(&frame);
        }
        let mut seen = [0; 100];
        eventually("every odd frame, in the group and at the port", || {
            for port in &mut ports {
                for frame in &port.receive() {
                    assert_eq!(frame.bytes().len(), 60);
                    seen[number_of(frame.bytes()).unwrap() as usize] += 1;
                }
            }
            (seen[99] == 2).then_some(())
        });
        assert!((0..100).all(|number| seen[number] == if number % 2 == 1 { 2 } else { 0 }), "{seen:?}");
        assert!(ports.iter_mut().all(|port| port.statistics().truncated == 0));
    });
}
