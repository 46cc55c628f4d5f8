//! Who holds which member row, and how each server fares: configuration, operator and health check together.
//!
//! A firewall has a row as a server has, under its group's name and its next hop; what is said of servers holds for it too,
//! but for what becomes of its sessions.
//!
//! A row is given to a server when it first appears and stays its own over every reload, with what its check says, what
//! the operator wants of it and what became of it. A server that was removed keeps its row, draining, until its last
//! session has ended; then the row rests with a new generation until somebody needs it. One that is put back into the
//! file meanwhile has its row again, but the operator's wishes ended with its removal. Control thread only.

mod history;
mod room;
mod wanted;

pub use history::{CHANGES_KEPT_MAX, Change, History, Moment};
pub use room::TooManyServers;
pub use wanted::{FirewallPath, outbound_key};

use config::Config;
use hashbrown::{HashMap, HashSet};
use plan::{MemberRow, MemberState, MssClamp};
use rewrite::MemberId;
use room::FIREWALL_ROWS_MAX;
use std::collections::VecDeque;
use std::fmt::Display;
use std::net::IpAddr;
use wanted::{Wanted, WhenDown, names, rows};

/// Names a server inside a service, or a firewall inside a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerKey {
    /// The name of the service or group.
    pub service: String,
    /// The server's address, or the firewall's.
    pub address: IpAddr,
    /// The server's port, where the file gives one.
    pub port: Option<u16>,
}

impl ServerKey {
    /// The name of a server of the file.
    pub fn of(service: &config::Service, server: &config::Server) -> Self {
        Self { service: service.name.clone(), address: server.address, port: server.port }
    }

    /// The name of a firewall of the file.
    pub fn of_firewall(group: &config::FirewallGroup, firewall: &config::Firewall) -> Self {
        Self { service: group.name.clone(), address: firewall.address, port: None }
    }
}

/// What the operator wants of a server, on top of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// What the file says.
    #[default]
    Enabled,
    /// No new sessions; old ones finish.
    Draining,
    /// No sessions at all.
    Disabled,
}

impl Wish {
    /// What the operator did, in a word.
    pub fn word(self) -> &'static str {
        match self {
            Wish::Enabled => "enabled",
            Wish::Draining => "draining",
            Wish::Disabled => "disabled",
        }
    }
}

/// What the health check says of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It is not checked.
    Unchecked,
    /// No verdict yet.
    Checking,
    /// It answers.
    Up,
    /// It does not.
    Down,
    /// Of a firewall: the path bears one direction alone, or the answers come by another one. As bad as down.
    Asymmetric,
}

impl Health {
    /// Whether its check failed.
    pub fn has_failed(self) -> bool {
        matches!(self, Health::Down | Health::Asymmetric)
    }
}

/// How a server is shown (SPEC section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Takes sessions.
    Up,
    /// Its check failed.
    Down,
    /// Its path bears one direction alone.
    Asymmetric,
    /// Takes no new ones.
    Draining,
    /// The operator took it out.
    Disabled,
    /// No verdict yet.
    Checking,
}

impl Shown {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Shown::Up => "up",
            Shown::Down => "down",
            Shown::Asymmetric => "asymmetric",
            Shown::Draining => "draining",
            Shown::Disabled => "disabled",
            Shown::Checking => "checking",
        }
    }
}

/// Whether a server is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Configured {
        weight: u32,
    },
    /// The server was removed from a service that remains.
    ServerRemoved,
    /// Its whole service was removed.
    ServiceRemoved,
}

/// One server.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its row.
    pub id: MemberId,
    wish: Wish,
    health: Health,
    /// The operator's, in place of the file's, until it is given back.
    weight: Option<u16>,
    when_down: WhenDown,
    mss_clamp: MssClamp,
    presence: Presence,
    /// Of a firewall.
    path: Option<FirewallPath>,
    history: History,
}

impl Member {
    /// What workers are told.
    pub fn state(&self) -> MemberState {
        let has_failed = self.health.has_failed();
        match (self.presence, self.wish) {
            // What is left stands in for a group that is gone.
            (Presence::ServiceRemoved, _) if self.path.is_some() => MemberState::Moving,
            (_, Wish::Disabled) if self.path.is_some() => self.state_when_down(),
            (Presence::ServiceRemoved, _) | (_, Wish::Disabled) => MemberState::Dead,
            _ if has_failed => self.state_when_down(),
            _ if self.health == Health::Checking || self.weight() == 0 => MemberState::Draining,
            (Presence::ServerRemoved, _) | (_, Wish::Draining) => MemberState::Draining,
            (Presence::Configured { .. }, Wish::Enabled) => MemberState::Up,
        }
    }

    fn state_when_down(&self) -> MemberState {
        match self.when_down {
            WhenDown::Reset => MemberState::Dead,
            WhenDown::Move => MemberState::Moving,
            // Workers reset the sessions of the dead alone.
            WhenDown::Keep => MemberState::Draining,
        }
    }

