//! Firewalls as `show firewalls` shows them, as JSON (SPEC section 8): what they carry, how they fare, how much of the flows
//! is theirs, and what the other end must have too.

use super::firewall_watch::DriftedFlow;
use super::probing::word;
use super::server_rows::change;
use super::{Controller, Rings};
use crate::compile::{fingerprint, legs_by_interface, ways};
use crate::members::{FirewallPath, Member, ServerKey, Shown};
use config::FirewallGroup;
use flow::Family;
use hashbrown::HashMap;
use plan::Firewalls;
use rewrite::MemberId;
use serde_json::{Value, json};

/// What all firewalls of a group have in common.
struct Common<'a> {
    group: &'a FirewallGroup,
    fingerprint: String,
    shares_permille: HashMap<MemberId, u64>,
}

impl<R: Rings> Controller<R> {
    /// `show firewalls`.
    pub(super) fn show_firewalls(&self) -> Vec<Value> {
        self.config.firewall_groups.iter().flat_map(|group| self.firewalls_of(group)).collect()
    }

    /// How many firewalls there are, how many of them are up, and how many flows have drifted from them.
    pub(super) fn count_firewalls(&self) -> (usize, usize, u64) {
        let firewalls = || self.members.all().filter(|(_, member)| member.path().is_some());
        let drifted =
            |(key, member): (&ServerKey, &Member)| self.firewall_watch.drifted_flows(&key.service, member.id);
        let up = firewalls().filter(|(_, member)| member.takes_sessions()).count();
        (firewalls().count(), up, firewalls().map(drifted).sum())
    }

    /// Why the appliance does less than it should as far as firewalls are concerned.
    pub(super) fn firewall_degradations(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        for group in &self.config.firewall_groups {
            let (name, mut up) = (&group.name, 0);
            for firewall in &group.firewalls {
                let key = ServerKey::of_firewall(group, firewall);
                let Some(member) = self.members.get(&key) else { continue };
                up += usize::from(member.takes_sessions());
                if let Some(alarm) = member.path().and_then(|path| self.alarm(&key, path)) {
                    reasons.push(format!("firewall {} of {name}: {alarm}", firewall.name));
                }
            }
            if up == 0 {
                let count = group.firewalls.len();
                reasons.push(format!("firewall group {name}: none of its {count} firewalls is up"));
            }
        }
        reasons
    }

    /// The firewalls of a group: first those of the file, in its order, then removed ones that still drain.
    fn firewalls_of(&self, group: &FirewallGroup) -> Vec<Value> {
        let plan = self.publisher.current();
        let shares_permille = shares_permille(&plan.v4.firewalls, &group.name)
            .or_else(|| shares_permille(&plan.v6.firewalls, &group.name))
            .unwrap_or_default();
        let fingerprint = format!("{:016x}", fingerprint(group, &self.members, &self.shared.hasher));
        let common = Common { group, fingerprint, shares_permille };
        let place = |key: &ServerKey| {
            let same = |firewall: &config::Firewall| firewall.address == key.address;
            group.firewalls.iter().position(same).unwrap_or(usize::MAX)
        };
        let of_group = self.members.of_service(&group.name);
        let mut firewalls: Vec<(&ServerKey, &Member, &FirewallPath)> =
            of_group.filter_map(|(key, member)| Some((key, member, member.path()?))).collect();
        firewalls.sort_by_key(|(key, ..)| (place(key), (*key).clone()));
        let rows = firewalls.into_iter().map(|(key, member, path)| {
            let configured = group.firewalls.get(place(key));
            self.firewall(&common, (key, member, path), configured)
        });
        rows.collect()
    }

    /// One firewall; `configured`: as the file has it, unless it was removed.
    fn firewall(
        &self,
        common: &Common<'_>,
        (key, member, path): (&ServerKey, &Member, &FirewallPath),
        configured: Option<&config::Firewall>,
    ) -> Value {
        let Common { group, fingerprint, shares_permille } = common;
        let totals = self.totals.of(&self.workers, &self.shared.loads, member.id);
        let probed = self.path_status(&key.service, &path.name);
        let failure = probed.and_then(|probed| probed.reason).map(ToString::to_string);
        let last_check = probed.and_then(|probed| probed.last_check);
        // One that is held back is not helped by a better answer to its probes.
        let reason = match member.shown() {
            Shown::Draining | Shown::Disabled => member.held_back().map(str::to_owned).or(failure),
            Shown::Up | Shown::Down | Shown::Asymmetric | Shown::Checking => failure,
        };
        let since = member.history().since();
        json!({
            "group": group.name,
            "name": path.name,
            "address": key.address,
            "port": self.port_towards(key, path),
            "far_address": configured.and_then(|firewall| firewall.far_address),
            "nat_addresses": networks(configured.map_or(&[], |firewall| &firewall.nat_addresses)),
            "zone": self.config.zones.get(usize::from(path.zone)),
            "networks": networks(&group.networks),
            "hash": group.hash,
            "on_failure": group.on_failure,
            "on_recovery": group.on_recovery,
            "fingerprint": fingerprint,
            "weight": member.weight(),
            "configured_weight": member.configured_weight(),
            "share_permille": shares_permille.get(&member.id).copied().unwrap_or_default(),
            "state": member.shown().word(),
            "since": since.to_string(),
            "in_state_s": since.steady.elapsed().as_secs(),
            "differs": member.differs(),
            "sessions_active": totals.sessions_active,
            "sessions_closing": totals.sessions_closing(),
            "sessions_total": totals.sessions_created,
            "packets": totals.packets_in + totals.packets_out,
            "bytes": totals.bytes_in + totals.bytes_out,
            "drifted_flows": self.firewall_watch.drifted_flows(&key.service, member.id),
            "last_drifted_flow": self.firewall_watch.last_drifted_flow(&key.service).map(DriftedFlow::to_json),
            "last_check": last_check.map(|at| at.elapsed().as_secs_f64()),
            "reason": reason,
            "round_trip_ms": probed.and_then(|probed| probed.round_trip).map(|time| time.as_secs_f64() * 1_000.0),
            "far_state": probed.and_then(|probed| probed.far_health).map(word),
            "alarm": self.alarm(key, path),
            "history": member.history().changes().map(change).collect::<Vec<_>>(),
        })
    }

