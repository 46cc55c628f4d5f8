//! The law of the two ways: what goes the short way goes as it would go the ordinary one. Two appliances hear the same, but
//! the second hears it with a priority tag (IEEE 802.1Q-2022, 6.9: VLAN 0), and no tagged frame is plain.

use crate::traffic::{Called, INSIDE, OUTSIDE, Seen, Stage, Traffic, look, make};
use crate::{BUFFERS, INSIDE_MACS, PORTS, SERVERS, WORKERS, config, facts, kinds};
use control::facts::Facts;
use control::members::{Health, Member, ServerKey, Wish};
use engine::MemberCounters;
use sim::frame::Scope;
use sim::{Manager, Sizes, World, apply_fact};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use wire::protocol;

const STEPS: usize = 1_500;
const FIREWALLS: usize = 3;
const HASH_KEY: &str = "07070707070707070707070707070707";
const TAG: [u8; 4] = [0x81, 0, 0, 0];

/// What is called through firewalls.
fn beyond() -> [Called; 4] {
    let called = |address: &str, port, protocol| Called { address: address.parse().unwrap(), port, protocol };
    [
        called("198.18.3.1", 80, protocol::TCP),
        called("198.18.3.1", 53, protocol::UDP),
        called("2001:db8:0:3::1", 80, protocol::TCP),
        called("2001:db8:0:3::1", 53, protocol::UDP),
    ]
}

/// The services of the other laws, and firewalls before networks behind them.
fn config_with_firewalls(servers: usize) -> String {
    const LEAST: &str = "scheduler = \"least-connections\"\n";
    let mut text = format!("[appliance]\nhash_key = \"{HASH_KEY}\"\n") + &config(servers).replace(LEAST, "");
    text = text.replace("source_nat = \"always\"\n", TRANSLATING);
    for (name, network, firewall) in
        [("four", "198.18.3.0/24", "198.18.1.10"), ("six", "2001:db8:0:3::/64", "2001:db8:0:2::10")]
    {
        text += &format!("[[firewall_group]]\nname = \"{name}\"\nnetworks = [\"{network}\"]\n");
        for number in 1..=FIREWALLS {
            text += &format!(
                "[[firewall_group.firewall]]\nname = \"{name}{number}\"\naddress = \"{firewall}{number}\"\n"
            );
        }
    }
    text
}

fn facts_with_firewalls() -> Facts {
    let mut facts = facts();
    for number in 1..=FIREWALLS {
        for address in ["198.18.1.10", "2001:db8:0:2::10"] {
            let line = format!("neighbour eth2 {address}{number} {INSIDE_MACS}2{number}");
            apply_fact(&mut facts, &Scope::default(), &line).unwrap();
        }
    }
    facts
}

/// Where the two appliances stand.
#[derive(Clone, Copy)]
enum Place {
    /// Between two networks, with firewalls in one of them.
    Routed,
    /// Inside one, as a bridge.
    Bridge,
}

/// A drawn port that is taken has its flow decided about once more where it was to be stored later, and then it would be the
/// turn of the next server: whom such services choose must not depend on turns.
const TRANSLATING: &str = "source_nat = \"always\"\nscheduler = \"hash\"\n";

/// What is called over a bridge: each mode that keeps to one network, and one that does not.
const OVER_BRIDGE: [(&str, u16, u8, &str, &str); 8] = [
    ("198.18.0.10", 80, protocol::TCP, "transparent", ""),
    ("198.18.0.10", 53, protocol::UDP, "transparent", ""),
    ("2001:db8:0:1::10", 80, protocol::TCP, "transparent", ""),
    ("2001:db8:0:1::10", 53, protocol::UDP, "transparent", ""),
    ("198.18.0.20", 80, protocol::TCP, "transparent", TRANSLATING),
    ("198.18.0.20", 81, protocol::TCP, "routed", ""),
    ("198.18.0.30", 82, protocol::TCP, "l2-dsr", ""),
    ("2001:db8:0:1::30", 83, protocol::TCP, "l2-dsr", ""),
];

