//! The world of these tests: two probers, a worker's answers, and firewalls in between. Time is counted, never waited for.

use crate::check::Parameters;
use crate::members::Health;
use crate::probe::{Asking, Event, News, Prober, WantedGroup, WantedPath};
use flow::FlowHasher;
use flow::probe::{KIND_AT, Kind, Probe};
use plan::Link;
use rewrite::MemberId;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use wire::icmp::{self, Icmp};
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;
use wire::tcp::{Tcp, TcpFlags};
use wire::udp::Udp;
use wire::{Mac, check, protocol};

pub const NEAR: usize = 0;
pub const FAR: usize = 1;
pub const INTERVAL: Duration = Duration::from_millis(200);

const PARAMETERS: Parameters = Parameters {
    interval: INTERVAL,
    response_time: Duration::from_millis(100),
    retries: 2,
    timeout: None,
    dead_interval: INTERVAL,
    rise: 1,
};

pub fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// One firewall, by end that a packet comes from.
pub struct Firewall {
    /// Whether it lets a packet through.
    pub passes: [bool; 2],
    /// Over which firewall's link the packet reaches the other end.
    pub leads_to: [usize; 2],
    /// Whether its link is there.
    pub links: [bool; 2],
}

pub struct End {
    pub prober: Prober,
    pub hasher: FlowHasher,
    pub wanted: WantedGroup,
    /// What tells the flows of its probes apart, by firewall.
    pub flows: Vec<Vec<[u8; 6]>>,
    pub sent_at: Vec<Duration>,
    /// Which firewalls have a link at this end.
    links: Vec<bool>,
}

struct InFlight {
    due: Instant,
    to: usize,
    over: usize,
    /// Which firewall it entered, if it is an answer: the one that its question had entered.
    entered: usize,
    bytes: Vec<u8>,
}

pub struct World {
    start: Instant,
    pub passed: Duration,
    pub latency: Duration,
    pub firewalls: Vec<Firewall>,
    pub ends: Vec<End>,
    in_flight: Vec<InFlight>,
    pub events: Vec<(Duration, usize, Event)>,
    /// Firewalls drop answers whose question they did not see.
    pub is_strict: bool,
    pub accepts_syns: bool,
    /// To a SYN the answer acknowledges something else.
    pub answers_wrongly: bool,
    /// This end sends the probes of the first path to the second firewall.
    pub mixes_up: Option<usize>,
    /// What reached the near end's control.
    pub history: Vec<Vec<u8>>,
    /// At this end everything comes from a MAC address that is no firewall's.
    pub stranger_at: Option<usize>,
    pub resets: usize,
    /// The last packet that reached the far end.
    pub last_delivered: Vec<u8>,
    is_joined: bool,
    /// All firewalls are reached by one link, as bridges with the same far end on one leg are.
    pub is_one_link: bool,
}

fn address(end: usize, firewall: usize, v6: bool) -> IpAddr {
    match v6 {
        false => IpAddr::from([198, 18, end as u8 + 1, 101 + firewall as u8]),
        true => IpAddr::from([0x2001, 0xdb8, 0, end as u16 + 1, 0, 0, 0, 0x101 + firewall as u16]),
    }
}

fn link(end: usize, firewall: usize) -> Link {
    Link { port: (end * 10) as u16, mac: Mac([2, 0, 0, 0, end as u8, firewall as u8]) }
}

/// The links of one end; rows of the other end's firewalls lead there.
fn links(
    known: Vec<bool>,
    (is_joined, is_one): (bool, bool),
    end: usize,
) -> impl Fn(MemberId) -> Option<Link> {
    move |member| {
        let row = usize::from(member.index);
        let of = if is_joined { row / 64 } else { end };
        let firewall = if is_one { 0 } else { row % 64 };
        known.get(row).copied().unwrap_or(false).then(|| link(of, firewall))
    }
}

