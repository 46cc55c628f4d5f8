//! What the labs of the forwarding modes have in common: a client, the appliance's ports, three servers, two
//! virtual addresses, and the configuration that joins them.
//!
//! Any thread; blocks. The services are the same everywhere: web, held connections, bulk transfer and UDP,
//! each over IPv4 and IPv6, each on all three servers.

use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::link::Endpoint;
use crate::namespace::Namespace;
use crate::peer::{NginxServer, TcpHold, TransferServer, UdpEcho};

use super::host::Host;

/// Where the web service listens.
pub const HTTP_PORT: u16 = 80;
/// Where the service with held connections listens.
pub const HOLD_PORT: u16 = 7000;
/// Where the service for long transfers listens.
pub const TRANSFER_PORT: u16 = 7100;
/// Where the UDP service listens.
pub const UDP_PORT: u16 = 5300;

/// Name, protocol, port and checked port of each service; the virtual address's family is written behind the
/// name.
const SERVICES: [(&str, &str, u16, Option<u16>); 4] = [
    ("web", "tcp", HTTP_PORT, None),
    ("hold", "tcp", HOLD_PORT, None),
    ("transfer", "tcp", TRANSFER_PORT, None),
    ("udp", "udp", UDP_PORT, Some(HTTP_PORT)),
];

/// A lab of a forwarding mode, without peers; see the module.
#[derive(Debug)]
pub struct Site {
    /// The client.
    pub client: Host,
    /// The namespace of the appliance. Its kernel routes nothing.
    pub appliance: Namespace,
    /// The appliance's interfaces.
    pub ports: Vec<Endpoint>,
    /// `server1` to `server3`.
    pub servers: Vec<Host>,
    /// The virtual addresses, IPv4 and IPv6.
    pub vips: [IpAddr; 2],
    pub(super) wording: Wording,
}

/// What a configuration says beside its services.
#[derive(Clone, Debug)]
pub struct Options {
    /// "auto", "af_xdp" or "af_packet".
    pub driver: String,
    /// "adaptive" or "busy".
    pub polling: String,
    /// CPU numbers, one worker each.
    pub workers: Vec<u16>,
    /// "never", "auto" or "always" in place of what the lab itself says.
    pub source_nat: Option<String>,
    /// IPv4 sessions.
    pub session_capacity: u32,
}

impl Default for Options {
    /// One worker on CPU 1, the lab's own source NAT, and a table that is made in an instant.
    fn default() -> Self {
        Self {
            driver: "auto".into(),
            polling: "adaptive".into(),
            workers: vec![1],
            source_nat: None,
            session_capacity: 20_000,
        }
    }
}

/// What a lab's configuration says of its ports and its mode.
#[derive(Debug, Default)]
pub(super) struct Wording {
    pub ports: Vec<PortWording>,
    /// The host leg's addresses of a bridge [`BRIDGE`] over all ports; none without a bridge.
    pub bridge: Option<[String; 2]>,
    pub mode: &'static str,
    pub source_nat: &'static str,
    /// Further lines of every service, of the IPv4 ones and of the IPv6 ones.
    pub lines: [Vec<String>; 2],
    /// The DSCP of each server, where the mode has one.
    pub dscp: Vec<u8>,
}

/// A `[[port]]`.
#[derive(Debug)]
pub(super) struct PortWording {
    pub name: String,
    pub interface: String,
    /// The VLAN and the host leg's addresses.
    pub vlan: Option<(u16, [String; 2])>,
}

impl PortWording {
    /// A port that is called like its interface.
    pub(super) fn of(end: &Endpoint) -> Self {
        Self { name: end.interface().into(), interface: end.interface().into(), vlan: None }
    }
}

/// The appliance's bridge, and its host leg.
pub const BRIDGE: &str = "br0";

/// A service of a lab, as its configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteService {
    /// `web-v4` and so on.
    pub name: String,
    /// Virtual address and port.
    pub target: SocketAddr,
    /// "tcp" or "udp".
    pub protocol: &'static str,
    /// The TCP port that the health check connects to; absent: the server's own.
    pub check_port: Option<u16>,
}

/// The programs of all servers; each server has all of them.
#[derive(Debug)]
pub struct Peers {
    /// Web servers, in the servers' order.
    pub web: Vec<NginxServer>,
    /// Servers that keep connections.
    pub hold: Vec<TcpHold>,
    /// Servers for long transfers.
    pub transfer: Vec<TransferServer>,
    /// UDP servers.
    pub echo: Vec<UdpEcho>,
}

impl Site {
    /// The services, IPv4 before IPv6.
    pub fn services(&self) -> Vec<SiteService> {
        let of_family = |(vip, family): (IpAddr, &str)| {
            SERVICES.map(|(name, protocol, port, check_port)| SiteService {
                name: format!("{name}-{family}"),
                target: (vip, port).into(),
                protocol,
                check_port,
            })
        };
        self.vips.into_iter().zip(["v4", "v6"]).flat_map(of_family).collect()
    }