    /// What people are shown.
    pub fn shown(&self) -> Shown {
        match (self.wish, self.health) {
            (Wish::Disabled, _) => Shown::Disabled,
            (_, Health::Down) => Shown::Down,
            (_, Health::Asymmetric) => Shown::Asymmetric,
            (Wish::Enabled, Health::Checking) => Shown::Checking,
            _ if self.takes_sessions() => Shown::Up,
            _ => Shown::Draining,
        }
    }

    /// Whether it takes new sessions.
    pub fn takes_sessions(&self) -> bool {
        self.state() == MemberState::Up
    }

    /// What its check says.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Its share of new sessions now: the operator's if there is one, else the file's; 0 of a server that was removed.
    pub fn weight(&self) -> u32 {
        match (self.presence, self.weight) {
            (Presence::Configured { .. }, Some(weight)) => weight.into(),
            (Presence::Configured { weight }, None) => weight,
            _ => 0,
        }
    }

    /// What the file says of its share; `None` where the server was removed.
    pub fn configured_weight(&self) -> Option<u32> {
        match self.presence {
            Presence::Configured { weight } => Some(weight),
            _ => None,
        }
    }

    /// In what the operator made it other than the file says, a word each.
    pub fn differs(&self) -> Vec<&'static str> {
        let Some(configured) = self.configured_weight() else { return Vec::new() };
        let weight = (self.weight() != configured).then_some("weight");
        let wish = (self.wish != Wish::Enabled).then(|| self.wish.word());
        weight.into_iter().chain(wish).collect()
    }

    /// Whether the file has it.
    pub fn is_configured(&self) -> bool {
        self.configured_weight().is_some()
    }

    /// What keeps it from new sessions whatever its check says, in words.
    pub fn held_back(&self) -> Option<&'static str> {
        match (self.presence, self.wish) {
            (_, Wish::Disabled) => Some("disabled by the operator"),
            (Presence::ServerRemoved | Presence::ServiceRemoved, _) => Some("removed from the file"),
            (_, Wish::Draining) => Some("draining by the operator"),
            _ if self.weight() > 0 => None,
            _ if self.weight.is_some() => Some("weight 0 by the operator"),
            _ => Some("weight 0 in the file"),
        }
    }

    /// Of a firewall: its name, and which way leads to it.
    pub fn path(&self) -> Option<&FirewallPath> {
        self.path.as_ref()
    }

    /// What became of it.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Writes down that it was shown as `from` until now, if it is another now, or if what changed is `telling` by itself.
    fn note(&mut self, from: Shown, telling: bool, reason: &dyn Display, at: Moment) {
        let to = self.shown();
        if from != to || telling {
            self.history.note(Change { at, from, to, reason: reason.to_string() });
        }
    }
}

/// All servers, and the free rows.
#[derive(Debug, Default)]
pub struct Members {
    by_key: HashMap<ServerKey, Member>,
    rows: Vec<MemberRow>,
    free: VecDeque<u16>,
    reset_epoch: u64,
}

impl Members {
    /// Takes over the servers of a new configuration. Changes nothing when there are too many.
    pub fn configure(&mut self, config: &Config, at: Moment) -> Result<(), TooManyServers> {
        self.has_room(config)?;
        let wanted: HashSet<ServerKey> = rows(config).map(|wanted| wanted.key).collect();
        for (key, member) in self.by_key.iter_mut().filter(|(key, _)| !wanted.contains(*key)) {
            let before = member.shown();
            let remains = names(config, &key.service);
            member.presence = if remains { Presence::ServerRemoved } else { Presence::ServiceRemoved };
            let group = config.firewall_groups.iter().find(|group| group.name == key.service);
            if let (Some(path), Some(group)) = (&mut member.path, group) {
                path.zone = group.zone;
            }
            member.note(before, false, &"removed from the file", at);
        }
        for wanted in rows(config) {
            self.take_over(wanted, at);
        }
        self.refresh_rows();
        Ok(())
    }

    /// One server of a new configuration.
    fn take_over(&mut self, wanted: Wanted, at: Moment) {
        let Wanted { key, weight, is_checked, when_down, mss_clamp, path } = wanted;
        let presence = Presence::Configured { weight };
        let unknown = if is_checked { Health::Checking } else { Health::Unchecked };
        let Some(member) = self.by_key.get_mut(&key) else {
            let id = if path.is_some() { self.take_low_row() } else { self.take_row() };
            let (wish, history) = (Wish::Enabled, History::new(at));
            let member = Member {
                id,
                wish,
                health: unknown,
                weight: None,
                when_down,
                mss_clamp,
                presence,
                path,
                history,
            };
            self.by_key.insert(key, member);
            return;
        };
        let (before, was_configured) = (member.shown(), member.is_configured());
        if !was_configured {
            (member.wish, member.weight) = (Wish::Enabled, None);
        }
        (member.presence, member.when_down, member.mss_clamp) = (presence, when_down, mss_clamp);
        member.path = path;
        if (member.health == Health::Unchecked) == is_checked {
            member.health = unknown;
        }
        let reason = match (was_configured, is_checked) {
            (false, _) => "in the file again",
            _ if member.weight() == 0 => "weight 0 in the file",
            (true, _) => "changed in the file",
        };
        member.note(before, false, &reason, at);
    }

