//! What came of a packet, in words: read off the frames, the session and the plan.

use super::Protocol;
use super::entrance::Entrance;
use super::picture::Picture;
use super::recall::Kept;
use super::scene::Scene;
use super::words::{choice_words, mode_name, scheduler_name, way_words};
use engine::{DropReason, Fate, Played, Rehearsal, ReplyWay};
use flow::{Family, FlowKey};
use plan::{MemberState, Mode, Outbound, Plan, PortPlan, ReturnPath, Service, ServiceMember, SourceNat};
use rewrite::{Direction, MemberId};
use serde_json::{Map, Value, json};
use session::{Session, State};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// One packet's way, finished.
pub(super) struct Act<
    's,
    'a,
    F: Kept<KEY, PAYLOAD, LINES>,
    const KEY: usize,
    const PAYLOAD: usize,
    const LINES: usize,
> {
    pub scene: &'s Scene<'a, F, KEY, PAYLOAD, LINES>,
    pub plan: &'s Plan,
    pub rehearsal: &'s Rehearsal,
    pub frame: &'s [u8],
    pub played: &'s Played,
    /// The session that it belongs to now.
    pub session: Option<&'s Session<KEY, PAYLOAD>>,
    pub entrance: &'s Entrance,
    pub rivals: usize,
    /// The server that its client is to come back to.
    pub remembered: Option<MemberId>,
}

/// Whose business a packet is.
pub(super) enum Treatment<'s, F: Family> {
    /// A service's, with the member that it went to.
    Service(&'s Arc<Service<F>>, Option<&'s ServiceMember<F>>),
    /// It is masqueraded.
    Outbound(&'s Outbound<F>),
    /// The appliance's own: an owned address at which no service listens there.
    Own,
    /// The host's.
    Host,
    /// Nobody's here: it passes.
    Passing,
}