fn wanted(end: usize, count: usize, asking: Asking, v6: bool) -> WantedGroup {
    let path = |firewall: usize| WantedPath {
        firewall: format!("fw{firewall}"),
        member: MemberId { index: (end * 64 + firewall) as u16, generation: 0 },
        own: address(end, firewall, v6),
        far: address(1 - end, firewall, v6),
    };
    WantedGroup {
        name: "group".to_owned(),
        fingerprint: 0xabcd,
        asking,
        parameters: PARAMETERS,
        paths: (0..count).map(path).collect(),
    }
}

impl World {
    pub fn new(count: usize, asking: Asking, v6: bool) -> Self {
        let start = Instant::now();
        let end = |end: usize| {
            let hasher = FlowHasher::new([7; 16]);
            let mut prober = Prober::new(1 + end as u64, hasher, start);
            let wanted = wanted(end, count, asking, v6);
            prober.update(start, std::slice::from_ref(&wanted));
            End {
                prober,
                hasher,
                wanted,
                flows: vec![Vec::new(); count],
                sent_at: Vec::new(),
                links: Vec::new(),
            }
        };
        let firewall = |place| Firewall { passes: [true; 2], leads_to: [place; 2], links: [true; 2] };
        Self {
            start,
            passed: Duration::ZERO,
            latency: ms(1),
            firewalls: (0..count).map(firewall).collect(),
            ends: [NEAR, FAR].map(end).into(),
            in_flight: Vec::new(),
            events: Vec::new(),
            is_strict: false,
            accepts_syns: false,
            answers_wrongly: false,
            mixes_up: None,
            history: Vec::new(),
            stranger_at: None,
            resets: 0,
            last_delivered: Vec::new(),
            is_joined: false,
            is_one_link: false,
        }
    }

    pub fn now(&self) -> Instant {
        self.start + self.passed
    }

    pub fn paths(&self) -> Vec<(usize, usize)> {
        (0..2).flat_map(|end| (0..self.firewalls.len()).map(move |firewall| (end, firewall))).collect()
    }

    /// What an end thinks of a path, and why.
    pub fn state(&self, end: usize, firewall: usize) -> (Health, String) {
        let group = &self.ends[end].wanted.name;
        let status = self.prober(end).status(self.now(), group, &format!("fw{firewall}")).unwrap();
        (status.health, status.reason.map(ToString::to_string).unwrap_or_default())
    }

    /// Every alarm that is up.
    pub fn alarms(&self) -> Vec<String> {
        let of = |(end, firewall): (usize, usize)| {
            let group = &self.ends[end].wanted.name;
            let status = self.prober(end).status(self.now(), group, &format!("fw{firewall}"))?;
            Some(format!("{end} fw{firewall}: {}", status.alarm?))
        };
        self.paths().into_iter().filter_map(of).collect()
    }

    fn prober(&self, end: usize) -> &Prober {
        &self.ends[if self.is_joined { NEAR } else { end }].prober
    }

    /// Another life of one end, with the secret `key`.
    pub fn restart(&mut self, end: usize, instance: u64) {
        let now = self.now();
        let end = &mut self.ends[end];
        end.prober = Prober::new(instance, end.hasher, now);
        end.prober.update(now, std::slice::from_ref(&end.wanted));
    }

    /// Another secret at one end.
    pub fn change_key(&mut self, end: usize, key: u8) {
        self.ends[end].hasher = FlowHasher::new([key; 16]);
        self.restart(end, 77);
    }

    pub fn change_parameters(&mut self, change: impl Fn(&mut Parameters)) {
        let now = self.now();
        for end in &mut self.ends {
            change(&mut end.wanted.parameters);
            end.prober.update(now, std::slice::from_ref(&end.wanted));
        }
    }

    pub fn drop_path(&mut self, end: usize, firewall: usize) {
        let now = self.now();
        let end = &mut self.ends[end];
        end.wanted.paths.remove(firewall);
        end.prober.update(now, std::slice::from_ref(&end.wanted));
    }

