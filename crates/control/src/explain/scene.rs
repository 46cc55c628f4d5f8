//! The two acts: the packet that is asked about, and its answer.

use super::account::{Act, end};
use super::entrance::{self, Entrance};
use super::picture::{LinkLayer, Picture, Stage, draw};
use super::recall::{self, Kept};
use super::{Protocol, Question, Surroundings, firewalls};
use crate::controller::{Names, session_row};
use engine::{Fate, Played, Rehearsal};
use flow::FlowKey;
use plan::{Attachment, MemberState, Mode};
use rewrite::MemberId;
use serde_json::{Map, Value, json};
use session::{Session, tick_from_ns};

/// Sessions that may stand in a new one's way, each at another server, before the worker gives up too.
const RIVALS_MAX: usize = 8;

/// A question with what is needed to answer it, for one family. The constants are those of its session table.
pub(super) struct Scene<
    'a,
    F: Kept<KEY, PAYLOAD, LINES>,
    const KEY: usize,
    const PAYLOAD: usize,
    const LINES: usize,
> {
    pub around: &'a Surroundings<'a>,
    pub question: Question,
    pub key: F::Key,
    pub entrance: Entrance,
    /// The session that the live table has for it, and whether the packet is one of its replies.
    pub known: Option<(Session<KEY, PAYLOAD>, bool)>,
}

/// A rehearsal with what came of the packet.
pub(super) struct Performance {
    pub rehearsal: Rehearsal,
    pub frame: Vec<u8>,
    pub played: Played,
    /// How many servers had a session that could not be told from the packet's.
    pub rivals: usize,
    /// The server that its client is to come back to.
    pub remembered: Option<MemberId>,
}

