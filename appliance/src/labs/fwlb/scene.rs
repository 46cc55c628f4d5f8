//! Two or three appliances with firewalls between them, and the programs of everybody beside them.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use lab::topology::fwlb::{FwlbOptions, FwlbPlan, FwlbSite, Side, fwlb_site};
use lab::topology::{HOLD_PORT, Host, UDP_PORT};
use lab::{TcpHold, Testbed, UdpEcho};
use serde_json::Value;

use super::super::appliance::{Running, keep};
use super::super::report::Report;
use super::super::{Stopped, Wish};

/// Within the lab's checks: every 200 ms, answered within 100 ms, two failures forgiven.
pub(super) const DOWN_WITHIN: Duration = Duration::from_millis(700);

/// How late this machine may be with anything: two cores run everybody.
pub(super) const LATE: Duration = Duration::from_millis(500);

/// The programs of the hosts. They end before their namespaces do.
struct Programs {
    _holds: Vec<TcpHold>,
    _echoes: Vec<UdpEcho>,
}

/// Everything; see the module.
pub(super) struct Scene {
    pub running: Vec<(Side, Running)>,
    _programs: Programs,
    pub site: FwlbSite,
    testbed: Testbed,
}

impl Scene {
    /// Builds the lab, starts everybody, and waits until every end takes every firewall for alive.
    pub(super) fn start(
        testbed: Testbed,
        (title, picture): (&str, &str),
        plan: &FwlbPlan,
        options: &FwlbOptions,
        wish: Wish,
        report: &mut Report,
    ) -> Result<Self, Stopped> {
        report.section(title);
        report.quote(picture);
        let site = fwlb_site(&testbed, plan)?;
        let hosts: Vec<&Host> =
            std::iter::once(&site.client).chain(&site.servers).chain(&site.dmz_servers).collect();
        let hold = |host: &&Host| TcpHold::start(host.end.namespace(), &host.name, HOLD_PORT);
        let echo = |host: &&Host| UdpEcho::start(host.end.namespace(), &host.name, UDP_PORT);
        let programs = Programs {
            _holds: hosts.iter().map(hold).collect::<Result<_, _>>()?,
            _echoes: hosts.iter().map(echo).collect::<Result<_, _>>()?,
        };
        let mut running = Vec::new();
        for place in &site.appliances {
            let file = site.write_configuration(place.side, options)?;
            running
                .push((place.side, Running::launch(&place.namespace, file, place.socket(), wish, report)?));
        }
        let scene = Self { running, _programs: programs, site, testbed };
        for (side, running) in &scene.running {
            if !scene.wait_for(*side, |row| row["state"] == "up")? {
                running.quote("firewalls", report)?;
                running.quote_last_words(report);
                return Err("not all firewalls came up; the table above tells why".into());
            }
        }
        scene.running(Side::Outer)?.quote("firewalls", report)?;
        Ok(scene)
    }

    /// The appliance of a side.
    pub(super) fn running(&self, side: Side) -> Result<&Running, Stopped> {
        let running = self.running.iter().find(|(of, _)| *of == side);
        running.map(|(_, running)| running).ok_or_else(|| "the lab has no such side".into())
    }

    /// What an appliance says of its firewalls.
    pub(super) fn firewalls(&self, side: Side) -> Result<Vec<Value>, Stopped> {
        self.running(side)?.rows("firewalls")
    }

    /// Waits until this holds for every firewall of a side; false when it takes too long.
    pub(super) fn wait_for(&self, side: Side, holds: impl Fn(&Value) -> bool) -> Result<bool, Stopped> {
        self.running(side)?.wait_for_rows("firewalls", |rows| !rows.is_empty() && rows.iter().all(&holds))
    }

    /// Waits until a side's rows of one firewall are all such, and says how long that took since `since`.
    pub(super) fn wait_for_state(
        &self,
        side: Side,
        firewall: &str,
        (since, holds): (Instant, impl Fn(&Value) -> bool),
    ) -> Result<Option<Duration>, Stopped> {
        let is_such = self.wait_for(side, |row| row["name"] != firewall || holds(row))?;
        Ok(is_such.then(|| since.elapsed()))
    }

    /// Flows that drifted, as the sides count them.
    pub(super) fn drifted(&self) -> Result<u64, Stopped> {
        let mut drifted = 0;
        for (side, _) in &self.running {
            for row in self.firewalls(*side)? {
                drifted += row["drifted_flows"].as_u64().unwrap_or_default();
            }
        }
        Ok(drifted)
    }

    /// Addresses that the client has, so many of them, of the family of `like`.
    pub(super) fn callers(&self, count: usize, like: IpAddr) -> Vec<IpAddr> {
        (0..count as u16).map(|index| self.site.caller(index, like)).collect()
    }

    /// Stops everybody, or leaves the lab standing.
    pub(super) fn end(
        self,
        seen: Result<(), Stopped>,
        wish: Wish,
        report: &mut Report,
    ) -> Result<(), Stopped> {
        if seen.is_err() || !report.is_good() {
            for (side, running) in &self.running {
                report.note(format!("{}:", side.name()));
                running.quote("firewalls", report)?;
                running.quote("drops", report)?;
                running.quote_last_words(report);
            }
        }
        let Self { running, _programs, site, testbed } = self;
        if wish.keep
            && let Some((_, outer)) = running.first()
        {
            let appliances = site.appliances.iter().map(|place| &place.namespace);
            let firewalls = site.firewalls.iter().map(|firewall| firewall.namespace());
            let ends: Vec<_> =
                std::iter::once(site.client.end.namespace()).chain(appliances).chain(firewalls).collect();
            keep(testbed, &ends, site.vips(Side::Inner)[0], outer, seen, report);
        }
        seen?;
        running.iter().try_for_each(|(_, running)| running.stop(report))
    }
}
