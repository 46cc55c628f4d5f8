//! What any input must leave true: the bodies of the fuzz targets, which plain tests replay over the checked-in corpus.

use crate::manager::{Manager, Sizes};
use crate::random::Random;
use crate::world::World;
use control::facts::Facts;
use control::members::Health;
use flow::{FlowHasher, Network, Zone};
use std::time::Duration;
use wire::check::{Fault, frame_checksums};
use wire::ethernet::{self, Ethernet};
use wire::ipv4::Ipv4;

/// Longer than any session may be idle.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(3 * 3_600);

/// Longer than a frame waits for its next hop.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// Longer than the workers take to walk over their tables.
const AGE_WALK: Duration = Duration::from_secs(3);

/// Two ports, IPv4 and IPv6, with and without source NAT: what [`turn`] runs.
const CONFIG: &str = r#"
[[port]]
name = "outside"
interface = "eth1"
[[port]]
name = "inside"
interface = "eth2"
[[service]]
name = "plain"
address = "198.18.0.10"
protocol = "any"
port = "any"
mode = "routed"
[[service.server]]
address = "198.18.1.11"
[[service.server]]
address = "198.18.1.12"
[[service]]
name = "translated"
address = "198.18.0.20"
protocol = "any"
port = "1-1000"
mode = "routed"
source_nat = "always"
scheduler = "hash"
[[service.server]]
address = "198.18.1.11"
[[service]]
name = "plain-ipv6"
address = "2001:db8:0:1::10"
protocol = "any"
port = "any"
mode = "routed"
[[service.server]]
address = "2001:db8:0:2::11"
[[service]]
name = "translated-ipv6"
address = "2001:db8:0:1::20"
protocol = "udp"
port = 53
mode = "routed"
source_nat = "always"
source_addresses = ["2001:db8:0:2::250"]
[[service.server]]
address = "2001:db8:0:2::12"
port = 5353
"#;

/// What the kernel would know beside that. One server has no MAC address yet.
const FACTS: &[&str] = &[
    "interface eth1 02:00:00:00:01:01 mtu 1500",
    "interface eth2 02:00:00:00:02:01 mtu 1280",
    "address eth1 198.18.0.2/24",
    "address eth2 198.18.1.2/24",
    "address eth1 2001:db8:0:1::2/64",
    "address eth2 2001:db8:0:2::2/64",
    "route 0.0.0.0/0 via 198.18.0.1",
    "neighbour eth1 198.18.0.1 02:00:00:00:01:fe",
    "neighbour eth1 198.18.0.50 02:00:00:00:01:50",
    "neighbour eth2 198.18.1.11 02:00:00:00:02:11",
    "neighbour eth1 2001:db8:0:1::50 02:00:00:00:01:50",
    "neighbour eth2 2001:db8:0:2::11 02:00:00:00:02:11",
    "neighbour eth2 2001:db8:0:2::12 02:00:00:00:02:12",
];

/// A bridge, two VLANs of a third interface, and a service of every other mode: what [`modes`] runs.
const MODES_CONFIG: &str = r#"
[[port]]
name = "west"
interface = "eth1"
[[port]]
name = "east"
interface = "eth2"
[[port]]
name = "ten"
interface = "eth3"
vlan = 10
[[port]]
name = "twenty"
interface = "eth3"
vlan = 20
[[bridge]]
name = "br0"
ports = ["west", "east"]
[[service]]
name = "transparent"
address = "198.18.0.10"
protocol = "any"
port = "1-1000"
mode = "transparent"
source_addresses = ["198.18.0.250"]
mss_clamp = 1200
[[service.server]]
address = "198.18.0.11"
[[service]]
name = "l2"
address = "198.18.0.20"
protocol = "any"
port = "any"
mode = "l2-dsr"
[[service.server]]
address = "198.18.0.11"
[[service]]
name = "ipip"
address = "198.18.0.30"
protocol = "any"
port = "any"
mode = "l3-dsr"
encapsulation = "ipip"
encapsulation_source = "198.18.0.251"
[[service.server]]
address = "198.18.1.11"
[[service]]
name = "gue"
address = "2001:db8:0:1::30"
protocol = "any"
port = "any"
mode = "l3-dsr"
encapsulation = "gue"
encapsulation_source = "2001:db8:0:1::251"
[[service.server]]
address = "2001:db8:0:2::11"
[[service]]
name = "dscp"
address = "198.18.0.40"
protocol = "any"
port = "any"
mode = "l3-dsr"
encapsulation = "dscp"
[[service.server]]
address = "198.18.1.12"
dscp = 11
[[service]]
name = "transparent-ipv6"
address = "2001:db8:0:1::10"
protocol = "any"
port = "1-1000"
mode = "transparent"
direct_access = "deny"
source_addresses = ["2001:db8:0:1::250"]
[[service.server]]
address = "2001:db8:0:1::11"
[[outbound]]
name = "out"
networks = ["198.18.1.0/24", "2001:db8:0:2::/64"]
source_addresses = ["198.18.0.252", "2001:db8:0:1::252"]
"#;

