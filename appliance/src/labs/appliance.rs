//! The appliance of a lab, seen through its own commands.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use lab::topology::slb_routed::{Options, Service, SlbRouted};
use lab::{Appliance, Testbed};
use serde_json::Value;

use super::report::Report;
use super::{Stopped, Wish};
use crate::check::available_cpus;

/// Long enough for any machine, since nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

/// How much of the log tells of a failure.
const LAST_WORDS_LINES: usize = 15;

/// Between two looks at a state: short against the interval of a check.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A running appliance with the file that it runs on.
#[derive(Debug)]
pub(super) struct Running {
    appliance: Appliance,
    options: Options,
    file: PathBuf,
    socket: PathBuf,
}

impl Running {
    /// Writes the file, starts this very program with it and waits until it forwards and all servers are up.
    pub(super) fn start(
        lab: &SlbRouted,
        services: &[Service],
        wish: Wish,
        report: &mut Report,
    ) -> Result<Self, Stopped> {
        let options = options(wish);
        let file = lab.write_config(&options, services)?;
        let (binary, socket) = (std::env::current_exe()?, lab.socket());
        let started = Instant::now();
        let appliance = Appliance::start(lab.outside.namespace(), &binary, &file, &socket, PATIENCE)?;
        report.note(format!("jeoul run --config {}", file.display()));
        report.note(format!("forwards {:.0?} after its start", started.elapsed()));
        let running = Self { appliance, options, file, socket };
        running.quote("ports", report)?;
        if !running.wait_for_servers(|server| server["state"] == "up")? {
            running.quote("servers", report)?;
            running.quote_last_words(report);
            return Err("not all servers came up; the table above tells why".into());
        }
        Ok(running)
    }

    /// Puts other services into the file and reloads; what the command says, or its refusal.
    pub(super) fn reload(&self, lab: &SlbRouted, services: &[Service]) -> Result<String, Stopped> {
        lab.write_config(&self.options, services)?;
        self.ask_to_reload()
    }

    /// Adds `text` to the file and reloads.
    pub(super) fn reload_with(&self, text: &str) -> Result<String, Stopped> {
        fs::OpenOptions::new().append(true).open(&self.file)?.write_all(text.as_bytes())?;
        self.ask_to_reload()
    }

    /// `jeoul reload`.
    fn ask_to_reload(&self) -> Result<String, Stopped> {
        let output = self.appliance.command(&["reload"])?;
        match output.status.code() {
            Some(0) => Ok(text(&output.stdout)),
            code => Err(format!("exit status {}: {}", code.unwrap_or(-1), text(&output.stderr)).into()),
        }
    }

    /// The rows of `jeoul show WHAT --json`.
    pub(super) fn rows(&self, what: &str) -> Result<Vec<Value>, Stopped> {
        Ok(serde_json::from_str(&self.appliance.show(what)?)?)
    }

    /// What `jeoul show WHAT` prints for people.
    pub(super) fn quote(&self, what: &str, report: &mut Report) -> Result<(), Stopped> {
        let output = self.appliance.command(&["show", what])?;
        report.note(format!("jeoul show {what}"));
        report.quote(&format!("{}{}", text(&output.stdout), text(&output.stderr)));
        Ok(())
    }

    /// Waits until this holds for every row of `show servers`; false when it takes too long.
    pub(super) fn wait_for_servers(&self, holds: impl Fn(&Value) -> bool) -> Result<bool, Stopped> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let servers = self.rows("servers")?;
            if !servers.is_empty() && servers.iter().all(&holds) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Ends it as systemd would.
    pub(super) fn stop(&self, report: &mut Report) -> Result<(), Stopped> {
        let status = self.appliance.stop(PATIENCE)?;
        report.expect_or(status.code() == Some(0), "SIGTERM ends the appliance with exit status 0", status);
        Ok(())
    }

    /// The end of its log.
    pub(super) fn quote_last_words(&self, report: &mut Report) {
        let log = self.appliance.log();
        let lines: Vec<&str> = log.lines().collect();
        report.note("the appliance's last words:");
        report.quote(&lines[lines.len().saturating_sub(LAST_WORDS_LINES)..].join("\n"));
    }
}

/// Tells what came of the lab and how to look around, and stands still until Ctrl-C removes it.
pub(super) fn keep(
    testbed: Testbed,
    lab: &SlbRouted,
    running: &Running,
    seen: Result<(), Stopped>,
    report: &mut Report,
) -> ! {
    match seen {
        Ok(()) => drop(report.verdict()),
        Err(error) => report.text(format!("\nthe lab stopped: {error}")),
    }
    let socket = running.socket.display();
    report.text("\nThe lab stands until Ctrl-C, which removes it. From another terminal:\n");
    report.text(format!("  jeoul show status --socket {socket}"));
    report.text(format!("  ip netns exec {} curl http://198.18.0.10/", lab.client.namespace().name()));
    let ends = [&lab.client, &lab.outside].into_iter().chain(lab.servers.iter().map(|server| &server.end));
    ends.for_each(|end| report.text(format!("  ip netns exec {} bash", end.namespace().name())));
    testbed.stay()
}

fn options(wish: Wish) -> Options {
    // Workers and the control thread get different CPUs where there are two.
    let last = available_cpus().into_iter().max().unwrap_or_default();
    let worker = u16::try_from(last).unwrap_or(u16::MAX);
    Options {
        driver: wish.driver.word().into(),
        workers: vec![worker],
        source_nat: "never".into(),
        ..Options::default()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
