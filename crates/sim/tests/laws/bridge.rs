//! A bridge without services, against a plainer one: where each frame goes, and that not a byte of it changes.

use sim::golden::read;
use sim::{Random, World};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::Duration;

const MEMBERS: usize = 3;
const HOST: usize = 3;
const FRAMES: usize = 20_000;
const AGEING: Duration = Duration::from_secs(300);
/// More than a table that counts in ticks is wrong about a time.
const TICK: Duration = Duration::from_millis(500);
/// Each move of a station waits for so long, so that none moves too often.
const BETWEEN_MOVES: Duration = Duration::from_secs(3);
const MTU_BYTES: usize = 1_500;

type Mac = [u8; 6];

const OWN: Mac = [2, 0, 0, 0, 0, 1];
const BROADCAST: Mac = [0xff; 6];

fn station(number: usize) -> Mac {
    [2, 0, 0, 0, 9, number as u8]
}

/// IEEE 802.1Q clause 8 in a few lines.
#[derive(Default)]
struct Plain {
    seen: HashMap<(u16, Mac), (usize, Duration)>,
}

impl Plain {
    /// Whether the destination of a frame is forgotten just now, or will be in a moment.
    fn is_forgetting(&self, frame: &Told, now: Duration) -> bool {
        let seen = self.seen.get(&(frame.vlan, frame.to)).map(|(_, seen)| now - *seen);
        seen.is_some_and(|age| age.abs_diff(AGEING) < TICK)
    }

    /// The rings by which a frame leaves that comes in by `ring`.
    fn ways(&mut self, ring: usize, frame: &Told, now: Duration) -> BTreeSet<usize> {
        let others = || (0..MEMBERS).filter(|&member| member != ring);
        let group = frame.to[0] & 1 != 0;
        if ring != HOST {
            let is_constrained = frame.to[..5] == [1, 0x80, 0xc2, 0, 0] && (1..16).contains(&frame.to[5]);
            if is_constrained || frame.from[0] & 1 != 0 || frame.from == OWN {
                return BTreeSet::new();
            }
            self.seen.insert((frame.vlan, frame.from), (ring, now));
            if frame.to == OWN {
                return (frame.vlan == 0).then_some(HOST).into_iter().collect();
            }
        }
        let known =
            self.seen.get(&(frame.vlan, frame.to)).filter(|(_, seen)| now - *seen <= AGEING && !group);
        let mut ways: BTreeSet<usize> = match known {
            Some((member, _)) => others().filter(|other| other == member).collect(),
            None => others().collect(),
        };
        if frame.bytes.len() > 14 + 4 * frame.tags + MTU_BYTES {
            ways.clear();
        }
        if group && ring != HOST && frame.vlan == 0 {
            ways.insert(HOST);
        }
        ways
    }
}

/// A frame, and what is to be known about it.
struct Told {
    bytes: Vec<u8>,
    from: Mac,
    to: Mac,
    vlan: u16,
    tags: usize,
}

fn frame(random: &mut Random, from: Mac, is_host: bool) -> Told {
    let to = match random.below(12) {
        0 => BROADCAST,
        1 => [0x33, 0x33, 0, 0, 0, random.below(3) as u8],
        2 => [1, 0x80, 0xc2, 0, 0, random.below(20) as u8],
        3 if !is_host => OWN,
        _ => station(random.below(10)),
    };
    let tags: &[(u16, u16)] = match random.below(8) {
        _ if is_host => &[],
        0 => &[(0x8100, 20)],
        1 => &[(0x8100, 0x6000 | 30)],
        2 => &[(0x8100, 0xa000)],
        3 => &[(0x88a8, 20), (0x8100, 7)],
        _ => &[],
    };
    // What is for the bridge itself and is IP would be routed; everything else of every kind.
    let ethertype: u16 = match random.below(6) {
        0 if to != OWN => 0x0800,
        1 if to != OWN => 0x86dd,
        2 => 0x88cc,
        3 => 0x8847,
        _ => 0x22f0,
    };
    let mut bytes = [to, from].concat();
    for (kind, control) in tags {
        bytes.extend([*kind, *control].iter().flat_map(|word| word.to_be_bytes()));
    }
    bytes.extend(ethertype.to_be_bytes());
    let body = match random.below(10) {
        0 => MTU_BYTES - 3 + random.below(6),
        _ => random.below(100),
    };
    bytes.extend((0..body).map(|_| random.number() as u8));
    if ethertype == 0x0800 && body >= 28 {
        // An IPv4 packet whose header says what is there, so that it is not refused at its first byte.
        let at = bytes.len() - body;
        bytes[at] = 0x45;
        bytes[at + 2..at + 4].copy_from_slice(&(body as u16).to_be_bytes());
    }
    let vlan = tags.first().map_or(0, |(_, control)| control & 0xfff);
    Told { bytes, from, to, vlan, tags: tags.len() }
}

fn run(seed: u64) {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let script = read("use bridge\n# Nothing is balanced.\nnothing\n", &directory).unwrap().remove(0);
    let mut world = World::new(script.manager().unwrap(), 2, 64);
    let (mut random, mut plain) = (Random::new(seed), Plain::default());
    let mut homes: Vec<usize> = (0..10).map(|number| number % MEMBERS).collect();
    let (mut now, mut crossed) = (Duration::ZERO, 0);
    for _ in 0..FRAMES {
        let number = random.below(homes.len());
        let mut passed = Duration::from_millis(random.below(20) as u64);
        if random.once_in(50) {
            homes[number] = random.below(MEMBERS);
            passed = BETWEEN_MOVES;
        } else if random.once_in(500) {
            passed = AGEING - Duration::from_secs(1) + Duration::from_secs(2 * random.below(2) as u64);
        }
        now += passed;
        world.pass(passed);
        let (ring, from) = match random.below(20) {
            0 => (HOST, OWN),
            1 => (homes[number], OWN),
            2 => (homes[number], [3, 0, 0, 0, 0, 1]),
            _ => (homes[number], station(number)),
        };
        let told = frame(&mut random, from, ring == HOST);
        if plain.is_forgetting(&told, now) {
            continue;
        }
        let wanted = plain.ways(ring, &told, now);
        assert!(world.push(random.below(2), ring, &told.bytes));
        world.settle();
        world.check_books().unwrap();
        let mut came = BTreeSet::new();
        for ring in 0..=HOST {
            while let Some(frame) = world.take(ring) {
                assert_eq!(frame, told.bytes, "seed {seed}: a byte changed");
                assert!(came.insert(ring), "seed {seed}: a frame left twice by ring {ring}");
            }
        }
        assert_eq!(came, wanted, "seed {seed}: in by ring {ring}: {:02x?}", told.bytes);
        crossed += came.len();
    }
    world.check_buffers().unwrap();
    assert_eq!(world.sessions(), 0);
    assert!(crossed > FRAMES / 2, "seed {seed}: only {crossed} frames left the bridge");
}

#[test]
fn a_bridge_without_services_is_a_plain_bridge_that_changes_no_byte() {
    (1..=3).for_each(run);
}
