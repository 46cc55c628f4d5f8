//! Who holds which member row, and how each server fares: configuration, operator and health check together.
//!
//! A row is given to a server when it first appears and stays its own over every reload. A server that was removed keeps
//! its row, draining, until its last session has ended; then the row rests with a new generation until somebody needs it.
//! Control thread only.

use config::Config;
use hashbrown::HashMap;
use plan::{MEMBERS_MAX, MemberRow, MemberState, MssClamp};
use rewrite::MemberId;
use std::collections::VecDeque;
use std::net::IpAddr;

/// Names a server inside a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerKey {
    /// The service's name.
    pub service: String,
    /// The server's address.
    pub address: IpAddr,
    /// The server's port, where the file gives one.
    pub port: Option<u16>,
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
}

/// How a server is shown (SPEC section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Takes sessions.
    Up,
    /// Its check failed.
    Down,
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
    /// What the operator wants.
    pub wish: Wish,
    /// What its check says.
    pub health: Health,
    mss_clamp: MssClamp,
    presence: Presence,
}

impl Member {
    /// What workers are told.
    pub fn state(&self) -> MemberState {
        match (self.presence, self.wish, self.health) {
            (Presence::ServiceRemoved, ..) | (_, Wish::Disabled, _) | (.., Health::Down) => MemberState::Dead,
            (Presence::ServerRemoved, ..) | (_, Wish::Draining, _) | (.., Health::Checking) => {
                MemberState::Draining
            }
            (Presence::Configured { weight: 0 }, ..) => MemberState::Draining,
            (Presence::Configured { .. }, Wish::Enabled, Health::Up | Health::Unchecked) => MemberState::Up,
        }
    }

    /// What people are shown.
    pub fn shown(&self) -> Shown {
        match (self.wish, self.health) {
            (Wish::Disabled, _) => Shown::Disabled,
            (_, Health::Down) => Shown::Down,
            (Wish::Enabled, Health::Checking) => Shown::Checking,
            _ if self.state() == MemberState::Up => Shown::Up,
            _ => Shown::Draining,
        }
    }

    /// Whether the file has it.
    pub fn is_configured(&self) -> bool {
        matches!(self.presence, Presence::Configured { .. })
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

/// More servers than rows.
#[derive(Debug, PartialEq, Eq)]
pub struct TooManyServers {
    /// Servers that would need a row, removed ones that still have sessions among them.
    pub wanted: usize,
}

impl std::fmt::Display for TooManyServers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} servers, removed ones that still drain among them; at most {MEMBERS_MAX}", self.wanted)
    }
}

impl std::error::Error for TooManyServers {}

/// What of a configuration has a row.
struct Wanted {
    key: ServerKey,
    weight: u32,
    is_checked: bool,
    mss_clamp: MssClamp,
}

/// The servers of a configuration, and a row for each outbound, which counts its sessions.
fn rows(config: &Config) -> impl Iterator<Item = Wanted> {
    let servers = config.services.iter().flat_map(|service| {
        service.servers.iter().map(move |server| Wanted {
            key: ServerKey { service: service.name.clone(), address: server.address, port: server.port },
            weight: server.weight,
            is_checked: service.health_check.is_some(),
            mss_clamp: match service.mss_clamp {
                config::MssClamp::Auto => MssClamp::Auto,
                config::MssClamp::Never => MssClamp::Never,
                config::MssClamp::Bytes(bytes) => MssClamp::Bytes(bytes),
            },
        })
    });
    let outbounds = config.outbounds.iter().map(|outbound| Wanted {
        key: outbound_key(outbound),
        weight: 1,
        is_checked: false,
        mss_clamp: MssClamp::Never,
    });
    servers.chain(outbounds)
}

/// Names the row of an outbound: its pool's first address is no server's.
pub fn outbound_key(outbound: &config::Outbound) -> ServerKey {
    let address = outbound.source_addresses.first().copied();
    let address = address.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
    ServerKey { service: outbound.name.clone(), address, port: None }
}

impl Members {
    /// Takes over the servers of a new configuration. Changes nothing when there are too many.
    pub fn configure(&mut self, config: &Config) -> Result<(), TooManyServers> {
        let fresh = rows(config).filter(|wanted| !self.by_key.contains_key(&wanted.key)).count();
        let wanted = self.by_key.len() + fresh;
        if wanted > MEMBERS_MAX {
            return Err(TooManyServers { wanted });
        }
        for (key, member) in &mut self.by_key {
            let remains = config.services.iter().any(|service| service.name == key.service)
                || config.outbounds.iter().any(|outbound| outbound.name == key.service);
            member.presence = if remains { Presence::ServerRemoved } else { Presence::ServiceRemoved };
        }
        for Wanted { key, weight, is_checked, mss_clamp } in rows(config) {
            let presence = Presence::Configured { weight };
            let unknown = if is_checked { Health::Checking } else { Health::Unchecked };
            if let Some(member) = self.by_key.get_mut(&key) {
                member.presence = presence;
                member.mss_clamp = mss_clamp;
                if (member.health == Health::Unchecked) == is_checked {
                    member.health = unknown;
                }
                continue;
            }
            let id = self.take_row();
            let wish = Wish::Enabled;
            self.by_key.insert(key, Member { id, wish, health: unknown, mss_clamp, presence });
        }
        self.refresh_rows();
        Ok(())
    }

