//! Conversations with a TCP of another making, smoltcp's own server side, over a link that loses, doubles and reorders.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use config::{HttpRequest, Probe, StatusRange};
use proptest::prelude::*;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::time::Instant as Micros;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};
use wire::tcp::{Tcp, TcpFlags};

use super::stream::CarriedStream;
use super::user_tcp::{Link, State, UserTcp};
use crate::check::attempt::Progress;
use crate::check::conversation::Conversation;
use crate::check::{Outcome, Reason};

const FAMILIES: [(&str, &str); 2] =
    [("198.18.1.2:49152", "198.18.1.10:80"), ("[2001:db8::2]:49152", "[2001:db8::10]:80")];
const SECOND: Duration = Duration::from_secs(1);

/// What the server does.
#[derive(Clone, Debug)]
enum Manner {
    /// It says this as soon as it is asked, or at once where nothing is asked, and closes.
    Says { at_once: bool, words: Vec<u8>, closes: bool },
    /// It answers the request with a reset.
    Resets,
    /// Nobody listens.
    Refuses,
}

/// A server, its queue, and the time.
struct Lab {
    ends: (SocketAddr, SocketAddr),
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    device: Link,
    manner: Manner,
    asked: Vec<u8>,
    said: usize,
    origin: Instant,
    now: Instant,
    /// Segments that the client sent, as they were.
    seen: Vec<Vec<u8>>,
}

impl Lab {
    fn new(ends: (&str, &str), manner: Manner) -> Self {
        let ends: (SocketAddr, SocketAddr) = (ends.0.parse().unwrap(), ends.1.parse().unwrap());
        let mut device = Link::default();
        let mut interface = Interface::new(Config::new(HardwareAddress::Ip), &mut device, Micros::ZERO);
        interface.update_ip_addrs(|held| {
            held.push(IpCidr::new(IpAddress::from(ends.1.ip()), 0)).unwrap();
        });
        let buffer = || tcp::SocketBuffer::new(vec![0; 64 << 10]);
        let mut server = tcp::Socket::new(buffer(), buffer());
        if !matches!(manner, Manner::Refuses) {
            server.listen(ends.1.port()).unwrap();
        }
        let mut sockets = SocketSet::new(Vec::new());
        let socket = sockets.add(server);
        let now = Instant::now();
        let (asked, seen) = (Vec::new(), Vec::new());
        Self { ends, interface, sockets, socket, device, manner, asked, said: 0, origin: now, now, seen }
    }

    fn micros(&self) -> Micros {
        Micros::from_micros((self.now - self.origin).as_micros() as i64)
    }

    /// The packet arrives at the server.
    fn deliver(&mut self, packet: &[u8]) {
        self.seen.push(segment(packet).to_vec());
        self.device.incoming = Some(packet.to_vec());
        self.interface.poll_ingress_single(self.micros(), &mut self.device, &mut self.sockets);
    }

    /// What the server sends now.
    fn answers(&mut self) -> Vec<Vec<u8>> {
        self.behave();
        self.interface.poll(self.micros(), &mut self.device, &mut self.sockets);
        self.device.outgoing.drain(..).collect()
    }

    fn behave(&mut self) {
        let server = self.sockets.get_mut::<tcp::Socket<'_>>(self.socket);
        let mut buffer = [0; 4_096];
        while let Ok(length @ 1..) = server.recv_slice(&mut buffer) {
            self.asked.extend_from_slice(&buffer[..length]);
        }
        match &self.manner {
            Manner::Resets if !self.asked.is_empty() => server.abort(),
            Manner::Says { at_once, words, closes } => {
                let asked = *at_once || self.asked.ends_with(b"\r\n\r\n");
                if asked && server.may_send() {
                    self.said += server.send_slice(&words[self.said..]).unwrap_or(0);
                    if *closes && self.said == words.len() {
                        server.close();
                    }
                }
                if !server.may_recv() && server.state() == tcp::State::CloseWait {
                    server.close();
                }
            }
            _ => {}
        }
    }

    fn server(&self) -> tcp::State {
        self.sockets.get::<tcp::Socket<'_>>(self.socket).state()
    }
}