fn config_of_bridge(servers: usize) -> String {
    let mut text = format!("[appliance]\nhash_key = \"{HASH_KEY}\"\n{PORTS}");
    text += "[[bridge]]\nname = \"br0\"\nports = [\"outside\", \"inside\"]\n";
    text += "addresses = [\"198.18.0.2/24\", \"2001:db8:0:1::2/64\"]\n";
    for (number, (address, port, own, mode, more)) in OVER_BRIDGE.iter().enumerate() {
        let own = if *own == protocol::UDP { "udp" } else { "tcp" };
        text += &format!("[[service]]\nname = \"over{number}\"\naddress = \"{address}\"\nport = {port}\n");
        text += &format!("protocol = \"{own}\"\nmode = \"{mode}\"\n{more}");
        let network = if address.contains(':') { "2001:db8:0:1::11" } else { "198.18.0.11" };
        for server in 1..=servers {
            text += &format!("[[service.server]]\naddress = \"{network}{server}\"\n");
        }
    }
    text
}

fn facts_of_bridge() -> Facts {
    let mut facts = Facts::default();
    let mut apply = |line: &str| apply_fact(&mut facts, &Scope::default(), line).unwrap();
    apply("interface eth1 02:00:00:00:07:01 mtu 1500");
    apply("interface eth2 02:00:00:00:07:02 mtu 1500");
    apply("interface br0 02:00:00:00:01:01 mtu 1500");
    apply("address br0 198.18.0.2/24");
    apply("address br0 2001:db8:0:1::2/64");
    for (network, gateway) in [("0.0.0.0/0", "198.18.0.1"), ("::/0", "2001:db8:0:1::1")] {
        apply(&format!("route {network} via {gateway}"));
        apply(&format!("neighbour br0 {gateway} 02:00:00:00:01:50"));
    }
    for server in 1..=SERVERS {
        for network in ["198.18.0.11", "2001:db8:0:1::11"] {
            apply(&format!("neighbour br0 {network}{server} {INSIDE_MACS}1{server}"));
        }
    }
    facts
}

impl Place {
    fn config(self, servers: usize) -> String {
        match self {
            Self::Routed => config_with_firewalls(servers),
            Self::Bridge => config_of_bridge(servers),
        }
    }

    fn world(self) -> World {
        let sizes = Sizes { sessions_v4: Some(2_000), sessions_v6: Some(1_000) };
        let facts = match self {
            Self::Routed => facts_with_firewalls(),
            Self::Bridge => facts_of_bridge(),
        };
        World::new(Manager::new(&self.config(SERVERS), facts, sizes).unwrap(), WORKERS, BUFFERS)
    }

    fn called(self) -> Vec<Called> {
        match self {
            Self::Routed => kinds().iter().map(|kind| kind.called).chain(beyond()).collect(),
            Self::Bridge => OVER_BRIDGE
                .iter()
                .map(|&(address, port, protocol, ..)| Called {
                    address: address.parse().unwrap(),
                    port,
                    protocol,
                })
                .collect(),
        }
    }

    /// The VIP whose servers answer to that port in its name.
    fn direct(self, port: u16) -> Option<IpAddr> {
        match self {
            Self::Routed => {
                let kinds = kinds();
                let kind = kinds.iter().find(|kind| kind.is_direct() && kind.called.port == port)?;
                Some(kind.called.address)
            }
            Self::Bridge => {
                let direct = |(_, own, _, mode, _): &&(_, u16, _, &str, _)| *own == port && *mode == "l2-dsr";
                Some(OVER_BRIDGE.iter().find(direct)?.0.parse().unwrap())
            }
        }
    }

    /// A member, by two numbers.
    fn member(self, kind: usize, server: usize, firewall: Option<usize>) -> String {
        match (self, firewall) {
            (Self::Routed, Some(firewall)) => format!("four/four{firewall}"),
            (Self::Routed, None) => {
                let kind = &kinds()[kind];
                format!("{}/{}{server}", kind.name, kind.network)
            }
            (Self::Bridge, _) => {
                let network =
                    if OVER_BRIDGE[kind % 8].0.contains(':') { "2001:db8:0:1::11" } else { "198.18.0.11" };
                format!("over{}/{network}{server}", kind % 8)
            }
        }
    }
}

