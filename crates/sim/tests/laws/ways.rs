//! The law of the two ways: what goes the short way goes as it would go the ordinary one. Two appliances hear the same, but
//! the second hears it with a priority tag (IEEE 802.1Q-2022, 6.9: VLAN 0), and no tagged frame is plain.

use crate::traffic::{Called, INSIDE, OUTSIDE, Seen, Traffic, look, make};
use crate::{BUFFERS, INSIDE_MACS, SERVERS, WORKERS, config, facts, kinds};
use control::members::{Health, Wish};
use sim::frame::Scope;
use sim::{Manager, Sizes, World, apply_fact};
use std::collections::HashSet;
use std::time::Duration;
use wire::protocol;

const STEPS: usize = 1_500;
const FIREWALLS: usize = 3;
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
    let mut text = format!("[appliance]\nhash_key = \"{}\"\n", "07".repeat(16)) + &config(servers);
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

fn world() -> World {
    let mut facts = facts();
    for number in 1..=FIREWALLS {
        for address in ["198.18.1.10", "2001:db8:0:2::10"] {
            let line = format!("neighbour eth2 {address}{number} {INSIDE_MACS}2{number}");
            apply_fact(&mut facts, &Scope::default(), &line).unwrap();
        }
    }
    let sizes = Sizes { sessions_v4: Some(2_000), sessions_v6: Some(1_000) };
    World::new(Manager::new(&config_with_firewalls(SERVERS), facts, sizes).unwrap(), WORKERS, BUFFERS)
}

fn untagged(mut frame: Vec<u8>) -> Vec<u8> {
    if frame[12..16] == TAG {
        frame.drain(12..16);
    }
    frame
}

struct Twins {
    plain: World,
    tagged: World,
    traffic: Traffic,
    /// Flows that reached somebody, and those that spoke in this turn.
    known: HashSet<u32>,
    said: HashSet<u32>,
    forwarded: usize,
}

impl Twins {
    fn new(seed: u64) -> Self {
        let called: Vec<Called> = kinds().iter().map(|kind| kind.called).chain(beyond()).collect();
        Self {
            plain: world(),
            tagged: world(),
            traffic: Traffic::new(seed, &called),
            known: HashSet::new(),
            said: HashSet::new(),
            forwarded: 0,
        }
    }

    fn push(&mut self, side: usize, frame: &[u8]) {
        // A flow whose first packet comes twice in a burst is chosen for twice, since the burst opens its sessions together:
        // the next flow's turn would be another.
        let flow = look(frame).map_or(0, |seen| seen.flow);
        if !self.known.contains(&flow) && !self.said.insert(flow) {
            return;
        }
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
        match random.below(8) {
            0 => frame = long(side, &frame),
            1 => frame.truncate(14 + random.below(frame.len() - 14)),
            2 => frame.extend([0; 9]),
            3 => frame[random.below(6)] ^= 1 << random.below(8),
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
        let kind = &kinds()[random.below(9)];
        let member = match random.once_in(3) {
            true => format!("four/four{}", 1 + random.below(FIREWALLS)),
            false => format!("{}/{}{servers}", kind.name, kind.network),
        };
        let what = random.below(4);
        for world in [&mut self.plain, &mut self.tagged] {
            let Some(key) = world.manager.server(&member) else { continue };
            match what {
                0 => world.manager.set_health(&key, Health::Down),
                1 => world.manager.set_health(&key, Health::Up),
                2 => world.manager.set_wish(&key, Wish::Draining),
                _ => {
                    world.manager.set_wish(&key, Wish::Enabled);
                    world.manager.reload(&config_with_firewalls(servers)).unwrap();
                    world.manager.release_empty();
                }
            }
        }
    }

    fn step(&mut self) {
        if !self.traffic.random.once_in(3) {
            self.traffic.open();
        }
        for _ in 0..self.traffic.random.below(40) {
            let Some((side, frame)) = self.traffic.next() else { break };
            self.push(side, &frame);
        }
        if self.traffic.random.once_in(3) {
            self.intrude();
        }
        if self.traffic.random.once_in(100) {
            self.change();
        }
        let time = Duration::from_micros(self.traffic.random.below(20_000) as u64);
        for world in [&mut self.plain, &mut self.tagged] {
            world.pass(time);
            world.turn();
            world.check_books().unwrap_or_else(|wrong| panic!("{wrong}"));
        }
        self.said.clear();
        self.compare();
    }

    /// What came out of both is the same, and everybody answers it.
    fn compare(&mut self) {
        for side in [OUTSIDE, INSIDE] {
            while let Some(frame) = self.plain.take(side) {
                let other = self.tagged.take(side).map(untagged);
                assert_eq!(Some(&frame), other.as_ref(), "the two ways differ: {:?}", look(&frame));
                self.forwarded += 1;
                self.known.extend(look(&frame).map(|seen| seen.flow));
                match look(&frame) {
                    Some(seen) if side == OUTSIDE => self.traffic.take(&seen),
                    Some(seen) => self.serve(&frame, &seen),
                    None => {}
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

    /// A server answers over where the packet came from.
    fn serve(&mut self, frame: &[u8], seen: &Seen) {
        let direct =
            kinds().into_iter().find(|kind| kind.is_direct() && kind.called.port == seen.destination.1);
        let mut seen = *seen;
        seen.destination.0 = direct.map_or(seen.destination.0, |kind| kind.called.address);
        let before = self.traffic.waiting.len();
        self.traffic.serve(&seen);
        for (_, answer) in &mut self.traffic.waiting[before..] {
            answer[6..12].copy_from_slice(&frame[..6]);
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

#[test]
fn the_short_way_is_the_ordinary_one() {
    for seed in 1..=12 {
        let mut twins = Twins::new(seed);
        for _ in 0..STEPS {
            twins.step();
        }
        println!("seed {seed}: {} frames the same both ways", twins.forwarded);
        assert!(twins.forwarded > 3 * STEPS, "seed {seed}: only {} frames", twins.forwarded);
    }
}
