//! Two appliances, and stateful firewalls between them that forget nothing and forgive nothing.

use crate::flows::{Flow, INNER, OUTER, number_of};
use control::facts::Facts;
use control::members::{Health, ServerKey};
use sim::frame::Scope;
use sim::{Manager, Random, Sizes, World, apply_fact};
use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;
use wire::Mac;

/// Rings of the outer appliance: clients, firewalls. Of the inner one: firewalls, servers.
const FAR_RING: [usize; 2] = [0, 1];
const FIREWALL_RING: [usize; 2] = [1, 0];
const HOST: [Mac; 2] = [Mac([2, 0, 0, 0, 1, 0x50]), Mac([2, 0, 0, 0, 4, 0x50])];
const WORKERS: usize = 2;
/// Hosts at each end: few, since every plan names them.
pub const HOSTS: usize = 12;
const BUFFERS: usize = 256;

/// What sort of bank.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub firewalls: usize,
    pub is_five_tuple: bool,
    pub returns: bool,
    pub keeps: bool,
}

impl Kind {
    /// 2 to 5 firewalls, of every sort.
    pub fn all() -> impl Iterator<Item = Kind> {
        (2..=5).flat_map(|firewalls| {
            (0..6).map(move |bits| Kind {
                firewalls,
                is_five_tuple: bits & 1 != 0,
                returns: bits & 6 == 2,
                keeps: bits & 6 == 4,
            })
        })
    }
}

/// A flow that a firewall lets pass: both ends' addresses, the smaller first, and protocol with ports or identifier.
type State = Vec<u8>;

struct Firewall {
    lives: bool,
    states: HashSet<State>,
}

pub struct Bank {
    pub kind: Kind,
    ends: [World; 2],
    firewalls: Vec<Firewall>,
    invalid: usize,
    drifted_before: u64,
}

fn side_mac(end: usize, ring: usize) -> Mac {
    Mac([2, 0, 0, 0, [[1, 2], [3, 4]][end][ring], 1])
}

fn firewall_mac(end: usize, firewall: usize) -> Mac {
    Mac([2, 0, 0, 0, [2, 3][end], 0x11 + firewall as u8])
}

/// Where a firewall is reached from an end.
fn address(end: usize, firewall: usize, is_ipv4: bool) -> String {
    match is_ipv4 {
        true => format!("198.18.{}.{}", end + 1, firewall + 1),
        false => format!("2001:db8:{}::{}", end + 2, firewall + 1),
    }
}

fn config(end: usize, kind: Kind) -> String {
    let mut text = "[appliance]\nhash_key = \"000102030405060708090a0b0c0d0e0f\"\n".to_owned();
    for (name, interface) in [("a", "eth1"), ("b", "eth2")] {
        text += &format!("[[port]]\nname = \"{name}\"\ninterface = \"{interface}\"\n");
    }
    let networks = [["198.19.0.0/16", "2001:db8:9::/48"], ["0.0.0.0/0", "::/0"]];
    for (is_ipv4, network) in [true, false].into_iter().zip(networks[end]) {
        text += &format!("[[firewall_group]]\nname = \"fw{network}\"\nnetworks = [\"{network}\"]\n");
        text += if kind.is_five_tuple { "hash = \"five-tuple\"\n" } else { "" };
        text += if kind.returns { "on_recovery = \"return\"\n" } else { "" };
        text += if kind.keeps { "on_failure = \"keep\"\n" } else { "" };
        // The two ends name them in another order.
        for place in 0..kind.firewalls {
            let firewall = if end == OUTER { place } else { kind.firewalls - 1 - place };
            text += &format!(
                "[[firewall_group.firewall]]\nname = \"fw{firewall}\"\naddress = \"{}\"\nweight = {}\n",
                address(end, firewall, is_ipv4),
                1 + firewall
            );
        }
    }
    text
}