fn untagged(mut frame: Vec<u8>) -> Vec<u8> {
    if frame[12..16] == TAG {
        frame.drain(12..16);
    }
    frame
}

struct Twins {
    place: Place,
    plain: World,
    tagged: World,
    traffic: Traffic,
    forwarded: usize,
}

impl Twins {
    fn new(place: Place, seed: u64) -> Self {
        let mut twins = Self {
            place,
            plain: place.world(),
            tagged: place.world(),
            traffic: Traffic::new(seed, &place.called()),
            forwarded: 0,
        };
        // A bridge knows where the servers are: the copies of what it floods leave when the burst is through, and those of a
        // session that was stored later after all others.
        for server in 1..=SERVERS {
            let address = |host| IpAddr::from(Ipv4Addr::new(198, 18, 0, host));
            let ends = [(address(110 + server as u8), 1), (address(2), 1)];
            let mut frame = make(INSIDE, &Seen::datagram(ends));
            frame[11] = 0x10 + server as u8;
            twins.push(INSIDE, &frame);
        }
        twins
    }

    fn step(&mut self) {
        if !self.traffic.random.once_in(3) {
            self.traffic.open();
        }
        let time = self.play(40);
        for world in [&mut self.plain, &mut self.tagged] {
            world.pass(time);
            world.turn();
            world.check_books().unwrap_or_else(|wrong| panic!("{wrong}"));
        }
        self.compare();
    }

    /// What came out of both is the same, and everybody answers it.
    fn compare(&mut self) {
        // Beyond both there is the host, where a bridge has one.
        for side in OUTSIDE..self.plain.manager.rings() {
            while let Some(frame) = self.plain.take(side) {
                let other = self.tagged.take(side).map(untagged);
                assert_eq!(Some(&frame), other.as_ref(), "the two ways differ: {:?}", look(&frame));
                self.forwarded += 1;
                match look(&frame) {
                    Some(seen) if side == OUTSIDE => self.traffic.take(&seen),
                    Some(seen) if side == INSIDE => self.serve(&frame, &seen),
                    _ => {}
                }
            }
            assert_eq!(self.tagged.take(side), None, "the ordinary way sends more");
        }
        for reason in engine::DropReason::all() {
            let (short, ordinary) = (self.plain.dropped(reason.name()), self.tagged.dropped(reason.name()));
            assert_eq!(short, ordinary, "dropped as {}", reason.name());
        }
        assert_eq!(self.plain.sessions(), self.tagged.sessions(), "sessions");
    }

    /// Each member carries the same, and all of them have counted the same: a row of counters outlives its member.
    fn compare_members(&self) {
        let [short, ordinary] = [&self.plain, &self.tagged].map(|world| {
            let counted = |count: fn(&MemberCounters) -> u64| -> u64 {
                world.manager.counters().flat_map(|worker| &worker.members).map(count).sum()
            };
            let counted = [
                counted(|row| row.packets_in.get()),
                counted(|row| row.packets_out.get()),
                counted(|row| row.bytes_in.get()),
                counted(|row| row.bytes_out.get()),
                counted(|row| row.sessions_created.get()),
                counted(|row| row.sessions_ended.get()),
                counted(|row| row.connects_made.get()),
                counted(|row| row.connects_failed.get()),
            ];
            let loads = &world.manager.shared().loads;
            let carried =
                |(server, member): (&ServerKey, &Member)| (server.clone(), loads.sessions(member.id));
            (counted, world.manager.members().map(carried).collect::<HashMap<_, _>>())
        });
        assert_eq!(short, ordinary, "what members carry and have counted");
    }

    /// A server answers over where the packet came from, to whom it came from.
    fn serve(&mut self, frame: &[u8], seen: &Seen) {
        let mut seen = *seen;
        let direct = self.place.direct(seen.destination.1);
        let called = direct.filter(|called| called.is_ipv4() == seen.destination.0.is_ipv4());
        seen.destination.0 = called.unwrap_or(seen.destination.0);
        let before = self.traffic.waiting.len();
        self.traffic.serve(&seen);
        for (_, answer) in &mut self.traffic.waiting[before..] {
            answer[..6].copy_from_slice(&frame[6..12]);
            answer[6..12].copy_from_slice(&frame[..6]);
        }
    }
}