fn segment(packet: &[u8]) -> &[u8] {
    let header_bytes = if packet[0] >> 4 == 4 { 20 } else { 40 };
    &packet[header_bytes..]
}

fn flags(segment: &[u8]) -> String {
    let mut header: [u8; 20] = segment[..20].try_into().unwrap();
    let flags = Tcp::over(&mut header).flags();
    let named = [(TcpFlags::SYN, "S"), (TcpFlags::FIN, "F"), (TcpFlags::RST, "R"), (TcpFlags::ACK, "A")];
    named.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| *name).collect()
}

/// What may happen to the n-th packet on the link, whichever way it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Arrives,
    Lost,
    Twice,
    Late,
    Damaged,
}

/// Runs a check to its end or for `limit`; gives what was thought, when, and whether it was finished.
fn run(
    lab: &mut Lab,
    probe: &Probe,
    fate: impl Fn(usize) -> Fate,
    limit: Duration,
) -> (Option<(Outcome, Duration)>, bool) {
    let conversation = Conversation::new(probe, lab.ends.1).unwrap();
    let mut check = CarriedStream::start(lab.ends, conversation, 7, lab.now);
    let mut verdict = None;
    let mut count = 0;
    let mut late: Vec<(bool, Vec<u8>)> = Vec::new();
    loop {
        let mut quiet = true;
        let mut link: Vec<(bool, Vec<u8>)> = check.outgoing().map(|packet| (true, packet)).collect();
        link.extend(lab.answers().into_iter().map(|packet| (false, packet)));
        let mut now_late = Vec::new();
        let mut arriving = Vec::new();
        for (to_server, packet) in link {
            let fate = fate(count);
            count += 1;
            match fate {
                Fate::Arrives => arriving.push((to_server, packet)),
                Fate::Lost => {}
                Fate::Twice => arriving.extend([(to_server, packet.clone()), (to_server, packet)]),
                Fate::Late => now_late.push((to_server, packet)),
                Fate::Damaged => {
                    let mut packet = packet;
                    if let Some(last) = packet.last_mut() {
                        *last ^= 1;
                    }
                    // The kernel's own check stands between the wire and the server.
                    if !to_server {
                        arriving.push((to_server, packet));
                    }
                }
            }
            quiet = false;
        }
        arriving.append(&mut late);
        late = now_late;
        let mut finished = false;
        for (to_server, packet) in arriving {
            let progress = if to_server {
                lab.deliver(&packet);
                Progress::default()
            } else {
                check.receive(segment(&packet), lab.now)
            };
            if let Some(outcome) = progress.outcome {
                assert!(verdict.is_none(), "one verdict");
                verdict = Some((outcome, lab.now - lab.origin));
            }
            finished |= progress.finished;
        }
        if finished {
            check.outgoing().for_each(|packet| lab.deliver(&packet));
            return (verdict, true);
        }
        if quiet && late.is_empty() {
            if lab.now - lab.origin >= limit {
                return (verdict, false);
            }
            lab.now += Duration::from_millis(10);
            let progress = check.advance(lab.now);
            assert!(progress.outcome.is_none(), "time alone is no verdict");
        }
    }
}

fn http(expect_body: Option<&str>) -> Probe {
    Probe::Http(HttpRequest {
        path: "/health".into(),
        host: None,
        tls: false,
        expect_status: vec![StatusRange { first: 200, last: 299 }],
        expect_body: expect_body.map(Into::into),
    })
}

