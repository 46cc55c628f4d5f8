//! What is said when a privilege is missing. A thread of Linux has capabilities of its own, so each case
//! drops some in the thread that tries.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod packet_lab;
mod worker_lab;

use rings::steering::{Attach, Driver, Owner, Steering};
use rings::{Error, HostLegSpec, Opened, RingLengths, open};
use std::io;
use worker_lab::{HOSTS, Lab, VIP, spec};

// linux/capability.h
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

const EVERY_DRIVER: [(Driver, Attach); 4] = [
    (Driver::AfXdp, Attach::Auto),
    (Driver::AfPacket, Attach::Auto),
    (Driver::AfPacket, Attach::Nftables),
    (Driver::Auto, Attach::Auto),
];

/// Takes `dropped` from this thread, for good.
fn drop_capabilities(dropped: &[u32]) {
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = [VERSION_3, 0];
    // Effective, permitted, inheritable: the lower 32 capabilities, then the upper ones.
    let mut sets = [0u32; 6];
    // SAFETY: the kernel reads two words and fills six, all of which outlive the call.
    let status = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) };
    assert_eq!(status, 0, "{}", io::Error::last_os_error());
    for capability in dropped {
        let lower = *capability as usize / 32 * 3;
        for set in &mut sets[lower..lower + 2] {
            *set &= !(1 << (capability % 32));
        }
    }
    // SAFETY: as above.
    let status = unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), sets.as_mut_ptr()) };
    assert_eq!(status, 0, "{}", io::Error::last_os_error());
}

fn try_to_open((driver, attach): (Driver, Attach)) -> Result<Opened, Error> {
    let mut steering = Steering::new(64)?;
    let addresses = [(HOSTS[0], Owner::Host), (VIP, Owner::Claimed)];
    steering.set_addresses(&addresses.map(|(address, owner)| (address.parse().unwrap(), owner)))?;
    let opened = open(&steering, &[spec("eth0", driver, attach)], &[], 1, &RingLengths::default())?;
    opened.gates[0].open()?;
    Ok(opened)
}

fn is_named(missing: &'static str, dropped: &[u32], kinds: &[(Driver, Attach)]) {
    Lab::run(1, |_| {
        for &kind in kinds {
            drop(try_to_open(kind).unwrap());
        }
        drop_capabilities(dropped);
        for &kind in kinds {
            let error = try_to_open(kind).unwrap_err();
            let Error::Capability { capability, .. } = &error else { panic!("{kind:?}: {error}") };
            assert!(capability.contains(missing), "{kind:?}: {error}");
            assert!(error.to_string().contains("run as root or grant CAP_"), "{error}");
        }
    });
}

#[test]
fn a_missing_cap_bpf_is_named() {
    is_named("CAP_BPF", &[CAP_BPF, CAP_SYS_ADMIN], &EVERY_DRIVER);
}

#[test]
fn a_missing_cap_net_admin_is_named() {
    is_named("CAP_NET_ADMIN", &[CAP_NET_ADMIN, CAP_SYS_ADMIN], &EVERY_DRIVER);
}

#[test]
fn a_missing_cap_net_raw_is_named() {
    is_named("CAP_NET_RAW", &[CAP_NET_RAW], &EVERY_DRIVER);
}

#[test]
fn a_host_leg_without_cap_net_admin_names_it() {
    Lab::run(1, |_| {
        let leg = HostLegSpec { name: "host0".to_owned(), mac: [2, 0, 0, 0, 0, 0x50], mtu: 1_500 };
        let try_to_make =
            || open(&Steering::new(1)?, &[], std::slice::from_ref(&leg), 1, &RingLengths::default());
        drop(try_to_make().unwrap());
        drop_capabilities(&[CAP_NET_ADMIN]);
        let error = try_to_make().unwrap_err();
        assert!(matches!(error, Error::Capability { .. }), "{error}");
        assert!(error.to_string().contains("run as root or grant CAP_NET_ADMIN"), "{error}");
    });
}

#[test]
fn nothing_else_of_root_is_needed() {
    Lab::run(1, |_| {
        drop_capabilities(&[CAP_SYS_ADMIN, CAP_PERFMON]);
        for kind in EVERY_DRIVER {
            let opened = try_to_open(kind).unwrap();
            opened.gates[0].set_vlans(&[20]).unwrap();
        }
    });
}

#[test]
fn memory_that_may_not_be_locked_is_named_and_af_packet_goes_on() {
    Lab::run(1, |_| {
        let limit_bytes = 65_536;
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the struct outlives both calls. The limit is the process's, but only threads without
        // CAP_IPC_LOCK heed it.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit), 0);
            limit.rlim_cur = limit_bytes;
            assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit), 0);
        }
        drop_capabilities(&[CAP_IPC_LOCK]);
        let error = try_to_open((Driver::AfXdp, Attach::Auto)).unwrap_err();
        assert!(matches!(error, Error::OutOfBounds { bound, .. } if bound == limit_bytes), "{error}");
        assert!(error.to_string().contains("CAP_IPC_LOCK"), "{error}");
        let facts = try_to_open((Driver::Auto, Attach::Auto)).unwrap().gates[0].facts();
        assert_eq!(facts.driver, "af_packet");
        assert!(facts.reason.unwrap().contains("locked memory"));
    });
}