/// What the kernel would know beside that.
const MODES_FACTS: &[&str] = &[
    "interface eth1 02:00:00:00:01:01 mtu 1500",
    "interface eth2 02:00:00:00:02:01 mtu 1280",
    "interface eth3 02:00:00:00:03:01 mtu 1300",
    "interface br0 02:00:00:00:00:01 mtu 1280",
    "interface ten 02:00:00:00:03:01 mtu 1300",
    "interface twenty 02:00:00:00:03:01 mtu 1300",
    "address br0 198.18.0.2/24",
    "address ten 198.18.1.2/24",
    "address twenty 198.18.2.2/24",
    "address br0 2001:db8:0:1::2/64",
    "address ten 2001:db8:0:2::2/64",
    "route 0.0.0.0/0 via 198.18.0.1",
    "neighbour br0 198.18.0.1 02:00:00:00:01:fe",
    "neighbour br0 198.18.0.50 02:00:00:00:01:50",
    "neighbour br0 198.18.0.11 02:00:00:00:02:11",
    "neighbour ten 198.18.1.11 02:00:00:00:03:11",
    "neighbour ten 198.18.1.12 02:00:00:00:03:12",
    "neighbour br0 2001:db8:0:1::50 02:00:00:00:01:50",
    "neighbour br0 2001:db8:0:1::11 02:00:00:00:02:11",
    "neighbour ten 2001:db8:0:2::11 02:00:00:00:03:11",
];

/// Takes any bytes apart: no panic, and the views agree with each other.
pub fn parse(bytes: &[u8]) {
    parse_one(bytes);
    // Chance alone would seldom get past the checksum of an IPv4 header.
    let mut repaired = bytes.to_vec();
    if repair_ipv4(&mut repaired).is_some() {
        parse_one(&repaired);
    }
}

fn parse_one(bytes: &[u8]) {
    let hasher = FlowHasher::new([1; 16]);
    let mut frame = bytes.to_vec();
    let Ok(parsed) = flow::parse(&mut frame, Zone::default(), &hasher) else { return };
    let packet_bytes = match &parsed.network {
        Network::V4(packet) => usize::from(packet.length_bytes),
        Network::V6(packet) => usize::from(packet.length_bytes),
        Network::Arp(_) | Network::Other(_) => 0,
    };
    assert!(packet_bytes + ethernet::LENGTH <= bytes.len(), "a packet longer than its frame");
    assert_eq!(frame, bytes, "parsing changes nothing");
}

/// Reads any text as a configuration: no panic, and a refusal says why.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let outcome = config::parse(text, "fuzz.toml");
    assert!(outcome.config.is_some() || outcome.diagnostics.iter().any(config::Diagnostic::is_error));
    for finding in outcome.diagnostics {
        assert!(!finding.to_string().is_empty());
    }
}

/// A small world with a fixed configuration.
pub fn world() -> World {
    world_of(CONFIG, FACTS)
}

fn world_of(config: &str, facts_lines: &[&str]) -> World {
    let mut facts = Facts::default();
    let scope = crate::frame::Scope::default();
    let known = facts_lines.iter().try_for_each(|line| crate::facts::apply(&mut facts, &scope, line));
    let sizes = Sizes { sessions_v4: Some(32), sessions_v6: Some(32) };
    let manager = known.and_then(|()| Manager::new(config, facts, sizes));
    World::new(manager.unwrap_or_else(|error| panic!("{error}")), 1, BUFFERS)
}

/// Buffers of a world, which flooding and splitting must find enough of.
const BUFFERS: usize = 256;

