//! Both ends talk without a wire.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use super::super::outcome::Failures;
use super::*;
use crate::profile::Profile;
use crate::tcp::answer;

const SECOND_NS: u64 = 1_000_000_000;

fn client(protocol: &str, close: &str) -> Client {
    client_of(2, &format!("protocol = \"{protocol}\"\nclose = \"{close}\"\ntimeout = \"1s\""))
}

/// A client whose protocol and what follows from it are in `lines`.
pub(super) fn client_of(flows: u32, lines: &str) -> Client {
    let text = format!(
        "[[stream]]\nname = \"s\"\nport = \"a\"\nreceive = \"b\"\nflows = {flows}\n\
         source = \"198.18.0.0/24\"\ndestination = \"198.19.0.1\"\n\
         mode = {{ burst = {{ packets = {flows}, gap = \"1ms\", count = 1 }} }}\n{lines}"
    );
    let stream = Profile::parse(&text, "test").unwrap().streams.remove(0);
    let schedule = Schedule::new(&stream.mode, stream.sizes, None).unwrap();
    Client::new(&stream, 0, schedule, [Mac([2; 6]), Mac([4; 6])])
}

/// Begins a connection and lets both ends talk until nothing is left to say: the flags of all segments.
fn talk(client: &mut Client, now_ns: u64) -> Vec<u8> {
    let syn = client.begin(now_ns).unwrap();
    client.confirm();
    let (mut flags, mut to_server) = (Vec::new(), vec![syn]);
    while !to_server.is_empty() {
        let segment = to_server.remove(0);
        flags.push(segment.flags.0);
        let Some(reply) = answer(&segment) else { continue };
        flags.push(reply.flags.0);
        assert!(client.take(&reply, reply.frame_bytes(), now_ns + 6_400, |said| to_server.push(*said)));
    }
    flags
}

#[test]
fn connections_take_the_segments_that_the_standard_says() {
    const SYN: u8 = 0x02;
    const SYN_ACK: u8 = 0x12;
    const ACK: u8 = 0x10;
    const PSH_ACK: u8 = 0x18;
    const FIN_ACK: u8 = 0x11;
    const RST_ACK: u8 = 0x14;
    for (protocol, close, then) in [
        ("tcp-handshake", "fin", &[FIN_ACK, FIN_ACK, ACK][..]),
        ("tcp-handshake", "rst", &[RST_ACK]),
        ("tcp-handshake", "keep", &[]),
        ("tcp-data", "fin", &[PSH_ACK, PSH_ACK, FIN_ACK, FIN_ACK, ACK]),
        ("tcp-data", "rst", &[PSH_ACK, PSH_ACK, RST_ACK]),
        ("tcp-data", "keep", &[PSH_ACK, PSH_ACK, ACK]),
    ] {
        let mut client = client(protocol, close);
        let flags = talk(&mut client, SECOND_NS);
        assert_eq!(flags, [&[SYN, SYN_ACK, ACK], then].concat(), "{protocol} {close}");
        let outcome = client.into_outcome();
        let Counts { begun, opened, failures, closed, held, held_most } = outcome.counts;
        let kept = u64::from(close == "keep");
        assert_eq!((begun, opened, failures.total(), held_most), (1, 1, 0, 1), "{protocol} {close}");
        assert_eq!((closed, held), (1 - kept, kept), "{protocol} {close}");
        assert_eq!(outcome.latency.unwrap().min(), 6_400);
    }
}

#[test]
fn flows_are_used_again_when_they_are_closed_and_not_before() {
    let mut client_of_two = client("tcp-handshake", "fin");
    (0..5).for_each(|_| drop(talk(&mut client_of_two, SECOND_NS)));
    assert_eq!(client_of_two.into_outcome().counts.opened, 5);
    let mut keeping = client("tcp-handshake", "keep");
    (0..2).for_each(|_| drop(talk(&mut keeping, SECOND_NS)));
    assert_eq!(keeping.begin(SECOND_NS), None);
    assert!(keeping.is_over(0));
}

