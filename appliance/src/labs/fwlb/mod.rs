//! The labs of firewall load balancing: two appliances or more, and firewalls between them.

mod faults;
mod flows;
mod sandwich;

use lab::topology::fwlb::{FwlbOptions, FwlbSite, Side};
use lab::topology::{HOLD_PORT, UDP_PORT};
use lab::{Namespace, TcpHold, Testbed, UdpEcho};
use serde_json::Value;

use super::appliance::{self, Running, keep, workers};
use super::report::Report;
use super::{Stopped, Wish};

pub(super) use sandwich::run as sandwich;

/// The appliances at work, in the order of the sides.
struct Ends(Vec<Running>);

impl Ends {
    /// Checks each configuration, starts each appliance, and waits until all firewalls are up at all of them.
    fn start(
        site: &FwlbSite,
        options: &FwlbOptions,
        wish: Wish,
        report: &mut Report,
    ) -> Result<Self, Stopped> {
        let options =
            FwlbOptions { driver: wish.driver.word().into(), workers: workers(), ..options.clone() };
        let mut ends = Vec::new();
        for place in &site.appliances {
            let file = site.write_configuration(place.side, &options)?;
            let checked = appliance::check(&place.namespace, &file)?;
            let side = place.side.name();
            let is_clean = checked.status == Some(0) && checked.findings.is_empty();
            report.expect_or(
                is_clean,
                format!("{side}: the check has nothing to warn of"),
                format!("{:?}", checked.findings),
            );
            ends.push(Running::begin(&place.namespace, file, place.socket(), wish, report)?);
        }
        let ends = Self(ends);
        if !ends.wait_for(|row| row["state"] == "up")? {
            ends.quote("firewalls", report)?;
            ends.quote_last_words(report);
            return Err("not all firewalls came up; the tables above tell why".into());
        }
        Ok(ends)
    }

    /// Waits until this holds for every row of `show firewalls` at every end; false when it takes too long.
    fn wait_for(&self, holds: impl Fn(&Value) -> bool) -> Result<bool, Stopped> {
        for end in &self.0 {
            if !end.wait_for_rows("firewalls", |rows| !rows.is_empty() && rows.iter().all(&holds))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What each end says of a firewall: its state, of IPv4 before that of IPv6 where they differ.
    fn states_of(&self, firewall: &str) -> Result<Vec<String>, Stopped> {
        let states = |end: &Running| -> Result<String, Stopped> {
            let rows = end.rows("firewalls")?.into_iter().filter(|row| row["name"] == firewall);
            let mut states: Vec<String> =
                rows.map(|row| row["state"].as_str().unwrap_or_default().to_owned()).collect();
            states.dedup();
            Ok(states.join(", "))
        };
        self.0.iter().map(states).collect()
    }

    /// What `jeoul show WHAT` prints at each end.
    fn quote(&self, what: &str, report: &mut Report) -> Result<(), Stopped> {
        self.0.iter().try_for_each(|end| end.quote(what, report))
    }

    fn quote_last_words(&self, report: &mut Report) {
        self.0.iter().for_each(|end| end.quote_last_words(report));
    }

    /// Flows that were seen over two firewalls while both were up, at all ends together.
    fn drifted_flows(&self) -> Result<u64, Stopped> {
        let mut drifted = 0;
        for end in &self.0 {
            let rows = end.rows("firewalls")?;
            drifted += rows.iter().filter_map(|row| row["drifted_flows"].as_u64()).sum::<u64>();
        }
        Ok(drifted)
    }

    fn stop(&self, report: &mut Report) -> Result<(), Stopped> {
        self.0.iter().try_for_each(|end| end.stop(report))
    }
}

/// The programs of the hosts.
struct Peers {
    _hold: Vec<TcpHold>,
    _echo: Vec<UdpEcho>,
}

impl Peers {
    /// Every server and the client keep connections; every server answers datagrams.
    fn start(site: &FwlbSite) -> Result<Self, Stopped> {
        let hosts = site.servers.iter().chain(&site.dmz_servers).chain([&site.client]);
        let hold = hosts.map(|host| TcpHold::start(host.namespace(), &host.name, HOLD_PORT));
        let servers = site.servers.iter().chain(&site.dmz_servers);
        let echo = servers.map(|server| UdpEcho::start(server.namespace(), &server.name, UDP_PORT));
        Ok(Self { _hold: hold.collect::<Result<_, _>>()?, _echo: echo.collect::<Result<_, _>>()? })
    }
}

/// Leaves a lab standing, where that is wished, or ends it.
fn finish(
    testbed: Testbed,
    site: &FwlbSite,
    ends: &Ends,
    seen: Result<(), Stopped>,
    wish: Wish,
    report: &mut Report,
) -> Result<(), Stopped> {
    if seen.is_err() || !report.is_good() {
        ends.quote_last_words(report);
    }
    if let (true, Some(outer)) = (wish.keep, ends.0.first()) {
        let hosts = [&site.client].into_iter().chain(&site.servers).chain(&site.dmz_servers);
        let places = site.appliances.iter().map(|place| &place.namespace);
        let firewalls = site.firewalls.iter().map(lab::Firewall::namespace);
        let all = hosts.map(lab::topology::Host::namespace).chain(places).chain(firewalls);
        let all: Vec<&Namespace> = all.collect();
        keep(testbed, &all, site.vips(Side::Inner)[0], outer, seen, report);
    }
    seen?;
    ends.stop(report)
}
