//! The laws, on random traffic: what must hold after every turn, whatever clients, servers, the network, strangers, health
//! checks and the operator do. The same seed gives the same trace.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod bridge;
mod chaos;
mod traffic;
mod ways;

use control::facts::Facts;
use control::members::{Health, ServerKey, Wish};
use sim::frame::Scope;
use sim::{Manager, Sizes, World, apply_fact};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::Hasher;
use std::net::IpAddr;
use std::time::Duration;
use traffic::{Called, INSIDE, OUTSIDE, Stage, Traffic, look};
use wire::check::{Fault, frame_checksums};
use wire::tcp::TcpFlags;
use wire::{Refusal, protocol};

const PORTS: &str =
    "[[port]]\nname = \"outside\"\ninterface = \"eth1\"\n[[port]]\nname = \"inside\"\ninterface = \"eth2\"\n";
/// A VIP that is its own source-NAT pool, and the ports that a service of it takes.
const TRANSLATED: &str = "198.18.0.20";
const TAKEN: std::ops::RangeInclusive<u16> = 1_024..=40_000;
/// Before the last octet of every MAC address inside.
const INSIDE_MACS: &str = "02:00:00:00:02:";
const SERVERS: usize = 4;
const WORKERS: usize = 3;
const BUFFERS: usize = 1_024;
const STEPS: usize = 3_000;

struct Kind {
    name: &'static str,
    called: Called,
    mode: &'static str,
    more: &'static str,
    network: &'static str,
}

impl Kind {
    /// Whether servers answer under the address that was called.
    fn is_direct(&self) -> bool {
        self.mode.ends_with("dsr")
    }
}

fn kinds() -> Vec<Kind> {
    let kind = |name, (address, port, protocol): (&str, u16, u8), mode, more, network| {
        let called = Called { address: address.parse().unwrap(), port, protocol };
        Kind { name, called, mode, more, network }
    };
    let (v4, v6) = ("198.18.1.1", "2001:db8:0:2::1");
    let pool = "source_nat = \"always\"\nsource_addresses = [\"2001:db8:0:2::250\"]\n";
    let translated = "source_nat = \"always\"\nscheduler = \"least-connections\"\n";
    let sticky =
        "scheduler = \"response-time\"\npersistence = { key = \"source-address\", timeout = \"10s\" }\n";
    let weighted = "scheduler = \"weighted-round-robin\"\nquorum = 1\n\
                    persistence = { key = \"source-address\", prefix_length = 30, timeout = \"1m\" }\n";
    let bandwidth = "scheduler = \"bandwidth\"\nslow_start = \"10s\"\n";
    vec![
        kind("round", ("198.18.0.10", 80, protocol::TCP), "routed", "", v4),
        kind("hash", ("198.18.0.10", 53, protocol::UDP), "routed", "scheduler = \"hash\"\n", v4),
        kind("translated", (TRANSLATED, 80, protocol::TCP), "routed", translated, v4),
        kind("ipv6", ("2001:db8:0:1::10", 80, protocol::TCP), "routed", sticky, v6),
        kind("translated-ipv6", ("2001:db8:0:1::10", 53, protocol::UDP), "routed", pool, v6),
        kind("direct", ("198.18.0.30", 81, protocol::TCP), "l2-dsr", weighted, v4),
        kind("direct-ipv6", ("2001:db8:0:1::30", 82, protocol::UDP), "l2-dsr", bandwidth, v6),
        kind("marked", ("198.18.0.30", 83, protocol::TCP), "l3-dsr", "encapsulation = \"dscp\"\n", v4),
        kind(
            "marked-ipv6",
            ("2001:db8:0:1::30", 84, protocol::TCP),
            "l3-dsr",
            "encapsulation = \"dscp\"\n",
            v6,
        ),
    ]
}

/// The configuration with the first `servers` servers of each service.
fn config(servers: usize) -> String {
    let mut text =
        format!("{PORTS}[[service]]\nname = \"taken\"\naddress = \"{TRANSLATED}\"\nmode = \"routed\"\n");
    text += &format!("port = \"{}-{}\"\n", TAKEN.start(), TAKEN.end());
    for kind in kinds() {
        let Kind { name, called, mode, more, network } = &kind;
        let protocol = if called.protocol == protocol::UDP { "udp" } else { "tcp" };
        text += &format!("[[service]]\nname = \"{name}\"\naddress = \"{}\"\n", called.address);
        text += &format!("protocol = \"{protocol}\"\nport = {}\nmode = \"{mode}\"\n{more}", called.port);
        for server in 1..=servers {
            text += &format!("[[service.server]]\naddress = \"{network}{server}\"\n");
            text += &match (kind.is_direct(), *mode) {
                (false, _) => "port = 8080\n".to_owned(),
                (true, "l3-dsr") => format!("dscp = {server}\n"),
                _ => String::new(),
            };
        }
    }
    text
}

