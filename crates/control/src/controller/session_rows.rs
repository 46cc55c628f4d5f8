//! `show sessions`: one row at a time, made while the client takes them, so that a table of millions is shown without
//! being copied.

use super::{Controller, Rings};
use crate::members::{Member, ServerKey};
use engine::Shared;
use flow::{Family, FlowKey, V4, V6};
use hashbrown::HashMap;
use rewrite::{MemberId, Translation, Words};
use serde_json::{Value, json};
use session::{Session, State, TICK_NS};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// Sets that one call of `next` looks at, at most, before it gives the loop its turn: some ten microseconds in a table that
/// is empty.
const SETS_PER_ROW: usize = 1_024;

/// Walks both tables once. Sessions that come or go meanwhile may be shown or not.
pub(super) struct SessionRows {
    shared: Arc<Shared>,
    services: HashMap<MemberId, String>,
    /// Names by row.
    firewalls: HashMap<u16, String>,
    now_ns: u64,
    next_set: usize,
    waiting: VecDeque<Value>,
}

impl<R: Rings> Controller<R> {
    /// Every session as a row.
    pub(super) fn session_rows(&self, now: Instant) -> SessionRows {
        let (firewalls, servers): (Vec<_>, Vec<_>) =
            self.members.all().partition(|(_, member)| member.path().is_some());
        let name = |(_, member): (&ServerKey, &Member)| Some((member.id.index, member.path()?.name.clone()));
        SessionRows {
            shared: self.shared.clone(),
            services: servers.into_iter().map(|(key, member)| (member.id, key.service.clone())).collect(),
            firewalls: firewalls.into_iter().filter_map(name).collect(),
            now_ns: now.duration_since(self.clock).as_nanos() as u64,
            next_set: 0,
            waiting: VecDeque::new(),
        }
    }
}

impl Iterator for SessionRows {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        let Self { shared, services, firewalls, now_ns, next_set, waiting } = self;
        let name = |row: u16| firewalls.get(&row).map(String::as_str);
        let (v4, v6) = (&shared.sessions_v4, &shared.sessions_v6);
        while waiting.is_empty() && *next_set < v4.set_count() + v6.set_count() {
            let set = *next_set;
            if set < v4.set_count() {
                let end = (set + SETS_PER_ROW).min(v4.set_count());
                v4.inspect(set..end, |session| {
                    let sides = [&session.client, &session.server];
                    let sides = sides.map(|side| Translation::<V4>::from_words(&side.payload));
                    let service = services.get(&sides[0].member).map(String::as_str);
                    waiting.push_back(session_row(
                        session,
                        &sides,
                        &Names { service, firewall: &name },
                        *now_ns,
                    ));
                });
                *next_set = end;
            } else {
                let (set, count) = (set - v4.set_count(), v6.set_count());
                let end = (set + SETS_PER_ROW).min(count);
                v6.inspect(set..end, |session| {
                    let sides = [&session.client, &session.server];
                    let sides = sides.map(|side| Translation::<V6>::from_words(&side.payload));
                    let service = services.get(&sides[0].member).map(String::as_str);
                    waiting.push_back(session_row(
                        session,
                        &sides,
                        &Names { service, firewall: &name },
                        *now_ns,
                    ));
                });
                *next_set = v4.set_count() + end;
            }
        }
        waiting.pop_front()
    }
}

/// What the members of a session are called.
pub(crate) struct Names<'a> {
    /// Its service or outbound; one that only passes firewalls has none.
    pub service: Option<&'a str>,
    /// Firewalls by their rows.
    pub firewall: &'a dyn Fn(u16) -> Option<&'a str>,
}

/// A session as people and programs are shown it, with the translations of its client's and its server's side.
pub(crate) fn session_row<F, const KEY: usize, const PAYLOAD: usize>(
    session: &Session<KEY, PAYLOAD>,
    sides: &[Translation<F>; 2],
    names: &Names<'_>,
    now_ns: u64,
) -> Value
where
    F: Family<Key: FlowKey<Words = [u64; KEY]>>,
{
    let [request, reply] = sides;
    let called = F::Key::from_words(session.client.key);
    let (client, vip) = (called.source(), called.destination());
    let is_translated = !request.shape.keeps_addresses() && request.source != client;
    let idle_ns = u64::from(session.idle_ticks(session::tick_from_ns(now_ns))) * TICK_NS;
    // An age is known to within four seconds, an idle time to within a tick: none is idle before it was born. Where both
    // sides come from firewalls nobody knows it.
    let born = request.birth().or(reply.birth());
    let age_ns = born.map(|born| born.age_ns(now_ns).max(idle_ns));
    json!({
        "client": endpoint::<F>(client),
        "vip": endpoint::<F>(vip),
        "server": endpoint::<F>(server::<F>(request, vip.1)),
        "service": names.service,
        "source_nat": is_translated.then(|| endpoint::<F>(request.source)),
        "firewall": firewall(sides, names),
        "protocol": protocol_name(called.protocol()),
        "state": state_name(session.state()),
        "age_s": age_ns.map(|age_ns| age_ns / 1_000_000_000),
        "idle_s": idle_ns / 1_000_000_000,
        "packets_in": session.client.direction.progress.packets(),
        "packets_out": session.server.direction.progress.packets(),
    })
}

