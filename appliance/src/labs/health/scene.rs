//! The servers of the health lab, and the services that check them.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::SystemTime;

use lab::topology::slb_routed::{Options, SlbRouted, VIP_V4, VIP_V6};
use lab::{Mood, MoodServer, Namespace, PacketFilter, Speech};

use super::super::Stopped;
use super::cases::{Broken, CASES, Case, Kind, Pace};

/// The families, with the word for each in a service's name.
pub(super) const FAMILIES: [(&str, IpAddr); 2] = [("v4", VIP_V4), ("v6", VIP_V6)];

/// The server whose programs are broken, as an index.
const PROGRAMS: usize = 0;

/// Where the program listens that two services ask the same of.
const SHARED_PORT: u16 = 7999;

/// A span in which something was done.
#[derive(Clone, Copy)]
pub(super) struct Within {
    pub begin: SystemTime,
    pub end: SystemTime,
}

/// What runs beside the appliance.
pub(super) struct Scene<'a> {
    pub lab: &'a SlbRouted,
    /// The program of each case that has one.
    programs: Vec<Option<MoodServer>>,
    /// The packet filter of each case that is broken by one, with its index.
    filters: Vec<(usize, PacketFilter)>,
    shared: MoodServer,
}

impl<'a> Scene<'a> {
    /// Starts all programs, in a good mood.
    pub(super) fn start(lab: &'a SlbRouted) -> Result<Self, Stopped> {
        let namespace = lab.servers[PROGRAMS].namespace();
        // A host tells a peer of one unreachable port in a second, and here several checks want to hear of it.
        namespace.set_parameters(&[("net.ipv4.icmp_ratelimit", "0"), ("net.ipv6.icmp.ratelimit", "0")])?;
        let shared = MoodServer::start(namespace, Speech::Http, SHARED_PORT)?;
        let mut scene = Self { lab, programs: Vec::new(), filters: Vec::new(), shared };
        for (index, case) in CASES.iter().enumerate() {
            let start = |speech| MoodServer::start(namespace, speech, Case::port(index));
            scene.programs.push(case.kind.speech().map(start).transpose()?);
        }
        Ok(scene)
    }

    /// Where a case's server is. Those that are pinged are hosts of their own, one for each pace.
    pub(super) fn address(&self, case: &Case, like: IpAddr) -> IpAddr {
        let server = match (case.kind, case.pace) {
            (Kind::Icmp, Pace::Quick) => 1,
            (Kind::Icmp, Pace::Steady) => 2,
            (Kind::Icmp, Pace::Overdue) => 3,
            _ => PROGRAMS,
        };
        self.lab.servers[server].address_like(like)
    }

    fn namespace(&self, case: &Case) -> Result<&'a Namespace, Stopped> {
        let address = self.address(case, VIP_V4);
        let server = self.lab.servers.iter().find(|server| server.v4 == address);
        Ok(server.ok_or("a case without a server")?.namespace())
    }

    /// The appliance's configuration.
    pub(super) fn configuration(&self, options: &Options) -> String {
        let mut text = self.lab.config_text(options, &[]);
        for kind in Kind::ALL {
            for pace in Pace::ALL {
                let (lines, timers) = (kind.lines(), pace.lines());
                // Writing to a string cannot fail.
                let _ = write!(text, "\n[[health_check]]\nname = \"{kind}-{pace}\"\n{lines}\n{timers}");
            }
        }
        for (family, vip) in FAMILIES {
            for (index, case) in CASES.iter().enumerate() {
                let name = service_name(index, family);
                append(&mut text, &name, (vip, Case::port(index)), case, self.address(case, vip));
            }
        }
        let shared = CASES.iter().find(|case| case.kind == Kind::Http && case.pace == Pace::Quick);
        for (name, port) in [("shared-a", SHARED_PORT), ("shared-b", SHARED_PORT - 1)] {
            if let Some(case) = shared {
                let address = self.lab.servers[PROGRAMS].v4;
                append(&mut text, name, (VIP_V4, port), case, address);
                let _ = writeln!(text, "port = {SHARED_PORT}");
            }
        }
        text
    }

    /// Breaks every server in its own way; within which time each was broken.
    pub(super) fn break_all(&mut self) -> Result<Vec<Within>, Stopped> {
        let mut times = Vec::with_capacity(CASES.len());
        for (index, case) in CASES.iter().enumerate() {
            let begin = SystemTime::now();
            match (case.broken, &mut self.programs[index]) {
                (Broken::Program(mood), Some(program)) => program.set(mood)?,
                _ => {
                    let filter =
                        PacketFilter::start(self.namespace(case)?, case.discarded(Case::port(index)))?;
                    self.filters.push((index, filter));
                }
            }
            times.push(Within { begin, end: SystemTime::now() });
        }
        Ok(times)
    }

    /// Repairs them; within which time each was repaired.
    pub(super) fn repair_all(&mut self) -> Result<Vec<Within>, Stopped> {
        let mut times = Vec::with_capacity(CASES.len());
        for (index, program) in self.programs.iter_mut().enumerate() {
            let begin = SystemTime::now();
            if let Some(program) = program {
                program.set(Mood::Good)?;
            }
            self.filters.retain(|(other, _)| *other != index);
            times.push(Within { begin, end: SystemTime::now() });
        }
        Ok(times)
    }

    /// Connections that the programs on these ports have accepted.
    pub(super) fn accepted(&self, ports: &[u16]) -> u64 {
        let programs = self.programs.iter().enumerate();
        let chosen = programs.filter(|(index, _)| ports.contains(&Case::port(*index)));
        chosen.filter_map(|(_, program)| program.as_ref()).map(MoodServer::accepted).sum()
    }

    /// Checks that the shared program has seen.
    pub(super) fn shared_checks(&self) -> u64 {
        self.shared.accepted()
    }
}

/// `http-quick-7-v4`.
pub(super) fn service_name(index: usize, family: &str) -> String {
    let Case { kind, pace, .. } = CASES[index];
    format!("{kind}-{pace}-{index}-{family}")
}

fn append(text: &mut String, name: &str, (vip, port): (IpAddr, u16), case: &Case, server: IpAddr) {
    let Case { kind, pace, .. } = case;
    let protocol = if kind.speech() == Some(Speech::Udp) { "udp" } else { "tcp" };
    let _ = write!(
        text,
        "\n[[service]]\nname = \"{name}\"\naddress = \"{vip}\"\nprotocol = \"{protocol}\"\nport = {port}\n\
         mode = \"routed\"\nhealth_check = \"{kind}-{pace}\"\n\n[[service.server]]\naddress = \"{server}\"\n"
    );
}
