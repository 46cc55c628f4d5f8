//! Path probes at the far end's worker: what it answers, how, and what control gets to read. And both ends together.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod sandwich;
mod stage;

use flow::FlowHasher;
use flow::probe::{KIND_AT, Probe};
use sim::World;
use stage::{end, firewall, hasher, own, punts, responder, sent};
use std::net::IpAddr;
use wire::build::{self, IpBuilder};
use wire::check::frame_checksums;
use wire::nd;
use wire::tcp::TcpFlags;

const ICMP: &str = "kind = \"icmp\"";

/// From the firewall that a probe comes by to us, or the other way.
fn ip(way: (wire::Mac, wire::Mac), vlan: Option<u16>, ends: (IpAddr, IpAddr)) -> IpBuilder {
    let link = build::ethernet(way.0, way.1);
    let link = match vlan {
        Some(id) => link.vlan(id),
        None => link,
    };
    match ends {
        (IpAddr::V4(source), IpAddr::V4(destination)) => link.ipv4(source, destination),
        (IpAddr::V6(source), IpAddr::V6(destination)) => link.ipv6(source, destination),
        _ => panic!("two families"),
    }
}

/// What came of one frame.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    sent: Vec<Vec<u8>>,
    /// Leg, MAC and packet of what control was given.
    taken: Vec<(u16, wire::Mac, Vec<u8>)>,
    answered: u64,
    consumed: u64,
}

fn push(world: &mut World, frame: &[u8]) -> Outcome {
    let count = |world: &World| {
        world.manager.counters().map(|one| (one.answered.get(), one.taken.get())).next().unwrap()
    };
    let before = count(world);
    assert!(world.push(0, 0, frame));
    let sent = sent(world);
    let after = count(world);
    let taken = punts(world).into_iter().map(|punt| (punt.leg, punt.mac, punt.packet().to_vec())).collect();
    world.check_books().unwrap();
    world.check_buffers().unwrap();
    assert_eq!(world.sessions(), 0, "nothing of it opens a session");
    Outcome { sent, taken, answered: after.0 - before.0, consumed: after.1 - before.1 }
}

/// Every combination of family and leg, with the ends of a probe from the far side.
fn each(check: impl Fn(&mut World, Option<u16>, (IpAddr, IpAddr))) {
    for (vlan, v6) in [(None, false), (None, true), (Some(20), false), (Some(20), true)] {
        let mut world = end(1, vlan.is_some(), ICMP);
        check(&mut world, vlan, (responder(2, 1, v6), responder(1, 1, v6)));
    }
}

fn packet(frame: &[u8], vlan: Option<u16>) -> Vec<u8> {
    frame[if vlan.is_some() { 18 } else { 14 }..].to_vec()
}

fn question() -> Vec<u8> {
    Probe::question(b"what one end tells the other", &hasher()).unwrap()
}

const IN: (wire::Mac, wire::Mac) = (wire::Mac([2, 0, 0, 0, 1, 1]), wire::Mac([2, 0, 0, 0, 1, 0]));

#[test]
fn an_echo_request_is_answered_by_the_way_it_came_and_a_probe_is_copied() {
    assert_eq!(IN, (firewall(1, 1), own(1)));
    each(|world, vlan, ends| {
        for (payload, is_probe) in [(question(), true), (b"a ping of anybody's".to_vec(), false)] {
            let frame = ip(IN, vlan, ends).ttl(61).echo_request(77, 5).payload(&payload).finish();
            let outcome = push(world, &frame);
            let answer =
                ip((IN.1, IN.0), vlan, (ends.1, ends.0)).echo_reply(77, 5).payload(&payload).finish();
            assert_eq!(outcome.sent, [answer]);
            let copies = if is_probe { vec![(0, IN.0, packet(&frame, vlan))] } else { Vec::new() };
            assert_eq!((outcome.taken, outcome.answered, outcome.consumed), (copies, 1, 0));
        }
    });
}

