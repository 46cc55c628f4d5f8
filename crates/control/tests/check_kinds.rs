//! ICMP, half-open and UDP checks against real peers that behave in every way, both families, in namespaces of their own.
//! The peers answer in real time; the clock of the checks is simulated.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use config::{Probe, UdpRequest};
use control::check::{HALF_OPEN_PORTS, Health, Target, Wanted};
use lab::{Capture, Direction};
use support::bed::{Bed, FAMILIES, at};
use support::clockwork::{Clockwork, open_descriptors, parameters};
use support::verdict::{SILENCE, UP, ask, in_namespace, nobody, said, verdict, verdict_of_silence};
use wire::tcp::TcpFlags;

fn udp(expect_reply: Option<&[u8]>) -> Probe {
    Probe::Udp(UdpRequest { send: b"PING".to_vec(), expect_reply: expect_reply.map(<[u8]>::to_vec) })
}

fn icmp(address: &str) -> Wanted {
    let target = Target::by_kernel(address.parse().unwrap(), None);
    Wanted { target, probe: Arc::new(Probe::Icmp), parameters: parameters() }
}

/// An address behind `far`, which refuses to forward to it in the given way.
fn beyond(bed: &Bed, family: &str, refusal: &str) -> String {
    bed.far.forward_packets().unwrap();
    // The kernel limits the rate of its own errors (RFC 1812, 4.3.2.8).
    bed.far.set_parameter("net.ipv4.icmp_ratelimit", "0").unwrap();
    bed.far.set_parameter("net.ipv6.icmp.ratelimit", "0").unwrap();
    let (network, address) = if family.contains(':') {
        ("2001:db8:9::/64", "2001:db8:9::1")
    } else {
        ("198.18.9.0/24", "198.18.9.1")
    };
    let flag = if family.contains(':') { "-6" } else { "-4" };
    bed.ip_near(&format!("{flag} route replace {network} via {family}"));
    bed.ip_far(&format!("{flag} route replace {refusal} {network}"));
    address.to_owned()
}

#[test]
fn icmp_is_answered_unreachable_or_silent() {
    in_namespace("kinds-icmp", |bed| {
        for family in FAMILIES {
            assert_eq!(verdict(&icmp(family)), UP);
            assert_eq!(verdict_of_silence(&icmp(&nobody(bed, family))), "no echo reply within 1 s");
            let prohibited = beyond(bed, family, "prohibit");
            assert_eq!(verdict(&icmp(&prohibited)), "forbidden by a packet filter or route");
            let unreachable = beyond(bed, family, "unreachable");
            // The kernel's IPv6 knows one word for both (RFC 4443, 3.1).
            let reason = if family.contains(':') { "no route to its network" } else { "host unreachable" };
            assert_eq!(verdict(&icmp(&unreachable)), reason);
            // Without a route of our own it does not even leave.
            let elsewhere = if family.contains(':') { "2001:db8:77::1" } else { "198.19.1.1" };
            assert_eq!(verdict(&icmp(elsewhere)), "no route to its network");
        }
    });
}

#[test]
fn echoes_of_many_checks_share_one_socket_a_family() {
    in_namespace("kinds-echoes", |bed| {
        let mut clockwork = Clockwork::new();
        let before = open_descriptors();
        bed.far.set_parameter("net.ipv4.icmp_echo_ignore_all", "1").unwrap();
        let mut list: Vec<Wanted> = (0_u64..601)
            .map(|number| {
                let mut wanted = icmp(FAMILIES[usize::from(number == 600)]);
                wanted.parameters.interval = Duration::from_millis(10_000 + number);
                wanted
            })
            .collect();
        // One every 10 ms.
        let ids = clockwork.update(&list);
        let go_on = |clockwork: &mut Clockwork, range: std::ops::RangeInclusive<u64>| {
            for step in range {
                clockwork.go_to(step * 50);
                clockwork.listen(Duration::from_millis(1));
            }
        };
        go_on(&mut clockwork, 0..=142);
        assert_eq!(open_descriptors(), before + 2, "however many checks");
        assert_eq!(clockwork.checks.load(), (601, 0, 0));
        assert!(ids[..600].iter().all(|id| said(&clockwork, *id) == "no echo reply within 1 s"));
        assert_eq!(said(&clockwork, ids[600]), UP);
        bed.far.set_parameter("net.ipv4.icmp_echo_ignore_all", "0").unwrap();
        go_on(&mut clockwork, 143..=345);
        assert!(ids.iter().all(|id| said(&clockwork, *id) == UP));
        list.truncate(600);
        clockwork.update(&list);
        assert_eq!(open_descriptors(), before + 1, "nobody needs the other");
        clockwork.update(&[]);
    });
}