    fn take_row(&mut self) -> MemberId {
        let index = self.free.pop_front().unwrap_or_else(|| {
            self.rows.push(MemberRow::default());
            // Bounded by MEMBERS_MAX above.
            (self.rows.len() - 1) as u16
        });
        MemberId { index, generation: self.rows[usize::from(index)].generation }
    }

    /// Notes what a server's check says; true when that changes what workers are told or people are shown.
    pub fn set_health(&mut self, key: &ServerKey, health: Health) -> bool {
        let Some(member) = self.by_key.get_mut(key) else { return false };
        let before = (member.state(), member.shown());
        member.health = health;
        let changed = before != (member.state(), member.shown());
        self.refresh_rows();
        changed
    }

    /// Notes what the operator wants of a server; false when there is no such server in the file.
    pub fn set_wish(&mut self, key: &ServerKey, wish: Wish) -> bool {
        let Some(member) = self.by_key.get_mut(key).filter(|member| member.is_configured()) else {
            return false;
        };
        member.wish = wish;
        self.refresh_rows();
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
        let mut died = false;
        for member in self.by_key.values() {
            let row = &mut self.rows[usize::from(member.id.index)];
            let state = member.state();
            died |= state == MemberState::Dead && row.state != MemberState::Dead;
            row.state = state;
            row.mss_clamp = member.mss_clamp;
        }
        self.reset_epoch += u64::from(died);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config(services: &[(&str, &[u8])]) -> Config {
        let mut text = String::from("[[port]]\nname = \"a\"\ninterface = \"eth1\"\n");
        text += "[[health_check]]\nname = \"c\"\nkind = \"tcp\"\nport = 80\n";
        for (place, (name, servers)) in services.iter().enumerate() {
            text += &format!("[[service]]\nname = \"{name}\"\naddress = \"198.18.0.{}\"\n", place + 10);
            text += "protocol = \"tcp\"\nport = 80\nmode = \"routed\"\nhealth_check = \"c\"\n";
            for server in *servers {
                text += &format!("[[service.server]]\naddress = \"198.18.1.{server}\"\n");
            }
        }
        let outcome = config::parse(&text, "test.toml");
        outcome.config.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics))
    }

    fn key(service: &str, server: u8) -> ServerKey {
        ServerKey { service: service.into(), address: IpAddr::from([198, 18, 1, server]), port: None }
    }

    #[test]
    fn a_server_keeps_its_row_over_reloads_and_a_removed_one_drains_first() {
        let mut members = Members::default();
        members.configure(&config(&[("web", &[1, 2])])).unwrap();
        let second = members.get(&key("web", 2)).unwrap().id;
        members.set_health(&key("web", 2), Health::Up);
        members.configure(&config(&[("web", &[2, 3])])).unwrap();
        assert_eq!(members.get(&key("web", 2)).unwrap().id, second);
        assert_eq!(members.get(&key("web", 2)).unwrap().state(), MemberState::Up, "health is kept");
        assert_eq!(members.get(&key("web", 1)).unwrap().state(), MemberState::Draining);
        assert!(!members.release_empty(|_| 1), "its sessions live");
        assert!(members.release_empty(|_| 0));
        assert!(members.get(&key("web", 1)).is_none());
    }

    #[test]
    fn a_row_comes_back_under_another_generation() {
        let mut members = Members::default();
        members.configure(&config(&[("web", &[1])])).unwrap();
        let first = members.get(&key("web", 1)).unwrap().id;
        members.configure(&config(&[])).unwrap();
        members.release_empty(|_| 0);
        members.configure(&config(&[("web", &[7])])).unwrap();
        let second = members.get(&key("web", 7)).unwrap().id;
        assert_eq!(first.index, second.index);
        assert_ne!(first.generation, second.generation);
    }

    #[test]
    fn each_death_starts_a_reset_epoch_and_nothing_else_does() {
        let mut members = Members::default();
        members.configure(&config(&[("web", &[1, 2])])).unwrap();
        let epoch = members.reset_epoch();
        assert!(members.set_health(&key("web", 1), Health::Up));
        assert!(!members.set_health(&key("web", 1), Health::Up));
        assert_eq!(members.reset_epoch(), epoch);
        members.set_health(&key("web", 1), Health::Down);
        assert_eq!(members.reset_epoch(), epoch + 1);
        members.set_wish(&key("web", 1), Wish::Draining);
        assert_eq!(members.reset_epoch(), epoch + 1);
        members.set_wish(&key("web", 2), Wish::Disabled);
        assert_eq!(members.reset_epoch(), epoch + 2);
        members.configure(&config(&[])).unwrap();
        assert_eq!(members.reset_epoch(), epoch + 2, "both were dead already");
    }

    #[test]
    fn what_is_shown_follows_wish_check_and_weight() {
        let mut members = Members::default();
        members.configure(&config(&[("web", &[1])])).unwrap();
        let shown = |members: &Members| members.get(&key("web", 1)).unwrap().shown();
        assert_eq!(shown(&members), Shown::Checking);
        members.set_health(&key("web", 1), Health::Up);
        assert_eq!(shown(&members), Shown::Up);
        members.set_wish(&key("web", 1), Wish::Draining);
        assert_eq!(shown(&members), Shown::Draining);
        members.set_health(&key("web", 1), Health::Down);
        assert_eq!(shown(&members), Shown::Down);
        members.set_wish(&key("web", 1), Wish::Disabled);
        assert_eq!(shown(&members), Shown::Disabled);
        assert!(!members.set_wish(&key("web", 9), Wish::Disabled));
    }
}
