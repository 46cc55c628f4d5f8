//! What lies beyond firewalls, what of a flow decides, and what a fingerprint tells apart.

use super::*;
use flow::{V4, V6};
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

type Key<F> = <F as Family>::Key;
type Four = (Ipv4Addr, u16);

const HASHES: [FirewallHash; 2] = [FirewallHash::AddressPair, FirewallHash::FiveTuple];

fn hasher() -> FlowHasher {
    FlowHasher::new([3; 16])
}

fn row_member(name: &str, weight: u32) -> RowMember {
    RowMember { identity: name.into(), weight, is_backup: false }
}

fn group(zone: u8) -> FirewallGroup<V4> {
    let members = [row_member("fw1", 1)];
    FirewallGroup {
        name: "fw".into(),
        zone: Zone(zone),
        hash: FirewallHash::AddressPair,
        returns: false,
        members: Box::default(),
        rows: PreferenceRows::build(&members, &[true], &hasher()),
    }
}

/// One claim to a network: of a group, and of one firewall of it or of all.
#[derive(Clone, Debug)]
struct Claim {
    group: usize,
    owner: Option<usize>,
    network: Ipv4Addr,
    prefix_bits: u8,
}

impl Claim {
    fn holds(&self, address: Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix_bits)).unwrap_or(0);
        (self.network.to_bits() ^ address.to_bits()) & mask == 0
    }
}

fn frozen(zones: &[u8], claims: &[Claim]) -> Firewalls<V4> {
    let of_group = |(place, &zone): (usize, &u8)| {
        let own = || claims.iter().filter(move |claim| claim.group == place);
        let network = |claim: &Claim| (claim.network, claim.prefix_bits);
        GroupWithNetworks {
            group: group(zone),
            networks: own().filter(|claim| claim.owner.is_none()).map(network).collect(),
            translated: own().filter_map(|claim| Some((claim.owner?, network(claim)))).collect(),
        }
    };
    Firewalls::new(zones.iter().enumerate().map(of_group).collect())
}

/// The definition: of the claims in this zone the longest; of equally long ones that of the first group, and there the
/// first owner's before that of all.
fn beyond_by_search(zones: &[u8], claims: &[Claim], zone: u8, address: Ipv4Addr) -> Option<Beyond> {
    let holding = claims.iter().filter(|claim| zones[claim.group] == zone && claim.holds(address));
    let rank = |(place, claim): &(usize, &Claim)| {
        let length = std::cmp::Reverse(claim.prefix_bits);
        (length, claim.group, claim.owner.is_none(), *place)
    };
    let (_, best) = holding.enumerate().min_by_key(rank)?;
    Some(Beyond { prefix_bits: best.prefix_bits, group: best.group, owner: best.owner })
}

#[test]
fn a_firewall_owns_what_it_translates_to_where_all_hold_the_same_network() {
    let network = Ipv4Addr::new(198, 18, 9, 0);
    let claim = |owner, prefix_bits| Claim { group: 0, owner, network, prefix_bits };
    for (claims, owner) in [
        ([claim(None, 28), claim(Some(4), 28)], Some(4)),
        ([claim(None, 24), claim(Some(4), 28)], Some(4)),
        ([claim(None, 28), claim(Some(4), 24)], None),
    ] {
        let beyond = frozen(&[0], &claims).beyond(Zone(0), network);
        assert_eq!(beyond, Some(Beyond { prefix_bits: 28, group: 0, owner }));
    }
}

#[test]
fn without_groups_nothing_is_beyond() {
    let none = Firewalls::<V4>::default();
    assert!(none.is_empty());
    assert_eq!(none.beyond(Zone(0), Ipv4Addr::new(198, 18, 0, 1)), None);
    assert!(!frozen(&[0], &[]).is_empty());
}

fn key(zone: u8, protocol: u8, source: Four, destination: Four) -> Key<V4> {
    Key::<V4>::new(Zone(zone), protocol, source, destination)
}

#[test]
fn a_pair_of_addresses_is_one_flow_whatever_they_say_to_each_other() {
    let (a, b) = (Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 19, 0, 1));
    let hasher = hasher();
    let of = |hash: FirewallHash, key: Key<V4>| hash.of(&key, &hasher);
    let control = key(0, 6, (a, 40_000), (b, 21));
    let others = [
        key(0, 6, (a, 40_001), (b, 21)),
        key(0, 6, (a, 40_000), (b, 20)),
        key(0, 17, (a, 40_000), (b, 21)),
        key(0, 6, (a, 21), (b, 40_000)),
        // FTP data comes from the server.
        key(0, 6, (b, 20), (a, 40_001)),
        key(0, 50, (a, 0), (b, 0)),
    ];
    let [pair, tuple] = HASHES;
    for other in others {
        assert_eq!(of(pair, other), of(pair, control), "{other:?}");
        assert_ne!(of(tuple, other), of(tuple, control), "{other:?}");
    }
    let elsewhere = key(0, 6, (Ipv4Addr::new(198, 18, 0, 2), 40_000), (b, 21));
    assert!(HASHES.iter().all(|&hash| of(hash, elsewhere) != of(hash, control)));
    assert_ne!(of(pair, control), of(tuple, control));
}