    /// Makes both ends one appliance with two groups.
    pub fn join(&mut self) {
        let now = self.now();
        self.is_joined = true;
        self.ends[FAR].wanted.name = "back".to_owned();
        let groups = [self.ends[NEAR].wanted.clone(), self.ends[FAR].wanted.clone()];
        self.ends[NEAR].prober.update(now, &groups);
        self.ends[FAR].prober.update(now, &[]);
    }

    /// Lets `duration` pass.
    pub fn run(&mut self, duration: Duration) {
        let until = self.now() + duration;
        loop {
            self.note_links();
            let mut next = self.in_flight.iter().map(|packet| packet.due).min();
            for end in &self.ends {
                next = next.into_iter().chain(end.prober.next_deadline()).min();
            }
            let Some(next) = next.filter(|&at| at <= until) else { break };
            self.passed = self.passed.max(next - self.start);
            self.deliver();
            self.advance();
        }
        self.passed = until - self.start;
    }

    fn note_links(&mut self) {
        let known = |firewalls: &[Firewall], end: usize| -> Vec<bool> {
            (0..128).map(|row| firewalls.get(row % 64).is_some_and(|one| one.links[end])).collect()
        };
        for end in [NEAR, FAR] {
            self.ends[end].links = known(&self.firewalls, end);
        }
    }

    fn advance(&mut self) {
        let now = self.now();
        for place in [NEAR, FAR] {
            let end = &mut self.ends[place];
            end.prober.advance(now, &links(end.links.clone(), (self.is_joined, self.is_one_link), place));
            let (sendings, events) = (end.prober.sendings(), end.prober.events());
            self.events.extend(events.into_iter().map(|event| (self.passed, place, event)));
            for sending in sendings {
                let row = usize::from(sending.member.index);
                self.note_probe((row / 64, row % 64), &sending.packet);
                let is_mixed_up = self.mixes_up == Some(row / 64) && row.is_multiple_of(64);
                let firewall = if is_mixed_up { 1 } else { row % 64 };
                self.enter((row / 64, firewall), firewall, sending.packet, false);
            }
        }
    }

    fn note_probe(&mut self, (end, firewall): (usize, usize), packet: &[u8]) {
        let (ethertype, header, kind) =
            if packet[0] >> 4 == 4 { ([8, 0], 20, 9) } else { ([0x86, 0xdd], 40, 6) };
        let frame = [&[2; 12][..], &ethertype, packet].concat();
        assert_eq!(check::frame_checksums(&frame), Ok(()));
        let transport = &packet[header..];
        if packet[kind] == protocol::TCP && transport[13] & TcpFlags::RST.0 != 0 {
            self.resets += 1;
            return;
        }
        let mut flow = [0; 6];
        match packet[kind] {
            // The identifier.
            protocol::ICMP | protocol::ICMPV6 => flow[4..].copy_from_slice(&transport[4..6]),
            _ => flow[..4].copy_from_slice(&transport[..4]),
        }
        self.ends[end].flows[firewall].push(flow);
        self.ends[end].sent_at.push(self.passed);
    }

    /// A packet enters a firewall from one end. `entered` is where its question had entered one.
    fn enter(&mut self, (from, firewall): (usize, usize), entered: usize, bytes: Vec<u8>, is_answer: bool) {
        let is_seen = !self.is_strict || !is_answer || firewall == entered;
        let way = &self.firewalls[firewall];
        if way.passes[from] && is_seen {
            let (due, over) = (self.now() + self.latency, way.leads_to[from]);
            self.in_flight.push(InFlight { due, to: 1 - from, over, entered, bytes });
        }
    }