#[test]
fn half_open_is_three_segments_and_the_application_sees_nothing() {
    in_namespace("kinds-half-open", |bed| {
        for family in FAMILIES {
            let server = at(family, 8_080);
            let listener = bed.listener(server);
            listener.set_nonblocking(true).unwrap();
            // Neighbours are found out beforehand.
            assert_eq!(verdict(&ask(Probe::TcpHalfOpen, server)), UP);
            let name = if server.is_ipv4() { "four" } else { "six" };
            let capture = Capture::start(&bed.link.second, name, Direction::Both).unwrap();
            assert_eq!(verdict(&ask(Probe::TcpHalfOpen, server)), UP);
            let captured = capture.stop().unwrap();
            let flags: Vec<(bool, TcpFlags)> = captured
                .packets_of(server.ip())
                .iter()
                .filter_map(|packet| Some((packet.destination == server.ip(), packet.tcp_flags?)))
                .collect();
            let syn_ack = TcpFlags::SYN | TcpFlags::ACK;
            assert_eq!(flags, [(true, TcpFlags::SYN), (false, syn_ack), (true, TcpFlags::RST)]);
            assert!(captured.verify_checksums().is_ok());
            assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
            drop(listener);
            assert_eq!(verdict(&ask(Probe::TcpHalfOpen, server)), "connection refused");
            let silent = at(&nobody(bed, family), 8_080);
            assert_eq!(verdict_of_silence(&ask(Probe::TcpHalfOpen, silent)), "no SYN-ACK within 1 s");
            let prohibited = at(&beyond(bed, family, "prohibit"), 8_080);
            let reason = "forbidden by a packet filter or route";
            assert_eq!(verdict(&ask(Probe::TcpHalfOpen, prohibited)), reason);
        }
    });
}

#[test]
fn half_open_checks_use_every_port_in_turn_and_mend_what_a_lost_reset_left() {
    in_namespace("kinds-turns", |bed| {
        for family in FAMILIES {
            let server = at(family, 8_080);
            let listener = bed.listener(server);
            listener.set_nonblocking(true).unwrap();
            // Resets get lost: the server keeps half of each connection.
            let nft = |words: &str| {
                bed.far.output("nft", &words.split(' ').collect::<Vec<_>>()).unwrap();
            };
            nft("add table inet lossy");
            nft("add chain inet lossy in { type filter hook input priority 0 ; }");
            nft("add rule inet lossy in tcp flags & rst == rst drop");
            let mut clockwork = Clockwork::new();
            let id = clockwork.update(&[ask(Probe::TcpHalfOpen, server)])[0];
            let rounds = HALF_OPEN_PORTS.len() as u64;
            for round in 0..rounds {
                clockwork.go_to(round * 3_000);
                clockwork.answered(id);
            }
            nft("delete table inet lossy");
            let half = bed.far.output("ss", &["-H", "-n", "-t", "-a", "state", "syn-recv"]).unwrap();
            let half = String::from_utf8(half.stdout).unwrap().lines().count() as u64;
            assert_eq!(half, rounds, "each from a port of its own");
            for round in rounds..2 * rounds {
                clockwork.go_to(round * 3_000);
                clockwork.answered(id);
            }
            assert_eq!(clockwork.take_turns(), [(0, Health::Checking, Health::Up, None)]);
            let half = bed.far.output("ss", &["-H", "-n", "-t", "-a", "state", "syn-recv"]).unwrap();
            assert_eq!(String::from_utf8(half.stdout).unwrap(), "", "nothing is left there");
            assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
            clockwork.update(&[]);
        }
    });
}

#[test]
fn the_ports_of_half_open_checks_are_no_service() {
    in_namespace("kinds-ports", |bed| {
        let listener = bed.listener(at(FAMILIES[0], 8_080));
        let mut clockwork = Clockwork::new();
        let id = clockwork.update(&[ask(Probe::TcpHalfOpen, at(FAMILIES[0], 8_080))])[0];
        clockwork.answered(id);
        let call = |port| {
            bed.far.run(|| {
                let limit = Duration::from_millis(300);
                std::net::TcpStream::connect_timeout(&at("198.18.1.1", port), limit).unwrap_err().kind()
            })
        };
        assert_eq!(call(HALF_OPEN_PORTS.start).unwrap(), ErrorKind::TimedOut);
        assert_eq!(call(HALF_OPEN_PORTS.end - 1).unwrap(), ErrorKind::TimedOut);
        assert_eq!(call(HALF_OPEN_PORTS.end).unwrap(), ErrorKind::ConnectionRefused);
        clockwork.update(&[]);
        assert_eq!(call(HALF_OPEN_PORTS.start).unwrap(), ErrorKind::ConnectionRefused, "given back");
        drop(listener);
    });
}

#[test]
fn udp_is_judged_by_its_answer_or_by_a_complaint() {
    in_namespace("kinds-udp", |bed| {
        for family in FAMILIES {
            let server = at(family, 5_353);
            {
                let _server = bed.serve_datagrams(server, b"+PONG");
                assert_eq!(verdict(&ask(udp(Some(b"PONG")), server)), UP);
                assert_eq!(verdict(&ask(udp(None), server)), UP);
                let wrong = verdict(&ask(udp(Some(b"\x00\xffREADY")), server));
                assert_eq!(wrong, "\\0\u{fffd}READY not in the first 4 KiB of the answer");
            }
            assert_eq!(verdict(&ask(udp(None), server)), "port unreachable");
            assert_eq!(verdict(&ask(udp(Some(b"PONG")), server)), "port unreachable");
            let deaf = bed.far.run(|| std::net::UdpSocket::bind(server)).unwrap().unwrap();
            assert_eq!(verdict_of_silence(&ask(udp(None), server)), UP);
            assert_eq!(verdict_of_silence(&ask(udp(Some(b"PONG")), server)), "no answer within 1 s");
            drop(deaf);
        }
    });
}