impl Stage for Twins {
    fn traffic(&mut self) -> &mut Traffic {
        &mut self.traffic
    }

    fn push(&mut self, side: usize, frame: &[u8]) {
        let worker = self.traffic.random.below(WORKERS);
        let tagged = [&frame[..12], &TAG, &frame[12..]].concat();
        assert!(self.plain.push(worker, side, frame) && self.tagged.push(worker, side, &tagged));
    }

    /// One of the frames under way, with something changed that speaks against the short way, or only seems to.
    fn intrude(&mut self) {
        if self.traffic.waiting.is_empty() {
            return;
        }
        let random = &mut self.traffic.random;
        let (side, mut frame) = self.traffic.waiting[random.below(self.traffic.waiting.len())].clone();
        match random.below(12) {
            0 => frame = long(side, &frame),
            1 => frame.truncate(14 + random.below(frame.len() - 14)),
            2 => frame.extend([0; 9]),
            3 => frame[random.below(12)] ^= 1 << random.below(8),
            // To a group, to the appliance, to a server, and from whom it is for.
            5 => frame[0] |= 1,
            6 => frame[..6].copy_from_slice(&[2, 0, 0, 0, 1, 1]),
            7 => frame[..6].copy_from_slice(&[2, 0, 0, 0, 2, 0x11 + random.below(SERVERS) as u8]),
            4 if side == OUTSIDE => frame.copy_within(..6, 6),
            _ => {
                // The flow label and the identification name the flow.
                let place = [14, 15, 16, 17, 20, 21, 22, 23][random.below(8)];
                let place = if random.once_in(2) { place } else { 26 + random.below(frame.len() - 26) };
                frame[place] ^= 1 << random.below(8);
                if frame[12..14] == [8, 0] && !random.once_in(4) {
                    right_header_checksum(&mut frame);
                }
            }
        }
        self.push(side, &frame);
    }

    /// The same befalls both.
    fn change(&mut self) {
        let random = &mut self.traffic.random;
        let servers = 1 + random.below(SERVERS);
        let kind = random.below(9);
        let firewall = random.once_in(3).then(|| 1 + random.below(FIREWALLS));
        let (place, member) = (self.place, self.place.member(kind, servers, firewall));
        let what = random.below(4);
        for world in [&mut self.plain, &mut self.tagged] {
            let Some(key) = world.manager.server(&member) else { continue };
            match what {
                0 => world.manager.set_health(&key, Health::Down),
                1 => world.manager.set_health(&key, Health::Up),
                2 => world.manager.set_wish(&key, Wish::Draining),
                _ => {
                    world.manager.set_wish(&key, Wish::Enabled);
                    world.manager.reload(&place.config(servers)).unwrap();
                    world.manager.release_empty();
                }
            }
        }
    }
}

/// The same flow's packet, too long for the next link.
fn long(side: usize, frame: &[u8]) -> Vec<u8> {
    match look(frame) {
        Some(seen) => make(side, &Seen { data_bytes: 1_460, ..seen }),
        None => frame.to_vec(),
    }
}

/// RFC 1071 over the IPv4 header, where it is whole.
fn right_header_checksum(frame: &mut [u8]) {
    let end = 14 + 4 * usize::from(frame[14] & 15);
    if frame.len() < end.max(34) {
        return;
    }
    frame[24..26].fill(0);
    let words = frame[14..end].chunks_exact(2);
    let sum: u32 = words.map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

fn both_ways(place: Place, seeds: std::ops::RangeInclusive<u64>) {
    for seed in seeds {
        let mut twins = Twins::new(place, seed);
        for step in 0..STEPS {
            twins.step();
            if step % 50 == 0 {
                twins.compare_members();
            }
        }
        println!("seed {seed}: {} frames the same both ways", twins.forwarded);
        assert!(twins.forwarded > 3 * STEPS, "seed {seed}: only {} frames", twins.forwarded);
    }
}

#[test]
fn the_short_way_is_the_ordinary_one() {
    both_ways(Place::Routed, 1..=8);
}

#[test]
fn the_short_way_over_a_bridge_is_the_ordinary_one() {
    both_ways(Place::Bridge, 1..=8);
}
