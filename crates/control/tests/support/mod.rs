//! A network namespace of a test's own, with a second one behind a veth pair. Both vanish with the value.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]
#![allow(dead_code, reason = "each test binary uses its own part of it")]

pub mod bed;
pub mod clockwork;
pub mod verdict;

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

static MADE: AtomicU32 = AtomicU32::new(0);

/// Two namespaces: `here` has `near` (198.18.1.1/24, 2001:db8:1::1/64), `there` has `far` (.2), joined by a
/// wire.
pub struct Wire {
    pub here: String,
    pub there: String,
}

impl Wire {
    /// `None`, with a word why, where namespaces cannot be made.
    pub fn new() -> Option<Self> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("jeoul-control-{}-{number}", std::process::id());
        let wire = Self { here: format!("{name}-a"), there: format!("{name}-b") };
        for namespace in [&wire.here, &wire.there] {
            let made = Command::new("ip").args(["netns", "add", namespace]).output();
            if !made.as_ref().is_ok_and(|output| output.status.success()) {
                println!("skipped: cannot make a network namespace: {made:?}");
                return None;
            }
            let quiet = "for f in accept_dad accept_ra router_solicitations; do \
                for i in all default; do echo 0 > /proc/sys/net/ipv6/conf/$i/$f; done; done";
            run(&["ip", "netns", "exec", namespace, "sh", "-c", quiet]);
        }
        let (here, there) = (&wire.here, &wire.there);
        run(&[
            "ip", "-n", here, "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", there,
        ]);
        for (namespace, interface, host) in [(here, "near", 1), (there, "far", 2)] {
            wire.ip_in(namespace, "link set lo up");
            wire.ip_in(namespace, &format!("link set {interface} up"));
            wire.ip_in(namespace, &format!("address add 198.18.1.{host}/24 dev {interface}"));
            wire.ip_in(namespace, &format!("address add 2001:db8:1::{host}/64 dev {interface} nodad"));
        }
        Some(wire)
    }

    /// `ip ARGUMENTS` in `here`.
    pub fn ip(&self, arguments: &str) {
        self.ip_in(&self.here, arguments);
    }

    /// `ip ARGUMENTS` in `there`.
    pub fn ip_there(&self, arguments: &str) {
        self.ip_in(&self.there, arguments);
    }

    fn ip_in(&self, namespace: &str, arguments: &str) {
        let words: Vec<&str> = ["ip", "-n", namespace].into_iter().chain(arguments.split(' ')).collect();
        run(&words);
    }

    /// What `ip ARGUMENTS` prints in `here`.
    pub fn ip_says(&self, arguments: &str) -> String {
        let output = Command::new("ip").args(["-n", &self.here]).args(arguments.split(' ')).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs `work` on a thread that lives in `here`.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.here, work)
    }

    /// Runs `work` on a thread that lives in `there`.
    pub fn beyond<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.there, work)
    }
}

fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    let handle = File::open(format!("/run/netns/{namespace}")).unwrap();
    let in_namespace = || {
        move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        work()
    };
    let outcome = thread::scope(|scope| scope.spawn(in_namespace).join());
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

pub fn run(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Drop for Wire {
    fn drop(&mut self) {
        for namespace in [&self.here, &self.there] {
            let _gone_already = Command::new("ip").args(["netns", "delete", namespace]).output();
        }
    }
}