fn facts(end: usize, kind: Kind) -> Facts {
    let mut facts = Facts::default();
    let mut apply = |line: &str| apply_fact(&mut facts, &Scope::default(), line).unwrap();
    for ring in 0..2 {
        apply(&format!("interface eth{} {} mtu 1500", ring + 1, side_mac(end, ring)));
    }
    let (far, near) = (FAR_RING[end] + 1, FIREWALL_RING[end] + 1);
    let hosts = [("198.18.0", "2001:db8:1:1:"), ("198.19.0", "2001:db8:9:1:")][end];
    apply(&format!("address eth{far} {}.254/24", hosts.0));
    apply(&format!("address eth{far} {}:ffff/64", hosts.1));
    apply(&format!("address eth{near} 198.18.{}.100/24", end + 1));
    apply(&format!("address eth{near} 2001:db8:{}::100/64", end + 2));
    for host in 0..HOSTS {
        apply(&format!("neighbour eth{far} {}.{host} {}", hosts.0, HOST[end]));
        apply(&format!("neighbour eth{far} {}:{host:x} {}", hosts.1, HOST[end]));
    }
    for firewall in 0..kind.firewalls {
        for is_ipv4 in [true, false] {
            let mac = firewall_mac(end, firewall);
            apply(&format!("neighbour eth{near} {} {mac}", address(end, firewall, is_ipv4)));
        }
    }
    facts
}

impl Bank {
    pub fn new(kind: Kind) -> Self {
        let sizes = Sizes { sessions_v4: Some(64), sessions_v6: Some(64) };
        let world = |end| {
            let manager = Manager::new(&config(end, kind), facts(end, kind), sizes).unwrap();
            World::new(manager, WORKERS, BUFFERS)
        };
        let firewalls = (0..kind.firewalls).map(|_| Firewall { lives: true, states: HashSet::new() });
        Self {
            kind,
            ends: [world(OUTER), world(INNER)],
            firewalls: firewalls.collect(),
            invalid: 0,
            drifted_before: 0,
        }
    }

    pub fn firewalls(&self) -> usize {
        self.firewalls.len()
    }

    pub fn lives(&self, firewall: usize) -> bool {
        self.firewalls[firewall].lives
    }

    pub fn living(&self) -> usize {
        self.firewalls.iter().filter(|firewall| firewall.lives).count()
    }

    /// A firewall that fails loses what it knew.
    pub fn set_alive(&mut self, firewall: usize, lives: bool) {
        self.firewalls[firewall].lives = lives;
        if !lives && !self.kind.keeps {
            self.firewalls[firewall].states.clear();
        }
    }

    /// An end hears how a firewall fares.
    pub fn tell(&mut self, end: usize, firewall: usize, lives: bool) {
        let health = if lives { Health::Up } else { Health::Down };
        for is_ipv4 in [true, false] {
            let wanted: IpAddr = address(end, firewall, is_ipv4).parse().unwrap();
            let known =
                self.ends[end].manager.members().map(|(key, _)| key).find(|key| key.address == wanted);
            let key: ServerKey = known.unwrap().clone();
            self.ends[end].manager.set_health(&key, health);
        }
    }

    /// An end of a flow sends a packet.
    pub fn send(&mut self, flow: &Flow, end: usize, random: &mut Random) {
        let frame = flow.frame(end, (HOST[end], side_mac(end, FAR_RING[end])));
        assert!(self.ends[end].push(random.below(WORKERS), FAR_RING[end], &frame));
    }

    /// Everything goes where it goes, until nothing is under way.
    pub fn carry(&mut self, flows: &mut [Flow], random: &mut Random) {
        for end in [OUTER, INNER, OUTER] {
            self.ends[end].pass(Duration::from_micros(50));
            self.ends[end].turn();
            while let Some(frame) = self.ends[end].take(FIREWALL_RING[end]) {
                self.cross(end, frame, flows, random);
            }
        }
        for end in [OUTER, INNER] {
            self.ends[end].turn();
            while let Some(frame) = self.ends[end].take(FIREWALL_RING[end]) {
                self.cross(end, frame, flows, random);
            }
        }
        for end in [OUTER, INNER] {
            self.ends[end].turn();
            while let Some(frame) = self.ends[end].take(FAR_RING[end]) {
                if let Some(flow) = number_of(&frame).and_then(|number| flows.get_mut(number as usize - 1)) {
                    flow.heard[end] += 1;
                }
            }
            self.ends[end].check_books().unwrap_or_else(|wrong| panic!("{wrong}"));
        }
    }

