//! All paths: what to send when, what came, and what is thought of each. No I/O; time and links are parameters.

use super::alarm::Complaint;
use super::far::{Hearing, Report};
use super::group::Group;
use super::news::{Event, News, PathStatus};
use super::packet::{self, Content};
use super::path::{Over, Path};
use super::payload::{Payload, path_id};
use super::wanted::WantedGroup;
use flow::FlowHasher;
use flow::probe::Probe;
use hashbrown::HashMap;
use plan::Link;
use rewrite::MemberId;
use std::net::IpAddr;
use std::time::Instant;
use wire::Mac;
use wire::tcp::TcpFlags;

/// Separates what probes draw from the secret's other uses: where flows begin, and numbers of SYNs.
const PURPOSE_DRAW: u64 = 0x7072_6f62_6500_0003;

/// A packet that a worker is to carry to a firewall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    /// The firewall's row.
    pub member: MemberId,
    /// The packet.
    pub packet: Vec<u8>,
}

/// All paths.
#[derive(Debug)]
pub struct Prober {
    hasher: FlowHasher,
    instance: u64,
    begin: Instant,
    groups: Vec<Group>,
    /// Where the path of each probe address of ours is: group and place.
    places: HashMap<IpAddr, (usize, usize)>,
    sendings: Vec<Sending>,
    events: Vec<Event>,
}