    /// What is wrong with a firewall that somebody must put right: nothing that it recovers from by itself.
    fn alarm(&self, key: &ServerKey, path: &FirewallPath) -> Option<String> {
        if self.port_towards(key, path).is_some() {
            let probed = self.path_status(&key.service, &path.name);
            return probed.and_then(|probed| probed.alarm).map(|alarm| alarm.to_string());
        }
        let by = match path.leg.and_then(|leg| self.leg_name(leg)) {
            Some(port) => format!("port {port}"),
            None => "a port of its group's zone".to_owned(),
        };
        Some(format!("no route leads to {} by {by}", key.address))
    }

    /// The port or bridge that the firewall is reached by; `None` where the routes lead to it nowhere, or not by the port
    /// that it hangs on.
    fn port_towards(&self, key: &ServerKey, path: &FirewallPath) -> Option<&str> {
        let legs = legs_by_interface(&self.config, &self.facts);
        let (leg, _) = ways(&self.config, &self.facts, &legs, key.address, path).next()?;
        self.leg_name(leg)
    }
}

fn networks(networks: &[config::Network]) -> Value {
    networks.iter().map(ToString::to_string).collect()
}

/// How many of a thousand rows are each firewall's now.
fn shares_permille<F: Family>(firewalls: &Firewalls<F>, group: &str) -> Option<HashMap<MemberId, u64>> {
    let group = firewalls.groups().iter().find(|other| other.name == group)?;
    let total = group.rows.rows();
    let mut counts = vec![0; group.members.len()];
    for position in (0..total).filter_map(|row| group.rows.in_force(row)) {
        counts[position] += 1;
    }
    let permille = |count: usize| ((count * 1_000 + total / 2) / total) as u64;
    Some(group.members.iter().zip(counts).map(|(member, count)| (member.id, permille(count))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow::{FlowHasher, V4, Zone};
    use plan::{FirewallMember, GroupWithNetworks, MemberState, PreferenceRows, RowMember};

    #[test]
    fn shares_follow_the_rows_in_force() {
        let id = |index: u16| MemberId { index, generation: 3 };
        let member = |(index, weight): (u16, u32)| {
            let name = format!("fw{index}");
            let of_rows = RowMember { identity: name.clone().into_bytes(), weight, is_backup: false };
            let member = FirewallMember::<V4> {
                name,
                id: id(index),
                address: [198, 18, 1, index as u8].into(),
                state: MemberState::Up,
                sessions_max: u64::MAX,
                sessions_per_s_max: u32::MAX,
            };
            (of_rows, member)
        };
        let (of_rows, members): (Vec<_>, Vec<_>) = [(1, 2), (2, 1), (3, 1)].map(member).into_iter().unzip();
        let shares = |living: &[bool]| {
            let group = plan::FirewallGroup {
                name: "fw".to_owned(),
                zone: Zone::default(),
                hash: plan::FirewallHash::AddressPair,
                returns: false,
                members: members.clone().into(),
                rows: PreferenceRows::build(&of_rows, living, &FlowHasher::new([7; 16])),
            };
            let group = GroupWithNetworks { group, networks: Vec::new(), translated: Vec::new() };
            let firewalls = Firewalls::new(vec![group]);
            let shares = shares_permille(&firewalls, "fw").unwrap();
            [1, 2, 3, 4].map(|index| shares.get(&id(index)).copied())
        };
        assert_eq!(shares(&[true; 3]), [Some(500), Some(250), Some(250), None]);
        assert_eq!(shares(&[false; 3]), [Some(0), Some(0), Some(0), None]);
        let [one, two, three, _] = shares(&[true, false, true]).map(Option::unwrap_or_default);
        assert!((660..=674).contains(&one) && two == 0 && one + three == 1_000, "{one} {two} {three}");
    }
}