/// What changes in a world while it is played: a server's life, and who is known on a link.
struct Changes {
    /// Whether what cannot be parsed may cross, as it does a bridge.
    passes_malformed: bool,
    servers: [&'static str; 2],
    neighbour: [&'static str; 2],
}

/// Plays any bytes as events: frames at both ports, turns, time, health. The books must balance after every turn, every
/// frame sent must be well-formed, no buffer may be lost, and in the end no session may be left.
///
/// An event is one byte, and a frame follows with two bytes of length: bits 0 to 2 say what happens, bit 3 which port or
/// which way, bit 4 that the IPv4 header checksum is to be made right.
pub fn turn(bytes: &[u8]) {
    let changes = Changes {
        passes_malformed: false,
        servers: ["plain/198.18.1.11", "plain-ipv6/2001:db8:0:2::11"],
        neighbour: ["no neighbour eth2 198.18.1.12", "neighbour eth2 198.18.1.12 02:00:00:00:02:12"],
    };
    play(world(), bytes, &changes);
}

/// The same in a world with a bridge, VLANs, host legs and a service of every other mode. There bits 5 to 7 say by which
/// ring a frame comes.
pub fn modes(bytes: &[u8]) {
    let changes = Changes {
        passes_malformed: true,
        servers: ["transparent/198.18.0.11", "gue/2001:db8:0:2::11"],
        neighbour: ["no neighbour ten 198.18.1.12", "neighbour ten 198.18.1.12 02:00:00:00:03:12"],
    };
    play(world_of(MODES_CONFIG, MODES_FACTS), bytes, &changes);
}

fn play(mut world: World, bytes: &[u8], changes: &Changes) {
    let rings = world.manager.rings();
    let mut rest = bytes;
    while let [event, after @ ..] = rest {
        rest = after;
        let side = usize::from(event >> 3 & 1);
        match event & 7 {
            0..=3 => {
                let Some((frame, after)) = take_frame(rest) else { break };
                rest = after;
                let mut frame = frame.to_vec();
                if event & 0x10 != 0 {
                    repair_ipv4(&mut frame);
                }
                let ring = if rings == 2 { side } else { usize::from(event >> 5) % rings };
                world.push(0, ring, &frame);
            }
            4 => look(&mut world, changes),
            5 => world.pass(Duration::from_millis(500 << (event >> 4))),
            6 => {
                let health = if side == 0 { Health::Down } else { Health::Up };
                let server = changes.servers[usize::from(event & 0x10 != 0)];
                if let Some(key) = world.manager.server(server) {
                    world.manager.set_health(&key, health);
                }
            }
            _ => world.manager.change_facts(|facts| {
                let scope = crate::frame::Scope::default();
                // To forget who was not known is no fact, and no harm.
                let _unknown = crate::facts::apply(facts, &scope, changes.neighbour[side]);
            }),
        }
    }
    look(&mut world, changes);
    // First whoever waits for a next hop gives up; then the tables are walked twice, since a walk begins where it stopped.
    for time in [LONGEST_WAIT, LONGEST_TIMEOUT, AGE_WALK] {
        world.pass(time);
        look(&mut world, changes);
    }
    assert_eq!(world.sessions(), 0, "sessions outlive the longest timeout");
}

fn take_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
    Some(rest.split_at(length))
}

fn repair_ipv4(frame: &mut [u8]) -> Option<()> {
    let (ethernet, rest) = Ethernet::split(frame).ok()?;
    let packet = ethernet::split_tags(ethernet.ethertype(), rest).ok()?.payload;
    let header_bytes = usize::from(packet.first()? & 0x0f) * 4;
    let (header, options) = packet.get_mut(..header_bytes)?.split_first_chunk_mut()?;
    let mut header = Ipv4::over(header);
    let checksum = header.compute_checksum(options);
    header.set_checksum(checksum);
    Some(())
}

/// Lets the world come to rest and looks at all it did.
fn look(world: &mut World, changes: &Changes) {
    world.settle();
    world.check_books().unwrap_or_else(|wrong| panic!("{wrong}"));
    for ring in 0..world.manager.rings() {
        while let Some(frame) = world.take(ring) {
            let fault = frame_checksums(&frame);
            let is_refused = matches!(fault, Err(Fault::Refused(_)));
            assert!(!is_refused || changes.passes_malformed, "{fault:?}: {frame:02x?}");
        }
    }
    world.check_buffers().unwrap_or_else(|wrong| panic!("{wrong}"));
}

/// Events of good and bad frames, as a fuzzer would be happy to find: for the seeds of the corpus.
pub fn events(frames: &[(usize, Vec<u8>)], seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = Vec::new();
    for (side, frame) in frames {
        bytes.push((*side as u8) << 3);
        bytes.extend((frame.len() as u16).to_be_bytes());
        bytes.extend(frame);
        if random.once_in(2) {
            bytes.push((4 + random.below(4) as u8) | (random.below(8) as u8) << 3);
        }
    }
    bytes
}