    /// Starts all programs on all servers; they answer from here on.
    pub fn start_peers(&self) -> Result<Peers> {
        let mut peers = Peers { web: Vec::new(), hold: Vec::new(), transfer: Vec::new(), echo: Vec::new() };
        for server in &self.servers {
            let (name, namespace) = (&server.name, server.namespace());
            peers.web.push(NginxServer::start(namespace, name, &[HTTP_PORT])?);
            peers.hold.push(TcpHold::start(namespace, name, HOLD_PORT)?);
            peers.transfer.push(TransferServer::start(namespace, name, TRANSFER_PORT)?);
            peers.echo.push(UdpEcho::start_at(namespace, name, UDP_PORT, &server.all_addresses())?);
        }
        Ok(peers)
    }

    /// Where the control socket of the configuration is.
    pub fn socket(&self) -> PathBuf {
        self.directory().join("control.sock")
    }

    fn directory(&self) -> &Path {
        self.appliance.directory()
    }

    fn state_directory(&self) -> PathBuf {
        self.directory().join("state")
    }

    /// Writes [`Site::configuration`] to the testbed's directory; again for a reload.
    pub fn write_configuration(&self, options: &Options) -> Result<PathBuf> {
        let state = self.state_directory();
        fs::create_dir_all(&state).map_err(Error::system(format!("creating {}", state.display())))?;
        let path = self.directory().join("appliance.toml");
        fs::write(&path, self.configuration(options))
            .map_err(Error::system(format!("writing {}", path.display())))?;
        Ok(path)
    }

    /// The appliance's configuration for this lab.
    pub fn configuration(&self, options: &Options) -> String {
        let mut text = format!(
            "[appliance]\nname = \"lab\"\nworkers = {:?}\npolling = \"{}\"\nsession_capacity = {}\n\
             socket = {:?}\nstate_directory = {:?}\n",
            options.workers,
            options.polling,
            options.session_capacity,
            self.socket(),
            self.state_directory(),
        );
        self.wording.append_ports(&mut text, &options.driver);
        for port in [None, Some(HTTP_PORT)] {
            let name = check_name(port);
            append(
                &mut text,
                format_args!(
                    "\n[[health_check]]\nname = \"{name}\"\nkind = \"tcp\"\n\
                     interval = \"500ms\"\nresponse_time = \"300ms\"\nretries = 1\n"
                ),
            );
            if let Some(port) = port {
                append(&mut text, format_args!("port = {port}\n"));
            }
        }
        self.services().iter().for_each(|service| self.append_service(&mut text, service, options));
        text
    }

    fn append_service(&self, text: &mut String, service: &SiteService, options: &Options) {
        let (wording, address) = (&self.wording, service.target.ip());
        append(
            text,
            format_args!(
                "\n[[service]]\nname = \"{}\"\naddress = \"{address}\"\nprotocol = \"{}\"\nport = {}\n\
                 mode = \"{}\"\nscheduler = \"round-robin\"\nhealth_check = \"{}\"\n",
                service.name,
                service.protocol,
                service.target.port(),
                wording.mode,
                check_name(service.check_port),
            ),
        );
        let source_nat = options.source_nat.as_deref().unwrap_or(wording.source_nat);
        append(text, format_args!("source_nat = \"{source_nat}\"\n"));
        let [v4_lines, v6_lines] = &wording.lines;
        let lines = if address.is_ipv4() { v4_lines } else { v6_lines };
        lines.iter().for_each(|line| append(text, format_args!("{line}\n")));
        for (index, server) in self.servers.iter().enumerate() {
            let (real, port) = (server.address_like(address), service.target.port());
            append(text, format_args!("\n[[service.server]]\naddress = \"{real}\"\nport = {port}\n"));
            if let Some(dscp) = wording.dscp.get(index) {
                append(text, format_args!("dscp = {dscp}\n"));
            }
        }
    }
}

impl Wording {
    fn append_ports(&self, text: &mut String, driver: &str) {
        for PortWording { name, interface, vlan } in &self.ports {
            append(
                text,
                format_args!(
                    "\n[[port]]\nname = \"{name}\"\ninterface = \"{interface}\"\ndriver = \"{driver}\"\n"
                ),
            );
            if let Some((id, addresses)) = vlan {
                append(text, format_args!("vlan = {id}\naddresses = {addresses:?}\n"));
            }
        }
        if let Some(addresses) = &self.bridge {
            let ports: Vec<&str> = self.ports.iter().map(|port| port.name.as_str()).collect();
            append(
                text,
                format_args!(
                    "\n[[bridge]]\nname = \"{BRIDGE}\"\nports = {ports:?}\naddresses = {addresses:?}\n"
                ),
            );
        }
    }
}

fn check_name(port: Option<u16>) -> String {
    port.map_or("connect".into(), |port| format!("connect-{port}"))
}

/// Writing to a string cannot fail.
fn append(text: &mut String, words: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(words);
}