fn facts() -> Facts {
    let mut facts = Facts::default();
    let mut apply = |line: &str| apply_fact(&mut facts, &Scope::default(), line).unwrap();
    apply("interface eth1 02:00:00:00:01:01 mtu 1500");
    apply("interface eth2 02:00:00:00:02:01 mtu 1500");
    for address in
        ["eth1 198.18.0.2/24", "eth2 198.18.1.2/24", "eth1 2001:db8:0:1::2/64", "eth2 2001:db8:0:2::2/64"]
    {
        apply(&format!("address {address}"));
    }
    for (network, gateway) in [("0.0.0.0/0", "198.18.0.1"), ("::/0", "2001:db8:0:1::1")] {
        apply(&format!("route {network} via {gateway}"));
        apply(&format!("neighbour eth1 {gateway} 02:00:00:00:01:fe"));
    }
    for server in 1..=SERVERS {
        for network in ["198.18.1.1", "2001:db8:0:2::1"] {
            apply(&format!("neighbour eth2 {network}{server} {INSIDE_MACS}1{server}"));
        }
    }
    facts
}

/// The number of a server, which its address ends in.
fn number_of(server: IpAddr) -> u8 {
    match server {
        IpAddr::V4(address) => address.octets()[3] % 10,
        IpAddr::V6(address) => address.octets()[15] % 16,
    }
}

/// Frames of the third-party vectors, addressed to a port; none when they are not there.
fn strangers() -> Vec<Vec<u8>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/frames/frames.jsonl");
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("skipped: no vectors");
        return Vec::new();
    };
    let hex = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let digits = value["hex"].as_str().unwrap().to_owned();
        let bytes =
            (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap());
        bytes.collect::<Vec<u8>>()
    };
    let addressed = |mut frame: Vec<u8>| {
        frame.iter_mut().zip([2, 0, 0, 0, 1, 1]).for_each(|(byte, own)| *byte = own);
        frame
    };
    text.lines().map(hex).filter(|frame| frame.len() <= port::FRAME_BYTES_MAX).map(addressed).collect()
}

/// The world under observation.
struct Observed {
    world: World,
    traffic: Traffic,
    strangers: Vec<Vec<u8>>,
    /// What is answered directly.
    direct: Vec<Called>,
    /// Which server each flow went to, by its number.
    member_of: HashMap<u32, u8>,
    /// Flows whose server was dead at some time.
    bereaved: HashSet<u32>,
    wrong_in: usize,
    wrong_out: usize,
    forwarded: usize,
    turns: usize,
    trace: std::hash::DefaultHasher,
}

impl Observed {
    fn new(seed: u64) -> Self {
        let sizes = Sizes { sessions_v4: Some(2_000), sessions_v6: Some(1_000) };
        let manager = Manager::new(&config(SERVERS), facts(), sizes).unwrap();
        let services: Vec<Called> = kinds().iter().map(|kind| kind.called).collect();
        Self {
            world: World::new(manager, WORKERS, BUFFERS),
            traffic: Traffic::new(seed, &services),
            strangers: strangers(),
            direct: kinds().iter().filter(|kind| kind.is_direct()).map(|kind| kind.called).collect(),
            member_of: HashMap::new(),
            bereaved: HashSet::new(),
            wrong_in: 0,
            wrong_out: 0,
            forwarded: 0,
            turns: 0,
            trace: std::hash::DefaultHasher::new(),
        }
    }

    /// Whether a frame's checksums are all right, or it has none that could be.
    fn is_right(frame: &[u8]) -> bool {
        !matches!(
            frame_checksums(frame),
            Err(Fault::Transport { .. } | Fault::Refused(Refusal::Ipv4Checksum))
        )
    }

    fn step(&mut self) {
        if self.traffic.random.once_in(2) {
            self.traffic.open();
        }
        let time = self.play(24);
        self.world.pass(time);
        self.turn();
    }

    fn set_health(&mut self, key: &ServerKey, health: Health) {
        if health == Health::Down {
            let number = number_of(key.address);
            let hit = self.member_of.iter().filter(|(_, member)| **member == number);
            self.bereaved.extend(hit.map(|(flow, _)| *flow));
        }
        self.world.manager.set_health(key, health);
    }

    /// One turn of everybody, and everything that must hold after it.
    fn turn(&mut self) {
        self.world.turn();
        self.world.check_books().unwrap_or_else(|wrong| panic!("{wrong}"));
        self.turns += 1;
        if self.turns.is_multiple_of(16) {
            self.world.check_loads().unwrap_or_else(|wrong| panic!("{wrong}"));
        }
        for side in [OUTSIDE, INSIDE] {
            while let Some(frame) = self.world.take(side) {
                self.trace.write_usize(side);
                self.trace.write(&frame);
                // No host believes a frame with a wrong checksum.
                if !Self::is_right(&frame) {
                    self.wrong_out += 1;
                    continue;
                }
                match look(&frame) {
                    Some(seen) if side == OUTSIDE => self.traffic.take(&seen),
                    Some(seen) => self.meet_server(&frame, seen),
                    None => {}
                }
            }
        }
        assert!(self.wrong_out <= self.wrong_in, "a right checksum became wrong");
    }

