//! Two ends that never speak to each other place every flow on the same firewall, whatever fails and returns in whatever
//! order; and of each change only the rows of the firewall in question know.
//!
//! The ends list the firewalls in orders of their own and key a flow in opposite directions, each in its own zone.
#![cfg(not(loom))]

use flow::{Family, FlowHasher, FlowKey, V4, V6, Zone};
use plan::{FirewallHash, PreferenceRows, RowMember, fingerprint};
use std::net::{Ipv4Addr, Ipv6Addr};
use wire::protocol::{ICMP, ICMPV6, TCP, UDP};

const ESP: u8 = 50;
const GRE: u8 = 47;
const SCTP: u8 = 132;

/// Flows of each protocol of each family.
const FLOWS: u32 = 1_000_000;
/// Random orders of failures and returns of more than five firewalls.
const ORDERS: u64 = 1_000;

fn hasher() -> FlowHasher {
    FlowHasher::new(*b"same at both end")
}

/// SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators").
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn shuffled(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        (1..count).for_each(|place| order.swap(place, self.below(place + 1)));
        order
    }
}

/// One end: its own list of firewalls, and who serves each row. Who a firewall is, is told by its number in `weights`,
/// which no end knows.
#[derive(Clone)]
struct End {
    /// The number of each of its members.
    order: Vec<usize>,
    members: Vec<RowMember>,
    rows: PreferenceRows,
}

impl End {
    fn new(weights: &[u32], order: Vec<usize>) -> Self {
        let member = |&number: &usize| RowMember {
            identity: format!("fw{number}").into_bytes(),
            weight: weights[number],
            is_backup: false,
        };
        let members: Vec<RowMember> = order.iter().map(member).collect();
        let rows = PreferenceRows::build(&members, &vec![true; order.len()], &hasher());
        Self { order, members, rows }
    }

    fn living(&self, alive: &[bool]) -> Vec<bool> {
        self.order.iter().map(|&number| alive[number]).collect()
    }

    /// What it goes on with when others live.
    fn with(&self, alive: &[bool]) -> Self {
        Self { rows: self.rows.with(&self.living(alive)), ..self.clone() }
    }

    /// What it has after a start, when it knows nothing of what was.
    fn restarted(&self, alive: &[bool]) -> Self {
        let rows = PreferenceRows::build(&self.members, &self.living(alive), &hasher());
        Self { rows, ..self.clone() }
    }

    fn firewall(&self, hash: u64) -> Option<usize> {
        self.rows.member(hash).map(|member| self.order[member])
    }

    fn served(&self) -> Vec<Option<usize>> {
        (0..self.rows.rows()).map(|row| self.rows.in_force(row).map(|member| self.order[member])).collect()
    }
}

/// Both ends, and who serves each row when nobody is dead.
struct Sandwich {
    ends: [End; 2],
    whole: Vec<Option<usize>>,
}

impl Sandwich {
    fn new(weights: &[u32], random: &mut Random) -> Self {
        let ends = [(); 2].map(|()| End::new(weights, random.shuffled(weights.len())));
        let whole = ends[0].served();
        Self { ends, whole }
    }

    /// Both ends after another change, once all of it is right; and who serves each row now.
    fn check(
        &self,
        ends: &[End; 2],
        before: &[Option<usize>],
        alive: &[bool],
        changed: usize,
    ) -> Vec<Option<usize>> {
        let [one, other] = ends.each_ref().map(End::served);
        assert_eq!(one, other, "both ends agree: {alive:?}");
        for (row, (&was, &is)) in before.iter().zip(&one).enumerate() {
            let moves = if alive[changed] { is == Some(changed) } else { was == Some(changed) };
            assert!(was == is || moves, "row {row}: {was:?}, then {is:?}, for {changed}: {alive:?}");
            assert!(is.is_some_and(|number| alive[number]) || !alive.contains(&true), "the dead serve");
            // Whose rows they are, they are again.
            let own = self.whole[row];
            assert!(own == is || own.is_none_or(|number| !alive[number]), "row {row} did not come back");
        }
        if alive.iter().all(|&lives| lives) {
            assert_eq!(one, self.whole);
        }
        one
    }

    /// Fails those who live, or brings back those who do not, in every order; then goes on with `then` each time.
    fn every_order(
        &self,
        (ends, served): (&[End; 2], &[Option<usize>]),
        alive: &[bool],
        to: bool,
        then: &mut impl FnMut(&[End; 2], &[Option<usize>], &[bool]),
    ) {
        let mut is_done = true;
        for changed in (0..alive.len()).filter(|&number| alive[number] != to) {
            is_done = false;
            let mut alive = alive.to_vec();
            alive[changed] = to;
            let ends = ends.each_ref().map(|end| end.with(&alive));
            let served = self.check(&ends, served, &alive, changed);
            self.every_order((&ends, &served), &alive, to, then);
        }
        if is_done {
            then(ends, served, alive);
        }
    }

