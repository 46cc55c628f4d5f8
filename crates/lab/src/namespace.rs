//! One network namespace of a testbed: run closures and programs in it, set what the kernel does there.
//!
//! A handle is cheap to clone and to share; any thread may use it. It does not keep the namespace alive: that
//! is the testbed's part. Refuses addresses outside the lab's networks and kernel parameters that are not of
//! the namespace.

use std::fs::{self, File};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use wire::Mac;

use crate::address::{Prefix, lab_address};
use crate::error::{Error, Result};
use crate::ledger::{Ledger, NAMESPACE_DIRECTORY};
use crate::process::Process;
use crate::program::{self, COMMAND_LIMIT};

/// What every namespace starts from. The kernel copies IPv4 parameters from the host, which may route or
/// filter; IPv6 addresses must be usable at once, without duplicate address detection (RFC 4862, 5.4); and
/// nobody may invent routes.
const INITIAL_PARAMETERS: [(&str, &str); 13] = [
    ("net.ipv4.ip_forward", "0"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    ("net.ipv4.conf.all.send_redirects", "0"),
    ("net.ipv4.conf.default.send_redirects", "0"),
    ("net.ipv6.conf.all.disable_ipv6", "0"),
    ("net.ipv6.conf.default.disable_ipv6", "0"),
    ("net.ipv6.conf.all.forwarding", "0"),
    ("net.ipv6.conf.all.accept_dad", "0"),
    ("net.ipv6.conf.default.accept_dad", "0"),
    ("net.ipv6.conf.all.accept_ra", "0"),
    ("net.ipv6.conf.default.accept_ra", "0"),
    ("net.ipv6.conf.default.router_solicitations", "0"),
];

/// A handle on a namespace; see the module.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: Arc<str>,
    ledger: Arc<Ledger>,
}

impl Namespace {
    pub(crate) fn create(ledger: &Arc<Ledger>, role: &str) -> Result<Self> {
        let namespace = Self { name: ledger.add_namespace(role)?.into(), ledger: Arc::clone(ledger) };
        namespace.ip(&["link", "set", "lo", "up"])?;
        namespace.set_parameters(&INITIAL_PARAMETERS)?;
        Ok(namespace)
    }

    /// Its name for `ip netns exec NAME ...`.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// The directory of the testbed that this namespace belongs to.
    pub fn directory(&self) -> &Path {
        self.ledger.directory()
    }

    /// Moves the calling thread into the namespace, for the rest of its life.
    pub(crate) fn enter(&self) -> Result<()> {
        let entering = || format!("entering namespace {}", self.name);
        let file = File::open(Path::new(NAMESPACE_DIRECTORY).join(&*self.name))
            .map_err(Error::system(entering()))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(Error::system(entering()))
    }