#[test]
fn a_connection_that_is_refused_or_not_answered_has_failed() {
    let mut client = client("tcp-handshake", "fin");
    let syn = client.begin(SECOND_NS).unwrap();
    client.confirm();
    client.begin(SECOND_NS).unwrap();
    client.confirm();
    let mut reply = answer(&syn).unwrap();
    reply.acknowledgement = reply.acknowledgement.wrapping_add(1);
    client.take(&reply, 60, SECOND_NS, |_| panic!("an answer to another SYN opens nothing"));
    reply.flags = TcpFlags::RST;
    client.take(&reply, 60, SECOND_NS, |_| panic!("a reset is not answered"));
    client.expire(2 * SECOND_NS - 64);
    assert_eq!(client.counts().failures, Failures { reset: 1, ..Failures::default() });
    client.expire(2 * SECOND_NS);
    assert_eq!(client.counts().failures, Failures { reset: 1, no_answer: 1, ..Failures::default() });
    assert!(client.begin(2 * SECOND_NS).is_some());
    let failures = client.into_outcome().counts.failures;
    assert_eq!(failures.no_answer, 2, "what waits at the end has failed");
}

#[test]
fn what_the_ring_has_no_room_for_was_never_begun() {
    let mut client = client("tcp-data", "fin");
    let syn = client.begin(SECOND_NS).unwrap();
    client.withdraw(&syn);
    assert_eq!((client.frames(), client.begun()), ((0, 0), 0));
    assert_eq!(client.begin(SECOND_NS), Some(syn));
}

#[test]
fn a_far_end_that_goes_on_with_other_numbers_is_a_failure() {
    // Which segment of the far end is changed, how, and by which answer it shows.
    type Change = fn(&mut Segment);
    let changes: [Change; 3] = [
        |segment| segment.sequence = segment.sequence.wrapping_add(1),
        |segment| segment.acknowledgement = segment.acknowledgement.wrapping_sub(1),
        |segment| segment.data_bytes += 1,
    ];
    for (protocol, flag, changes) in
        [("tcp-handshake", TcpFlags::FIN, &changes[..2]), ("tcp-data", TcpFlags::PSH, &changes)]
    {
        for change in changes {
            let mut client = client(protocol, "fin");
            let mut to_far = vec![client.begin(SECOND_NS).unwrap()];
            client.confirm();
            while !to_far.is_empty() {
                let Some(mut reply) = answer(&to_far.remove(0)) else { continue };
                if reply.flags.contains(flag) {
                    change(&mut reply);
                }
                client.take(&reply, 60, SECOND_NS, |said| to_far.push(*said));
            }
            let counts = client.into_outcome().counts;
            let failures = Failures { wrong_sequence: 1, ..Failures::default() };
            assert_eq!((counts.opened, counts.failures), (1, failures), "{protocol}");
            assert_eq!((counts.closed, counts.held), (0, 0), "{protocol}");
        }
    }
}

#[test]
fn an_end_that_is_reset_or_not_answered_is_a_failure() {
    let mut client = client("tcp-handshake", "fin");
    let mut fins = Vec::new();
    for _ in 0..2 {
        let syn = client.begin(SECOND_NS).unwrap();
        client.confirm();
        client.take(&answer(&syn).unwrap(), 60, SECOND_NS, |said| fins.push(*said));
    }
    fins.retain(|segment| segment.flags.contains(TcpFlags::FIN));
    let mut reset = answer(&fins[0]).unwrap();
    reset.flags = TcpFlags::RST;
    client.take(&reset, 60, SECOND_NS, |_| panic!("a reset is not answered"));
    client.expire(2 * SECOND_NS);
    let counts = client.counts();
    assert_eq!(counts.failures, Failures { reset: 1, no_answer: 1, ..Failures::default() });
    assert_eq!((counts.opened, counts.closed, counts.held), (2, 0, 0));
}