#[test]
fn a_datagram_of_our_keys_is_turned_round_on_any_port() {
    each(|world, vlan, ends| {
        for (ports, payload) in [((40_000, 7), question()), ((1_024, 53), [question(), vec![0; 3]].concat())]
        {
            let frame = ip(IN, vlan, ends).ttl(61).udp(ports.0, ports.1).payload(&payload).finish();
            let outcome = push(world, &frame);
            let mut said = payload.clone();
            said[KIND_AT] = 1;
            let answer =
                ip((IN.1, IN.0), vlan, (ends.1, ends.0)).udp(ports.1, ports.0).payload(&said).finish();
            assert_eq!(
                outcome.sent,
                std::slice::from_ref(&answer),
                "ports, addresses and the kind are others, and the sum is right"
            );
            assert_eq!(frame_checksums(&answer), Ok(()));
            assert_eq!(outcome.taken, [(0, IN.0, packet(&frame, vlan))], "as it came");
            assert_eq!((outcome.answered, outcome.consumed), (1, 0));
            // What comes back at the other end is an answer: nobody answers it again.
            let frame = ip(IN, vlan, ends).udp(ports.0, ports.1).payload(&said).finish();
            let outcome = push(world, &frame);
            let taken = vec![(0, IN.0, packet(&frame, vlan))];
            assert_eq!(outcome, Outcome { taken, consumed: 1, ..Outcome::default() });
        }
    });
}

#[test]
fn a_datagram_without_a_sum_stays_without_one() {
    let mut world = end(1, false, ICMP);
    let ends = (responder(2, 1, false), responder(1, 1, false));
    let frame = ip(IN, None, ends).udp(40_000, 7).payload(&question()).without_checksum().finish();
    let outcome = push(&mut world, &frame);
    assert_eq!(outcome.sent.len(), 1);
    assert_eq!(outcome.sent[0][40..42], [0, 0]);
}

#[test]
fn a_probe_of_another_key_is_shown_to_control_and_not_answered() {
    each(|world, vlan, ends| {
        let forged = Probe::question(b"what one end tells the other", &FlowHasher::new([9; 16])).unwrap();
        for kind in [0, 1] {
            let mut forged = forged.clone();
            forged[KIND_AT] = kind;
            let before = world.dropped("probe-forged").unwrap();
            let frame = ip(IN, vlan, ends).udp(40_000, 7).payload(&forged).finish();
            let outcome = push(world, &frame);
            let taken = vec![(0, IN.0, packet(&frame, vlan))];
            assert_eq!(outcome, Outcome { taken, ..Outcome::default() });
            assert_eq!(world.dropped("probe-forged").unwrap(), before + 1);
        }
        // A ping is answered to anybody.
        let frame = ip(IN, vlan, ends).echo_request(77, 5).payload(&forged).finish();
        let outcome = push(world, &frame);
        assert_eq!((outcome.sent.len(), outcome.taken.len(), outcome.answered), (1, 1, 1));
    });
}

#[test]
fn answers_to_our_own_probes_are_controls_alone() {
    each(|world, vlan, ends| {
        let segment = |flags: TcpFlags| ip(IN, vlan, ends).tcp(80, 40_000).flags(flags).finish();
        let answers = [
            ip(IN, vlan, ends).echo_reply(77, 5).payload(&question()).finish(),
            segment(TcpFlags::SYN | TcpFlags::ACK),
            segment(TcpFlags::RST | TcpFlags::ACK),
        ];
        for frame in answers {
            let taken = vec![(0, IN.0, packet(&frame, vlan))];
            assert_eq!(push(world, &frame), Outcome { taken, consumed: 1, ..Outcome::default() });
        }
        let stray = ip(IN, vlan, ends).echo_reply(77, 5).payload(b"not ours").finish();
        assert_eq!(push(world, &stray), Outcome::default());
    });
}

