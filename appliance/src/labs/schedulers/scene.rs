//! The scene of the schedulers' lab: eight servers, a service for each thing that is to be shown, and how they are
//! called.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lab::topology::slb_routed::{HTTP_PORT, Options, SlbRouted, VIP_V4, VIP_V6};
use lab::{Called, Calls, Mood, MoodServer, Namespace, Speech, TcpHold};
use serde_json::Value;

use super::super::appliance::Running;
use super::super::report::Report;
use super::super::{Stopped, Wish};
use crate::check::available_cpus;
use crate::table::{Align, Table};

/// Where the check looks that nothing in this lab fails.
const STEADY_PORT: u16 = HTTP_PORT;

/// Where the check looks that is to see servers leave and return.
const QUICK_PORT: u16 = 81;

/// Who decides between equal hashes is fixed, so that every run of the lab sees the same.
const HASH_KEY: &str = "000102030405060708090a0b0c0d0e0f";

/// A tenth of it is for IPv6, which has to hold the clients of the hash and all that closes in a minute: a full table
/// gives up half-open sessions.
const SESSION_CAPACITY: u32 = 100_000;

/// A service of the lab. It has a port of its own, also at its servers: a client's port is used for several services
/// now and then, and one server could not tell their sessions apart.
pub(super) struct Offer {
    pub name: &'static str,
    pub vip: IpAddr,
    pub port: u16,
    /// Lines of its table.
    pub keys: &'static str,
    /// Its servers, as indices, each with lines of its table.
    pub servers: &'static [(usize, &'static str)],
}

pub(super) const ROUND_ROBIN: Offer = Offer {
    name: "round-robin",
    vip: VIP_V4,
    port: 7001,
    keys: "scheduler = \"round-robin\"\nhealth_check = \"steady\"",
    servers: &[(0, ""), (1, ""), (2, ""), (3, ""), (4, ""), (5, ""), (6, ""), (7, "")],
};

pub(super) const WEIGHTED_ROUND_ROBIN: Offer = Offer {
    name: "weighted-round-robin",
    vip: VIP_V6,
    port: 7002,
    keys: "scheduler = \"weighted-round-robin\"\nhealth_check = \"steady\"",
    servers: &[(0, "weight = 5"), (1, "weight = 3"), (2, "weight = 2")],
};

pub(super) const LEAST_CONNECTIONS: Offer = Offer {
    name: "least-connections",
    vip: VIP_V4,
    port: 7003,
    keys: "scheduler = \"least-connections\"\nhealth_check = \"steady\"",
    servers: &[(0, ""), (1, ""), (2, ""), (3, ""), (4, ""), (5, ""), (6, ""), (7, "")],
};

pub(super) const WEIGHTED_LEAST_CONNECTIONS: Offer = Offer {
    name: "weighted-least-connections",
    vip: VIP_V6,
    port: 7004,
    keys: "scheduler = \"weighted-least-connections\"\nhealth_check = \"steady\"",
    servers: &[(0, "weight = 5"), (1, "weight = 3"), (2, "weight = 2")],
};

pub(super) const HASH: Offer = Offer {
    name: "hash",
    vip: VIP_V6,
    port: 7005,
    keys: "scheduler = \"hash\"\nhealth_check = \"steady\"",
    servers: &[(0, "weight = 4"), (1, "weight = 2"), (2, ""), (3, "")],
};

pub(super) const RESPONSE_TIME: Offer = Offer {
    name: "response-time",
    vip: VIP_V4,
    port: 7006,
    keys: "scheduler = \"response-time\"\nhealth_check = \"steady\"",
    servers: &[(0, ""), (1, ""), (2, ""), (DELAYED, "")],
};

pub(super) const BANDWIDTH: Offer = Offer {
    name: "bandwidth",
    vip: VIP_V6,
    port: 7007,
    keys: "scheduler = \"bandwidth\"\nhealth_check = \"steady\"",
    servers: &[(0, ""), (1, ""), (2, ""), (3, "")],
};

pub(super) const PERSISTENCE: Offer = Offer {
    name: "persistence",
    vip: VIP_V4,
    port: 7008,
    keys: "scheduler = \"round-robin\"\nhealth_check = \"steady\"\n\
           persistence = { key = \"source-address\", prefix_length = 24, timeout = \"5m\" }",
    servers: &[(0, ""), (1, ""), (2, ""), (3, "")],
};

