//! Runs a script at a place where frames can be sent and received.

use super::{Script, Step};
use crate::frame::{Scope, build, print};
use crate::manager::{Manager, Sizes};
use control::facts::Facts;
use engine::Report;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use wire::check::frame_checksums;
use wire::ethernet;

/// A place to run scripts: the appliance's workers, and the other ends of their ports.
pub trait Bench {
    /// The control side.
    fn manager(&mut self) -> &mut Manager;
    /// Lets a frame arrive at a port.
    fn send(&mut self, port: usize, frame: &[u8]);
    /// Lets the workers do all there is to do.
    fn settle(&mut self);
    /// The next frame that a port has sent, waited for where frames take their time.
    fn receive(&mut self, port: usize) -> Option<Vec<u8>>;
    /// A frame that a port has sent and that nobody waits for.
    fn left_over(&mut self, port: usize) -> Option<Vec<u8>> {
        self.receive(port)
    }
    /// Whether the workers see every frame. Where the kernel has its share of them, or a port drops what is not for
    /// its MAC address, workers do not count what they did not see.
    fn sees_all(&self) -> bool {
        true
    }
    /// Lets time pass; false where it is not ours to decide.
    fn pass(&mut self, time: Duration) -> bool;
}

/// Where a script went wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The script.
    pub title: String,
    /// The line in its file; 0 for its set-up.
    pub line: usize,
    /// What was expected, and what came.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  line {}: {}", self.title, self.line, self.message)
    }
}

impl Script {
    /// The manager that the script begins with.
    pub fn manager(&self) -> Result<Manager, String> {
        let scope = self.scope();
        let mut facts = Facts::default();
        self.facts.iter().try_for_each(|line| crate::facts::apply(&mut facts, &scope, line))?;
        let sizes = Sizes { sessions_v4: self.sessions_max, sessions_v6: self.sessions_max };
        Manager::new(&self.config, facts, sizes)
    }

    fn scope(&self) -> Scope {
        let mut scope = Scope::default();
        self.stations.iter().for_each(|(name, mac)| scope.name(name, *mac));
        scope
    }
}

/// Runs `script` on `bench`, which was made of the script's own manager.
pub fn run(script: &Script, bench: &mut impl Bench) -> Result<(), Failure> {
    let mut runner = Runner { bench, scope: script.scope(), has_sent: false };
    for (line, step) in &script.steps {
        let failed = |message| Failure { title: script.title.clone(), line: *line, message };
        runner.step(step).map_err(failed)?;
    }
    let last = script.steps.last().map_or(0, |(line, _)| *line);
    runner.nothing().map_err(|message| Failure { title: script.title.clone(), line: last, message })
}

struct Runner<'a, B> {
    bench: &'a mut B,
    scope: Scope,
    /// Frames were sent since the workers last came to rest.
    has_sent: bool,
}