#[test]
fn a_complaint_about_a_datagram_counts_once() {
    in_namespace("kinds-once", |bed| {
        for family in FAMILIES {
            let server = at(family, 5_353);
            let mut clockwork = Clockwork::new();
            let id = clockwork.update(&[ask(udp(None), server)])[0];
            clockwork.answered(id);
            assert_eq!(said(&clockwork, id), "port unreachable");
            // The raw socket has heard it, too.
            clockwork.listen(SILENCE);
            let _server = bed.serve_datagrams(server, b"+PONG");
            clockwork.go_to(3_000);
            clockwork.answered(id);
            assert_eq!(said(&clockwork, id), UP);
            clockwork.update(&[]);
        }
    });
}

#[test]
fn a_complaint_about_a_datagram_that_was_answered_counts_for_nothing() {
    in_namespace("kinds-answered", |bed| {
        let (near, server) = ("198.18.1.1".parse().unwrap(), at(FAMILIES[0], 5_353));
        let (socket, raw) = bed
            .far
            .run(|| {
                let raw = socket2::Socket::new(
                    socket2::Domain::IPV4,
                    socket2::Type::RAW,
                    Some(socket2::Protocol::ICMPV4),
                );
                (std::net::UdpSocket::bind(server).unwrap(), raw.unwrap())
            })
            .unwrap();
        let mut clockwork = Clockwork::new();
        let id = clockwork.update(&[ask(udp(None), server)])[0];
        let (_, from) = socket.recv_from(&mut [0; 64]).unwrap();
        socket.send_to(b"+PONG", from).unwrap();
        clockwork.answered(id);
        let frame = || wire::build::ethernet(wire::Mac([2; 6]), wire::Mac([2; 6]));
        let far = "198.18.1.2".parse().unwrap();
        let asked = frame().ipv4(near, far).udp(from.port(), 5_353).payload(b"PING").finish();
        let error = frame().ipv4(far, near).icmp_error(3, 3, [0; 4], &asked[14..]);
        raw.send_to(&error[34..], &SocketAddr::new(near.into(), 0).into()).unwrap();
        clockwork.listen(SILENCE);
        clockwork.go_to(3_000);
        let (_, from) = socket.recv_from(&mut [0; 64]).unwrap();
        assert_eq!(said(&clockwork, id), UP);
        socket.send_to(b"+PONG", from).unwrap();
        clockwork.answered(id);
        assert_eq!(said(&clockwork, id), UP);
        clockwork.update(&[]);
        drop((socket, raw));
    });
}

#[test]
fn a_host_that_is_gone_is_noticed_though_udp_expects_no_answer() {
    in_namespace("kinds-gone", |bed| {
        for (family, gone) in FAMILIES.into_iter().zip(["198.18.1.77", "2001:db8:1::77"]) {
            // The kernel asks for its MAC for three seconds; here for a tenth of one.
            let stack = if family.contains(':') { "ipv6" } else { "ipv4" };
            for (name, value) in [("mcast_solicit", "1"), ("retrans_time_ms", "100")] {
                bed.near.set_parameter(&format!("net.{stack}.neigh.near.{name}"), value).unwrap();
            }
            let mut clockwork = Clockwork::new();
            let id = clockwork.update(&[ask(udp(None), at(gone, 53))])[0];
            clockwork.go_to(1_000);
            assert_eq!(said(&clockwork, id), UP, "nothing is known yet");
            let mut at_ms = 1_000;
            for round in 1..=3 {
                thread::sleep(Duration::from_millis(300));
                clockwork.listen(Duration::from_millis(10));
                at_ms = round * 3_000;
                clockwork.go_to(at_ms);
                assert_eq!(said(&clockwork, id), "host unreachable");
            }
            assert_eq!(clockwork.checks.status(id).unwrap().health, Health::Down);
            // It is there again, and listens.
            bed.ip_far(&format!(
                "address add {gone}/{} dev far",
                if gone.contains(':') { "64 nodad" } else { "24" }
            ));
            let deaf = bed.far.run(|| std::net::UdpSocket::bind(at(gone, 53))).unwrap().unwrap();
            thread::sleep(Duration::from_millis(300));
            clockwork.listen(Duration::from_millis(10));
            clockwork.go_to(at_ms + 3_000);
            clockwork.listen(SILENCE);
            clockwork.go_to(at_ms + 7_000);
            assert_eq!(said(&clockwork, id), UP);
            clockwork.update(&[]);
            drop(deaf);
        }
    });
}