pub(super) const SLOW_START: Offer = Offer {
    name: "slow-start",
    vip: VIP_V4,
    port: 7009,
    keys: "scheduler = \"round-robin\"\nhealth_check = \"quick\"\nslow_start = \"4s\"",
    servers: &[(0, ""), (1, ""), (2, ""), (3, "")],
};

pub(super) const MAX_SESSIONS: Offer = Offer {
    name: "max-sessions",
    vip: VIP_V6,
    port: 7010,
    keys: "scheduler = \"round-robin\"\nhealth_check = \"steady\"",
    servers: &[(0, "max_sessions = 15"), (1, "max_sessions = 10")],
};

pub(super) const BACKUP: Offer = Offer {
    name: "backup",
    vip: VIP_V4,
    port: 7011,
    keys: "scheduler = \"round-robin\"\nhealth_check = \"quick\"",
    servers: &[(0, ""), (1, ""), (4, "backup = true")],
};

pub(super) const QUORUM: Offer = Offer {
    name: "quorum",
    vip: VIP_V6,
    port: 7012,
    keys: "scheduler = \"round-robin\"\nhealth_check = \"quick\"\nquorum = 2",
    servers: &[(0, ""), (1, ""), (2, "")],
};

/// The server behind the delay line, as an index.
pub(super) const DELAYED: usize = 7;

const OFFERS: [&Offer; 12] = [
    &ROUND_ROBIN,
    &WEIGHTED_ROUND_ROBIN,
    &LEAST_CONNECTIONS,
    &WEIGHTED_LEAST_CONNECTIONS,
    &HASH,
    &RESPONSE_TIME,
    &BANDWIDTH,
    &PERSISTENCE,
    &SLOW_START,
    &MAX_SESSIONS,
    &BACKUP,
    &QUORUM,
];

impl Offer {
    pub(super) fn target(&self) -> SocketAddr {
        (self.vip, self.port).into()
    }

    /// Eight callers at once, each call hung up when it is answered.
    pub(super) fn calls(&self, count: usize) -> Calls {
        Calls { count, ..Calls::to(self.target()) }
    }

    fn append_to(&self, text: &mut String, lab: &SlbRouted) {
        let Offer { name, vip, port, keys, servers } = self;
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n[[service]]\nname = \"{name}\"\naddress = \"{vip}\"\nport = {port}\nmode = \"routed\"\n{keys}\n"
        );
        for (server, keys) in servers.iter() {
            let address = lab.servers[*server].address_like(*vip);
            let _ = write!(text, "\n[[service.server]]\naddress = \"{address}\"\n{keys}\n");
        }
    }
}

/// What runs in the lab beside the appliance.
pub(super) struct Scene<'a> {
    pub lab: &'a SlbRouted,
    /// What the quick check looks at on each server.
    quick: Vec<MoodServer>,
    _steady: Vec<MoodServer>,
    _held: Vec<TcpHold>,
}

impl<'a> Scene<'a> {
    /// Starts all servers of all services.
    pub(super) fn start(lab: &'a SlbRouted) -> Result<Self, Stopped> {
        let mut scene = Self { lab, quick: Vec::new(), _steady: Vec::new(), _held: Vec::new() };
        for server in &lab.servers {
            scene._steady.push(MoodServer::start(server.namespace(), Speech::Http, STEADY_PORT)?);
            scene.quick.push(MoodServer::start(server.namespace(), Speech::Http, QUICK_PORT)?);
        }
        for offer in OFFERS {
            for (index, _) in offer.servers {
                let server = &lab.servers[*index];
                scene._held.push(TcpHold::start(server.namespace(), &server.name, offer.port)?);
            }
        }
        Ok(scene)
    }

    /// The appliance's configuration.
    pub(super) fn configuration(&self, wish: Wish) -> Result<String, Stopped> {
        let options = Options {
            driver: wish.driver.word().into(),
            workers: two_workers()?,
            session_capacity: SESSION_CAPACITY,
            appliance_lines: vec![format!("hash_key = \"{HASH_KEY}\"")],
            ..Options::default()
        };
        let mut text = self.lab.config_text(&options, &[]);
        for (name, port, interval, retries) in
            [("steady", STEADY_PORT, "1s", 3), ("quick", QUICK_PORT, "400ms", 1)]
        {
            let _ = write!(
                text,
                "\n[[health_check]]\nname = \"{name}\"\nkind = \"tcp\"\nport = {port}\ninterval = \"{interval}\"\n\
                 response_time = \"{interval}\"\nretries = {retries}\n"
            );
        }
        OFFERS.iter().for_each(|offer| offer.append_to(&mut text, self.lab));
        Ok(text)
    }