    fn deliver(&mut self) {
        let now = self.now();
        let (arrived, waiting) =
            std::mem::take(&mut self.in_flight).into_iter().partition(|packet| packet.due <= now);
        self.in_flight = waiting;
        for InFlight { to, over, entered, bytes, .. } in arrived {
            if to == FAR {
                self.last_delivered.clone_from(&bytes);
            }
            let (answer, is_for_control) = self.worker(to, &bytes);
            if let Some(answer) = answer {
                self.enter((to, over), entered, answer, true);
            }
            let place = if self.is_joined { NEAR } else { to };
            let mut link = link(to, if self.is_one_link { 0 } else { over });
            if self.stranger_at == Some(to) {
                link.mac = Mac([2, 0, 0, 0, 9, 9]);
            }
            if is_for_control {
                if to == NEAR {
                    self.history.push(bytes.clone());
                }
                let end = &mut self.ends[place];
                let links = links(end.links.clone(), (self.is_joined, self.is_one_link), place);
                end.prober.take(now, (link.port, link.mac), &bytes, &links);
            }
        }
    }

    /// Hands a packet to one end's prober as if it had come by the first firewall.
    pub fn deliver_to(&mut self, end: usize, bytes: &[u8]) {
        let (now, link) = (self.now(), link(end, 0));
        let end_ = &mut self.ends[end];
        end_.prober.take(now, (link.port, link.mac), bytes, &links(end_.links.clone(), (false, false), end));
    }

    /// What the far end's worker does with a packet: its answer, and whether control gets a copy.
    fn worker(&self, at: usize, packet: &[u8]) -> (Option<Vec<u8>>, bool) {
        let mut answer = packet.to_vec();
        let (protocol, payload) = match packet[0] >> 4 {
            4 => {
                let mut ip = Ipv4::split(&mut answer).unwrap();
                let ends = (ip.header.source(), ip.header.destination());
                ip.header.set_source(ends.1);
                ip.header.set_destination(ends.0);
                (ip.header.protocol(), ip.payload)
            }
            _ => {
                let mut ip = Ipv6::split(&mut answer).unwrap();
                let ends = (ip.header.source(), ip.header.destination());
                ip.header.set_source(ends.1);
                ip.header.set_destination(ends.0);
                (ip.protocol, ip.payload)
            }
        };
        match protocol {
            protocol::TCP => {
                let (mut tcp, ..) = Tcp::split(payload).unwrap();
                if tcp.flags() != TcpFlags::SYN {
                    return (None, tcp.flags().contains(TcpFlags::ACK));
                }
                let (ports, sequence) = ((tcp.source_port(), tcp.destination_port()), tcp.sequence());
                tcp.set_source_port(ports.1);
                tcp.set_destination_port(ports.0);
                tcp.set_acknowledgement(sequence.wrapping_add(if self.answers_wrongly { 2 } else { 1 }));
                let kind = if self.accepts_syns { TcpFlags::SYN } else { TcpFlags::RST };
                tcp.set_flags(kind | TcpFlags::ACK);
                (Some(answer), false)
            }
            protocol::UDP => {
                let (mut udp, data) = Udp::split(payload).unwrap();
                let ports = (udp.source_port(), udp.destination_port());
                udp.set_source_port(ports.1);
                udp.set_destination_port(ports.0);
                let probe = Probe::of(data).unwrap();
                let is_answered = probe.kind == Kind::Question && probe.is_authentic(&self.ends[at].hasher);
                data[KIND_AT] = Kind::Answer as u8;
                (is_answered.then_some(answer), true)
            }
            _ => {
                let (mut header, _) = Icmp::split(payload).unwrap();
                let reply = match header.kind() {
                    icmp::v4::ECHO_REQUEST => icmp::v4::ECHO_REPLY,
                    icmp::v6::ECHO_REQUEST => icmp::v6::ECHO_REPLY,
                    _ => return (None, true),
                };
                header.set_kind(reply);
                (Some(answer), true)
            }
        }
    }

    /// When an end changed its mind about a path for the first time since `since`.
    pub fn turned_at(&self, end: usize, firewall: usize, since: Duration) -> Option<Duration> {
        let name = format!("fw{firewall}");
        let turned = self.events.iter().find(|(at, of, event)| {
            *at >= since && *of == end && event.firewall == name && matches!(event.news, News::Turned { .. })
        });
        turned.map(|(at, ..)| *at)
    }
}
