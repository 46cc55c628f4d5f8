//! Anything at all, in every mode: frames of everybody to everybody in any order, mixed with answers to what came out.
//!
//! What must hold whatever happens: the books balance after every turn, with every frame that left counted once; what
//! leaves a bridge by where it came in leaves in the appliance's own name, so that no switch sees a sender on two ports;
//! a right checksum stays right; and in the end no session and no buffer is left.

use sim::golden::{Script, read};
use sim::{Random, World};
use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;
use wire::build::{self, EthernetBuilder};
use wire::check::{Fault, frame_checksums};
use wire::ethernet::{self, Ethernet};
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;
use wire::tcp::TcpFlags;
use wire::{Mac, Refusal, protocol};

const WORKERS: usize = 2;
const STEPS: usize = 1_500;
/// Every frame's last bytes: these, and a number of its own.
const MAGIC: [u8; 4] = [0x6a, 0x65, 0x6f, 0x75];
const MARK_BYTES: usize = 8;

const MACS: &[&str] = &[
    "02:00:00:00:00:01",
    "02:00:00:00:01:01",
    "02:00:00:00:02:01",
    "02:00:00:00:01:50",
    "02:00:00:00:01:51",
    "02:00:00:00:01:fe",
    "02:00:00:00:02:11",
    "02:00:00:00:02:12",
    "02:00:00:00:09:99",
    "ff:ff:ff:ff:ff:ff",
    "33:33:ff:00:00:10",
    "01:80:c2:00:00:00",
];
const ADDRESSES: &[(&str, &str)] = &[
    ("198.18.0.10", "2001:db8:0:1::10"),
    ("198.18.0.10", "2001:db8:0:1::10"),
    ("198.18.0.50", "2001:db8:0:1::50"),
    ("198.18.0.11", "2001:db8:0:1::11"),
    ("198.18.1.11", "2001:db8:0:2::11"),
    ("198.18.1.12", "2001:db8:0:2::12"),
    ("198.18.0.2", "2001:db8:0:1::2"),
    ("198.18.0.250", "2001:db8:0:1::250"),
    ("198.18.1.250", "2001:db8:0:2::250"),
    ("198.19.7.7", "2001:db8:9::7"),
    ("224.0.0.9", "ff02::9"),
    ("127.0.0.1", "::1"),
];
const PORTS: &[u16] = &[80, 53, 40_000, 5_000, 8_080, 0];
const FLAGS: &[TcpFlags] =
    &[TcpFlags::SYN, TcpFlags::SYN, TcpFlags::ACK, TcpFlags::FIN, TcpFlags::RST, TcpFlags::NONE];

/// The worlds of every mode, without the connections that other tests open in them.
fn worlds() -> Vec<(String, Script)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(root.join("tests/modes")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|kind| kind == "golden")).collect();
    files.sort();
    let script = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let script = read(&text, &root.join("../../tests/golden")).unwrap().remove(0);
        (path.file_stem().unwrap().to_string_lossy().into_owned(), script)
    };
    files.into_iter().map(script).collect()
}

fn pick<'a, T>(random: &mut Random, among: &'a [T]) -> &'a T {
    &among[random.below(among.len())]
}

/// Whether a frame's checksums are all right, or it has none that could be.
fn is_right(frame: &[u8]) -> bool {
    !matches!(frame_checksums(frame), Err(Fault::Transport { .. } | Fault::Refused(Refusal::Ipv4Checksum)))
}

fn mark_of(frame: &[u8]) -> Option<u32> {
    let (magic, number) = frame.last_chunk::<MARK_BYTES>()?.split_at(MAGIC.len());
    (magic == MAGIC).then(|| u32::from_be_bytes(number.try_into().unwrap_or_default()))
}

/// The frame as its receiver would answer it: everybody in each other's place. Checksums do not change by that.
fn turned(frame: &[u8]) -> Option<Vec<u8>> {
    let mut answer = frame.to_vec();
    let (mut ethernet, rest) = Ethernet::split(&mut answer).ok()?;
    ethernet.swap();
    let untagged = ethernet::split_tags(ethernet.ethertype(), rest).ok()?;
    let (protocol, payload) = match untagged.ethertype {
        ethernet::ETHERTYPE_IPV4 => {
            let mut ip = Ipv4::split(untagged.payload).ok()?;
            let (source, destination) = (ip.header.source(), ip.header.destination());
            ip.header.set_source(destination);
            ip.header.set_destination(source);
            (ip.header.protocol(), ip.payload)
        }
        ethernet::ETHERTYPE_IPV6 => {
            let mut ip = Ipv6::split(untagged.payload).ok()?;
            let (source, destination) = (ip.header.source(), ip.header.destination());
            ip.header.set_source(destination);
            ip.header.set_destination(source);
            (ip.protocol, ip.payload)
        }
        _ => return None,
    };
    if matches!(protocol, protocol::TCP | protocol::UDP) {
        let ports = payload.first_chunk_mut::<4>()?;
        ports.rotate_left(2);
    }
    Some(answer)
}