    /// Where the callers are.
    pub(super) fn client(&self) -> &Namespace {
        self.lab.client.namespace()
    }

    pub(super) fn call(&self, calls: &Calls) -> Result<Called, Stopped> {
        Ok(calls.make(self.client())?)
    }

    /// Takes a server out of the services with the quick check, or back in, and waits until that is seen.
    pub(super) fn set_up(&mut self, running: &Running, server: usize, up: bool) -> Result<(), Stopped> {
        self.quick[server].set(if up { Mood::Good } else { Mood::Refuses })?;
        let addresses = [self.lab.servers[server].v4, self.lab.servers[server].v6].map(|ip| ip.to_string());
        let word = if up { "up" } else { "down" };
        let of_it = |row: &Value| {
            let quick = [&SLOW_START, &BACKUP, &QUORUM].iter().any(|offer| row["service"] == offer.name);
            quick && addresses.iter().any(|address| row["address"] == address.as_str())
        };
        match running.wait_for_servers(|row| !of_it(row) || row["state"] == word)? {
            true => Ok(()),
            false => Err(format!("{} was never shown as {word}", self.lab.servers[server].name).into()),
        }
    }

    /// The names of a service's servers, in the order of the file.
    pub(super) fn names(&self, offer: &Offer) -> Vec<&'a str> {
        offer.servers.iter().map(|(server, _)| self.lab.servers[*server].name.as_str()).collect()
    }

    /// Waits until so many sessions of a service are active: a client has hung up before the appliance hears of it.
    pub(super) fn wait_for_sessions(
        &self,
        running: &Running,
        offer: &Offer,
        count: usize,
    ) -> Result<(), Stopped> {
        match running.wait_for_row("services", offer.name, |row| row["sessions_active"] == count)? {
            true => Ok(()),
            false => Err(format!("{} never had {count} active sessions", offer.name).into()),
        }
    }
}

/// What a server is asked to get, and what it got.
pub(super) struct Share<'a> {
    pub server: &'a str,
    pub asked: String,
    pub got: usize,
    pub good: bool,
}

impl<'a> Share<'a> {
    /// A share that is to be met within `tolerance`.
    pub(super) fn near(server: &'a str, asked: f64, tolerance: f64, got: usize) -> Self {
        let words =
            if tolerance > 0.0 { format!("{asked:.1} ± {tolerance:.1}") } else { format!("{asked}") };
        Self { server, asked: words, got, good: (got as f64 - asked).abs() <= tolerance }
    }
}

/// Prints asked against measured shares, and says whether all calls were answered and all shares are as expected.
pub(super) fn judge(what: &str, called: &Called, shares: &[Share<'_>], report: &mut Report) {
    table(shares, report);
    all_answered(called, report);
    report.expect(shares.iter().all(|share| share.good), what);
}

/// Prints asked against measured shares.
pub(super) fn table(shares: &[Share<'_>], report: &mut Report) {
    let mut table = Table::new([
        ("SERVER", Align::Left),
        ("ASKED", Align::Right),
        ("MEASURED", Align::Right),
        ("", Align::Left),
    ]);
    for share in shares {
        let word = if share.good { "" } else { "not as asked" };
        table.row([share.server.into(), share.asked.clone(), share.got.to_string(), word.into()]);
    }
    report.table(&table);
}

/// Whether every call was answered.
pub(super) fn all_answered(called: &Called, report: &mut Report) {
    let failures = called.failures();
    let what = format!("all {} calls are answered", called.calls.len());
    report.expect_or(failures.is_empty(), what, format!("{failures:?}"));
}

/// A server's part of what was counted.
pub(super) fn of(server: &str, counts: &BTreeMap<&str, usize>) -> usize {
    counts.get(server).copied().unwrap_or_default()
}

/// How long anything may take that should take an instant.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Two CPUs, one worker each.
fn two_workers() -> Result<Vec<u16>, Stopped> {
    let mut cpus: Vec<u16> = available_cpus().into_iter().filter_map(|cpu| u16::try_from(cpu).ok()).collect();
    cpus.sort_unstable();
    match cpus[..] {
        [.., first, second] => Ok(vec![first, second]),
        _ => Err("the lab wants two CPUs, one for each worker".into()),
    }
}