    /// A frame of `end` arrives at a firewall.
    fn cross(&mut self, end: usize, mut frame: Vec<u8>, flows: &mut [Flow], random: &mut Random) {
        let Some(place) = (0..self.firewalls.len()).find(|&place| frame[..6] == firewall_mac(end, place).0)
        else {
            panic!("a frame to no firewall: {frame:?}");
        };
        if let Some(flow) = number_of(&frame).and_then(|number| flows.get_mut(number as usize - 1)) {
            flow.crossed[end] = Some(place);
        }
        let firewall = &mut self.firewalls[place];
        if !firewall.lives {
            return;
        }
        let (state, opens) = state_of(&frame);
        if !firewall.states.contains(&state) {
            if !opens {
                self.invalid += 1;
            }
            // It picks up what it does not know: what a strict one would drop is counted.
            firewall.states.insert(state);
        }
        let other = 1 - end;
        frame[..6].copy_from_slice(&side_mac(other, FIREWALL_RING[other]).0);
        frame[6..12].copy_from_slice(&firewall_mac(other, place).0);
        assert!(self.ends[other].push(random.below(WORKERS), FIREWALL_RING[other], &frame));
    }

    /// Packets that a strict firewall would have dropped since it was asked last.
    pub fn take_invalid(&mut self) -> usize {
        std::mem::take(&mut self.invalid)
    }

    /// Flows that drifted since it was asked last, at both ends.
    pub fn take_drifted(&mut self) -> u64 {
        let now = self.drifted();
        now - std::mem::replace(&mut self.drifted_before, now)
    }

    fn drifted(&self) -> u64 {
        let of = |world: &World| -> u64 {
            world.manager.members().map(|(key, _)| world.manager.drifted(key)).sum()
        };
        self.ends.iter().map(of).sum()
    }

    /// Nobody speaks for so long that every session ends.
    pub fn forget(&mut self) {
        for end in &mut self.ends {
            end.check_loads().unwrap_or_else(|wrong| panic!("{wrong}"));
            end.pass(Duration::from_secs(3 * 3_600));
            for _ in 0..4 {
                end.turn();
                end.pass(Duration::from_secs(2));
            }
            assert_eq!(end.sessions(), 0, "sessions outlive the longest timeout");
            end.check_buffers().unwrap_or_else(|wrong| panic!("{wrong}"));
        }
        self.firewalls.iter_mut().for_each(|firewall| firewall.states.clear());
    }
}

/// What a firewall keeps of a packet's flow, and whether the packet may begin one.
fn state_of(frame: &[u8]) -> (State, bool) {
    let (addresses, length, protocol, transport) = match frame[12..14] {
        [0x08, 0x00] => (&frame[26..34], 4, frame[23], &frame[34..]),
        _ => (&frame[22..54], 16, frame[20], &frame[54..]),
    };
    let (from, to) = addresses.split_at(length);
    let (is_tcp, has_ports) = (protocol == 6, protocol == 6 || protocol == 17);
    let port = |at: usize| if has_ports { transport[at..at + 2].to_vec() } else { Vec::new() };
    let (from, to) = ([from, &port(0)[..]].concat(), [to, &port(2)[..]].concat());
    let identifier = if has_ports || protocol == 47 { Vec::new() } else { transport[4..6].to_vec() };
    let is_reply = protocol == 1 && transport[0] == 0 || protocol == 58 && transport[0] == 129;
    let opens = if is_tcp { transport[13] & 0x12 == 0x02 } else { !is_reply };
    let kind = if protocol == 58 { 1 } else { protocol };
    ([from.clone().min(to.clone()), from.max(to), identifier, vec![kind]].concat(), opens)
}