/// What a router or host that cannot do with a frame says about it: any ICMP error, quoting its first bytes or all of them.
fn complaint(random: &mut Random, frame: &[u8]) -> Option<Vec<u8>> {
    let mut copy = frame.to_vec();
    let (ethernet, rest) = Ethernet::split(&mut copy).ok()?;
    let link = build::ethernet(ethernet.destination(), ethernet.source());
    let untagged = ethernet::split_tags(ethernet.ethertype(), rest).ok()?;
    let link = untagged.outer.as_ref().map_or(link.clone(), |tag| link.vlan(tag.id()));
    let quoted = untagged.payload.to_vec();
    let quoted = &quoted[..quoted.len().min(if random.once_in(2) { 48 } else { 500 })];
    let rest = [0, 0, 2, random.below(256) as u8];
    Some(match untagged.ethertype {
        ethernet::ETHERTYPE_IPV4 => {
            let ip = Ipv4::split(untagged.payload).ok()?.header;
            let (kind, code) = *pick(random, &[(3, 1), (3, 3), (3, 4), (11, 0)]);
            link.ipv4(ip.destination(), ip.source()).icmp(kind, code, rest).payload(quoted).finish()
        }
        ethernet::ETHERTYPE_IPV6 => {
            let ip = Ipv6::split(untagged.payload).ok()?.header;
            let (kind, code) = *pick(random, &[(1, 4), (2, 0), (3, 0)]);
            link.ipv6(ip.destination(), ip.source()).icmp(kind, code, rest).payload(quoted).finish()
        }
        _ => return None,
    })
}

struct Chaos {
    world: World,
    random: Random,
    rings: usize,
    own: Vec<Mac>,
    /// The rings by which the frames of a mark came in, and whether one of them was wrong.
    came: HashMap<u32, (HashSet<usize>, bool)>,
    left: u64,
}

impl Chaos {
    fn new(script: &Script, seed: u64) -> Self {
        let manager = script.manager().unwrap();
        let own = manager.plan().ports.iter().map(|port| port.mac).collect();
        let rings = manager.rings();
        let (world, random) = (World::new(manager, WORKERS, 256), Random::new(seed));
        Self { world, random, rings, own, came: HashMap::new(), left: 0 }
    }

    fn mark(&mut self) -> [u8; MARK_BYTES] {
        let number = (self.came.len() as u32).to_be_bytes();
        [MAGIC, number].concat().try_into().unwrap()
    }

    fn frame(&mut self) -> Vec<u8> {
        let mark = self.mark();
        let random = &mut self.random;
        let mac = |random: &mut Random| pick(random, MACS).parse::<Mac>().unwrap();
        let to = if random.once_in(3) { mac(random) } else { *pick(random, &self.own) };
        let link = build::ethernet(mac(random), to);
        let link = Self::tagged(random, link);
        if random.once_in(12) {
            return link.raw(*pick(random, &[0x0806, 0x88cc, 0x0800]), &mark);
        }
        let (source, destination) = (*pick(random, ADDRESSES), *pick(random, ADDRESSES));
        let ip = if random.once_in(2) {
            let [source, destination] =
                [source.0, destination.0].map(|text| text.parse::<Ipv4Addr>().unwrap());
            link.ipv4(source, destination)
        } else {
            let [source, destination] =
                [source.1, destination.1].map(|text| text.parse::<Ipv6Addr>().unwrap());
            link.ipv6(source, destination)
        };
        let ip = ip.ttl(*pick(random, &[1, 2, 64, 64, 64])).identification(random.below(4) as u32 + 1);
        let ports = (*pick(random, PORTS), *pick(random, PORTS));
        let mut frame = match random.below(10) {
            0 => ip.raw(*pick(random, &[47, 6, 17, 1, 58]), &mark),
            1 => ip.echo_request(random.below(3) as u16, 1).payload(&mark).finish(),
            2 => ip.fragment(0, true).udp(ports.0, ports.1).payload(&mark).finish(),
            3 => ip.fragment(16, random.once_in(2)).raw(17, &mark),
            4 => ip
                .udp(ports.0, ports.1)
                .payload(&[&[0; 1_500][..random.below(1_500)], &mark].concat())
                .finish(),
            5 => ip.udp(ports.0, ports.1).payload(&mark).finish(),
            _ => {
                let tcp = ip.tcp(ports.0, ports.1).flags(*pick(random, FLAGS)).options(&[2, 4, 5, 0xb4]);
                tcp.sequence(random.below(3) as u32).payload(&mark).finish()
            }
        };
        if random.once_in(8) {
            let place = 14 + random.below(frame.len() - 14 - MARK_BYTES);
            frame[place] ^= 1 << random.below(8);
        }
        frame
    }