impl<'s, F, const KEY: usize, const PAYLOAD: usize, const LINES: usize> Act<'s, '_, F, KEY, PAYLOAD, LINES>
where
    F: Kept<KEY, PAYLOAD, LINES>,
{
    /// The whole account.
    pub fn tell(&self) -> Map<String, Value> {
        let mut told = self.tell_plainly();
        let (mut service, mut mode, mut scheduler) = (Value::Null, Value::Null, Value::Null);
        let (mut server, mut others, mut source_nat) = (Value::Null, Vec::new(), Value::Null);
        match self.treatment() {
            Treatment::Service(own, member) => {
                service = own.name.as_str().into();
                mode = mode_name(own.mode).into();
                scheduler = scheduler_name(&own.scheduler).into();
                server = member.map_or(Value::Null, |member| self.server(own, member));
                let others_of =
                    own.members.iter().filter(|other| member.is_none_or(|member| member.id != other.id));
                others = others_of.map(|other| self.member(own, other)).collect();
                source_nat = member.map_or(Value::Null, |member| self.source_nat(own, member));
            }
            Treatment::Outbound(outbound) => {
                service = outbound.name.as_str().into();
                mode = "outbound".into();
                source_nat = json!({
                    "source": self.lent().map(|source| source.to_string()),
                    "why": "what leaves its networks bears an address of its pool, and a port drawn at random",
                });
            }
            Treatment::Own | Treatment::Host | Treatment::Passing => {}
        }
        for (name, value) in [
            ("service", service),
            ("mode", mode),
            ("scheduler", scheduler),
            ("server", server),
            ("others", others.into()),
            ("source_nat", source_nat),
        ] {
            told.insert(name.into(), value);
        }
        told
    }

    /// The account without what is decided once for both directions.
    pub fn tell_plainly(&self) -> Map<String, Value> {
        let link = self.entrance.link;
        let before = Picture::of(self.frame, None);
        let sent = self.pictures();
        let is_answered = self.played.fate == Fate::Answered;
        let first = sent.first().map(|(_, picture)| picture);
        let rewrite = match (&before, first) {
            (Some(before), Some(after)) if !is_answered => before.rewritten(after),
            _ => Vec::new(),
        };
        let answer = first.filter(|_| is_answered).map(|picture| {
            json!({
                "what": picture.answer,
                "source": end(picture.source),
                "destination": end(picture.destination),
            })
        });
        let dropped = match self.played.fate {
            Fate::Dropped(reason) if !self.is_kernels() => Some(reason.name()),
            _ => None,
        };
        let mut notes = self.entrance.notes.clone();
        let firewalls = self.firewalls();
        let opens = !firewalls.is_empty()
            || matches!(self.treatment(), Treatment::Service(..) | Treatment::Outbound(_));
        if opens && !self.is_reply() && self.scene.is_crowded() {
            notes.push("the session table is full: a new session may find no room".into());
        }
        notes.extend(self.remark_on_zone().filter(|_| firewalls.is_empty()));
        let told = json!({
            "from": {
                "port": self.port_name(self.entrance.port),
                "vlan": link.vlan,
                "source_mac": link.source.to_string(),
                "destination_mac": link.destination.to_string(),
            },
            "notes": notes,
            "firewalls": firewalls,
            "outcome": self.outcome(),
            "why": self.why(),
            "drop": dropped,
            "answer": answer,
            "to": sent.iter().map(|(ring, picture)| self.way_out(*ring, picture)).collect::<Vec<_>>(),
            "rewrite": rewrite,
        });
        match told {
            Value::Object(told) => told,
            _ => Map::new(),
        }
    }

    /// The first frame that was sent on, with its port; `None` when there is none, or it is an answer.
    pub fn sent(&self) -> Option<(u16, Picture)> {
        if self.played.fate != Fate::Sent {
            return None;
        }
        let (ring, picture) = self.pictures().into_iter().next()?;
        let port = self.plan.rings.get(usize::from(ring))?.port(picture.link.vlan)?;
        Some((port, picture))
    }

    /// Whether the host gets it.
    pub fn is_hosts(&self) -> bool {
        let ring = |ring: u16| self.plan.rings.get(usize::from(ring));
        self.played.sent.iter().any(|(sent, _)| ring(*sent).is_some_and(|ring| ring.host_leg_of.is_some()))
    }

    /// Whether no worker sees such a packet but in the moment of a change: the kernel has it.
    fn is_kernels(&self) -> bool {
        self.played.fate == Fate::Dropped(DropReason::LateForHost)
    }

    /// The mode of the service that it went to a server of.
    pub fn mode(&self) -> Option<Mode<F>> {
        match self.treatment() {
            Treatment::Service(service, _) => Some(service.mode),
            _ => None,
        }
    }

    /// What is to be known of its reply before it is drawn.
    pub fn remark_on_reply(&self) -> Option<String> {
        let Treatment::Service(service, Some(member)) = self.treatment() else { return None };
        if self.scene.known.is_some_and(|(_, is_reply)| is_reply) {
            return None;
        }
        if service.mode.is_direct() {
            return Some(
                "servers answer their clients directly; a reply that crosses the appliance all the same gets this"
                    .into(),
            );
        }
        if self.goes_to_firewall() {
            return None;
        }
        let way = self.reply_way(member, ReturnPath::Any).filter(|way| way.bypasses())?;
        let is_never = matches!(service.source_nat, SourceNat::Never);
        (is_never && self.lent().is_none()).then(|| {
            format!(
                "source NAT is never, and {}: the client gets a reply from the server's own address, and takes none \
                 of it; a reply that crosses the appliance all the same gets this",
                way_words(way)
            )
        })
    }

    /// Whose business it is.
    pub fn treatment(&self) -> Treatment<'s, F> {
        let view = F::view(self.plan);
        let of_session = self.session.map(|session| F::translation(&session.client.payload).member);
        let is_it = |id: rewrite::MemberId| match of_session {
            Some(member) => id == member,
            None => self.played.members.contains(&id.index),
        };
        let services = || view.owned.addresses().flat_map(|(_, vip)| vip.services());
        let served = services().find_map(|service| {
            let member = service.members.iter().find(|member| is_it(member.id))?;
            Some(Treatment::Service(service, Some(member)))
        });
        let masqueraded = || view.outbounds.0.iter().find(|outbound| is_it(outbound.id));
        if let Some(found) = served.or_else(|| masqueraded().map(Treatment::Outbound)) {
            return found;
        }
        let (source, destination) = (self.scene.key.source().0, self.scene.key.destination());
        if let Some(vip) = view.owned.get(destination.0) {
            let service = vip.service(self.scene.key.protocol(), destination.1);
            return service.map_or(Treatment::Own, |service| Treatment::Service(service, None));
        }
        if view.host.contains(&destination.0) {
            return Treatment::Host;
        }
        view.outbounds.of(source, destination.0).map_or(Treatment::Passing, Treatment::Outbound)
    }

    fn outcome(&self) -> &'static str {
        match self.played.fate {
            _ if self.is_kernels() => "host",
            Fate::Sent if self.played.sent.len() > 1 => "flooded",
            Fate::Sent if self.is_hosts() => "host",
            Fate::Sent => "forwarded",
            Fate::Answered => "answered",
            Fate::Parked { .. } => "parked",
            Fate::Dropped(_) | Fate::Refused => "dropped",
        }
    }

    fn why(&self) -> String {
        match self.played.fate {
            _ if self.is_kernels() => {
                "the address is the host's own: the kernel takes it before a worker sees it".into()
            }
            Fate::Dropped(reason) => reason.sentence(),
            Fate::Parked { port, next_hop } => {
                let asked = if next_hop.is_ipv4() { "ARP" } else { "a neighbour solicitation" };
                let port = self.port_name(port);
                format!(
                    "it waits until {next_hop} at {port} answers {asked}; nobody has been asked for this account"
                )
            }
            Fate::Answered => self.why_answered(),
            Fate::Refused => "there is no ring that it could come by".into(),
            Fate::Sent => self.why_sent(),
        }
    }

    fn why_sent(&self) -> String {
        if self.is_reply() {
            return "it is the reply of a session".into();
        }
        match self.treatment() {
            _ if self.scene.known.is_some() => "it belongs to a session, which decided once and for all".into(),
            Treatment::Service(..) => "it opens a session of the service".into(),
            Treatment::Outbound(_) => "it opens a session of a masqueraded network".into(),
            Treatment::Own | Treatment::Host => "it is for the host".into(),
            Treatment::Passing if self.session.is_some() => {
                "it opens a session of a flow that crosses firewalls".into()
            }
            Treatment::Passing if self.is_unchanged() && self.played.sent.len() > 1 => {
                "it is not balanced: the bridge passes it on by every port, for it has not seen its destination".into()
            }
            Treatment::Passing if self.is_unchanged() => "it is not balanced: the bridge passes it on".into(),
            Treatment::Passing => "it is not balanced: it is routed".into(),
        }
    }

    fn why_answered(&self) -> String {
        let answer = self.pictures().first().map_or("", |(_, picture)| picture.answer);
        let (address, port) = self.scene.key.destination();
        match (self.treatment(), answer) {
            (_, "ICMP echo reply") => "the address is the appliance's own".into(),
            (_, "ICMP network unreachable") => "no route leads there".into(),
            (_, "ICMP time exceeded") => "its hop limit ran out".into(),
            (_, "ICMP packet too big") => "its way out carries only shorter packets".into(),
            (_, "ICMP host unreachable") => {
                "no route leads to the server, or not directly, as the mode of the service needs".into()
            }
            _ if self.session.is_some_and(|session| session.state() == State::Reset) => {
                "its session was reset".into()
            }
            _ if self.session.is_some() => "the server of its session is gone".into(),
            (Treatment::Service(service, _), _) => self.why_refused(service),
            _ => {
                let (protocol, address) = (self.scene.question.protocol, address.into());
                match protocol {
                    Protocol::Other(_) => format!("no service takes protocol {protocol} at {address}"),
                    _ => format!("no service listens on {protocol} port {port} of {address}"),
                }
            }
        }
    }

    /// Why a service turns a new flow away.
    fn why_refused(&self, service: &Service<F>) -> String {
        let client = self.scene.key.source().0;
        let calls_itself = matches!(service.source_nat, SourceNat::Never) && service.has_server(client);
        if !service.available.is_empty() && calls_itself {
            return DropReason::ReplyBypasses.sentence();
        }
        self.why_unreachable(service).unwrap_or_else(|| "no server of the service takes sessions".into())
    }

    /// Whether the packet travels towards the client.
    pub fn is_reply(&self) -> bool {
        let Some(session) = self.session else { return false };
        let before = Picture::of(self.frame, None);
        let reply = F::Key::from_words(session.server.key);
        F::translation(&session.server.payload).direction == Direction::Reply
            && before.is_some_and(|picture| {
                picture.source.ip() == reply.source().0.into() && picture.source.port() == reply.source().1
            })
    }

    fn is_unchanged(&self) -> bool {
        let (before, after) = (Picture::of(self.frame, None), self.pictures());
        after.first().map(|(_, picture)| picture) == before.as_ref()
    }

    /// What was sent, each with its ring.
    pub fn pictures(&self) -> Vec<(u16, Picture)> {
        let gue_port = match self.mode() {
            Some(Mode::Gue { port, .. }) => Some(port),
            _ => None,
        };
        let read = |(ring, frame): &(u16, Vec<u8>)| Some((*ring, Picture::of(frame, gue_port)?));
        self.played.sent.iter().filter_map(read).collect()
    }

    /// Where a frame leaves, and to whom.
    fn way_out(&self, ring: u16, picture: &Picture) -> Value {
        let Some(plan) = self.plan.rings.get(usize::from(ring)) else { return Value::Null };
        if let Some(leg) = plan.host_leg_of {
            return json!({"port": self.port_name(leg), "is_host": true});
        }
        let Some(port) = plan.port(picture.link.vlan) else { return Value::Null };
        let own = self.plan.ports.get(usize::from(port));
        json!({
            "port": self.port_name(port),
            "vlan": own.map_or(0, PortPlan::vlan),
            "next_hop": self.next_hop(own.and_then(|own| own.bridge).unwrap_or(port), picture),
            "mac": picture.link.destination.to_string(),
        })
    }

    /// The address of the host that a frame is sent to on its link, where the plan knows one.
    fn next_hop(&self, leg: u16, picture: &Picture) -> Option<IpAddr> {
        let links = F::view(self.plan).routes.links();
        let holds = |index| self.rehearsal.shared().links.get(index);
        let of_mac = links.iter().filter(|&(&(own, _), &index)| {
            own == leg && holds(index).is_some_and(|link| link.mac == picture.link.destination)
        });
        let addresses: Vec<IpAddr> = of_mac.map(|(&(_, address), _)| address.into()).collect();
        let called = picture.outer.map_or(picture.destination, |(_, destination)| destination).ip();
        addresses.iter().find(|&&address| address == called).or(addresses.iter().min()).copied()
    }

    fn server(&self, service: &Service<F>, member: &ServiceMember<F>) -> Value {
        let taken = match self.rivals {
            0 => String::new(),
            count => format!("; at {count} before it the flow could not be told from another session"),
        };
        let why = match &service.scheduler {
            _ if self.scene.known.is_some() => "it was chosen when the session opened".to_owned(),
            _ if self.remembered == Some(member.id) => "its client was here before (persistence)".to_owned(),
            scheduler => format!("{}{taken}", choice_words(scheduler, service.available.len())),
        };
        let mut told = self.member(service, member);
        told["why"] = why.into();
        told
    }

    fn member(&self, service: &Service<F>, member: &ServiceMember<F>) -> Value {
        let state = (self.scene.around.state_of)(member.id).unwrap_or(match member.state {
            MemberState::Up => "up",
            MemberState::Draining => "draining",
            MemberState::Moving | MemberState::Dead => "down",
        });
        let called = self.scene.key.destination().1;
        let port = if service.mode.is_direct() { called } else { member.port.unwrap_or(called) };
        json!({"address": member.address.into().to_string(), "port": port, "state": state})
    }

    /// The source that servers see in place of the client's.
    fn lent(&self) -> Option<SocketAddr> {
        let session = self.session?;
        let request = F::translation(&session.client.payload);
        let client = F::Key::from_words(session.client.key).source();
        let is_lent = !request.shape.keeps_addresses() && request.source != client;
        is_lent.then(|| (request.source.0.into(), request.source.1).into())
    }

    fn source_nat(&self, service: &Service<F>, member: &ServiceMember<F>) -> Value {
        if service.mode.is_direct() {
            return Value::Null;
        }
        let lent = self.lent();
        let why = match &service.source_nat {
            _ if self.scene.known.is_some() => "decided when the session opened".into(),
            SourceNat::Never => "source_nat is never".into(),
            SourceNat::Always(_) => "source_nat is always".into(),
            SourceNat::Auto(_, path) if *path != ReturnPath::Bypass && self.goes_to_firewall() => {
                "source_nat is auto, and the firewall sends the reply back to whom the request came from"
                    .into()
            }
            SourceNat::Auto(_, path) => match self.reply_way(member, *path) {
                Some(way) => format!("source_nat is auto, and {}", way_words(way)),
                None => "source_nat is auto".into(),
            },
        };
        let drawn =
            if lent.is_some() && self.scene.known.is_none() { "; the port is drawn at random" } else { "" };
        json!({"source": lent.map(|source| source.to_string()), "why": format!("{why}{drawn}")})
    }

    fn reply_way(&self, member: &ServiceMember<F>, path: ReturnPath) -> Option<ReplyWay> {
        let scene = self.scene;
        let ends = (scene.key.source().0.into(), member.address.into());
        let hash = scene.key.hash(&scene.around.shared.hasher);
        self.rehearsal.reply_way(self.entrance.port, ends, (path, hash), scene.around.now_ns)
    }

    fn port_name(&self, port: u16) -> &str {
        self.plan.ports.get(usize::from(port)).map_or("", |port| &port.name)
    }
}

/// An end in words; one without a port is an address.
pub(super) fn end(end: SocketAddr) -> String {
    if end.port() == 0 { end.ip().to_string() } else { end.to_string() }
}