    fn meet_server(&mut self, frame: &[u8], mut seen: traffic::Seen) {
        let direct = self.direct.iter().find(|called| called.port == seen.destination.1);
        // A frame of nobody's flow: a stranger's, or a reset of the appliance's own.
        if seen.flow == 0 || direct.is_none() && seen.destination.1 != 8080 {
            return;
        }
        // Servers that answer directly answer as the VIP, whatever address they were reached at. Their MAC addresses end in
        // their numbers too.
        let member = if direct.is_some() { frame[5] % 16 } else { number_of(seen.destination.0) };
        seen.destination.0 = direct.map_or(seen.destination.0, |called| called.address);
        // The appliance resets what a damaged segment called, under the address that it called.
        let is_lent = seen.source.0.to_string() == TRANSLATED && !seen.flags.intersects(TcpFlags::RST);
        assert!(!is_lent || !TAKEN.contains(&seen.source.1), "port {} is a service's", seen.source.1);
        let flow = seen.flow;
        match self.member_of.entry(flow) {
            Entry::Vacant(entry) => {
                entry.insert(member);
                self.forwarded += 1;
            }
            Entry::Occupied(mut entry) if *entry.get() != member => {
                assert!(self.bereaved.contains(&flow), "flow {flow} moved from {} to {member}", entry.get());
                entry.insert(member);
            }
            Entry::Occupied(_) => {}
        }
        self.traffic.serve(&seen);
    }

    /// Nobody sends any more; every session must end.
    fn end(mut self) -> (u64, usize) {
        self.traffic.waiting.clear();
        for time in [0, 4, 3 * 3_600, 3] {
            self.world.pass(Duration::from_secs(time));
            for _ in 0..200 {
                self.turn();
                self.traffic.waiting.clear();
            }
        }
        assert_eq!(self.world.sessions(), 0, "sessions outlive the longest timeout");
        self.world.check_books().unwrap();
        self.world.check_loads().unwrap();
        self.world.check_buffers().unwrap();
        (self.trace.finish(), self.forwarded)
    }
}

impl Stage for Observed {
    fn traffic(&mut self) -> &mut Traffic {
        &mut self.traffic
    }

    fn push(&mut self, side: usize, frame: &[u8]) {
        let worker = self.traffic.random.below(WORKERS);
        self.wrong_in += usize::from(!Self::is_right(frame));
        assert!(self.world.push(worker, side, frame));
    }

    /// A stranger sends one of his frames, or one of ours with a byte changed.
    fn intrude(&mut self) {
        let random = &mut self.traffic.random;
        let (side, frame) = if random.once_in(2) && !self.strangers.is_empty() {
            (OUTSIDE, self.strangers[random.below(self.strangers.len())].clone())
        } else if !self.traffic.waiting.is_empty() {
            let (side, mut frame) = self.traffic.waiting[random.below(self.traffic.waiting.len())].clone();
            // Not in the identification that the observer goes by, nor in the address that names the flow.
            let place = 34 + random.below(frame.len() - 34);
            frame[place] ^= 1 << random.below(8);
            (side, frame)
        } else {
            return;
        };
        self.push(side, &frame);
    }

    /// Health flaps, the operator drains, the file changes.
    fn change(&mut self) {
        let servers = 1 + self.traffic.random.below(SERVERS);
        let Kind { name, network, .. } = &kinds()[self.traffic.random.below(9)];
        let Some(key) = self.world.manager.server(&format!("{name}/{network}{servers}")) else { return };
        match self.traffic.random.below(5) {
            0 | 1 => self.set_health(&key, Health::Down),
            2 => self.set_health(&key, Health::Up),
            3 => {
                let wish = if self.traffic.random.once_in(2) { Wish::Draining } else { Wish::Enabled };
                self.world.manager.set_wish(&key, wish);
            }
            _ => {
                self.world.manager.reload(&config(servers)).unwrap();
                self.world.manager.release_empty();
            }
        }
    }
}

fn run(seed: u64) -> u64 {
    let mut observed = Observed::new(seed);
    for _ in 0..STEPS {
        observed.step();
    }
    let peak = observed.world.sessions();
    let (trace, forwarded) = observed.end();
    println!("seed {seed}: {forwarded} flows reached a server, {peak} sessions at the end");
    assert!(forwarded > STEPS / 3, "seed {seed}: only {forwarded} flows reached a server");
    trace
}

#[test]
fn the_laws_hold_after_every_turn() {
    let mut traces = HashSet::new();
    for seed in 1..=8 {
        assert!(traces.insert(run(seed)), "seed {seed} repeats another one's trace");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    assert_eq!(run(77), run(77));
}
