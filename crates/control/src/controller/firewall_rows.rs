//! Firewalls as `show firewalls` shows them, as JSON (SPEC section 8): what they carry, how they fare, how much of the flows
//! is theirs, and what the other end must have too.

use super::probing::word;
use super::server_rows::change;
use super::{Controller, Rings};
use crate::compile::{fingerprint, legs_by_interface, ways};
use crate::members::{FirewallPath, Member, ServerKey, Shown};
use config::FirewallGroup;
use flow::Family;
use plan::Firewalls;
use rewrite::MemberId;
use serde_json::{Value, json};

impl<R: Rings> Controller<R> {
    /// `show firewalls`.
    pub(super) fn show_firewalls(&self) -> Vec<Value> {
        self.config.firewall_groups.iter().flat_map(|group| self.firewalls_of(group)).collect()
    }

    /// Why the appliance does less than it should as far as firewalls are concerned.
    pub(super) fn firewall_degradations(&self) -> Vec<String> {
        let is_up = |group: &FirewallGroup, firewall: &config::Firewall| {
            let member = self.members.get(&ServerKey::of_firewall(group, firewall));
            member.is_some_and(Member::takes_sessions)
        };
        let without = self
            .config
            .firewall_groups
            .iter()
            .filter(|group| !group.firewalls.iter().any(|firewall| is_up(group, firewall)));
        let of_group = |group: &FirewallGroup| {
            format!("firewall group {}: none of its {} firewalls is up", group.name, group.firewalls.len())
        };
        without.map(of_group).collect()
    }

    /// The firewalls of a group: first those of the file, in its order, then removed ones that still drain.
    fn firewalls_of(&self, group: &FirewallGroup) -> Vec<Value> {
        let print = format!("{:016x}", fingerprint(group, &self.members, &self.shared.hasher));
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
            let mut row = self.firewall(key, member, path);
            row["far_address"] = json!(configured.and_then(|firewall| firewall.far_address));
            row["nat_addresses"] = networks(configured.map_or(&[], |firewall| &firewall.nat_addresses));
            row["networks"] = networks(&group.networks);
            row["hash"] = json!(group.hash);
            row["on_failure"] = json!(group.on_failure);
            row["on_recovery"] = json!(group.on_recovery);
            row["fingerprint"] = json!(print);
            row
        });
        rows.collect()
    }

    fn firewall(&self, key: &ServerKey, member: &Member, path: &FirewallPath) -> Value {
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
            "group": key.service,
            "name": path.name,
            "address": key.address,
            "zone": self.config.zones.get(usize::from(path.zone)),
            "port": self.port_towards(key, path),
            "weight": member.weight(),
            "configured_weight": member.configured_weight(),
            "share_permille": self.share_permille(&key.service, member.id),
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
            "last_drifted_flow": self.firewall_watch.last_drifted_flow(&key.service).map(|flow| flow.to_json()),
            "last_check": last_check.map(|at| at.elapsed().as_secs_f64()),
            "reason": reason,
            "round_trip_ms": probed.and_then(|probed| probed.round_trip).map(|time| time.as_secs_f64() * 1_000.0),
            "far_state": probed.and_then(|probed| probed.far_health).map(word),
            "alarm": probed.and_then(|probed| probed.alarm).map(|alarm| alarm.to_string()),
            "history": member.history().changes().map(change).collect::<Vec<_>>(),
        })
    }

    /// The port or bridge that the firewall is reached by; `None` where the routes lead to it nowhere, or not by the port
    /// that it hangs on.
    fn port_towards(&self, key: &ServerKey, path: &FirewallPath) -> Option<&str> {
        let legs = legs_by_interface(&self.config, &self.facts);
        let (leg, _) = ways(&self.config, &self.facts, &legs, key.address, path).next()?;
        self.leg_name(leg)
    }

    /// How many of a thousand rows are a firewall's now.
    fn share_permille(&self, group: &str, member: MemberId) -> u64 {
        let plan = self.publisher.current();
        share_permille(&plan.v4.firewalls, group, member)
            .or_else(|| share_permille(&plan.v6.firewalls, group, member))
            .unwrap_or_default()
    }
}

fn networks(networks: &[config::Network]) -> Value {
    networks.iter().map(ToString::to_string).collect()
}

fn share_permille<F: Family>(firewalls: &Firewalls<F>, group: &str, member: MemberId) -> Option<u64> {
    let group = firewalls.groups().iter().find(|other| other.name == group)?;
    let position = group.members.iter().position(|other| other.id == member)?;
    let total = group.rows.rows();
    let own = (0..total).filter(|&row| group.rows.in_force(row) == Some(position)).count();
    Some(((own * 1_000 + total / 2) / total.max(1)) as u64)
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
            [1, 2, 3, 4].map(|index| share_permille(&firewalls, "fw", id(index)))
        };
        assert_eq!(shares(&[true; 3]), [Some(500), Some(250), Some(250), None]);
        assert_eq!(shares(&[false; 3]), [Some(0), Some(0), Some(0), None]);
        let [one, two, three, _] = shares(&[true, false, true]).map(Option::unwrap_or_default);
        assert!((660..=674).contains(&one) && two == 0 && one + three == 1_000, "{one} {two} {three}");
    }
}