impl<'a, F, const KEY: usize, const PAYLOAD: usize, const LINES: usize> Scene<'a, F, KEY, PAYLOAD, LINES>
where
    F: Kept<KEY, PAYLOAD, LINES>,
{
    pub fn new(around: &'a Surroundings<'a>, question: Question, port: Option<&str>) -> Result<Self, String> {
        let view = F::view(around.plan);
        let firewall = match view.firewalls.is_empty() {
            true => None,
            false => {
                let rehearsal = Rehearsal::new(around.plan, around.shared);
                firewalls::before(around, &rehearsal, view, &question, port)
            }
        };
        let mut entrance = entrance::find(around, view, &question, port, firewall)?;
        let end = |end: std::net::SocketAddr| F::address(end.ip()).map(|address| (address, end.port()));
        let ends = end(question.source).zip(end(question.destination));
        let (source, destination) = ends.ok_or("the question is of another family")?;
        let zone = around.plan.ports.get(usize::from(entrance.port)).map(|port| port.zone);
        let key = F::Key::new(zone.unwrap_or_default(), question.protocol_number(), source, destination);
        let known = recall::find::<F, KEY, PAYLOAD, LINES>(around.shared, &key);
        // A session's packets come from the firewall that it is pinned to, as long as that lives.
        let pinned = known.as_ref().and_then(|(session, is_reply)| {
            let side = if *is_reply { &session.server } else { &session.client };
            let row = F::translation(&side.payload).from_firewall()?;
            let groups = view.firewalls.groups().iter();
            groups.filter_map(|group| group.member_of_row(row)).find(|member| is_alive(member.state))
        });
        if pinned.is_some() && port.is_none() {
            entrance = entrance::find(around, view, &question, port, pinned)?;
        }
        Ok(Self { around, question, key, entrance, known })
    }

    pub fn explain(self) -> Result<Value, String> {
        let mut performance = self.perform()?;
        let session = recall::find::<F, KEY, PAYLOAD, LINES>(performance.rehearsal.shared(), &self.key);
        let act = Act {
            scene: &self,
            plan: performance.rehearsal.plan(),
            rehearsal: &performance.rehearsal,
            frame: &performance.frame,
            played: &performance.played,
            session: session.as_ref().map(|(session, _)| session),
            entrance: &self.entrance,
            rivals: performance.rivals,
            remembered: performance.remembered,
        };
        let (request, mode, remark) = (act.tell(), act.mode(), act.remark_on_reply());
        let sent = act.sent().filter(|_| !act.is_hosts());
        let reply = sent.map(|sent| self.answer(&mut performance, &sent, mode, remark));
        Ok(json!({
            "source": end(self.question.source),
            "destination": end(self.question.destination),
            "protocol": self.question.protocol.to_string(),
            "session": self.known.as_ref().map(|(session, is_reply)| self.session(session, *is_reply)),
            "request": request,
            "reply": reply,
        }))
    }

    /// Lets the packet happen. Sessions of the live table that would stand in its way are found by letting it happen
    /// without them first.
    fn perform(&self) -> Result<Performance, String> {
        let tick = tick_from_ns(self.around.now_ns);
        let mut rivals: Vec<Session<KEY, PAYLOAD>> = Vec::new();
        let known = self.known.as_ref().map(|(session, _)| *session);
        let frame = draw(&self.question, self.entrance.link, self.stage());
        loop {
            let mut rehearsal = Rehearsal::new(self.around.plan, self.around.shared);
            for session in rivals.iter().chain(&known) {
                recall::copy::<F, KEY, PAYLOAD, LINES>(rehearsal.shared(), session, tick);
            }
            let remembered = rehearsal.recall_client(self.around.shared, self.key, self.around.now_ns);
            let played = rehearsal.play(self.entrance.ring, &frame, self.around.now_ns);
            if played.fate == Fate::Refused {
                return Err("the packet could not be let in".into());
            }
            let opened = recall::find::<F, KEY, PAYLOAD, LINES>(rehearsal.shared(), &self.key);
            let opened = opened.filter(|_| known.is_none());
            let rival = opened.and_then(|(session, _)| {
                recall::rival::<F, KEY, PAYLOAD, LINES>(self.around.shared, &session)
            });
            match rival {
                Some(rival) if rivals.len() < RIVALS_MAX => rivals.push(rival),
                _ => return Ok(Performance { rehearsal, frame, played, rivals: rivals.len(), remembered }),
            }
        }
    }

    fn stage(&self) -> Stage {
        match (&self.known, self.question.protocol) {
            (None, _) => Stage::Opening,
            (Some((_, true)), Protocol::Icmp) => Stage::Answering,
            (Some(_), _) => Stage::Later,
        }
    }

    /// Lets the answer to what was sent happen.
    fn answer(
        &self,
        performance: &mut Performance,
        sent: &(u16, Picture),
        mode: Option<Mode<F>>,
        remark: Option<String>,
    ) -> Map<String, Value> {
        let (port, picture) = sent;
        let is_direct = mode.is_some_and(Mode::is_direct) && self.known.is_none_or(|(_, is_reply)| !is_reply);
        let (question, receiver) = match is_direct {
            // Servers answer under the address that was called, to whom they would send anything.
            true => (self.question.swapped(), self.receiver_at(*port).unwrap_or(self.entrance.link.source)),
            false => {
                let protocol = self.question.protocol;
                let question =
                    Question { source: picture.destination, destination: picture.source, protocol };
                (question, picture.link.source)
            }
        };
        let Some(Attachment::Ring { ring, vlan }) =
            self.around.plan.ports.get(usize::from(*port)).map(|port| &port.attachment)
        else {
            return Map::new();
        };
        let link = LinkLayer { source: picture.link.destination, destination: receiver, vlan: *vlan };
        let entrance = Entrance { port: *port, ring: *ring, link, notes: remark.into_iter().collect() };
        let stage = match (&self.known, self.question.protocol) {
            (Some((_, true)), Protocol::Icmp) => Stage::Opening,
            (Some(_), Protocol::Tcp | Protocol::Udp) => Stage::Later,
            _ => Stage::Answering,
        };
        let frame = draw(&question, entrance.link, stage);
        let played = performance.rehearsal.play(*ring, &frame, self.around.now_ns);
        let session = recall::find::<F, KEY, PAYLOAD, LINES>(performance.rehearsal.shared(), &self.key);
        let act = Act {
            scene: self,
            plan: performance.rehearsal.plan(),
            rehearsal: &performance.rehearsal,
            frame: &frame,
            played: &played,
            session: session.as_ref().map(|(session, _)| session),
            entrance: &entrance,
            rivals: 0,
            remembered: None,
        };
        let mut told = act.tell_plainly();
        told.insert("crosses".into(), (!is_direct && entrance.notes.is_empty()).into());
        told
    }

    /// Where a host behind `port` sends what leaves its network: to the appliance, or on a bridge to whom the request came
    /// from.
    fn receiver_at(&self, port: u16) -> Option<wire::Mac> {
        let port = self.around.plan.ports.get(usize::from(port))?;
        if port.bridge.is_some() { None } else { Some(port.mac) }
    }

    /// Whether a new session may find no room in the live table. The rehearsal's own has room always.
    pub fn is_crowded(&self) -> bool {
        let table = F::table(self.around.shared);
        self.known.is_none() && table.len() >= table.capacity_sessions()
    }

    fn service_of(&self, member: MemberId) -> Option<&str> {
        let view = F::view(self.around.plan);
        let mut services = view.owned.addresses().flat_map(|(_, vip)| vip.services());
        let service = services.find(|service| service.members.iter().any(|own| own.id == member));
        let outbound = || view.outbounds.0.iter().find(|outbound| outbound.id == member);
        service.map(|service| service.name.as_str()).or_else(|| Some(outbound()?.name.as_str()))
    }

    fn firewall_of(&self, row: u16) -> Option<&str> {
        let mut groups = F::view(self.around.plan).firewalls.groups().iter();
        Some(&groups.find_map(|group| group.member_of_row(row))?.name)
    }

    fn session(&self, session: &Session<KEY, PAYLOAD>, is_reply: bool) -> Value {
        let sides = [&session.client, &session.server].map(|side| F::translation(&side.payload));
        let names =
            Names { service: self.service_of(sides[0].member), firewall: &|row| self.firewall_of(row) };
        let mut row = session_row(session, &sides, &names, self.around.now_ns);
        row["direction"] = if is_reply { "reply" } else { "request" }.into();
        row
    }
}

fn is_alive(state: MemberState) -> bool {
    matches!(state, MemberState::Up | MemberState::Draining)
}
