//! What came of a run, added up.

use crate::account::Account;
use crate::live;
use crate::open::{OpenPort, PortReport};
use crate::profile::Profile;
use crate::report::{Limit, Measured, Report, Second, StreamReport};
use crate::sender::Sender;
use crate::tcp::Client;

/// A stream that reached less of its rate was limited by its ring or its thread.
const REACHED_SHARE: f64 = 0.99;

/// What the threads came back with.
pub(super) struct Outcome {
    pub senders: Vec<Sender>,
    pub clients: Vec<Client>,
    pub accounts: Vec<Vec<Option<Account>>>,
    /// By port.
    pub receive_dropped: Vec<u64>,
    pub unknown: u64,
    pub seconds: Vec<Second>,
    pub duration_ns: u64,
    pub is_spent: bool,
    pub ended_early: bool,
}

/// Frames that an interface has dropped, by its own counters.
pub(super) struct Drops {
    interface: String,
    before: u64,
}

impl Drops {
    pub fn of(port: &OpenPort) -> Self {
        let interface = port.report.interface.clone();
        Self { before: live::count(&interface).dropped, interface }
    }

    fn since(&self) -> u64 {
        live::count(&self.interface).dropped.saturating_sub(self.before)
    }
}

impl Outcome {
    /// Takes what the interface of a port dropped off what its live streams sent, each by its share.
    pub fn refuse(&mut self, profile: &Profile, port: usize, drops: Option<&Drops>) {
        let mut dropped = drops.map_or(0, Drops::since);
        let of_port = |sender: &&mut Sender| profile.streams[sender.stream].transmit == port;
        let mut total: u64 =
            self.senders.iter_mut().filter(of_port).map(|sender| sender.sent().packets).sum();
        for sender in self.senders.iter_mut().filter(of_port) {
            let packets = sender.sent().packets;
            let share = u128::from(dropped) * u128::from(packets) / u128::from(total.max(1));
            sender.note_refused(share as u64);
            (dropped, total) = (dropped - share as u64, total - packets);
        }
    }
    /// Adds it all up.
    pub fn report(mut self, profile: &Profile, ports: Vec<PortReport>) -> Report {
        let duration_s = self.duration_ns as f64 / 1e9;
        let measured: Vec<Measured> =
            (0..profile.streams.len()).map(|index| self.take_measured(profile, index)).collect();
        let streams: Vec<StreamReport> = profile
            .streams
            .iter()
            .zip(&measured)
            .map(|(stream, measured)| StreamReport::new(stream, measured, duration_s))
            .collect();
        let totals = StreamReport::total(&streams, &measured, duration_s);
        let fell_short = |stream: &StreamReport| {
            stream.rate_pps_asked.is_none_or(|asked| stream.rate_pps_reached < REACHED_SHARE * asked)
        };
        let limited_by = match self.is_spent {
            true => Limit::Packets,
            false if streams.iter().any(fell_short) => Limit::Transmit,
            false => Limit::Rate,
        };
        Report {
            tool: "jeoul-gen",
            version: env!("CARGO_PKG_VERSION"),
            profile: profile.name.clone(),
            ports,
            duration_s,
            streams,
            totals,
            seconds: self.seconds,
            unknown_received: self.unknown,
            limited_by,
            ended_early: self.ended_early,
        }
    }

    /// What was measured of one stream; only once.
    fn take_measured(&mut self, profile: &Profile, index: usize) -> Measured {
        if let Some(at) = self.clients.iter().position(|client| client.stream == index) {
            return Measured::connections(self.clients.swap_remove(at), self.duration_ns);
        }
        let account = self.accounts.iter_mut().find_map(|accounts| accounts[index].take());
        let account = account.unwrap_or_else(|| Account::new(profile.streams[index].latency));
        let sender = self.senders.iter().find(|sender| sender.stream == index);
        let sent = sender.map(Sender::sent).unwrap_or_default();
        Measured::frames(sent, sender.and_then(|sender| sender.asked_per_second(self.duration_ns)), account)
    }
}
