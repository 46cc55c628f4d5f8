//! Firewalls between two zones: who stands in front of which networks, and which firewall a flow crosses.
//!
//! ```text
//!   zone "outside"            firewalls of group "in"         zone "inside"
//!   clients ──▶ appliance ──▶ fw1 ┆ fw2 ┆ fw3 ──────────────▶ appliance ──▶ servers
//!               rows("in")                                    rows("out"): the same rows
//! ```
//!
//! Both ends choose by a keyed hash that is alike in both directions, over rows made of the members' *names* and weights:
//! so they agree without a word to each other, whatever order their files list the members in. Sessions pin what was
//! chosen; rows only place what is new, and what has lost its firewall.

use crate::routes::{high_bits, masked};
use crate::rows::{PreferenceRows, RowMember};
use crate::service::MemberState;
use flow::{Family, FlowHasher, FlowKey, Zone};
use hashbrown::HashMap;
use rewrite::MemberId;
use std::net::IpAddr;

/// Firewalls of one group at the most.
pub const FIREWALLS_MAX: usize = 64;

/// Separates the hash that places flows from the secret's other uses.
const PURPOSE_PLACE: u64 = 0x6669_7265_7761_6c6c;
/// The same for the fingerprint of a group.
const PURPOSE_FINGERPRINT: u64 = 0x6669_6e67_6572_0000;

/// What of a flow decides which firewall it crosses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FirewallHash {
    /// Both addresses: whatever two hosts have with each other, of whatever protocol, crosses one firewall.
    #[default]
    AddressPair,
    /// Addresses, ports and protocol.
    FiveTuple,
}