    /// Runs a closure on a new thread inside the namespace and gives what it returns; a panic goes on in the
    /// caller. Sockets made inside stay in the namespace wherever they are used later.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let inside = || self.enter().map(|()| work());
        thread::scope(|scope| {
            scope.spawn(inside).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A command that will run inside the namespace. `ip netns exec` replaces itself by the program, so the
    /// process id is the program's own, and gives it the namespace's view of `/sys`.
    pub fn command(&self, program: &str) -> Result<Command> {
        let program = program::find_program(program)?;
        let mut command = Command::new(program::find_program("ip")?);
        command.args(["netns", "exec", &self.name]).arg(program).stdin(Stdio::null()).process_group(0);
        Ok(command)
    }

    /// Starts a command made by [`Namespace::command`]. It ends with its handle, or with the testbed.
    pub fn spawn(&self, mut command: Command) -> Result<Process> {
        let child = self.ledger.add_child(&mut command)?;
        Ok(Process::new(program::command_line(&command), child, Arc::clone(&self.ledger)))
    }

    /// Runs a program inside to its end; its output if it ended with success.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        program::run(self.command(program)?.args(arguments), COMMAND_LIMIT)
    }

    /// Runs a command made by [`Namespace::command`] to its end, however it ends; killed when it takes longer.
    pub fn output_within(&self, mut command: Command, limit: Duration) -> Result<Output> {
        program::output_within(&mut command, limit)
    }

    /// `ip` with these words, on this namespace.
    pub(crate) fn ip(&self, words: &[&str]) -> Result<Output> {
        program::ip(&[&["-n", &self.name], words].concat())
    }

    /// Sets a kernel parameter of the namespace, `net.ipv4.ip_forward`. An interface name with a dot needs
    /// slashes: `net/ipv4/conf/eth0.20/rp_filter`.
    pub fn set_parameter(&self, name: &str, value: &str) -> Result<()> {
        self.set_parameters(&[(name, value)])
    }

    /// Sets several kernel parameters, in order.
    pub fn set_parameters(&self, parameters: &[(&str, &str)]) -> Result<()> {
        self.run(|| {
            parameters.iter().try_for_each(|(name, value)| {
                let path = parameter_path(name)?;
                fs::write(&path, value).map_err(Error::system(format!("writing {value} to {path}")))
            })
        })?
    }

    /// Reads a kernel parameter of the namespace.
    pub fn parameter(&self, name: &str) -> Result<String> {
        let path = parameter_path(name)?;
        let text =
            self.run(|| fs::read_to_string(&path).map_err(Error::system(format!("reading {path}"))))??;
        Ok(text.trim_end().into())
    }

    /// Makes the kernel route between the interfaces of this namespace, both address families.
    pub fn forward_packets(&self) -> Result<()> {
        self.set_parameters(&[("net.ipv4.ip_forward", "1"), ("net.ipv6.conf.all.forwarding", "1")])
    }

    /// Holds an address on its loopback, as a server behind direct server return holds a virtual one: packets
    /// for it are taken, and no neighbour hears of it (`arp_ignore` 1, `arp_announce` 2; RFC 4861 answers for
    /// the asked interface alone by itself).
    pub fn hold_address(&self, address: IpAddr) -> Result<()> {
        let address = lab_address(address)?;
        for place in ["all", "lo"] {
            self.set_parameters(&[
                (&format!("net.ipv4.conf.{place}.arp_ignore"), "1"),
                (&format!("net.ipv4.conf.{place}.arp_announce"), "2"),
            ])?;
        }
        let length = if address.is_ipv4() { 32 } else { 128 };
        let mut words = vec!["address", "add"];
        let text = format!("{address}/{length}");
        words.extend([&*text, "dev", "lo"]);
        if address.is_ipv6() {
            words.push("nodad");
        }
        self.ip(&words)?;
        Ok(())
    }

    /// Takes packets for all addresses of a network as its own, and lets programs bind them, without having them on
    /// an interface: so a host stands for many. It does not answer ARP or neighbour solicitations for them; who
    /// calls them needs a route.
    pub fn answer_for(&self, network: &str) -> Result<()> {
        let network: Prefix = network.parse()?;
        self.ip(&["route", "add", "local", &network.to_string(), "dev", "lo"])?;
        self.set_parameter("net.ipv6.ip_nonlocal_bind", "1")
    }

    /// Lets an address go that it [held](Self::hold_address).
    pub fn release_address(&self, address: IpAddr) -> Result<()> {
        let length = if address.is_ipv4() { 32 } else { 128 };
        self.ip(&["address", "delete", &format!("{}/{length}", lab_address(address)?), "dev", "lo"])?;
        Ok(())
    }

    /// One ping, by the program; whether it was answered within `limit`.
    pub fn ping(&self, target: IpAddr, limit: Duration) -> Result<bool> {
        let deadline = limit.as_secs().max(1).to_string();
        let target = lab_address(target)?.to_string();
        let mut command = self.command("ping")?;
        command.args(["-n", "-q", "-c", "1", "-W", &deadline, &target]);
        let output = program::output_within(&mut command, limit + COMMAND_LIMIT)?;
        Ok(output.status.success())
    }

    /// A route to `destination` (`198.19.0.0/16`) through a gateway.
    pub fn add_route(&self, destination: &str, gateway: IpAddr) -> Result<()> {
        let destination: Prefix = destination.parse()?;
        self.ip(&["route", "add", &destination.to_string(), "via", &lab_address(gateway)?.to_string()])?;
        Ok(())
    }

    /// The same, in place of a route to that destination if there is one.
    pub fn replace_route(&self, destination: &str, gateway: IpAddr) -> Result<()> {
        let (destination, gateway): (Prefix, _) = (destination.parse()?, lab_address(gateway)?);
        self.ip(&["route", "replace", &destination.to_string(), "via", &gateway.to_string()])?;
        Ok(())
    }

    /// The default route of the gateway's address family.
    pub fn add_default_route(&self, gateway: IpAddr) -> Result<()> {
        let family = if gateway.is_ipv4() { "-4" } else { "-6" };
        self.ip(&[family, "route", "add", "default", "via", &lab_address(gateway)?.to_string()])?;
        Ok(())
    }

    /// A neighbour that is known for good: it is never asked for.
    pub fn add_neighbour(&self, address: IpAddr, mac: Mac, interface: &str) -> Result<()> {
        let (address, mac) = (lab_address(address)?.to_string(), mac.to_string());
        let permanent = ["nud", "permanent", "dev", interface];
        self.ip(&[&["neighbour", "replace", &address, "lladdr", &mac][..], &permanent].concat())?;
        Ok(())
    }

    /// Forgets what the kernel has learned of narrow links, so that the next connection finds them itself.
    /// Without this a host announces an MSS that fits the path that it knows, and its clients never meet the
    /// link.
    pub fn forget_path_mtu(&self) -> Result<()> {
        ["-4", "-6"].iter().try_for_each(|family| self.ip(&[family, "route", "flush", "cache"]).map(drop))
    }

    /// Takes an interface down, as a pulled cable would for both ends, or up again. Taking it down makes the
    /// kernel forget IPv6 addresses and routes there.
    pub fn set_link(&self, interface: &str, up: bool) -> Result<()> {
        self.ip(&["link", "set", interface, if up { "up" } else { "down" }])?;
        Ok(())
    }

    /// An Ethernet bridge that only switches: no spanning tree, no delay, no snooping, no packet filter, no
    /// address.
    pub fn add_bridge(&self, bridge: &str) -> Result<()> {
        self.set_parameter("net.ipv6.conf.default.disable_ipv6", "1")?;
        let quiet = ["stp_state", "0", "forward_delay", "0", "mcast_snooping", "0"];
        self.ip(&[&["link", "add", bridge, "type", "bridge"][..], &quiet].concat())?;
        if Path::new("/proc/sys/net/bridge").exists() {
            let families = ["iptables", "ip6tables", "arptables"];
            let names = families.map(|family| format!("net.bridge.bridge-nf-call-{family}"));
            names.iter().try_for_each(|name| self.set_parameter(name, "0"))?;
        }
        self.set_link(bridge, true)
    }
}

/// Only `net` parameters belong to a network namespace; any other would change the host.
fn parameter_path(name: &str) -> Result<String> {
    let separated = if name.contains('/') { name.to_string() } else { name.replace('.', "/") };
    if !separated.starts_with("net/") || separated.split('/').any(|word| word == "..") {
        return Err(Error::unusable(name, "only parameters under `net.` belong to a namespace"));
    }
    Ok(format!("/proc/sys/{separated}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_of_the_host_is_refused() {
        assert_eq!(parameter_path("net.ipv4.ip_forward").unwrap(), "/proc/sys/net/ipv4/ip_forward");
        assert_eq!(
            parameter_path("net/ipv4/conf/eth0.20/rp_filter").unwrap(),
            "/proc/sys/net/ipv4/conf/eth0.20/rp_filter"
        );
        for wrong in ["kernel.panic", "vm.overcommit_memory", "net/../kernel/panic", "/net/x"] {
            assert!(parameter_path(wrong).is_err(), "{wrong}");
        }
    }
}
