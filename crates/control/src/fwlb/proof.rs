//! Random flows through one pair of groups: where both ends place them, and what the failure of each firewall moves.

use super::random::Random;
use super::{Both, Finding, Kind, error};
use crate::compile::groups_by_file;
use config::{FirewallGroup, Network};
use flow::{Family, FlowHasher, FlowKey, Zone};
use plan::{Firewalls, PreferenceRows};
use serde::Serialize;
use std::collections::BTreeSet;
use wire::protocol::{TCP, UDP};

const GRE: u8 = 47;
const ESP: u8 = 50;
const SCTP: u8 = 132;

/// Draws for each flow that is wanted. Others fell on addresses that lie beyond other firewalls, or on this side.
const DRAWS_PER_FLOW: u64 = 4;

/// What random flows have shown of a pair.
#[derive(Clone, Debug, Serialize)]
pub struct Proof {
    /// Flows that cross these firewalls, placed by both ends in both directions.
    pub flows: u64,
    /// How many of them the ends placed on different firewalls, or on none.
    pub disagreeing_flows: u64,
    /// The first of those.
    pub example: Option<Misplaced>,
    /// Every firewall that either end knows, by name.
    pub firewalls: Vec<FirewallShare>,
}

/// A flow on which the ends do not agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Misplaced {
    /// Source and destination of its packets inwards, and its protocol.
    pub flow: String,
    /// The firewall that the outer end gives it; `None`: none.
    pub outer: Option<String>,
    /// The same of the inner end.
    pub inner: Option<String>,
}

/// What one firewall carries.
#[derive(Clone, Debug, Serialize)]
pub struct FirewallShare {
    /// Its name.
    pub name: String,
    /// Its weight at the outer end; `None`: that end does not know it.
    pub outer_weight: Option<u32>,
    /// Its weight at the inner end.
    pub inner_weight: Option<u32>,
    /// Flows that both ends placed on it.
    pub flows: u64,
    /// Their part of all.
    pub share: f64,
    /// What becomes of its flows if it fails.
    pub failure: Failure,
}

/// What the failure of one firewall does.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// Flows that move: its own.
    pub moved_flows: u64,
    /// Those which the ends move to different firewalls.
    pub disagreeing_flows: u64,
    /// Whether flows of other firewalls stay where they are, at both ends: no row but its own changes hands.
    pub others_stay: bool,
    /// Whether after its return every row is as it was, at both ends.
    pub all_return: bool,
    /// Where both ends move them. Flows for which nobody is left are in none.
    pub to: Vec<Taker>,
}

/// A firewall that takes over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Taker {
    /// Its name.
    pub name: String,
    /// How many of the flows.
    pub flows: u64,
}

impl Proof {
    /// What of it is not as it must be. Where the ends do not even agree while all live, nothing more is said of failures.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.flows == 0 {
            let text = "no random flow lies between `networks` of the two groups: longer prefixes of other groups hold them all";
            findings.push(error(Kind::Networks, text.into()));
        }
        if let Some(Misplaced { flow, outer, inner }) = &self.example {
            let [outer, inner] = [outer, inner].map(|name| name.as_deref().unwrap_or("none"));
            let text = format!(
                "{} of {} flows are on different firewalls, such as {flow}: {outer} at the outer end, {inner} at the inner",
                self.disagreeing_flows, self.flows
            );
            findings.push(error(Kind::Flows, text));
        }
        for FirewallShare { name, failure, .. } in &self.firewalls {
            if failure.disagreeing_flows > 0 && self.disagreeing_flows == 0 {
                let count = failure.disagreeing_flows;
                let text =
                    format!("if {name:?} fails, the ends move {count} of its flows to different firewalls");
                findings.push(error(Kind::Failure, text));
            }
            if !failure.others_stay {
                findings.push(error(Kind::Failure, format!("if {name:?} fails, flows of others move too")));
            }
            if !failure.all_return {
                let text = format!("after {name:?} has failed and returned, flows are not where they were");
                findings.push(error(Kind::Failure, text));
            }
        }
        findings
    }
}