impl FirewallHash {
    /// The hash of a flow: the same for both directions, in every zone, on every appliance with the same key.
    pub fn of<K: FlowKey<Address: Into<IpAddr>>>(self, key: &K, hasher: &FlowHasher) -> u64 {
        let end = |(address, port): (K::Address, u16)| {
            let mut bytes = [0; 18];
            bytes[..16].copy_from_slice(&octets(address.into()));
            if self == Self::FiveTuple {
                bytes[16..].copy_from_slice(&port.to_be_bytes());
            }
            bytes
        };
        let (one, other) = (end(key.source()), end(key.destination()));
        let mut bytes = [0; 37];
        bytes[..18].copy_from_slice(one.min(other).as_slice());
        bytes[18..36].copy_from_slice(one.max(other).as_slice());
        bytes[36] = if self == Self::FiveTuple { key.protocol() } else { 0 };
        hasher.dispatch(PURPOSE_PLACE, &bytes)
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// What two ends must have in common to place flows alike, in one number: key, hash, names and weights. Neither the order
/// of the members nor the name of the group is part of it.
pub fn fingerprint(hash: FirewallHash, members: &[RowMember], hasher: &FlowHasher) -> u64 {
    let mut ordered: Vec<&RowMember> = members.iter().collect();
    ordered.sort_by(|a, b| a.identity.cmp(&b.identity));
    let mut bytes = vec![hash as u8];
    for member in ordered {
        bytes.extend_from_slice(&(member.identity.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&member.identity);
        bytes.extend_from_slice(&member.weight.to_be_bytes());
    }
    hasher.dispatch(PURPOSE_FINGERPRINT, &bytes)
}

/// One firewall of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirewallMember<F: Family> {
    /// Its name, by which both ends know it.
    pub name: String,
    /// Its row in the member tables.
    pub id: MemberId,
    /// The next hop: its own address, or behind one that is a bridge, the far appliance's on that path.
    pub address: F::Address,
    /// How it fares.
    pub state: MemberState,
    /// Sessions at once at the most; `u64::MAX`: no bound.
    pub sessions_max: u64,
    /// New sessions per second at the most; `u32::MAX`: no bound.
    pub sessions_per_s_max: u32,
}

/// One group.
#[derive(Clone, Debug)]
pub struct FirewallGroup<F: Family> {
    /// Its name in the configuration.
    pub name: String,
    /// The zone that its firewalls are reached from.
    pub zone: Zone,
    /// What of a flow decides.
    pub hash: FirewallHash,
    /// Whether flows that were moved go back when their firewall returns.
    pub returns: bool,
    /// The firewalls. Their order has no meaning.
    pub members: Box<[FirewallMember<F>]>,
    /// Who serves which flows; positions are those of `members`.
    pub rows: PreferenceRows,
}

impl<F: Family> FirewallGroup<F> {
    /// The positions of the firewalls that take flows with this key, the one in force first, then those which would take
    /// over in turn; each once.
    pub fn preferences(&self, key: &F::Key, hasher: &FlowHasher) -> impl Iterator<Item = usize> {
        self.rows.preferences(self.hash.of(key, hasher))
    }

    /// The firewall that holds this row.
    pub fn member_of_row(&self, row: u16) -> Option<&FirewallMember<F>> {
        self.members.iter().find(|member| member.id.index == row)
    }
}

/// What stands between a zone and an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beyond {
    /// Bits of the network by which it was found.
    pub prefix_bits: u8,
    /// Place of the group.
    pub group: usize,
    /// The one firewall that translates to it, by position in the group.
    pub owner: Option<usize>,
}

/// What lies beyond networks of one length, by zone and the network's high bits.
type ByNetwork = HashMap<(Zone, u128), Beyond>;

/// Groups of one address family.
#[derive(Clone, Debug)]
pub struct Firewalls<F: Family> {
    /// The groups.
    groups: Box<[FirewallGroup<F>]>,
    /// Longest prefix first.
    lengths: Vec<(u8, ByNetwork)>,
}

impl<F: Family> Default for Firewalls<F> {
    fn default() -> Self {
        Self { groups: Box::default(), lengths: Vec::new() }
    }
}

/// A group with what lies beyond it.
#[derive(Clone, Debug)]
pub struct GroupWithNetworks<F: Family> {
    /// The group.
    pub group: FirewallGroup<F>,
    /// Networks that are reached through any of its firewalls, as first address and prefix length.
    pub networks: Vec<(F::Address, u8)>,
    /// Networks that one firewall alone translates to, with its position.
    pub translated: Vec<(usize, (F::Address, u8))>,
}

impl<F: Family> Firewalls<F> {
    /// Freezes the groups. Of two that claim one network in one zone the first has it.
    pub fn new(groups: Vec<GroupWithNetworks<F>>) -> Self {
        let mut firewalls = Self::default();
        let mut frozen = Vec::with_capacity(groups.len());
        for (place, GroupWithNetworks { group, networks, translated }) in groups.into_iter().enumerate() {
            let owned = translated.into_iter().map(|(owner, network)| (network, Some(owner)));
            // What one firewall owns goes before what all serve, even where both are equally long.
            for ((network, prefix_bits), owner) in owned.chain(networks.into_iter().map(|one| (one, None))) {
                firewalls.add(group.zone, network, Beyond { prefix_bits, group: place, owner });
            }
            frozen.push(group);
        }
        firewalls.groups = frozen.into();
        firewalls
    }

    fn add(&mut self, zone: Zone, network: F::Address, beyond: Beyond) {
        let place = match self.lengths.binary_search_by(|(length, _)| beyond.prefix_bits.cmp(length)) {
            Ok(place) => place,
            Err(place) => {
                self.lengths.insert(place, (beyond.prefix_bits, HashMap::new()));
                place
            }
        };
        let network = masked(high_bits(network.into()), beyond.prefix_bits);
        self.lengths[place].1.entry((zone, network)).or_insert(beyond);
    }

    /// Whether there is any group.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The groups.
    pub fn groups(&self) -> &[FirewallGroup<F>] {
        &self.groups
    }

    /// What stands between a host in `zone` and `address`.
    pub fn beyond(&self, zone: Zone, address: F::Address) -> Option<Beyond> {
        let bits = high_bits(address.into());
        self.lengths.iter().find_map(|(length, found)| found.get(&(zone, masked(bits, *length))).copied())
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