impl Prober {
    /// A prober without paths. `instance` tells this life from earlier ones; it is drawn at random.
    pub fn new(instance: u64, hasher: FlowHasher, now: Instant) -> Self {
        Self {
            hasher,
            // 0 says "none".
            instance: instance.max(1),
            begin: now,
            groups: Vec::new(),
            places: HashMap::new(),
            sendings: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Probes these groups from now on, and no others. A path whose ends are the same goes on as it was.
    pub fn update(&mut self, now: Instant, wanted: &[WantedGroup]) {
        let mut before = std::mem::take(&mut self.groups);
        self.groups = wanted.iter().map(|wanted| self.group(now, wanted, &mut before)).collect();
        let places = self.groups.iter().enumerate().flat_map(|(group, known)| {
            known.paths.iter().enumerate().map(move |(place, path)| (path.wanted.own, (group, place)))
        });
        self.places = places.collect();
    }

    fn group(&self, now: Instant, wanted: &WantedGroup, before: &mut [Group]) -> Group {
        let mut known = before.iter_mut().find(|group| group.name == wanted.name);
        let count = wanted.paths.len().max(1) as u32;
        let paths = wanted.paths.iter().take(plan::FIREWALLS_MAX).zip(0u32..).map(|(path, place)| {
            let id = path_id(&path.firewall, (path.own, path.far), &self.hasher);
            // Not all at once, for ever after.
            let first = now + wanted.parameters.interval * place / count;
            let same = known.as_mut().and_then(|known| {
                let same = |old: &Path| old.id == id && old.wanted.own == path.own;
                let place = known.paths.iter().position(same)?;
                Some(known.paths.swap_remove(place))
            });
            match same {
                Some(mut same) => {
                    same.take_over(path.clone(), wanted.parameters, first);
                    same
                }
                None => Path::new((path.clone(), id), wanted.parameters, first, self.draw(id, b"flow")),
            }
        });
        let paths: Vec<Path> = paths.collect();
        Group {
            name: wanted.name.clone(),
            fingerprint: wanted.fingerprint,
            asking: wanted.asking,
            slack: wanted.parameters.response_time / 2,
            names: paths.iter().map(|path| (path.id, path.wanted.firewall.clone())).collect(),
            paths,
            report: known.and_then(|known| known.report.take()),
        }
    }

    /// A number that nobody without the secret can tell beforehand.
    fn draw(&self, path: u64, what: &[u8]) -> u32 {
        let numbers = [path.to_be_bytes(), self.instance.to_be_bytes()];
        self.hasher.dispatch(PURPOSE_DRAW, &[numbers.as_flattened(), what].concat()) as u32
    }

    /// The members of a group are others, or weigh another weight.
    pub fn set_fingerprint(&mut self, group: &str, fingerprint: u64) {
        if let Some(group) = self.groups.iter_mut().find(|known| known.name == group) {
            group.fingerprint = fingerprint;
        }
    }

    /// Does what is due. `links` says which link leads to a firewall now.
    pub fn advance(&mut self, now: Instant, links: &dyn Fn(MemberId) -> Option<Link>) {
        for group in 0..self.groups.len() {
            for place in 0..self.groups[group].paths.len() {
                if self.groups[group].paths[place].next_deadline() <= now {
                    self.serve(now, (group, place), links);
                }
            }
        }
    }

    fn serve(
        &mut self,
        now: Instant,
        (group, place): (usize, usize),
        links: &dyn Fn(MemberId) -> Option<Link>,
    ) {
        let Some((path, around)) = self.groups[group].split(now, place) else { return };
        path.expire(now, &around);
        let member = path.wanted.member;
        let (is_due, has_ended) = (path.is_due(now), path.alarm.expire(now));
        if is_due && links(member).is_none() {
            path.could_not_ask(now);
        } else if is_due {
            let packet = self.question(now, (group, place));
            self.sendings.push(Sending { member, packet });
        }
        self.tell((group, place), has_ended.then_some(News::AlarmEnded));
    }

    /// The packet of a new probe.
    fn question(&mut self, now: Instant, (group, place): (usize, usize)) -> Vec<u8> {
        let (heard_instance, report) = self.groups[group].report(now);
        let Group { asking, fingerprint, .. } = self.groups[group];
        let path = &self.groups[group].paths[place];
        let (id, sequence) = (path.id, path.next_sequence());
        let syn = self.draw(id, &sequence.to_be_bytes());
        let path = &mut self.groups[group].paths[place];
        let envelope = path.ask(now, asking, syn);
        let payload = Payload {
            path: id,
            fingerprint,
            instance: self.instance,
            heard_instance,
            sequence,
            next_ms: u32::try_from(path.next_within().as_millis()).unwrap_or(u32::MAX),
            sent_us: now.saturating_duration_since(self.begin).as_micros() as u64,
            report,
        };
        // No payload is longer than a head can say.
        let question = Probe::question(&payload.to_bytes(), &self.hasher).unwrap_or_default();
        packet::probe((path.wanted.own, path.wanted.far), envelope, &question)
    }

    /// Takes an IP packet that came in by `leg` from `mac`, whatever it is. Any bytes are taken apart.
    pub fn take(
        &mut self,
        now: Instant,
        (leg, mac): (u16, Mac),
        packet: &[u8],
        links: &dyn Fn(MemberId) -> Option<Link>,
    ) {
        let mut bytes = packet.to_vec();
        let Some(taken) = packet::read(&mut bytes) else { return };
        let Some(&at) = self.places.get(&taken.destination) else { return };
        let over = self.groups[at.0].over(at.1, Link { port: leg, mac }, links);
        let way = self.way(at, (over, mac), links);
        let news = match taken.content {
            Content::Question(probe) | Content::Answer(probe) if !probe.is_authentic(&self.hasher) => {
                self.forged(now, at)
            }
            Content::Question(probe) => self.heard(now, at, over, &probe),
            Content::Answer(probe) => {
                self.answered(now, at, way, &probe);
                None
            }
            Content::Segment { port, own_port, flags, acknowledgement } => {
                self.segment(now, at, way, ((port, own_port), (flags, acknowledgement)));
                None
            }
        };
        self.tell(at, news);
    }

    fn forged(&mut self, now: Instant, (group, place): (usize, usize)) -> Option<News> {
        let path = &mut self.groups[group].paths[place];
        path.forged_at = Some(now);
        path.alarm.complain(now, Complaint::OtherKey).then_some(News::Alarm(Complaint::OtherKey))
    }

    /// A probe of the far end. Its answer is on its way already.
    fn heard(
        &mut self,
        now: Instant,
        (group, place): (usize, usize),
        over: Option<usize>,
        probe: &Probe<'_>,
    ) -> Option<News> {
        let payload = Payload::of(probe.body)?;
        let instance = self.instance;
        let group = &mut self.groups[group];
        let over = over.and_then(|over| group.paths.get(over)).map(|path| path.id);
        let path = &mut group.paths[place];
        if payload.path != path.id {
            let complaint = Complaint::OtherName;
            return path.alarm.complain(now, complaint).then_some(News::Alarm(complaint));
        }
        if path.hearing.is_some_and(|hearing| !hearing.is_before(&payload)) {
            return None;
        }
        path.hearing = Some(Hearing::of(&payload, now, over, group.slack));
        path.forged_at = None;
        group.report = Some(Report::of(&payload, now, instance, group.slack));
        if payload.fingerprint == group.fingerprint {
            path.alarm.be_well(now);
            return None;
        }
        let complaint = Complaint::OtherGroup { ours: group.fingerprint, theirs: payload.fingerprint };
        path.alarm.complain(now, complaint).then_some(News::Alarm(complaint))
    }

    fn answered(&mut self, now: Instant, (group, place): (usize, usize), over: Over, probe: &Probe<'_>) {
        let Some(payload) = Payload::of(probe.body).filter(|payload| payload.instance == self.instance)
        else {
            return;
        };
        let Some((path, around)) = self.groups[group].split(now, place) else { return };
        if payload.path == path.id {
            path.take_answer(now, payload.sequence, over, &around);
        }
    }

    fn segment(
        &mut self,
        now: Instant,
        (group, place): (usize, usize),
        over: Over,
        (ports, signs): ((u16, u16), (TcpFlags, u32)),
    ) {
        let Some((path, around)) = self.groups[group].split(now, place) else { return };
        if let Some((ports, sequence)) = path.take_segment(now, ports, signs, (over, &around)) {
            let packet = packet::reset((path.wanted.own, path.wanted.far), ports, sequence);
            self.sendings.push(Sending { member: path.wanted.member, packet });
        }
    }

    /// The way that an answer took, which came from `mac` by the link of the path at `over`.
    fn way(
        &self,
        (group, place): (usize, usize),
        (over, mac): (Option<usize>, Mac),
        links: &dyn Fn(MemberId) -> Option<Link>,
    ) -> Over {
        let paths = &self.groups[group].paths;
        match over {
            Some(over) if over == place => Over::Own,
            Some(over) => Over::Other(paths[over].wanted.firewall.clone()),
            None if links(paths[place].wanted.member).is_none() => Over::Unknown,
            None => Over::Elsewhere(mac),
        }
    }

    /// Notes what has changed of a path.
    fn tell(&mut self, (group, place): (usize, usize), news: Option<News>) {
        let Self { groups, events, .. } = self;
        let group = &mut groups[group];
        let path = &mut group.paths[place];
        let turned = path.take_turn().map(|from| News::Turned {
            from,
            to: path.health(),
            reason: path.reason().cloned(),
        });
        let firewall = &path.wanted.firewall;
        events.extend(turned.into_iter().chain(news).map(|news| Event {
            group: group.name.clone(),
            firewall: firewall.clone(),
            news,
        }));
    }

    /// What is to be sent since this was last asked.
    pub fn sendings(&mut self) -> Vec<Sending> {
        std::mem::take(&mut self.sendings)
    }

    /// What has changed since this was last asked.
    pub fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// When [`Prober::advance`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.groups.iter().flat_map(|group| &group.paths).map(Path::next_deadline).min()
    }

    /// What is known of the path over a firewall of a group.
    pub fn status(&self, now: Instant, group: &str, firewall: &str) -> Option<PathStatus<'_>> {
        let group = self.groups.iter().find(|known| known.name == group)?;
        let path = group.paths.iter().find(|path| path.wanted.firewall == firewall)?;
        Some(PathStatus {
            health: path.health(),
            reason: path.reason(),
            last_check: path.last_check(),
            round_trip: path.round_trip(),
            alarm: path.alarm.complaint(),
            far_health: group.report.as_ref().and_then(|report| report.health(now, path.id)),
        })
    }
}

#[cfg(test)]
mod tests;