/// Places `flows` random flows between the networks of the two groups.
pub(super) fn prove<F: Family>(both: &Both<'_>, flows: u64, seed: u64) -> Proof {
    let names: Vec<&str> = {
        let all = both.groups.iter().flat_map(|group| &group.firewalls);
        all.map(|firewall| firewall.name.as_str()).collect::<BTreeSet<_>>().into_iter().collect()
    };
    let sides = [0, 1].map(|end| Side::<F>::new(both, end, &names));
    let [Some(outer), Some(inner)] = sides else { return Tally::new(names.len()).told(both, &names) };
    let mut tally = Tally::new(names.len());
    let mut random = Random::new(seed);
    for draw in 0..flows.saturating_mul(DRAWS_PER_FLOW) {
        if tally.flows == flows {
            break;
        }
        if let Some(key) = draw_flow::<F>(both, [&outer, &inner], draw, &mut random) {
            tally.place([&outer, &inner], &key, &names);
        }
    }
    for (number, failure) in tally.failures.iter_mut().enumerate() {
        failure.others_stay = [&outer, &inner].iter().all(|side| side.others_stay(number));
        failure.all_return = [&outer, &inner].iter().all(|side| side.all_return(number));
    }
    tally.told(both, &names)
}

/// One end of the pair. Firewalls go by their numbers, which are the places in the list of all names.
struct Side<F: Family> {
    firewalls: Firewalls<F>,
    /// The place of its group.
    group: usize,
    zone: Zone,
    hasher: FlowHasher,
    /// The number of each member.
    numbers: Vec<usize>,
    /// The rows without the firewall of each number.
    without: Vec<PreferenceRows>,
}

impl<F: Family> Side<F> {
    fn new(both: &Both<'_>, end: usize, names: &[&str]) -> Option<Self> {
        let (configured, hasher) = (both.groups[end], both.hashers[end]);
        let firewalls = groups_by_file::<F>(both.configs[end], &hasher);
        let place = firewalls.groups().iter().position(|group| group.name == configured.name)?;
        let group = &firewalls.groups()[place];
        let number = |name: &str| names.iter().position(|one| *one == name);
        let numbers: Vec<usize> =
            configured.firewalls.iter().filter_map(|firewall| number(&firewall.name)).collect();
        let without = (0..names.len()).map(|dead| {
            let living: Vec<bool> = numbers.iter().map(|&number| number != dead).collect();
            group.rows.with(&living)
        });
        let without = without.collect();
        let zone = group.zone;
        Some(Self { group: place, zone, hasher, numbers, without, firewalls })
    }

    fn rows(&self) -> &PreferenceRows {
        &self.firewalls.groups()[self.group].rows
    }

    /// The flow as packets of this end have it.
    fn key(&self, key: &F::Key) -> F::Key {
        F::Key::new(self.zone, key.protocol(), key.source(), key.destination())
    }

    fn hash(&self, key: &F::Key) -> u64 {
        self.firewalls.groups()[self.group].hash.of(&self.key(key), &self.hasher)
    }

    /// Who serves a hash by these rows of this end.
    fn number(&self, rows: &PreferenceRows, hash: u64) -> Option<usize> {
        self.numbers.get(rows.member(hash)?).copied()
    }

    /// Bits of the network by which this end takes `address` to lie beyond its group of the pair. None of its firewalls
    /// translates to it.
    fn prefix_bits(&self, address: F::Address) -> Option<u8> {
        let beyond = self.firewalls.beyond(self.zone, address)?;
        (beyond.group == self.group && beyond.owner.is_none()).then_some(beyond.prefix_bits)
    }

    /// Whether `address` is no nearer to this end than to the other, which holds it by a network of so many bits.
    fn leaves(&self, address: F::Address, bits_at_other_end: u8) -> bool {
        self.firewalls.beyond(self.zone, address).is_none_or(|beyond| beyond.prefix_bits <= bits_at_other_end)
    }

    /// Whether no row but those of `dead` changes hands when it fails.
    fn others_stay(&self, dead: usize) -> bool {
        let (before, after) = (self.rows(), &self.without[dead]);
        (0..before.rows()).all(|row| {
            let was = before.in_force(row);
            was == after.in_force(row) || was.is_some_and(|member| self.numbers[member] == dead)
        })
    }

    /// Whether every row is as it was when `dead` is back.
    fn all_return(&self, dead: usize) -> bool {
        let before = self.rows();
        let after = self.without[dead].with(&vec![true; self.numbers.len()]);
        (0..before.rows()).all(|row| before.in_force(row) == after.in_force(row))
    }
}