#[test]
fn another_secret_places_flows_elsewhere() {
    let one = key(0, 6, (Ipv4Addr::new(198, 18, 0, 1), 1), (Ipv4Addr::new(198, 19, 0, 1), 2));
    for hash in HASHES {
        assert_ne!(hash.of(&one, &hasher()), hash.of(&one, &FlowHasher::new([4; 16])));
    }
}

#[test]
fn a_fingerprint_tells_apart_all_that_places_flows() {
    let print = |hash, members: &[(&str, u32)], secret: u8| {
        let members: Vec<RowMember> =
            members.iter().map(|&(name, weight)| row_member(name, weight)).collect();
        fingerprint(hash, &members, &FlowHasher::new([secret; 16]))
    };
    let [pair, tuple] = HASHES;
    let prints = [
        print(pair, &[("a", 1), ("bc", 2)], 1),
        print(pair, &[("a", 1), ("bc", 2)], 2),
        print(tuple, &[("a", 1), ("bc", 2)], 1),
        print(pair, &[("ab", 1), ("c", 2)], 1),
        print(pair, &[("a", 2), ("bc", 2)], 1),
        print(pair, &[("a", 1), ("bc", 3)], 1),
        print(pair, &[("a", 2), ("bc", 1)], 1),
        print(pair, &[("a", 1), ("bd", 2)], 1),
        print(pair, &[("a", 1), ("bc", 2), ("d", 0)], 1),
        print(pair, &[("a", 1)], 1),
        print(pair, &[], 1),
        // What stands between two names, as part of one name.
        print(pair, &[("a\0\0\0\u{1}bc", 2)], 1),
        print(pair, &[("a\0\0\0\u{1}\0\0\0\u{2}bc", 2)], 1),
        print(pair, &[("abc", 2)], 1),
    ];
    for (place, print) in prints.iter().enumerate() {
        assert!(!prints[..place].contains(print), "{place}");
    }
    assert_eq!(prints[0], print(pair, &[("bc", 2), ("a", 1)], 1));
}

fn claims() -> impl Strategy<Value = Vec<Claim>> {
    let claim = |(group, owner, low, prefix_bits): (usize, Option<usize>, u32, u8)| Claim {
        group,
        owner,
        network: Ipv4Addr::from_bits(0xc612_0000 | low),
        prefix_bits,
    };
    // Few addresses, so that claims meet and nest.
    let length = prop_oneof![Just(0u8), 8u8..=15, 26u8..=32];
    prop::collection::vec((0usize..4, prop::option::of(0usize..3), 0u32..64, length).prop_map(claim), 0..40)
}

proptest! {
    #[test]
    fn what_lies_beyond_equals_a_linear_search(
        zones in prop::collection::vec(0u8..3, 4),
        claims in claims(),
        addresses in prop::collection::vec(0u32..64, 8),
        foreign: u32,
    ) {
        let firewalls = frozen(&zones, &claims);
        for address in addresses.iter().map(|low| 0xc612_0000 | low).chain([foreign]) {
            let address = Ipv4Addr::from_bits(address);
            for zone in 0..3 {
                let expected = beyond_by_search(&zones, &claims, zone, address);
                prop_assert_eq!(firewalls.beyond(Zone(zone), address), expected, "zone {}, {}", zone, address);
            }
        }
    }

    #[test]
    fn both_ends_hash_a_flow_alike_in_both_directions(
        a: u32, b: u32, c: u128, d: u128, p: u16, q: u16, protocol: u8, zones: [u8; 2],
    ) {
        let hasher = hasher();
        let [here, there] = zones.map(Zone);
        let (a, b) = (Ipv4Addr::from_bits(a), Ipv4Addr::from_bits(b));
        let (c, d) = (Ipv6Addr::from_bits(c), Ipv6Addr::from_bits(d));
        for hash in HASHES {
            let one = hash.of(&Key::<V4>::new(here, protocol, (a, p), (b, q)), &hasher);
            prop_assert_eq!(hash.of(&Key::<V4>::new(there, protocol, (b, q), (a, p)), &hasher), one);
            let one = hash.of(&Key::<V6>::new(here, protocol, (c, p), (d, q)), &hasher);
            prop_assert_eq!(hash.of(&Key::<V6>::new(there, protocol, (d, q), (c, p)), &hasher), one);
        }
    }

    #[test]
    fn the_order_of_the_members_is_no_part_of_a_fingerprint(
        shuffled in prop::collection::btree_map("[a-c]{1,3}", any::<u32>(), 0..8).prop_flat_map(|members| {
            let members: Vec<(String, u32)> = members.into_iter().collect();
            (Just(members.clone()), Just(members).prop_shuffle())
        }),
    ) {
        let (one, other) = shuffled;
        let print = |members: &[(String, u32)]| {
            let members: Vec<RowMember> =
                members.iter().map(|(name, weight)| row_member(name, *weight)).collect();
            fingerprint(FirewallHash::AddressPair, &members, &hasher())
        };
        prop_assert_eq!(print(&one), print(&other));
    }
}
