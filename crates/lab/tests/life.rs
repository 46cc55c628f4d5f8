//! A testbed is gone when it should be: dropped, after a panic, after a signal, and after its owner was
//! killed.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{BufRead, BufReader};
use std::net::{TcpStream, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lab::{Error, Signal, Testbed};

/// False, with a word on standard error, where no testbed can be built.
fn runs_here() -> bool {
    let machine = Testbed::check_machine();
    if let Err(why) = &machine {
        eprintln!("skipped: {why}");
    }
    machine.is_ok()
}

fn exists(namespace: &str) -> bool {
    Path::new("/run/netns").join(namespace).exists()
}

/// A process id is the program's own once `ip netns exec` has replaced itself.
fn wait_for_program(pid: u32, name: &str) {
    let comm = || std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
    while comm().trim_end() != name {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn is_alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

#[test]
fn a_dropped_testbed_leaves_nothing() {
    if !runs_here() {
        return;
    }
    let testbed = Testbed::new("lab-drop").unwrap();
    let directory = testbed.directory().to_path_buf();
    let namespace = testbed.namespace("a").unwrap();
    let mut command = namespace.command("sleep").unwrap();
    command.arg("1000");
    let process = namespace.spawn(command).unwrap();
    // Nobody holds a handle on this one: the namespace gives it away.
    let orphan = namespace.command("sleep").unwrap().arg("1000").spawn().unwrap();
    wait_for_program(process.id(), "sleep");
    wait_for_program(orphan.id(), "sleep");
    assert!(exists(namespace.name()) && directory.exists() && process.is_running());

    drop(testbed);
    assert!(!exists(namespace.name()) && !directory.exists() && !process.is_running());
    assert!(wait_for_end(orphan), "what runs in a namespace ends with it");
    assert!(matches!(namespace.spawn(Command::new("true")), Err(Error::Closed)));
}

/// The child is killed in any case.
fn wait_for_end(mut child: Child) -> bool {
    for _ in 0..500 {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    false
}

#[test]
fn a_panic_removes_the_testbed() {
    if !runs_here() {
        return;
    }
    let mut name = String::new();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let testbed = Testbed::new("lab-panic").unwrap();
        let namespace = testbed.namespace("a").unwrap();
        name = namespace.name().into();
        assert!(exists(&name));
        namespace.run(|| panic!("a check inside a namespace fails")).unwrap()
    }));
    assert!(panicked.is_err(), "the panic reaches the owner");
    assert!(!name.is_empty() && !exists(&name));
}

/// Not a test: the process that the tests below start and end. It tells a namespace, a program's id and its
/// directory.
#[test]
#[ignore = "started by the tests about signals"]
fn hold_a_testbed() {
    let testbed = Testbed::new("lab-held").unwrap();
    let namespace = testbed.namespace("a").unwrap();
    let mut command = namespace.command("sleep").unwrap();
    command.arg("1000");
    let process = namespace.spawn(command).unwrap();
    wait_for_program(process.id(), "sleep");
    println!("\nheld {} {} {}", namespace.name(), process.id(), testbed.directory().display());
    testbed.stay();
}

struct Holder {
    child: Child,
    namespace: String,
    program: u32,
    directory: PathBuf,
}

impl Holder {
    fn start() -> Self {
        let arguments = ["--ignored", "--exact", "hold_a_testbed", "--nocapture"];
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.map(Result::unwrap).find(|line| line.starts_with("held ")).unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let (namespace, program, directory) = (words[1].into(), words[2].parse().unwrap(), words[3].into());
        let holder = Self { child, namespace, program, directory };
        assert!(exists(&holder.namespace) && holder.directory.exists() && is_alive(holder.program));
        holder
    }

    fn end_with(&mut self, signal: Signal) -> Option<i32> {
        let status = Command::new("kill")
            .arg(format!("-{}", signal.as_raw()))
            .arg(self.child.id().to_string())
            .status();
        assert!(status.unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Also when a check has failed; most often it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One test, because only one process is to reap.
#[test]
fn a_signal_removes_the_testbed_and_the_next_one_reaps_what_a_killed_one_left() {
    if !runs_here() {
        return;
    }
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut holder = Holder::start();
        assert_eq!(holder.end_with(signal), Some(code));
        assert!(!exists(&holder.namespace) && !holder.directory.exists() && !is_alive(holder.program));
    }

    let (mut killed, mut living) = (Holder::start(), Holder::start());
    assert_eq!(killed.end_with(Signal::KILL), None);
    let _next = Testbed::new("lab-reap").unwrap();
    assert!(!exists(&killed.namespace) && !killed.directory.exists() && !is_alive(killed.program));
    assert!(exists(&living.namespace) && living.directory.exists() && is_alive(living.program));
    living.end_with(Signal::TERM);
}

#[test]
fn foreign_addresses_and_parameters_of_the_host_are_refused() {
    if !runs_here() {
        return;
    }
    let testbed = Testbed::new("lab-foreign").unwrap();
    let (a, b) = (testbed.namespace("a").unwrap(), testbed.namespace("b").unwrap());
    let link = testbed.link((&a, "eth0"), (&b, "eth0")).unwrap();
    for foreign in ["10.0.0.1/24", "198.20.0.1/24", "198.18.0.1/8", "2001:db9::1/64"] {
        assert!(link.first.add_address(foreign).is_err(), "{foreign}");
    }
    link.first.add_address("198.18.0.1/24").unwrap();
    assert!(matches!(a.add_default_route("10.0.0.1".parse().unwrap()), Err(Error::ForeignAddress(_))));
    assert!(a.add_route("10.0.0.0/8", "198.18.0.2".parse().unwrap()).is_err());
    assert!(a.set_parameter("kernel.panic", "0").is_err());
    let load = lab::Load { count: 1, ..lab::Load::default() };
    assert!(lab::run_requests(&a, "10.0.0.1:80".parse().unwrap(), load).is_err());
    assert!(matches!(Testbed::new("lab-foreign"), Err(Error::Unusable { .. })), "a label twice");
    assert!(matches!(testbed.namespace("a"), Err(Error::Unusable { .. })), "a role twice");
}

#[test]
fn a_closure_sees_its_namespace_and_the_caller_stays_where_it_was() {
    if !runs_here() {
        return;
    }
    let testbed = Testbed::new("lab-run").unwrap();
    let (a, b) = (testbed.namespace("a").unwrap(), testbed.namespace("b").unwrap());
    let link = testbed.link((&a, "left"), (&b, "right")).unwrap();
    link.first.add_address("198.18.0.1/24").unwrap();
    link.second.add_address("198.18.0.2/24").unwrap();
    let network = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let (outside, inside) = (network(), a.run(network).unwrap());
    assert_ne!(outside, inside);
    assert_eq!(network(), outside);
    // A socket made inside lives there, wherever it is used.
    let socket = b.run(|| UdpSocket::bind("198.18.0.2:9").unwrap()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    a.run(|| UdpSocket::bind("198.18.0.1:0").unwrap().send_to(b"x", "198.18.0.2:9").unwrap()).unwrap();
    assert_eq!(socket.recv(&mut [0; 9]).unwrap(), 1);
    let refused = a.run(|| TcpStream::connect("198.18.0.2:9")).unwrap();
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_link_has_one_queue_and_finished_frames() {
    if !runs_here() {
        return;
    }
    let testbed = Testbed::new("lab-link").unwrap();
    let (a, b) = (testbed.namespace("a").unwrap(), testbed.namespace("b").unwrap());
    let link = testbed.link((&a, "left"), (&b, "right")).unwrap();
    for end in [&link.first, &link.second] {
        let output = end.namespace().output("ethtool", &["-k", end.interface()]).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        for feature in [
            "tx-checksumming",
            "rx-checksumming",
            "scatter-gather",
            "tcp-segmentation-offload",
            "generic-segmentation-offload",
            "generic-receive-offload",
        ] {
            assert!(
                text.lines().any(|line| line.starts_with(&format!("{feature}: off"))),
                "{feature}:\n{text}"
            );
        }
        let queues = format!("/sys/class/net/{}/queues", end.interface());
        // A program sees the namespace's own /sys.
        let output = end.namespace().output("ls", &[&queues]).unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "rx-0\ntx-0\n");
    }
    assert_eq!(a.parameter("net.ipv4.ip_forward").unwrap(), "0");
    assert_eq!(a.parameter("net.ipv6.conf.left.accept_dad").unwrap(), "0");
}
