//! `show sessions`: one row at a time, made while the client takes them, so that a table of millions is shown without
//! being copied.

use super::{Controller, Rings};
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
    now_ns: u64,
    next_set: usize,
    waiting: VecDeque<Value>,
}

impl<R: Rings> Controller<R> {
    /// Every session as a row.
    pub(super) fn session_rows(&self, now: Instant) -> SessionRows {
        SessionRows {
            shared: self.shared.clone(),
            services: self.members.all().map(|(key, member)| (member.id, key.service.clone())).collect(),
            now_ns: now.duration_since(self.clock).as_nanos() as u64,
            next_set: 0,
            waiting: VecDeque::new(),
        }
    }
}

impl Iterator for SessionRows {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        let Self { shared, services, now_ns, next_set, waiting } = self;
        let (v4, v6) = (&shared.sessions_v4, &shared.sessions_v6);
        while waiting.is_empty() && *next_set < v4.set_count() + v6.set_count() {
            let set = *next_set;
            if set < v4.set_count() {
                let end = (set + SETS_PER_ROW).min(v4.set_count());
                v4.inspect(set..end, |session| {
                    let request = Translation::<V4>::from_words(&session.client.payload);
                    let service = services.get(&request.member).map(String::as_str);
                    waiting.push_back(session_row(session, &request, service, *now_ns));
                });
                *next_set = end;
            } else {
                let (set, count) = (set - v4.set_count(), v6.set_count());
                let end = (set + SETS_PER_ROW).min(count);
                v6.inspect(set..end, |session| {
                    let request = Translation::<V6>::from_words(&session.client.payload);
                    let service = services.get(&request.member).map(String::as_str);
                    waiting.push_back(session_row(session, &request, service, *now_ns));
                });
                *next_set = v4.set_count() + end;
            }
        }
        waiting.pop_front()
    }
}

/// A session as people and programs are shown it; `request` is the translation of its client side.
pub(crate) fn session_row<F, const KEY: usize, const PAYLOAD: usize>(
    session: &Session<KEY, PAYLOAD>,
    request: &Translation<F>,
    service: Option<&str>,
    now_ns: u64,
) -> Value
where
    F: Family<Key: FlowKey<Words = [u64; KEY]>>,
{
    let called = F::Key::from_words(session.client.key);
    let (client, vip) = (called.source(), called.destination());
    let is_translated = !request.shape.keeps_addresses() && request.source != client;
    let idle_ns = u64::from(session.idle_ticks(session::tick_from_ns(now_ns))) * TICK_NS;
    json!({
        "client": endpoint::<F>(client),
        "vip": endpoint::<F>(vip),
        "server": endpoint::<F>(server::<F>(request, vip.1)),
        "service": service,
        "source_nat": is_translated.then(|| endpoint::<F>(request.source)),
        "firewall": null,
        "protocol": protocol_name(called.protocol()),
        "state": state_name(session.state()),
        // An age is known to within four seconds, an idle time to within a tick: none is idle before it was born.
        "age_s": request.born.age_ns(now_ns).max(idle_ns) / 1_000_000_000,
        "idle_s": idle_ns / 1_000_000_000,
        "packets_in": session.client.direction.progress.packets(),
        "packets_out": session.server.direction.progress.packets(),
    })
}

/// Where the packets of a session go. Behind an outer header they keep the port that the client called.
fn server<F: Family>(request: &Translation<F>, called: u16) -> (F::Address, u16) {
    let (address, port) = request.destination;
    (address, if request.shape.keeps_addresses() { called } else { port })
}

fn endpoint<F: Family>((address, port): (F::Address, u16)) -> String {
    SocketAddr::new(address.into(), port).to_string()
}

fn protocol_name(protocol: u8) -> String {
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