    /// A new flow, as a client of a service or of masquerade would open it.
    fn opening(&mut self, ring: usize) -> Vec<u8> {
        let mark = self.mark();
        let random = &mut self.random;
        let link = build::ethernet(Mac([2, 0, 0, 0, 8, ring as u8]), *pick(random, &self.own));
        let link = if random.once_in(2) { link.vlan(10) } else { link };
        let (from, to) = match random.below(3) {
            0 => (("198.18.1.11", "2001:db8:0:2::11"), ("198.19.7.7", "2001:db8:9::7")),
            _ => (("198.18.0.50", "2001:db8:0:1::50"), ADDRESSES[0]),
        };
        let ip = match random.once_in(2) {
            true => link.ipv4(from.0.parse().unwrap(), to.0.parse().unwrap()),
            false => link.ipv6(from.1.parse().unwrap(), to.1.parse().unwrap()),
        };
        let port = 40_000 + random.below(64) as u16;
        match random.below(3) {
            0 => ip.udp(port, 53).payload(&mark).finish(),
            1 => ip.echo_request(port, 1).payload(&mark).finish(),
            _ => ip.tcp(port, 80).flags(TcpFlags::SYN).payload(&mark).finish(),
        }
    }

    fn tagged(random: &mut Random, link: EthernetBuilder) -> EthernetBuilder {
        match random.below(6) {
            0 => link.vlan(0xa000),
            1 | 2 => link.vlan(10),
            3 => link.vlan(*pick(random, &[20, 30])),
            _ => link,
        }
    }

    fn push(&mut self, ring: usize, frame: &[u8]) {
        if let Some(mark) = mark_of(frame) {
            let (rings, is_wrong) = self.came.entry(mark).or_default();
            rings.insert(ring);
            *is_wrong |= !is_right(frame);
        }
        assert!(self.world.push(self.random.below(WORKERS), ring, frame));
    }

    fn turn(&mut self) {
        self.world.turn();
        self.world.check_books().unwrap_or_else(|wrong| panic!("{wrong}"));
        let mut answers = Vec::new();
        for ring in 0..self.rings {
            while let Some(frame) = self.world.take(ring) {
                self.left += 1;
                self.look(ring, &frame);
                let answer = match self.random.below(5) {
                    0 => complaint(&mut self.random, &frame),
                    1 | 2 => turned(&frame),
                    _ => None,
                };
                answers.extend(answer.map(|answer| (ring, answer)));
            }
        }
        let counted: u64 = self
            .world
            .manager
            .counters()
            .map(|counters| counters.transmitted.get() + counters.copied.get() + counters.injected.get())
            .sum();
        assert_eq!(self.left, counted, "frames that left are not those that were counted");
        // Answers to answers end by chance alone: three in five are given.
        answers.into_iter().for_each(|(ring, answer)| self.push(ring, &answer));
    }

    fn look(&self, ring: usize, frame: &[u8]) {
        let source = Mac(*frame[6..].first_chunk().unwrap());
        let Some((rings, is_wrong)) = mark_of(frame).and_then(|mark| self.came.get(&mark)) else { return };
        let comes_back = rings.len() == 1 && rings.contains(&ring);
        assert!(
            !comes_back || self.own.contains(&source),
            "{source} was sent back to ring {ring}: {frame:02x?}"
        );
        assert!(*is_wrong || is_right(frame), "a right checksum became wrong: {frame:02x?}");
    }

    /// Nobody sends any more; every session must end, and every buffer come back.
    fn end(mut self) -> u64 {
        for time in [4, 3 * 3_600, 3] {
            self.world.pass(Duration::from_secs(time));
            for _ in 0..200 {
                self.world.turn();
                self.world.discard_sent();
            }
        }
        self.world.check_books().unwrap();
        self.world.check_buffers().unwrap();
        assert_eq!(self.world.sessions(), 0, "sessions outlive the longest timeout");
        let members = self.world.manager.counters().flat_map(|counters| counters.members.iter());
        members.map(|member| member.sessions_created.get()).sum()
    }
}

fn run(name: &str, script: &Script, seed: u64) {
    let mut chaos = Chaos::new(script, seed);
    for _ in 0..STEPS {
        for _ in 0..chaos.random.below(12) {
            let ring = chaos.random.below(chaos.rings);
            let frame = if chaos.random.once_in(3) { chaos.opening(ring) } else { chaos.frame() };
            chaos.push(ring, &frame);
        }
        let time = Duration::from_micros(chaos.random.below(50_000) as u64);
        chaos.world.pass(time);
        chaos.turn();
    }
    let sessions = chaos.end();
    println!("{name}, seed {seed}: {sessions} sessions");
    assert!(sessions > 40, "{name}, seed {seed}: only {sessions} sessions");
}

#[test]
fn anything_at_all_leaves_the_laws_of_every_mode_unbroken() {
    for (name, script) in worlds() {
        (1..=3).for_each(|seed| run(&name, &script, seed));
    }
}