/// A random flow from the networks beyond the inner end's group to those beyond the outer end's, keyed as it goes inwards.
/// `None`: it would not cross these firewalls.
fn draw_flow<F: Family>(
    both: &Both<'_>,
    [outer, inner]: [&Side<F>; 2],
    draw: u64,
    random: &mut Random,
) -> Option<F::Key> {
    let mut address = |networks: &[Network]| F::address(random.address(networks)?);
    let (outside, inside) = (address(&both.groups[1].networks)?, address(&both.groups[0].networks)?);
    // The longer prefix says on which side a host is; a default route holds those of its own side too.
    let inside_bits = outer.prefix_bits(inside)?;
    let outside_bits = inner.prefix_bits(outside)?;
    if !outer.leaves(outside, outside_bits) || !inner.leaves(inside, inside_bits) {
        return None;
    }
    let ports = random.next();
    let (one, other) = (ports as u16, (ports >> 16) as u16);
    // As the parser keys them: an echo by its identifier, and what has no ports without any.
    let (protocol, one, other) = match draw % 6 {
        0 => (TCP, one, other),
        1 => (UDP, one, other),
        2 => (F::ICMP, one, one),
        3 => (ESP, 0, 0),
        4 => (GRE, 0, 0),
        _ => (SCTP, 0, 0),
    };
    Some(F::Key::new(Zone(0), protocol, (outside, one), (inside, other)))
}

/// What is counted.
struct Tally {
    flows: u64,
    disagreeing_flows: u64,
    example: Option<Misplaced>,
    /// By number.
    own: Vec<u64>,
    /// By number.
    failures: Vec<FailureTally>,
}

#[derive(Clone)]
struct FailureTally {
    disagreeing_flows: u64,
    others_stay: bool,
    all_return: bool,
    /// By number.
    to: Vec<u64>,
}

impl Tally {
    fn new(firewalls: usize) -> Self {
        let failure = FailureTally {
            disagreeing_flows: 0,
            others_stay: true,
            all_return: true,
            to: vec![0; firewalls],
        };
        Self {
            flows: 0,
            disagreeing_flows: 0,
            example: None,
            own: vec![0; firewalls],
            failures: vec![failure; firewalls],
        }
    }

    /// Counts where both ends place a flow in both directions, and where they would if its firewall failed.
    fn place<F: Family>(&mut self, sides: [&Side<F>; 2], key: &F::Key, names: &[&str]) {
        self.flows += 1;
        let hashes = sides.map(|side| side.hash(key));
        let [outer, inner] = [0, 1].map(|end| {
            let back = sides[end].number(sides[end].rows(), sides[end].hash(&key.swapped()));
            sides[end].number(sides[end].rows(), hashes[end]).filter(|there| back == Some(*there))
        });
        let Some(number) = outer.filter(|_| outer == inner) else {
            self.disagreeing_flows += 1;
            let name = |number: Option<usize>| number.map(|number| names[number].to_owned());
            self.example.get_or_insert_with(|| Misplaced {
                flow: flow_words::<F>(key),
                outer: name(outer),
                inner: name(inner),
            });
            return;
        };
        self.own[number] += 1;
        let [one, other] = [0, 1].map(|end| sides[end].number(&sides[end].without[number], hashes[end]));
        let failure = &mut self.failures[number];
        match one {
            _ if one != other => failure.disagreeing_flows += 1,
            Some(taker) => failure.to[taker] += 1,
            None => {}
        }
    }

    fn told(self, both: &Both<'_>, names: &[&str]) -> Proof {
        let weight = |group: &FirewallGroup, name: &str| {
            group.firewalls.iter().find(|firewall| firewall.name == name).map(|firewall| firewall.weight)
        };
        let firewalls = names.iter().enumerate().map(|(number, name)| {
            let failure = &self.failures[number];
            let to = failure.to.iter().zip(names).filter(|(flows, _)| **flows > 0);
            let [outer_weight, inner_weight] = both.groups.map(|group| weight(group, name));
            FirewallShare {
                name: (*name).to_owned(),
                outer_weight,
                inner_weight,
                flows: self.own[number],
                share: self.own[number] as f64 / self.flows.max(1) as f64,
                failure: Failure {
                    moved_flows: self.own[number],
                    disagreeing_flows: failure.disagreeing_flows,
                    others_stay: failure.others_stay,
                    all_return: failure.all_return,
                    to: to.map(|(&flows, name)| Taker { name: (*name).to_owned(), flows }).collect(),
                },
            }
        });
        Proof {
            firewalls: firewalls.collect(),
            flows: self.flows,
            disagreeing_flows: self.disagreeing_flows,
            example: self.example,
        }
    }
}

fn flow_words<F: Family>(key: &F::Key) -> String {
    let end =
        |(address, port): (F::Address, u16)| std::net::SocketAddr::new(address.into(), port).to_string();
    let protocol = match key.protocol() {
        TCP => "tcp",
        UDP => "udp",
        GRE => "gre",
        ESP => "esp",
        SCTP => "sctp",
        _ => "icmp",
    };
    format!("{} to {}/{protocol}", end(key.source()), end(key.destination()))
}
