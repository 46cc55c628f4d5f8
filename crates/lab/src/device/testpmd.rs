//! DPDK's test program: forwards between two ports and writes MAC addresses, and does nothing else.
//!
//! On the kernel's own sockets, as a poll-mode program on a machine whose network cards stay with the kernel uses DPDK.
//! Without hugepages, of which a machine may have set none aside.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};
use crate::program::find_program;

use super::{Driver, Running, Site, Started, typed};

/// What it says when both ports forward.
const READY: &str = "forwards packets on 2 streams";

/// Memory of the environment layer, in MiB: the buffers and what DPDK wants beside them.
const MEMORY_MIB: &str = "256";

/// Buffers of 2 KiB: enough for all rings.
const BUFFERS: &str = "16384";

/// The names under which distributions install it.
const NAMES: [&str; 2] = ["dpdk-testpmd", "testpmd"];

/// Where its drivers are, and how deep below.
const LIBRARIES: [&str; 3] = ["/usr/lib", "/usr/lib64", "/usr/local/lib"];
const LIBRARY_DEPTH: u32 = 3;

/// Whether it is installed with the driver that is wanted.
pub(super) fn available(driver: Driver) -> Result<(), String> {
    if program().is_none() {
        return Err("not installed: dpdk-testpmd (Debian: dpdk or dpdk-dev)".into());
    }
    match LIBRARIES.iter().any(|directory| holds(Path::new(directory), &library(driver), LIBRARY_DEPTH)) {
        true => Ok(()),
        false => {
            Err(format!("not installed: DPDK's driver {} (apt-cache search librte-net-af)", library(driver)))
        }
    }
}

fn program() -> Option<&'static str> {
    NAMES.into_iter().find(|name| find_program(name).is_ok())
}

fn library(driver: Driver) -> String {
    format!("librte_net_{}.so", driver.word())
}

/// Whether a file of this name, whatever its version, is in a directory or so deep below it.
fn holds(directory: &Path, name: &str, depth: u32) -> bool {
    let mut entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.any(|entry| {
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        entry.file_name().to_string_lossy().starts_with(name)
            || (is_directory && depth > 0 && holds(&entry.path(), name, depth - 1))
    })
}

pub(super) fn start(site: &Site<'_>) -> Result<Started> {
    let missing = || Error::Missing { program: NAMES[0].into(), package: "dpdk".into() };
    let (plan, driver) = (site.plan, site.plan.driver.word());
    let mut command = site.namespace().command(program().ok_or_else(missing)?)?;
    // A core that says what happens, which is nothing, and a core that forwards.
    command.args(["-l", &format!("{},{}", plan.control_cpu, plan.cpu)]);
    command.args(["--main-lcore", &plan.control_cpu.to_string(), "--no-huge", "-m", MEMORY_MIB, "--no-pci"]);
    command.args(["--no-telemetry", "--file-prefix", &prefix(site.directory)]);
    for (index, end) in [site.outside, site.inside].into_iter().enumerate() {
        command.args(["--vdev", &format!("net_{driver}{index},iface={}", end.interface())]);
    }
    command.args(["--", "--forward-mode=mac", "--nb-cores=1", "--burst=64", "--total-num-mbufs", BUFFERS]);
    for (index, far) in [&site.straight.clients, &site.straight.servers].into_iter().enumerate() {
        command.arg(format!("--eth-peer={index},{}", far.mac()));
    }
    // Without a terminal it would end at once, were it not to print statistics; a day apart, it prints none.
    command.args(["--auto-start", "--stats-period", "86400"]);
    let commands = vec![typed(&command)];
    let (process, _said) = site.spawn_until(command, "testpmd", READY)?;
    let mode = format!("net_{driver}, no hugepages");
    let (running, configuration) = (Running::Program(process), String::new());
    Ok(Started { running, commands, configuration, mode, destination: None })
}

/// Keeps what it leaves in the runtime directory apart from other runs'.
fn prefix(directory: &Path) -> String {
    super::file_name(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_found_whatever_its_version() {
        let directory = std::env::temp_dir().join(format!("testpmd-test-{}", std::process::id()));
        fs::create_dir_all(directory.join("dpdk/pmds")).unwrap();
        fs::write(directory.join("dpdk/pmds").join("librte_net_af_xdp.so.23.0"), "").unwrap();
        let found = [Driver::AfXdp, Driver::AfPacket].map(|driver| holds(&directory, &library(driver), 2));
        let too_deep = holds(&directory, &library(Driver::AfXdp), 1);
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!((found, too_deep), ([true, false], false));
    }
}