    fn take_row(&mut self) -> MemberId {
        let free = self.free.pop_front();
        self.holder_of(free)
    }

    /// A row for a firewall.
    fn take_low_row(&mut self) -> MemberId {
        let place = self.free.iter().position(|&row| usize::from(row) < FIREWALL_ROWS_MAX);
        let free = place.and_then(|place| self.free.remove(place));
        self.holder_of(free)
    }

    /// The next holder of a free row, or of a new one.
    fn holder_of(&mut self, free: Option<u16>) -> MemberId {
        let index = free.unwrap_or_else(|| {
            self.rows.push(MemberRow::default());
            // Bounded by `has_room`.
            (self.rows.len() - 1) as u16
        });
        MemberId { index, generation: self.rows[usize::from(index)].generation }
    }

    /// Notes what a server's check says, and why; true when that changes what workers are told or people are shown.
    pub fn set_health(&mut self, key: &ServerKey, health: Health, reason: &dyn Display, at: Moment) -> bool {
        let Some(member) = self.by_key.get_mut(key) else { return false };
        let before = (member.state(), member.shown());
        member.health = health;
        member.note(before.1, false, reason, at);
        let changed = before != (member.state(), member.shown());
        let died = refresh_row(&mut self.rows, member);
        self.reset_epoch += u64::from(died);
        changed
    }

    /// Notes what the operator wants of a server; false when there is no such server in the file.
    pub fn set_wish(&mut self, key: &ServerKey, wish: Wish, at: Moment) -> bool {
        let reason = format!("{} by the operator", wish.word());
        self.order(key, &reason, at, |member| std::mem::replace(&mut member.wish, wish) != wish)
    }

    /// Notes the weight that the operator wants of a server until further notice, or with `None` gives it back to the
    /// file; false when there is no such server in the file.
    pub fn set_weight(&mut self, key: &ServerKey, weight: Option<u16>, at: Moment) -> bool {
        let reason = match weight {
            Some(weight) => format!("weight {weight} by the operator"),
            None => "weight given back to the file by the operator".to_owned(),
        };
        self.order(key, &reason, at, |member| std::mem::replace(&mut member.weight, weight) != weight)
    }

    /// Does what the operator wants of a server of the file. `apply` says whether it changed anything.
    fn order(
        &mut self,
        key: &ServerKey,
        reason: &str,
        at: Moment,
        apply: impl FnOnce(&mut Member) -> bool,
    ) -> bool {
        let Some(member) = self.by_key.get_mut(key).filter(|member| member.is_configured()) else {
            return false;
        };
        let before = member.shown();
        let changed = apply(member);
        member.note(before, changed, &reason, at);
        let died = refresh_row(&mut self.rows, member);
        self.reset_epoch += u64::from(died);
        true
    }

    /// Gives up the rows of removed servers that `sessions` says to have none left; true when a row was given up.
    pub fn release_empty(&mut self, sessions: impl Fn(MemberId) -> u64) -> bool {
        let before = self.by_key.len();
        let Self { by_key, rows, free, .. } = self;
        by_key.retain(|_, member| {
            let keep = member.is_configured() || sessions(member.id) > 0;
            if !keep {
                let row = &mut rows[usize::from(member.id.index)];
                *row = MemberRow { generation: row.generation.wrapping_add(1), ..MemberRow::default() };
                free.push_back(member.id.index);
            }
            keep
        });
        self.by_key.len() != before
    }

    /// Copies every state into the rows, and starts a new reset epoch when somebody died.
    fn refresh_rows(&mut self) {
        let Self { by_key, rows, reset_epoch, .. } = self;
        let mut died = false;
        for member in by_key.values() {
            died |= refresh_row(rows, member);
        }
        *reset_epoch += u64::from(died);
    }

    /// The server of that name.
    pub fn get(&self, key: &ServerKey) -> Option<&Member> {
        self.by_key.get(key)
    }

    /// Every server, removed ones that still drain among them.
    pub fn all(&self) -> impl Iterator<Item = (&ServerKey, &Member)> {
        self.by_key.iter()
    }

    /// The servers of a service, removed ones that still drain among them.
    pub fn of_service(&self, service: &str) -> impl Iterator<Item = (&ServerKey, &Member)> {
        self.by_key.iter().filter(move |(key, _)| key.service == service)
    }

    /// The rows as workers see them.
    pub fn rows(&self) -> &[MemberRow] {
        &self.rows
    }

    /// Grows by one whenever a member died.
    pub fn reset_epoch(&self) -> u64 {
        self.reset_epoch
    }
}

/// Copies the state of one member into its row; true when it died.
fn refresh_row(rows: &mut [MemberRow], member: &Member) -> bool {
    let row = &mut rows[usize::from(member.id.index)];
    let state = member.state();
    let died = state == MemberState::Dead && row.state != MemberState::Dead;
    row.state = state;
    row.mss_clamp = member.mss_clamp;
    died
}

#[cfg(test)]
mod tests;
