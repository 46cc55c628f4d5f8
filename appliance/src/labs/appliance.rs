//! The appliance of a lab, seen through its own commands.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use lab::topology::slb_routed::{Options, Service, SlbRouted, VIP_V4};
use lab::{Appliance, Namespace, Testbed};
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
    wish: Wish,
    file: PathBuf,
    socket: PathBuf,
}

impl Running {
    /// Writes the file of a routed lab and starts the appliance with it.
    pub(super) fn start_routed(
        lab: &SlbRouted,
        services: &[Service],
        wish: Wish,
        report: &mut Report,
    ) -> Result<Self, Stopped> {
        let file = lab.write_config(&options(wish), services)?;
        Self::start(lab.outside.namespace(), file, lab.socket(), wish, report)
    }

    /// Starts this very program with a file and waits until it forwards.
    pub(super) fn launch(
        namespace: &Namespace,
        file: PathBuf,
        socket: PathBuf,
        wish: Wish,
        report: &mut Report,
    ) -> Result<Self, Stopped> {
        let binary = std::env::current_exe()?;
        let started = Instant::now();
        let appliance = Appliance::start(namespace, &binary, &file, &socket, PATIENCE)?;
        report.note(format!("jeoul run --config {}", file_name(&file)));
        report.note(format!("forwards {:.0?} after its start", started.elapsed()));
        let running = Self { appliance, wish, file, socket };
        running.quote("ports", report)?;
        Ok(running)
    }

    /// As [`Running::launch`], and waits until all servers are up.
    pub(super) fn start(
        namespace: &Namespace,
        file: PathBuf,
        socket: PathBuf,
        wish: Wish,
        report: &mut Report,
    ) -> Result<Self, Stopped> {
        let running = Self::launch(namespace, file, socket, wish, report)?;
        if !running.wait_for_servers(|server| server["state"] == "up")? {
            running.quote("servers", report)?;
            running.quote_last_words(report);
            return Err("not all servers came up; the table above tells why".into());
        }
        Ok(running)
    }

    /// Puts other services into the file of a routed lab and reloads; what the command says, or its refusal.
    pub(super) fn reload(&self, lab: &SlbRouted, services: &[Service]) -> Result<String, Stopped> {
        lab.write_config(&options(self.wish), services)?;
        self.ask_to_reload()
    }

    /// Puts another text into the file and reloads.
    pub(super) fn reload_as(&self, text: &str) -> Result<String, Stopped> {
        fs::write(&self.file, text)?;
        self.ask_to_reload()
    }

    /// An operator command; what it says, or its refusal.
    pub(super) fn order(&self, words: &[&str]) -> Result<String, Stopped> {
        let output = self.appliance.command(words)?;
        match output.status.code() {
            Some(0) => Ok(text(&output.stdout)),
            code => Err(format!("exit status {}: {}", code.unwrap_or(-1), text(&output.stderr)).into()),
        }
    }

    /// Adds `text` to the file and reloads.
    pub(super) fn reload_with(&self, text: &str) -> Result<String, Stopped> {
        fs::OpenOptions::new().append(true).open(&self.file)?.write_all(text.as_bytes())?;
        self.ask_to_reload()
    }

    /// The file that it runs on.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// `jeoul reload`.
    fn ask_to_reload(&self) -> Result<String, Stopped> {
        self.order(&["reload"])
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
        self.wait_for_rows("servers", |rows| !rows.is_empty() && rows.iter().all(&holds))
    }

    /// Waits until this holds for the row of `show WHAT` with a name; false when it takes too long.
    pub(super) fn wait_for_row(
        &self,
        what: &str,
        name: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<bool, Stopped> {
        self.wait_for_rows(what, |rows| rows.iter().any(|row| row["name"] == name && holds(row)))
    }

    pub(super) fn wait_for_rows(
        &self,
        what: &str,
        holds: impl Fn(&[Value]) -> bool,
    ) -> Result<bool, Stopped> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if holds(&self.rows(what)?) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }

    /// How many descriptors it has open now.
    pub(super) fn descriptors(&self) -> Result<usize, Stopped> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.appliance.process().id()))?.count())
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

/// What `jeoul check` says of a file, asked where the appliance would run.
#[derive(Debug)]
pub(super) struct Checked {
    /// Its exit status.
    pub status: Option<i32>,
    /// Its last line.
    pub verdict: String,
    /// The code of each finding, each once, with the words of the first that has it.
    pub findings: BTreeMap<String, String>,
}

/// Runs `jeoul check` in a namespace.
pub(super) fn check(namespace: &Namespace, file: &Path) -> Result<Checked, Stopped> {
    let mut command = namespace.command(&std::env::current_exe()?.to_string_lossy())?;
    command.arg("check").arg(file_name(file));
    if let Some(directory) = file.parent() {
        command.current_dir(directory);
    }
    let output = command.output()?;
    let mut findings = BTreeMap::new();
    for words in text(&output.stderr).split("\n\n") {
        let code = words.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
        if let Some((code, _)) = code {
            findings.entry(code.to_owned()).or_insert_with(|| words.trim().to_owned());
        }
    }
    let verdict = text(&output.stdout).trim_end().to_owned();
    Ok(Checked { status: output.status.code(), verdict, findings })
}

/// Tells what came of the lab and how to look around, and stands still until Ctrl-C removes it. The first of
/// `ends` is the client, which can call `vip`.
pub(super) fn keep(
    testbed: Testbed,
    ends: &[&Namespace],
    vip: IpAddr,
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
    report.text(format!("  less {}", running.file.display()));
    if let Some(client) = ends.first() {
        report.text(format!("  ip netns exec {} curl http://{vip}/", client.name()));
    }
    ends.iter().for_each(|end| report.text(format!("  ip netns exec {} bash", end.name())));
    testbed.stay()
}

/// As [`keep`], of a routed lab.
pub(super) fn keep_routed(
    testbed: Testbed,
    lab: &SlbRouted,
    running: &Running,
    seen: Result<(), Stopped>,
    report: &mut Report,
) -> ! {
    let ends = [&lab.client, &lab.outside].into_iter().chain(lab.servers.iter().map(|server| &server.end));
    let ends: Vec<&Namespace> = ends.map(|end| end.namespace()).collect();
    keep(testbed, &ends, VIP_V4, running, seen, report)
}

/// The CPUs of the workers: the last one, so that they and the control thread get different ones where there
/// are two.
pub(super) fn workers() -> Vec<u16> {
    let last = available_cpus().into_iter().max().unwrap_or_default();
    vec![u16::try_from(last).unwrap_or(u16::MAX)]
}

fn options(wish: Wish) -> Options {
    Options {
        driver: wish.driver.word().into(),
        workers: workers(),
        source_nat: "never".into(),
        ..Options::default()
    }
}

/// The file without its directory, which is another one in each run.
fn file_name(file: &Path) -> String {
    file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
