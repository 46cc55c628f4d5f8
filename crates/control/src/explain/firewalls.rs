//! Which firewalls a packet crosses, why those, and which would take over.
//!
//! What it leaves by and is expected from stands in its session. The reasons are read off the rows that placed it.

use super::account::{Act, Treatment};
use super::picture::Picture;
use super::recall::Kept;
use super::{Question, Surroundings};
use engine::{DropReason, Fate, Rehearsal};
use flow::{Family, FlowKey, Zone};
use plan::{
    FamilyPlan, FirewallGroup, FirewallHash, FirewallMember, Link, MemberState, PreferenceRows, Service,
};
use rewrite::Translation;
use serde_json::{Value, json};
use session::{Flags, Session};
use std::net::IpAddr;

/// The firewall that `question` comes from when nobody has seen it come: the one that the rows name, by which the far end
/// sends it. With `port` only a firewall that is reached by it. `None` for what comes from no firewall.
pub(super) fn before<'v, F: Family>(
    around: &Surroundings<'_>,
    rehearsal: &Rehearsal,
    view: &'v FamilyPlan<F>,
    question: &Question,
    port: Option<&str>,
) -> Option<&'v FirewallMember<F>> {
    let (source, destination) =
        F::address(question.source.ip()).zip(F::address(question.destination.ip()))?;
    let ports = &around.plan.ports;
    let wanted = port.and_then(|name| ports.iter().position(|port| port.name == name));
    let wanted = wanted.map(|place| ports[place].bridge.unwrap_or(place as u16));
    let zone_of = |leg: u16| ports.get(usize::from(leg)).map(|port| port.zone);
    let zones: Vec<Zone> = match wanted.or_else(|| Some(view.routes.next_hop(source, 0)?.0)) {
        Some(leg) => zone_of(leg).into_iter().collect(),
        None => view.firewalls.groups().iter().map(|group| group.zone).collect(),
    };
    let (zone, beyond) = zones.into_iter().find_map(|zone| {
        rehearsal.beyond(zone, question.source.ip(), around.now_ns).map(|beyond| (zone, beyond))
    })?;
    let group = view.firewalls.groups().get(beyond.group)?;
    let ends = ((source, question.source.port()), (destination, question.destination.port()));
    let key = F::Key::new(zone, question.protocol_number(), ends.0, ends.1);
    let hash = group.hash.of(&key, &around.shared.hasher);
    let by_rows =
        || group.rows.preferences(hash).chain(all_live(group).preferences(hash).collect::<Vec<_>>());
    let places: Vec<usize> = beyond.owner.map_or_else(|| by_rows().collect(), |owner| vec![owner]);
    let leg_of = |member: &FirewallMember<F>| Some(view.routes.next_hop(member.address, 0)?.0);
    let mut members = places.into_iter().filter_map(|place| group.members.get(place));
    members.find(|member| wanted.is_none_or(|leg| leg_of(member) == Some(leg)))
}

/// The rows of a group as they are with every firewall up.
fn all_live<F: Family>(group: &FirewallGroup<F>) -> PreferenceRows {
    group.rows.with(&vec![true; group.members.len()])
}

/// What chooses a firewall for a flow.
struct Choice<'v, F: Family> {
    group: &'v FirewallGroup<F>,
    /// The hash of the key that the flow bears at the firewalls.
    hash: u64,
    /// The only one that translates to the address beyond, by position.
    owner: Option<usize>,
}

impl<F: Family> Choice<'_, F> {
    fn place(&self, member: &FirewallMember<F>) -> Option<usize> {
        self.group.members.iter().position(|other| other.id == member.id)
    }

    /// The living firewalls that come before `place`, and those after it.
    fn around(&self, place: Option<usize>) -> (Vec<usize>, Vec<usize>) {
        if self.owner.is_some() {
            return (Vec::new(), Vec::new());
        }
        let order: Vec<usize> = self.group.rows.preferences(self.hash).collect();
        let at = order.iter().position(|&other| Some(other) == place);
        let after = order.get(at.map_or(0, |at| at + 1)..).unwrap_or_default().to_vec();
        (order.get(..at.unwrap_or(0)).unwrap_or_default().to_vec(), after)
    }

    /// What the row is for.
    fn whom(&self) -> &'static str {
        match self.group.hash {
            FirewallHash::AddressPair => "this pair of hosts",
            FirewallHash::FiveTuple => "this flow",
        }
    }

    fn row(&self) -> usize {
        self.group.rows.row(self.hash)
    }
}

