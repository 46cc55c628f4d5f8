//! The kernel kept from what is claimed, on a veth pair whose far end asks.
#![allow(clippy::unwrap_used, reason = "a test's own helper")]

mod packet_lab;

use packet_lab::{Lab, eventually};
use rings::silence::Silence;
use rings::steering::{Attach, Driver, Gate, Owner, Steering};
use rings::{Error, PortSpec, RingLengths, open};
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::process::{Command, Stdio};

const HOST: [&str; 2] = ["198.18.0.1", "2001:db8::1"];
const CLAIMED: [&str; 2] = ["198.18.0.10", "2001:db8::10"];
const OTHER: [&str; 2] = ["198.18.0.20", "2001:db8::20"];

fn owned(hosts: &[&str], claimed: &[&str]) -> Vec<(IpAddr, Owner)> {
    let with = |addresses: &[&str], owner| {
        addresses.iter().map(|address| (address.parse().unwrap(), owner)).collect::<Vec<_>>()
    };
    [with(hosts, Owner::Host), with(claimed, Owner::Claimed)].concat()
}

/// Which of the addresses answer after the far kernel has resolved them anew.
fn answering(lab: &Lab, addresses: &[&'static str]) -> Vec<&'static str> {
    lab.far("neighbour flush dev far0");
    std::thread::scope(|scope| {
        let asked: Vec<_> =
            addresses.iter().map(|address| (*address, scope.spawn(|| lab.answers_far(address)))).collect();
        asked.into_iter().filter_map(|(address, answer)| answer.join().unwrap().then_some(address)).collect()
    })
}

/// Gives the near kernel all of the addresses, which it then answers for.
fn addressed(lab: &Lab) -> Vec<&'static str> {
    lab.enable_ipv6();
    for address in [HOST[0], CLAIMED[0], OTHER[0]] {
        lab.near(&format!("address add {address}/24 dev near0"));
    }
    for address in [HOST[1], CLAIMED[1], OTHER[1]] {
        lab.near(&format!("address add {address}/64 dev near0 nodad"));
    }
    lab.far("address add 198.18.0.2/24 dev far0");
    lab.far("address add 2001:db8::2/64 dev far0 nodad");
    let all = [HOST, CLAIMED, OTHER].concat();
    assert_eq!(answering(lab, &all), all);
    all
}

#[test]
fn the_kernel_hears_what_is_the_hosts_and_nothing_else_until_the_silence_ends() {
    Lab::run(1, |lab| {
        let all = addressed(lab);
        let mut silence = Silence::new("near0").unwrap();
        silence.set_addresses(&owned(&HOST, &CLAIMED)).unwrap();
        assert_eq!(answering(lab, &all), all, "before it began");
        silence.begin().unwrap();
        assert_eq!(answering(lab, &all), HOST);
        // ARP and ND of what is neither are the kernel's, of what is claimed not: nothing may announce them.
        let neighbours = lab.far("neighbour show dev far0");
        let resolved = |address: &str| {
            neighbours.lines().any(|line| line.starts_with(&format!("{address} ")) && line.contains("lladdr"))
        };
        assert!(OTHER.iter().all(|address| resolved(address)), "{neighbours}");
        assert!(!CLAIMED.iter().any(|address| resolved(address)), "{neighbours}");

        // An address of both owners is claimed.
        silence.set_addresses(&owned(&[CLAIMED[0], OTHER[0], OTHER[1]], &CLAIMED)).unwrap();
        assert_eq!(answering(lab, &all), OTHER);
        let many = (0..20_000u32).map(|number| IpAddr::from((0xc613_0000 + number).to_be_bytes()));
        let many: Vec<_> = many.map(|address| (address, Owner::Claimed)).collect();
        silence.set_addresses(&[many, owned(&HOST, &[])].concat()).unwrap();
        assert_eq!(answering(lab, &all), HOST);

        drop(silence);
        assert_eq!(answering(lab, &all), all);
    });
}

fn near_port() -> [PortSpec; 1] {
    [PortSpec { interface: "near0".to_owned(), driver: Driver::AfPacket, attach: Attach::Nftables }]
}

#[test]
fn a_port_without_tcx_follows_its_addresses_and_its_gate() {
    Lab::run(1, |lab| {
        let all = addressed(lab);
        let mut steering = Steering::new(16).unwrap();
        let opened = open(&steering, &near_port(), &[], 1, &RingLengths::default()).unwrap();
        let gate = &opened.gates[0];
        let facts = gate.facts();
        assert_eq!((facts.driver, facts.mode), ("af_packet", "af_packet ring"));
        assert_eq!(facts.reason.as_deref(), Some("kernel kept silent by nftables: asked for"));
        gate.open().unwrap();
        assert_eq!(answering(lab, &all), all, "no address was known");
        steering.set_addresses(&owned(&HOST, &CLAIMED)).unwrap();
        assert_eq!(answering(lab, &all), HOST);
        gate.shut().unwrap();
        assert_eq!(answering(lab, &all), all, "shut");
        steering.set_addresses(&owned(&OTHER, &CLAIMED)).unwrap();
        assert_eq!(answering(lab, &all), all, "still shut");
        gate.open().unwrap();
        assert_eq!(answering(lab, &all), OTHER);
        assert!(matches!(gate.set_takes_all(true), Err(Error::Unsupported { .. })));
        gate.set_untagged(false).unwrap();
        assert_eq!(answering(lab, &all), all, "the untagged are the kernel's");
        gate.shut().unwrap();
        gate.open().unwrap();
        assert_eq!(answering(lab, &all), all, "and so they stay");
        gate.set_untagged(true).unwrap();
        assert_eq!(answering(lab, &all), OTHER);
        drop(opened.workers);
        assert_eq!(answering(lab, &all), all, "the worker has gone");

        // Opened when the addresses are known already; the end of the other is no matter.
        steering.set_addresses(&owned(&HOST, &CLAIMED)).unwrap();
        let gate = Gate::attach(&steering, "near0", Driver::AfPacket, Attach::Nftables).unwrap();
        gate.open().unwrap();
        assert_eq!(answering(lab, &all), HOST);
        drop(gate);
        assert_eq!(answering(lab, &all), all, "the gate has gone");
    });
}

/// Makes this thread's kernel one that attaches no BPF link anywhere, like one without tcx.
fn refuse_links() {
    const LINK_CREATE: u32 = 28;
    let step = |code: u32, k: u32, jf: u8| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let load = |offset| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0);
    let unless_equal = |value, skip| step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, skip);
    let end = |verdict| step(libc::BPF_RET | libc::BPF_K, verdict, 0);
    // The system call's number stands first, its first argument at 16.
    let mut filter = [
        load(0),
        unless_equal(libc::SYS_bpf as u32, 3),
        load(16),
        unless_equal(LINK_CREATE, 1),
        end(libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32),
        end(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program outlives the call.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}

#[test]
fn a_kernel_without_tcx_is_kept_silent_all_the_same() {
    Lab::run(1, |lab| {
        let all = addressed(lab);
        refuse_links();
        let mut steering = Steering::new(16).unwrap();
        steering.set_addresses(&owned(&HOST, &CLAIMED)).unwrap();
        let spec = |driver| PortSpec { driver, attach: Attach::Auto, interface: "near0".to_owned() };
        let opened = open(&steering, &[spec(Driver::Auto)], &[], 1, &RingLengths::default()).unwrap();
        let facts = opened.gates[0].facts();
        assert_eq!(facts.driver, "af_packet");
        let reason = facts.reason.unwrap();
        assert!(reason.contains("XDP program: "), "{reason}");
        assert!(reason.ends_with("; kernel kept silent by nftables: kernel has no tcx"), "{reason}");
        opened.gates[0].open().unwrap();
        assert_eq!(answering(lab, &all), HOST);
    });
}

#[test]
fn a_gate_is_shut_after_its_interface_has_gone() {
    Lab::run(1, |lab| {
        let mut steering = Steering::new(16).unwrap();
        steering.set_addresses(&owned(&HOST, &CLAIMED)).unwrap();
        let gate = Gate::attach(&steering, "near0", Driver::AfPacket, Attach::Nftables).unwrap();
        gate.open().unwrap();
        lab.near("link del near0");
        steering.set_addresses(&owned(&HOST, &OTHER)).unwrap();
        gate.shut().unwrap();
    });
}

/// Set for the child of the test below: the namespace to go to.
const CHILD: &str = "JEOUL_SILENCE_CHILD";

#[test]
fn a_killed_process_leaves_no_silence_behind() {
    if let Ok(namespace) = std::env::var(CHILD) {
        rings::namespace::enter(&namespace).unwrap();
        let mut steering = Steering::new(16).unwrap();
        steering.set_addresses(&owned(&HOST, &CLAIMED)).unwrap();
        let opened = open(&steering, &near_port(), &[], 1, &RingLengths::default()).unwrap();
        opened.gates[0].open().unwrap();
        println!("\nsilent");
        loop {
            std::thread::park();
        }
    }
    Lab::run(1, |lab| {
        let all = addressed(lab);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_process_leaves_no_silence_behind", "--nocapture"])
            .env(CHILD, lab.near_name())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == "silent"));
        let during = answering(lab, &all);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(during, HOST);
        eventually("the end of the silence", || (answering(lab, &all) == all).then_some(()));
    });
}