fn page(bytes: usize) -> Vec<u8> {
    let body = "x".repeat(bytes.saturating_sub(5)) + "READY";
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn smooth(_: usize) -> Fate {
    Fate::Arrives
}

#[test]
fn a_tcp_check_opens_and_closes_in_order() {
    for ends in FAMILIES {
        let mut lab = Lab::new(ends, Manner::Says { at_once: false, words: Vec::new(), closes: false });
        let (verdict, finished) = run(&mut lab, &Probe::Tcp, smooth, SECOND);
        assert_eq!((verdict.unwrap().0, finished), (Outcome::Success, true));
        assert_eq!(lab.seen.iter().map(|segment| flags(segment)).collect::<Vec<_>>(), ["S", "A", "FA", "A"]);
        assert_eq!(lab.server(), tcp::State::Closed);
    }
}

#[test]
fn a_request_is_answered_and_judged() {
    for ends in FAMILIES {
        let says = |words: &[u8]| Manner::Says { at_once: false, words: words.to_vec(), closes: true };
        let mut lab = Lab::new(ends, says(&page(4_000)));
        let (verdict, finished) = run(&mut lab, &http(Some("READY")), smooth, SECOND);
        assert_eq!((verdict.unwrap().0, finished), (Outcome::Success, true));
        assert!(lab.asked.starts_with(b"GET /health HTTP/1.1\r\n"), "{:?}", lab.asked);
        let mut lab = Lab::new(ends, says(b"HTTP/1.1 503 No\r\n\r\n"));
        let Outcome::Failure(reason) = run(&mut lab, &http(None), smooth, SECOND).0.unwrap().0 else {
            panic!()
        };
        assert_eq!(reason.to_string(), "expected 200-299, got 503");
    }
}

#[test]
fn a_segment_announces_what_every_tunnel_carries() {
    for ends in FAMILIES {
        let mut lab = Lab::new(ends, Manner::Says { at_once: true, words: page(8_000), closes: true });
        run(&mut lab, &Probe::Tcp, smooth, SECOND);
        let headers: u16 = if lab.ends.0.is_ipv4() { 40 } else { 60 };
        let announced = [&[2, 4], &(1_280 - headers).to_be_bytes()[..]].concat();
        assert!(lab.seen[0].windows(4).any(|window| window == announced), "{:?}", lab.seen[0]);
    }
}

#[test]
fn a_server_that_refuses_resets_or_closes_is_told_from_one_that_is_silent() {
    let ends = FAMILIES[0];
    let reason =
        |manner: Manner, probe: &Probe| match run(&mut Lab::new(ends, manner), probe, smooth, SECOND).0 {
            Some((Outcome::Failure(reason), _)) => Some(reason),
            Some((Outcome::Success, _)) => panic!("a success"),
            None => None,
        };
    assert_eq!(reason(Manner::Refuses, &Probe::Tcp), Some(Reason::Refused));
    assert_eq!(reason(Manner::Resets, &http(None)), Some(Reason::Reset));
    let closes = Manner::Says { at_once: true, words: b"HTTP/1.1 2".to_vec(), closes: true };
    assert_eq!(reason(closes, &http(None)), Some(Reason::ClosedEarly));
    let mute = Manner::Says { at_once: false, words: Vec::new(), closes: false };
    assert_eq!(reason(mute, &http(None)), None);
    // Nothing arrives: the SYN is sent again, and what is owed is said by the conversation.
    let mut lab = Lab::new(ends, Manner::Refuses);
    assert_eq!(run(&mut lab, &Probe::Tcp, |_| Fate::Lost, Duration::from_secs(4)), (None, false));
}

#[test]
fn a_peer_that_talks_and_talks_is_cut_off_with_a_reset() {
    let ends = FAMILIES[0];
    let mut lab = Lab::new(ends, Manner::Says { at_once: true, words: vec![b'x'; 60 << 10], closes: false });
    let (verdict, finished) = run(&mut lab, &Probe::Tcp, smooth, SECOND);
    assert_eq!((verdict.unwrap().0, finished), (Outcome::Success, true));
    assert!(flags(lab.seen.last().unwrap()).contains('R'));
    assert!(lab.said >= 16 << 10);
}

#[test]
fn who_is_given_up_in_the_middle_is_told_and_who_knows_nothing_is_not() {
    let ends: (SocketAddr, SocketAddr) = (FAMILIES[0].0.parse().unwrap(), FAMILIES[0].1.parse().unwrap());
    let now = Instant::now();
    let start = || CarriedStream::start(ends, Conversation::new(&http(None), ends.1).unwrap(), 7, now);
    let mut silent = start();
    assert_eq!(silent.outgoing().count(), 1);
    silent.give_up();
    assert_eq!(silent.outgoing().count(), 0);
    let mut lab = Lab::new(FAMILIES[0], Manner::Says { at_once: false, words: Vec::new(), closes: false });
    let mut open = start();
    for packet in open.outgoing().collect::<Vec<_>>() {
        lab.deliver(&packet);
    }
    for packet in lab.answers() {
        assert_eq!(open.receive(segment(&packet), now), Progress::default());
    }
    assert_eq!(open.awaited(), "HTTP answer");
    open.outgoing().for_each(drop);
    open.give_up();
    let last: Vec<String> = open.outgoing().map(|packet| flags(segment(&packet))).collect();
    assert_eq!(last.len(), 1);
    assert!(last[0].contains('R'), "{last:?}");
}

#[test]
fn the_first_sequence_number_is_the_seeds() {
    let ends: (SocketAddr, SocketAddr) = (FAMILIES[0].0.parse().unwrap(), FAMILIES[0].1.parse().unwrap());
    let now = Instant::now();
    let first = |seed| {
        let packet = UserTcp::connect(ends.0, ends.1, seed, now).outgoing().next().unwrap();
        u32::from_be_bytes(segment(&packet)[4..8].try_into().unwrap())
    };
    assert_eq!(first(1), first(1));
    assert_ne!(first(1), first(2));
}

#[test]
fn what_is_for_another_connection_is_nothing() {
    let ends: (SocketAddr, SocketAddr) = (FAMILIES[0].0.parse().unwrap(), FAMILIES[0].1.parse().unwrap());
    let now = Instant::now();
    let mut tcp = UserTcp::connect(ends.0, ends.1, 7, now);
    let syn = tcp.outgoing().next().unwrap();
    let mut own = segment(&syn).to_vec();
    tcp.receive(&own, now);
    own.clear();
    tcp.receive(&own, now);
    tcp.receive(&[0; 19], now);
    assert_eq!(tcp.state(), State::Connecting);
    let mut late = tcp.next_deadline(now).unwrap();
    assert!(late > now, "the SYN is sent again later");
    late += SECOND;
    tcp.advance(late);
    assert_eq!(tcp.outgoing().count(), 1);
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        6 => Just(Fate::Arrives),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Twice),
        1 => Just(Fate::Late),
        1 => Just(Fate::Damaged),
    ];
    prop::collection::vec(fate, 5..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_the_link_does_the_verdict_is_right(
        fates in fates(), bytes in 0_usize..4_000, v6: bool, closes: bool,
    ) {
        let manner = Manner::Says { at_once: false, words: page(bytes), closes };
        let mut lab = Lab::new(FAMILIES[usize::from(v6)], manner);
        // In the end the link is well.
        let fate = |packet: usize| fates.get(packet).copied().unwrap_or(Fate::Arrives);
        let (verdict, _) = run(&mut lab, &http(Some("READY")), fate, Duration::from_secs(3_600));
        prop_assert_eq!(verdict.map(|(outcome, _)| outcome), Some(Outcome::Success));
    }

    #[test]
    fn no_segment_breaks_it(segments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 1..8)) {
        let ends: (SocketAddr, SocketAddr) = (FAMILIES[0].0.parse().unwrap(), FAMILIES[0].1.parse().unwrap());
        let now = Instant::now();
        let mut tcp = UserTcp::connect(ends.0, ends.1, 7, now);
        for mut segment in segments {
            // With a right checksum, so that more than the first look is passed.
            let pseudo = match (ends.1.ip(), ends.0.ip()) {
                (IpAddr::V4(source), IpAddr::V4(destination)) => wire::checksum::Pseudo::V4 { source, destination },
                _ => unreachable!(),
            };
            if let Some(sum) = wire::checksum::transport_checksum(pseudo, wire::protocol::TCP, &segment)
                && segment.len() >= 18
            {
                segment[..4].copy_from_slice(&[0, 80, 0xc0, 0]);
                segment[16..18].copy_from_slice(&sum.to_bits().to_be_bytes());
                let sum = wire::checksum::transport_checksum(pseudo, wire::protocol::TCP, &segment).unwrap();
                segment[16..18].copy_from_slice(&sum.to_bits().to_be_bytes());
            }
            tcp.receive(&segment, now);
        }
        prop_assert!(tcp.outgoing().count() <= 8 + 8);
    }
}