/// The firewalls that a session passes, by name: on its server's side, on its client's, or on both.
fn firewall<F: Family>([request, reply]: &[Translation<F>; 2], names: &Names<'_>) -> Option<String> {
    let rows =
        [request.to_firewall().or(reply.from_firewall()), reply.to_firewall().or(request.from_firewall())];
    let mut passed: Vec<&str> =
        rows.into_iter().flatten().map(|row| (names.firewall)(row).unwrap_or("unknown")).collect();
    passed.dedup();
    (!passed.is_empty()).then(|| passed.join(", "))
}

/// Where the packets of a session go. Behind an outer header they keep the port that the client called.
fn server<F: Family>(request: &Translation<F>, called: u16) -> (F::Address, u16) {
    let (address, port) = request.destination;
    (address, if request.shape.keeps_addresses() { called } else { port })
}

fn endpoint<F: Family>((address, port): (F::Address, u16)) -> String {
    SocketAddr::new(address.into(), port).to_string()
}

/// The word for an IP protocol.
pub(super) fn protocol_name(protocol: u8) -> String {
    match protocol {
        wire::protocol::TCP => "tcp".to_owned(),
        wire::protocol::UDP => "udp".to_owned(),
        wire::protocol::ICMP | wire::protocol::ICMPV6 => "icmp".to_owned(),
        other => other.to_string(),
    }
}

fn state_name(state: State) -> &'static str {
    match state {
        State::TcpTransitory => "half-open",
        State::TcpEstablished => "established",
        State::TcpClosing => "closing",
        State::Reset => "reset",
        State::Udp => "udp",
        State::Icmp => "icmp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Sizes;
    use flow::{FlowHasher, KeyV4, Zone};
    use rewrite::{Birth, Carriage, Course, Direction, Endpoints, LinkIndex, Shape, translate};
    use session::{Entry, Flags, Insert, Observation, Opening, Protocol};

    const BORN_NS: u64 = 100 << 32;
    const NOW_NS: u64 = 110 << 32;
    const AGE_S: u64 = (NOW_NS - BORN_NS) / 1_000_000_000;
    /// A number that would be another birth.
    const FIREWALL: u16 = 7;

    /// A flow from 198.18.0.5 to 198.19.0.1 that crosses as it is.
    fn crossing() -> [Translation<V4>; 2] {
        let ends =
            Endpoints { source: ([198, 18, 0, 5].into(), 1_000), destination: ([198, 19, 0, 1].into(), 80) };
        let side = |ends: Endpoints<V4>, direction| {
            let member = MemberId { index: FIREWALL, generation: 0 };
            let course = Course { member, direction, link: LinkIndex(1), born: Birth::at(BORN_NS) };
            translate(ends, ends, Shape::ROUTED.carried(Carriage::Direct), course)
        };
        [side(ends, Direction::Request), side(ends.swapped(), Direction::Reply)]
    }

    /// The row of a session with these translations.
    fn shown([request, reply]: [Translation<V4>; 2]) -> Value {
        let sizes = Sizes { sessions_v4: 1_000, sessions_v6: 1_000, links: 1, members: 1, clients: 1 };
        let shared = Shared::new(sizes, FlowHasher::new([7; 16]));
        let table = &shared.sessions_v4;
        let entry = |side: &Translation<V4>| {
            let key = KeyV4::new(Zone(0), wire::protocol::TCP, side.source, side.destination);
            Entry { hash: key.hash(&shared.hasher), key: *key.words(), payload: side.to_words() }
        };
        let opening = Opening {
            tick: session::tick_from_ns(NOW_NS),
            protocol: Protocol::Tcp,
            epoch: 1,
            seen: Observation::NOTHING,
            marks: Flags::NONE,
            now_us: 0,
        };
        let inserted = table.insert(&opening, &entry(&request), &entry(&reply), |_| {});
        let Insert::Inserted { client, .. } = inserted else { panic!("{inserted:?}") };
        let session = table.session(client.client_slot(), client.birth).unwrap();
        let sides =
            [&session.client, &session.server].map(|side| Translation::<V4>::from_words(&side.payload));
        let name = |row: u16| (row != 9).then_some(if row == FIREWALL { "fw1" } else { "dmz2" });
        session_row(&session, &sides, &Names { service: None, firewall: &name }, NOW_NS)
    }

    #[test]
    fn a_session_names_the_firewall_that_it_passes_whoever_opened_it() {
        let [request, reply] = crossing();
        let plain = shown([request, reply]);
        assert_eq!((&plain["firewall"], &plain["age_s"]), (&Value::Null, &json!(AGE_S)));
        assert_eq!(plain["vip"], "198.19.0.1:80");
        let opened_here = shown([request.leaving_by(FIREWALL), reply.coming_from(FIREWALL)]);
        assert_eq!((&opened_here["firewall"], &opened_here["age_s"]), (&json!("fw1"), &json!(AGE_S)));
        let opened_there = shown([request.coming_from(FIREWALL), reply.leaving_by(FIREWALL)]);
        assert_eq!((&opened_there["firewall"], &opened_there["age_s"]), (&json!("fw1"), &json!(AGE_S)));
        assert_eq!(opened_there["service"], Value::Null);
    }

    #[test]
    fn a_session_between_two_groups_names_both_firewalls_and_has_no_age() {
        let [request, reply] = crossing();
        let request = request.coming_from(FIREWALL).leaving_by(8);
        let reply = reply.coming_from(8).leaving_by(FIREWALL);
        let row = shown([request, reply]);
        assert_eq!((&row["firewall"], &row["age_s"]), (&json!("dmz2, fw1"), &Value::Null));
        let unknown = shown([crossing()[0].leaving_by(9), crossing()[1].coming_from(9)]);
        assert_eq!(unknown["firewall"], "unknown");
    }
}
