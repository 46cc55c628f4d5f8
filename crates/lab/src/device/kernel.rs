//! What the kernel does by itself: routing, and destination NAT with connection tracking.
//!
//! The kernel works where a frame comes in, which would be the generator's CPU; packet steering
//! (`Documentation/networking/scaling.rst`, RPS) gives the device the CPU that other devices have.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use crate::error::Result;
use crate::link::Endpoint;
use crate::topology::straight::{VIPS, server, servers};

use super::{Running, Site, Started};

/// What a report says of how it takes frames.
const MODE: &str = "in the kernel";

/// How long a device may hold a flow that has no reply: longer than any trial.
const UNREPLIED_SECONDS: &str = "120";

pub(super) fn start_routing(site: &Site<'_>) -> Result<Started> {
    let mut commands = site.route()?;
    commands.extend(site.route_vips()?);
    let (configuration, mode) = (String::new(), MODE.into());
    Ok(Started { running: Running::Kernel, commands, configuration, mode, destination: None })
}

pub(super) fn start_nftables(site: &Site<'_>) -> Result<Started> {
    let mut commands = site.route()?;
    let text = rules(site.plan.source_nat);
    let path = site.write("nat.nft", &text)?;
    site.namespace().output("nft", &["--file", &path.to_string_lossy()])?;
    // The module counts from here on, so its parameters are there.
    let namespace = site.namespace();
    for name in ["udp_timeout", "udp_timeout_stream"] {
        namespace.set_parameter(&format!("net.netfilter.nf_conntrack_{name}"), UNREPLIED_SECONDS)?;
    }
    commands.push("nft --file nat.nft".into());
    let (running, mode) = (Running::Kernel, MODE.into());
    Ok(Started { running, commands, configuration: text, mode, destination: None })
}

/// Every server in turn, as the appliance chooses them.
fn rules(source_nat: bool) -> String {
    let of_family = |(vip, family): (IpAddr, &str)| {
        let map: Vec<String> =
            servers(vip).enumerate().map(|(index, server)| format!("{index} : {server}")).collect();
        let count = map.len();
        format!("{family} daddr {vip} dnat {family} to numgen inc mod {count} map {{ {} }}\n", map.join(", "))
    };
    let destinations: String = VIPS.into_iter().zip(["ip", "ip6"]).map(of_family).collect();
    let sources = if source_nat {
        "chain after { type nat hook postrouting priority srcnat;\noifname \"inside\" masquerade\n}\n"
    } else {
        ""
    };
    format!(
        "table inet bench {{\nchain before {{ type nat hook prerouting priority dstnat;\n{destinations}}}\n{sources}}}\n"
    )
}

impl Site<'_> {
    /// Clients call the virtual address in every trial; to a router it is just an address behind the first server.
    pub(super) fn route_vips(&self) -> Result<Vec<String>> {
        let route = |vip: IpAddr| {
            let (hop, length) = (server(0, vip), if vip.is_ipv4() { 32 } else { 128 });
            self.namespace().add_route(&format!("{vip}/{length}"), hop)?;
            Ok(format!("ip route add {vip} via {hop}"))
        };
        VIPS.into_iter().map(route).collect()
    }

    /// Makes the device's kernel a router on the device's CPU; the commands that say so.
    fn route(&self) -> Result<Vec<String>> {
        self.straight.address_device()?;
        self.namespace().forward_packets()?;
        let mut commands = vec!["sysctl net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1".into()];
        for end in [self.outside, self.inside] {
            commands.push(self.steer_packets(end)?);
        }
        Ok(commands)
    }

    /// Has what comes in by an interface worked on by the device's CPU.
    fn steer_packets(&self, end: &Endpoint) -> Result<String> {
        let mask = format!("{:x}", 1u64 << (self.plan.cpu % 64));
        let path = format!("/sys/class/net/{}/queues/rx-0/rps_cpus", end.interface());
        let typed = format!("echo {mask} > {path}");
        self.namespace().output("sh", &["-c", &typed])?;
        Ok(typed)
    }

    /// Has an interface's polling done by threads on the device's CPU: the only way to steer XDP programs.
    pub(super) fn receive_on_own_cpu(&self) -> Result<Vec<String>> {
        let mut commands = Vec::new();
        for end in [self.outside, self.inside] {
            let typed = format!("echo 1 > /sys/class/net/{}/threaded", end.interface());
            self.namespace().output("sh", &["-c", &typed])?;
            commands.push(typed);
            for thread in polling_threads(end.interface()) {
                let cpu = self.plan.cpu.to_string();
                self.namespace().output("taskset", &["--cpu-list", "--pid", &cpu, &thread.to_string()])?;
                commands.push(format!("taskset --cpu-list --pid {cpu} {thread}"));
            }
        }
        Ok(commands)
    }
}

/// The kernel's threads `napi/INTERFACE-ID`. Interfaces of other namespaces may be called alike, and their threads may
/// go where ours go.
fn polling_threads(interface: &str) -> Vec<u32> {
    let prefix = format!("napi/{interface}-");
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let of_interface = |pid: &u32| {
        let path = Path::new("/proc").join(pid.to_string()).join("comm");
        fs::read_to_string(path).is_ok_and(|name| name.starts_with(&prefix))
    };
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(of_interface).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_of_both_families_has_its_turn() {
        let text = rules(false);
        assert!(text.contains(
            "ip daddr 198.18.0.10 dnat ip to numgen inc mod 4 map { 0 : 198.18.1.11, 1 : 198.18.1.12, \
             2 : 198.18.1.13, 3 : 198.18.1.14 }"
        ));
        assert!(
            text.contains("ip6 daddr 2001:db8::10 dnat ip6 to numgen inc mod 4 map { 0 : 2001:db8:1::11,")
        );
        assert!(!text.contains("masquerade"));
        assert!(rules(true).contains("oifname \"inside\" masquerade"));
    }
}