impl<'s, F, const KEY: usize, const PAYLOAD: usize, const LINES: usize> Act<'s, '_, F, KEY, PAYLOAD, LINES>
where
    F: Kept<KEY, PAYLOAD, LINES>,
{
    /// The firewalls that the packet comes from and goes to.
    pub fn firewalls(&self) -> Vec<Value> {
        if self.view().firewalls.is_empty() {
            return Vec::new();
        }
        self.firewall_before().into_iter().chain(self.firewall_behind()).collect()
    }

    /// Whether requests of its session leave by a firewall.
    pub fn goes_to_firewall(&self) -> bool {
        let request = self.session.map(|session| F::translation(&session.client.payload));
        request.is_some_and(|request| request.to_firewall().is_some())
    }

    /// What is to be known of a packet that goes past firewalls and may.
    pub fn remark_on_zone(&self) -> Option<String> {
        if !matches!(self.treatment(), Treatment::Passing) || self.played.fate != Fate::Sent {
            return None;
        }
        let (zone, address) = (self.zone(), self.scene.key.destination().0);
        let group = self.view().firewalls.beyond(zone, address)?.group;
        let name = &self.view().firewalls.groups().get(group)?.name;
        Some(format!(
            "the networks of firewall group \"{name}\" hold its destination, but a more specific route stays in the zone: \
             it crosses no firewall"
        ))
    }

    /// Why a service with servers turns a flow away, if firewalls are the reason.
    pub fn why_unreachable(&self, service: &Service<F>) -> Option<String> {
        let mut serving = service.members.iter().filter(|member| member.state == MemberState::Up).peekable();
        serving.peek()?;
        let is_cut_off = |address: F::Address| {
            let beyond = self.rehearsal.beyond(self.zone(), address.into(), self.scene.around.now_ns);
            let group = beyond.and_then(|beyond| self.view().firewalls.groups().get(beyond.group));
            group.is_some_and(|group| group.members.iter().all(|member| member.state != MemberState::Up))
        };
        let are_cut_off = serving.all(|member| is_cut_off(member.address));
        are_cut_off.then(|| "its servers are beyond firewalls, and none of those is up".into())
    }

    fn view(&self) -> &'s FamilyPlan<F> {
        F::view(self.plan)
    }

    fn zone(&self) -> Zone {
        let port = self.plan.ports.get(usize::from(self.entrance.port));
        port.map(|port| port.zone).unwrap_or_default()
    }

    /// What becomes of packets like this one, by `session`.
    fn side_of(&self, session: &Session<KEY, PAYLOAD>) -> Translation<F> {
        let side = if self.is_reply() { &session.server } else { &session.client };
        F::translation(&side.payload)
    }

    /// The same by the session as it was before the packet came.
    fn side_before(&self) -> Option<Translation<F>> {
        self.scene.known.as_ref().map(|(session, _)| self.side_of(session))
    }

    /// The firewall that it comes from.
    fn firewall_before(&self) -> Option<Value> {
        let picture = Picture::of(self.frame, None)?;
        let choice = |group| self.choice(group, &picture, false);
        if let Some(session) = self.session {
            let row = self.side_of(session).from_firewall()?;
            let (group, member) = self.holder(row)?;
            let choice = choice(group)?;
            return Some(self.told("from", &choice, Some(member), self.why_from(&choice, member)));
        }
        let beyond = self.rehearsal.beyond(self.zone(), picture.source.ip(), self.scene.around.now_ns)?;
        let group = self.view().firewalls.groups().get(beyond.group)?;
        let leg = self.plan.ports.get(usize::from(self.entrance.port))?.bridge.unwrap_or(self.entrance.port);
        let here = Some(Link { port: leg, mac: picture.link.source });
        let member = group.members.iter().find(|member| self.link_of(member) == here)?;
        let choice = choice(group)?;
        Some(self.told("from", &choice, Some(member), self.why_from(&choice, member)))
    }

    fn link_of(&self, member: &FirewallMember<F>) -> Option<Link> {
        let row = self.plan.members.get(usize::from(member.id.index))?;
        self.rehearsal.shared().links.get(row.link)
    }

    /// The firewall that it goes to, or those of which none takes it.
    fn firewall_behind(&self) -> Option<Value> {
        let arriving = Picture::of(self.frame, None)?;
        let sent = self.pictures().into_iter().next().map(|(_, picture)| picture);
        let leaving = sent.filter(|_| self.played.fate == Fate::Sent).unwrap_or(arriving);
        let row = self.session.and_then(|session| self.side_of(session).to_firewall());
        let held = row.and_then(|row| self.holder(row));
        let group = held.map(|(group, _)| group).or_else(|| {
            let address = leaving.destination.ip();
            let beyond = self.rehearsal.beyond(self.zone(), address, self.scene.around.now_ns)?;
            self.view().firewalls.groups().get(beyond.group)
        });
        let choice = self.choice(group?, &leaving, true)?;
        let why_none = |up: &str| {
            let of = |member: &FirewallMember<F>| match member.state {
                MemberState::Up => format!("{} is {up}", member.name),
                _ => format!("{} is {}", member.name, self.state_of(member)),
            };
            let all = choice.group.members.iter().enumerate();
            let asked = all.filter(|(place, _)| choice.owner.is_none_or(|owner| owner == *place));
            format!("none takes it: {}", asked.map(|(_, member)| of(member)).collect::<Vec<_>>().join(", "))
        };
        match self.played.fate {
            Fate::Dropped(DropReason::NoFirewall) => Some(self.told("to", &choice, None, why_none("up"))),
            Fate::Dropped(DropReason::FirewallsFull) => {
                Some(self.told("to", &choice, None, why_none("full")))
            }
            Fate::Parked { next_hop, .. } if held.is_none() => {
                let next_hop = F::address(next_hop)?;
                let member = choice.group.members.iter().find(|member| member.address == next_hop)?;
                Some(self.told("to", &choice, Some(member), self.why_chosen(&choice, member)))
            }
            _ => {
                let (_, member) = held?;
                Some(self.told("to", &choice, Some(member), self.why_to(&choice, member)))
            }
        }
    }

    /// The firewall of a member row, with its group.
    fn holder(&self, row: u16) -> Option<(&'s FirewallGroup<F>, &'s FirewallMember<F>)> {
        let mut groups = self.view().firewalls.groups().iter();
        groups.find_map(|group| Some((group, group.member_of_row(row)?)))
    }

    /// How `group` chooses for the flow that `picture` is a packet of; beyond is its destination, or its source.
    fn choice(
        &self,
        group: &'s FirewallGroup<F>,
        picture: &Picture,
        is_leaving: bool,
    ) -> Option<Choice<'s, F>> {
        let (source, destination) = picture.outer.unwrap_or((picture.source, picture.destination));
        let protocol = match picture.outer {
            None => self.scene.question.protocol_number(),
            Some((outer, _)) if outer.port() != 0 => wire::protocol::UDP,
            Some(_) if F::VERSION == 4 => wire::protocol::IPV4,
            Some(_) => wire::protocol::IPV6,
        };
        let far: IpAddr = if is_leaving { destination.ip() } else { source.ip() };
        let end = |end: std::net::SocketAddr| Some((F::address(end.ip())?, end.port()));
        let key = F::Key::new(self.zone(), protocol, end(source)?, end(destination)?);
        let beyond = self.rehearsal.beyond(self.zone(), far, self.scene.around.now_ns);
        let hash = group.hash.of(&key, &self.scene.around.shared.hasher);
        Some(Choice { group, hash, owner: beyond.and_then(|beyond| beyond.owner) })
    }

    fn state_of(&self, member: &FirewallMember<F>) -> &'static str {
        (self.scene.around.state_of)(member.id).unwrap_or(match member.state {
            MemberState::Up => "up",
            MemberState::Draining => "draining",
            MemberState::Moving | MemberState::Dead => "down",
        })
    }

    fn told(
        &self,
        way: &str,
        choice: &Choice<'_, F>,
        member: Option<&FirewallMember<F>>,
        why: String,
    ) -> Value {
        let place = member.and_then(|member| choice.place(member));
        let (before, after) = choice.around(place);
        // Those before it were full when it was chosen, and may not be when it fails.
        let is_new = self.scene.known.is_none() && way == "to" && !self.is_reply();
        let next = before.into_iter().filter(|_| !is_new).chain(after);
        let names = next.filter_map(|place| Some(choice.group.members.get(place)?.name.as_str()));
        let has = |flag: Flags| {
            self.scene.known.as_ref().map(|(session, _)| {
                let flags = |side: session::Direction| side.activity.flags();
                flags(session.client.direction).with(flags(session.server.direction)).contains(flag)
            })
        };
        json!({
            "way": way,
            "group": choice.group.name,
            "firewall": member.map(|member| member.name.as_str()),
            "address": member.map(|member| member.address.into().to_string()),
            "state": member.map(|member| self.state_of(member)),
            "hash": match choice.group.hash {
                FirewallHash::AddressPair => "address-pair",
                FirewallHash::FiveTuple => "five-tuple",
            },
            "row": choice.row(),
            "why": why,
            "then": names.filter(|_| member.is_some()).collect::<Vec<_>>(),
            "moved": has(Flags::MOVED),
            "drifted": has(Flags::DRIFTED),
        })
    }

    /// Why it comes from `member`.
    fn why_from(&self, choice: &Choice<'_, F>, member: &FirewallMember<F>) -> String {
        match self.side_before().and_then(|side| side.from_firewall()) {
            Some(row) if row == member.id.index => {
                return "its session is pinned to it: it is expected from there".into();
            }
            Some(_) => return "it came from there (last hop), and its session follows it".into(),
            None if self.is_reply() => {
                return "the request went over it, and the reply is expected from the same firewall".into();
            }
            None => {}
        }
        let first = choice.owner.or_else(|| choice.group.rows.member(choice.hash));
        let last_hop = "it came from there (last hop), which pins its session";
        match first.and_then(|first| choice.group.members.get(first)) {
            Some(first) if first.id != member.id => {
                format!("{last_hop}, though row {} names {} for {}", choice.row(), first.name, choice.whom())
            }
            Some(_) => format!("{last_hop}; the far end chooses it: {}", self.why_chosen(choice, member)),
            None => last_hop.into(),
        }
    }

    /// Why it goes to `member`.
    fn why_to(&self, choice: &Choice<'_, F>, member: &FirewallMember<F>) -> String {
        match self.side_before().and_then(|side| side.to_firewall()) {
            Some(row) if row == member.id.index => "its session pins it there".into(),
            Some(row) => {
                let old = self.holder(row).map(|(_, old)| old);
                let name = old.map_or("its firewall", |old| &old.name);
                match old.is_some_and(|old| old.state == MemberState::Up) {
                    true => {
                        format!("it was moved to {name} by a failure, and goes back with this packet")
                    }
                    false => {
                        let chosen = self.why_chosen(choice, member);
                        format!("{name} has failed, and this packet moves its session: {chosen}")
                    }
                }
            }
            None if self.is_reply() => {
                "the request came from there (last hop): it goes back over the same firewall, whatever the rows say"
                    .into()
            }
            None => self.why_chosen(choice, member),
        }
    }

    /// Why the rows choose `member`.
    fn why_chosen(&self, choice: &Choice<'_, F>, member: &FirewallMember<F>) -> String {
        if choice.owner.is_some() {
            return "the only one that translates to this address".into();
        }
        let place = choice.place(member);
        let (full, _) = choice.around(place);
        let all = all_live(choice.group);
        let before: Vec<usize> =
            all.preferences(choice.hash).take_while(|&other| Some(other) != place).collect();
        let skipped = |place: &usize| {
            let other = choice.group.members.get(*place)?;
            match other.state {
                MemberState::Up if full.contains(place) => Some(format!("{} is full", other.name)),
                MemberState::Up => None,
                _ => Some(format!("{} is {}", other.name, self.state_of(other))),
            }
        };
        let skipped: Vec<String> = before.iter().filter_map(skipped).collect();
        match skipped.as_slice() {
            [] => format!("first preference of row {} for {}", choice.row(), choice.whom()),
            skipped => {
                format!(
                    "next preference of row {} for {}: {}",
                    choice.row(),
                    choice.whom(),
                    skipped.join(", ")
                )
            }
        }
    }
}