impl<B: Bench> Runner<'_, B> {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        if !self.has_sent && matches!(step, Step::In(..)) || Self::is_event(step) {
            self.nothing()?;
        }
        if !matches!(step, Step::In(..)) {
            self.settle();
        }
        match step {
            Step::In(port, frame) => {
                let port = self.port(port)?;
                let frame = build(frame, &self.scope).map_err(|error| error.to_string())?;
                self.bench.send(port, &frame);
                self.has_sent = true;
            }
            Step::Out(port, frame) => self.expect(port, frame)?,
            Step::Nothing => self.nothing()?,
            Step::Drops(reason, count) => self.expect_drops(reason, *count)?,
            Step::Sessions(count) => {
                let shared = self.bench.manager().shared();
                let live = shared.sessions_v4.len() + shared.sessions_v6.len();
                if live != *count {
                    return Err(format!("{live} sessions live instead of {count}"));
                }
            }
            Step::Active(name, count) => {
                let manager = self.bench.manager();
                let member = manager.server(name).and_then(|key| {
                    manager.members().find(|(known, _)| **known == key).map(|(_, member)| member.id)
                });
                let member = member.ok_or_else(|| format!("there is no {name}"))?;
                let active = manager.shared().loads.sessions(member);
                if active != *count {
                    return Err(format!("{active} sessions count at {name} instead of {count}"));
                }
            }
            Step::Drifted(name, count) => {
                let manager = self.bench.manager();
                let firewall = manager.server(name).ok_or_else(|| format!("there is no firewall {name}"))?;
                let drifted = manager.drifted(&firewall);
                if drifted != *count {
                    return Err(format!("{drifted} flows of {name} drifted instead of {count}"));
                }
            }
            Step::Asks(port, address) => self.expect_question(port, *address)?,
            event => {
                self.happen(event)?;
                self.bench.settle();
            }
        }
        Ok(())
    }

    fn is_event(step: &Step) -> bool {
        use Step::{Advance, Carry, Fact, Health, Reload, Wish};
        matches!(step, Advance(_) | Carry(..) | Fact(_) | Health(..) | Reload(_) | Wish(..))
    }

    fn happen(&mut self, event: &Step) -> Result<(), String> {
        if let Step::Advance(time) = event {
            return if self.bench.pass(*time) { Ok(()) } else { Err("time does not pass here".into()) };
        }
        let manager = self.bench.manager();
        match event {
            Step::Health(server, health) => {
                let key = manager.server(server).ok_or(format!("{server:?} is no server"))?;
                manager.set_health(&key, *health);
            }
            Step::Wish(server, wish) => {
                let key = manager.server(server).ok_or(format!("{server:?} is no server"))?;
                manager.set_wish(&key, *wish);
            }
            Step::Carry(server, packet) => {
                let key = manager.server(server).ok_or(format!("{server:?} is no server"))?;
                let frame = build(packet, &self.scope).map_err(|error| error.to_string())?;
                if !manager.carry(&key, &frame[ethernet::LENGTH..]) {
                    return Err(format!("nobody carries to {server}"));
                }
            }
            Step::Fact(line) => {
                manager.change_facts(|facts| crate::facts::apply(facts, &self.scope, line))?
            }
            Step::Reload(config) => manager.reload(config)?,
            _ => {}
        }
        Ok(())
    }

    fn settle(&mut self) {
        if std::mem::take(&mut self.has_sent) {
            self.bench.settle();
        }
    }

    fn port(&mut self, name: &str) -> Result<usize, String> {
        self.bench.manager().ring(name).ok_or(format!("{name:?} is no port"))
    }

    fn expect(&mut self, port: &str, expected: &str) -> Result<(), String> {
        let index = self.port(port)?;
        let Some(came) = self.bench.receive(index) else {
            return Err(format!("nothing came out of {port} instead of\n    {expected}"));
        };
        self.scope.learn(expected, &came);
        let wanted = build(expected, &self.scope).map_err(|error| error.to_string())?;
        if came != wanted {
            let (came, wanted) = (print(&came, &self.scope), print(&wanted, &self.scope));
            return Err(format!("out of {port} came\n    {came}\n  instead of\n    {wanted}"));
        }
        // A frame that is to be wrong says so.
        match frame_checksums(&came) {
            Err(fault) if !expected.contains("wrong-") && !expected.contains("raw") => Err(fault.to_string()),
            _ => Ok(()),
        }
    }

    fn nothing(&mut self) -> Result<(), String> {
        self.settle();
        for index in 0..self.bench.manager().rings() {
            if let Some(frame) = self.bench.left_over(index) {
                let name = self.bench.manager().ring_name(index);
                return Err(format!("nobody expected out of {name}\n    {}", print(&frame, &self.scope)));
            }
        }
        Ok(())
    }

    fn expect_drops(&mut self, name: &str, count: u64) -> Result<(), String> {
        let mut reasons = engine::DropReason::all();
        let reason = reasons.find(|reason| reason.name() == name).ok_or(format!("{name:?} is no reason"))?;
        let workers = self.bench.manager().counters();
        let dropped: u64 = workers.map(|counters| counters.drops[reason.index()].get()).sum();
        if dropped != count && self.bench.sees_all() {
            Err(format!("{dropped} drops for {name} instead of {count}"))
        } else {
            Ok(())
        }
    }

    fn expect_question(&mut self, port: &str, wanted: IpAddr) -> Result<(), String> {
        let index = self.bench.manager().leg(port).ok_or(format!("{port:?} is no leg"))?;
        let reports = &self.bench.manager().shared().reports;
        let told: Vec<Report> = std::iter::from_fn(|| reports.pop()).collect();
        let asked = |report: &Report| match *report {
            Report::Unresolved { port, address } => usize::from(port) == index && address == wanted,
            _ => false,
        };
        if told.iter().any(asked) { Ok(()) } else { Err(format!("control was not asked, but told {told:?}")) }
    }
}