#[test]
fn everything_else_is_as_at_any_address_of_ours() {
    each(|world, vlan, ends| {
        let syn = ip(IN, vlan, ends).tcp(40_000, 80).flags(TcpFlags::SYN).sequence(9).finish();
        let outcome = push(world, &syn);
        let reset = ip((IN.1, IN.0), vlan, (ends.1, ends.0)).tcp(80, 40_000);
        let reset = reset.flags(TcpFlags::RST | TcpFlags::ACK).acknowledgement(10).window(0).finish();
        assert_eq!(outcome, Outcome { sent: vec![reset], answered: 1, ..Outcome::default() });
        let datagram = ip(IN, vlan, ends).udp(40_000, 7).payload(b"no probe").finish();
        let outcome = push(world, &datagram);
        assert_eq!(
            (outcome.sent.len(), outcome.taken.len(), outcome.answered),
            (1, 0, 1),
            "port unreachable"
        );
        // A probe that comes in pieces is none.
        let piece = ip(IN, vlan, ends).identification(4).fragment(0, true);
        // A multiple of 8 bytes, as a piece must be.
        let said = [question(), vec![0; 4]].concat();
        let outcome = push(world, &piece.echo_request(77, 5).payload(&said).finish());
        assert_eq!(outcome, Outcome::default());
        for more in [true, false] {
            let piece = ip(IN, vlan, ends).identification(5).fragment(if more { 0 } else { 1_480 }, more);
            let frame = match more {
                true => piece.udp(40_000, 7).payload(&said).finish(),
                false => piece.raw(wire::protocol::UDP, &question()),
            };
            let outcome = push(world, &frame);
            assert_eq!((outcome.taken.len(), outcome.consumed), (0, 0), "more: {more}");
            let is_answer =
                |frame: &Vec<u8>| frame.windows(4).any(|window| window == b"JPP1") && frame.len() < 90;
            assert!(!outcome.sent.iter().any(is_answer));
        }
        // Asked for its MAC address by who knows it already.
        if let (IpAddr::V6(_), IpAddr::V6(destination)) = ends {
            let router = "2001:db8:0:1::1".parse().unwrap();
            let message = nd::solicitation(destination, IN.0, router, destination);
            let frame = ip(IN, vlan, (router.into(), ends.1)).ttl(nd::HOP_LIMIT);
            let outcome = push(world, &frame.raw(wire::protocol::ICMPV6, &message));
            assert_eq!((outcome.sent.len(), outcome.taken.len(), outcome.answered), (1, 0, 1));
        }
    });
}

#[test]
fn an_appliance_may_probe_itself_and_nobody_else_speaks_for_it() {
    let mut world = end(1, false, ICMP);
    for v6 in [false, true] {
        let ends = (responder(1, 2, v6), responder(1, 1, v6));
        let frame = ip(IN, None, ends).echo_request(77, 5).payload(&question()).finish();
        let outcome = push(&mut world, &frame);
        let answer = ip((IN.1, IN.0), None, (ends.1, ends.0)).echo_reply(77, 5).payload(&question()).finish();
        assert_eq!(outcome.sent, [answer]);
        assert_eq!(outcome.taken.len(), 1);
    }
    let vip = IpAddr::from([198, 18, 1, 50]);
    for ends in [(vip, responder(1, 1, false)), (responder(1, 1, false), vip)] {
        let before = world.dropped("martian-source").unwrap();
        let frame = ip(IN, None, ends).echo_request(77, 5).payload(&question()).finish();
        assert_eq!(push(&mut world, &frame), Outcome::default());
        assert_eq!(world.dropped("martian-source").unwrap(), before + 1);
    }
}

#[test]
fn where_control_is_behind_the_copy_is_lost_and_the_answer_is_not() {
    let mut world = end(1, false, ICMP);
    let ends = (responder(2, 1, false), responder(1, 1, false));
    let room = world.manager.shared().punts.capacity();
    for number in 0..room + 3 {
        let frame = ip(IN, None, ends).echo_request(number as u16, 5).payload(&question()).finish();
        assert!(world.push(0, 0, &frame));
        assert_eq!(sent(&mut world).len(), 1);
    }
    let lost: u64 = world.manager.counters().map(|counters| counters.punts_lost.get()).sum();
    assert_eq!((punts(&world).len(), lost), (room, 3));
    world.check_books().unwrap();
}