    /// Every sequence of `steps` failures and returns, mixed as they come.
    fn every_walk(&self, (ends, served): (&[End; 2], &[Option<usize>]), alive: &[bool], steps: usize) {
        for changed in (0..alive.len()).filter(|_| steps > 0) {
            let mut alive = alive.to_vec();
            alive[changed] ^= true;
            let ends = ends.each_ref().map(|end| end.with(&alive));
            let served = self.check(&ends, served, &alive, changed);
            self.every_walk((&ends, &served), &alive, steps - 1);
        }
    }
}

fn weights(count: usize, random: &mut Random) -> Vec<u32> {
    match random.below(3) {
        0 => vec![1; count],
        _ => (0..count).map(|_| 1 + random.below(20) as u32).collect(),
    }
}

#[test]
fn every_order_of_failures_and_returns_of_up_to_five() {
    let mut random = Random(1);
    for count in 1..=5 {
        let sandwich = Sandwich::new(&weights(count, &mut random), &mut random);
        let all = vec![true; count];
        let mut orders = 0;
        sandwich.every_order((&sandwich.ends, &sandwich.whole), &all, false, &mut |ends, served, alive| {
            sandwich.every_order((ends, served), alive, true, &mut |_, served, _| {
                orders += 1;
                assert_eq!(served, sandwich.whole);
            });
        });
        let factorial: usize = (1..=count).product();
        assert_eq!(orders, factorial * factorial);
        sandwich.every_walk((&sandwich.ends, &sandwich.whole), &all, 5);
    }
}

#[test]
fn a_thousand_orders_of_failures_and_returns_of_more_than_five() {
    for seed in 0..ORDERS {
        let mut random = Random(seed);
        let count = if seed % 50 == 0 { 64 } else { 6 + random.below(11) };
        let sandwich = Sandwich::new(&weights(count, &mut random), &mut random);
        let mut ends = sandwich.ends.clone();
        let mut served = sandwich.whole.clone();
        let mut alive = vec![true; count];
        // As many steps as firewalls, so that in most orders many are dead at once; then all return.
        let steps = (0..count).map(|_| random.below(count)).collect::<Vec<_>>();
        let returning = random.shuffled(count);
        for (step, changed) in steps.into_iter().chain(returning).enumerate() {
            if step >= count && alive[changed] {
                continue;
            }
            alive[changed] ^= true;
            ends = ends.each_ref().map(|end| match random.below(8) {
                0 => end.restarted(&alive),
                _ => end.with(&alive),
            });
            served = sandwich.check(&ends, &served, &alive, changed);
        }
        assert_eq!(served, sandwich.whole, "seed {seed}");
    }
}

/// A random flow as the parser keys it: an echo by its identifier, and what has no ports without any.
fn flow<F: Family>(address: impl Fn(u64, u64) -> F::Address, protocol: u8, random: &mut Random) -> F::Key {
    let (addresses, ports) = ([(); 4].map(|()| random.next()), random.next());
    let (one, other) = (ports as u16, (ports >> 16) as u16);
    let ports = match protocol {
        TCP | UDP => (one, other),
        ICMP | ICMPV6 => (one, one),
        _ => (0, 0),
    };
    let [a, b, c, d] = addresses;
    F::Key::new(Zone(0), protocol, (address(a, b), ports.0), (address(c, d), ports.1))
}

fn agree_on_flows<F: Family>(address: impl Fn(u64, u64) -> F::Address + Copy, protocols: [u8; 6]) {
    let hasher = hasher();
    for protocol in protocols {
        let mut random = Random(u64::from(protocol));
        let sandwiches: Vec<Sandwich> = (2..=16)
            .map(|count| {
                let weights = weights(count, &mut random);
                Sandwich::new(&weights, &mut random)
            })
            .collect();
        for number in 0..FLOWS {
            let [outer, inner] = &sandwiches[number as usize % sandwiches.len()].ends;
            let key = flow::<F>(address, protocol, &mut random);
            let reply = F::Key::new(Zone(1), protocol, key.destination(), key.source());
            for hash in [FirewallHash::AddressPair, FirewallHash::FiveTuple] {
                let there = outer.firewall(hash.of(&key, &hasher));
                let back = inner.firewall(hash.of(&reply, &hasher));
                assert!(there.is_some() && there == back, "{key:?}: {there:?} there, {back:?} back");
            }
        }
    }
}

#[test]
fn a_million_ipv4_flows_of_each_protocol() {
    agree_on_flows::<V4>(|bits, _| Ipv4Addr::from_bits(bits as u32), [TCP, UDP, ICMP, ESP, GRE, SCTP]);
}

#[test]
fn a_million_ipv6_flows_of_each_protocol() {
    let address = |high, low| Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
    agree_on_flows::<V6>(address, [TCP, UDP, ICMPV6, ESP, GRE, SCTP]);
}

#[test]
fn both_ends_have_one_fingerprint() {
    let mut random = Random(7);
    for count in 1..=64 {
        let weights = weights(count, &mut random);
        let Sandwich { ends: [one, other], .. } = Sandwich::new(&weights, &mut random);
        let print =
            |end: &End, secret: &FlowHasher| fingerprint(FirewallHash::FiveTuple, &end.members, secret);
        assert_eq!(print(&one, &hasher()), print(&other, &hasher()));
        assert_ne!(print(&one, &hasher()), print(&other, &FlowHasher::new([1; 16])));
    }
}
