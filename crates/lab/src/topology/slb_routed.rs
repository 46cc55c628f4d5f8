//! Routed server load balancing: a client network, the appliance, a server network.
//!
//! ```text
//!  client ───────────── outside  appliance  inside ───── switch ─┬─ server1 .11
//!  198.18.0.50/24   198.18.0.1/24       198.18.1.1/24            ├─ server2 .12
//!  2001:db8::50/64  2001:db8::1/64   2001:db8:1::1/64            └─ server3 .13
//! ```
//!
//! The virtual addresses 198.18.0.10 and 2001:db8::10 lie in the client's network. Client and servers have
//! the appliance as their gateway. Its kernel does not route: either the appliance forwards, or nothing does.

use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::link::Endpoint;
use crate::namespace::Namespace;
use crate::testbed::Testbed;

/// The virtual IPv4 address.
pub const VIP_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 10));
/// The virtual IPv6 address.
pub const VIP_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10));
/// The client's addresses.
pub const CLIENT_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 50));
/// The client's addresses.
pub const CLIENT_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x50));
/// Where the web service listens.
pub const HTTP_PORT: u16 = 80;
/// Where the UDP service listens.
pub const UDP_PORT: u16 = 5300;
/// Where the service with held connections listens.
pub const HOLD_PORT: u16 = 7000;

const OUTSIDE: [&str; 2] = ["198.18.0.1/24", "2001:db8::1/64"];
const INSIDE: [&str; 2] = ["198.18.1.1/24", "2001:db8:1::1/64"];
const OUTSIDE_GATEWAYS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];
const INSIDE_GATEWAYS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 18, 1, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1))];
const SERVER_COUNT: u16 = 3;

/// The lab, without peers; see the module.
#[derive(Debug)]
pub struct SlbRouted {
    /// The client's end of its link.
    pub client: Endpoint,
    /// The appliance's port towards the client.
    pub outside: Endpoint,
    /// The appliance's port towards the servers.
    pub inside: Endpoint,
    /// `server1` to `server3`.
    pub servers: Vec<Server>,
}

/// A place for a server.
#[derive(Debug)]
pub struct Server {
    /// `server1` and so on.
    pub name: String,
    /// Its end of its link to the switch.
    pub end: Endpoint,
    /// Its IPv4 address.
    pub v4: IpAddr,
    /// Its IPv6 address.
    pub v6: IpAddr,
}

/// A service of the appliance, as its configuration names it: routed, round-robin.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Virtual address and port.
    pub target: SocketAddr,
    /// "tcp" or "udp".
    pub protocol: &'static str,
    /// The servers.
    pub servers: Vec<SocketAddr>,
    /// The TCP port that the health check connects to; absent: the server's own.
    pub check_port: Option<u16>,
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
    /// "never" (servers see the client itself, and reply through the appliance, their gateway) or "always".
    pub source_nat: String,
    /// IPv4 sessions.
    pub session_capacity: u32,
}

impl Default for Options {
    /// One worker on CPU 1, no source NAT, and a table that is made in an instant.
    fn default() -> Self {
        Self {
            driver: "auto".into(),
            polling: "adaptive".into(),
            workers: vec![1],
            source_nat: "never".into(),
            session_capacity: 20_000,
        }
    }
}

/// Builds the lab in a testbed.
pub fn slb_routed(testbed: &Testbed) -> Result<SlbRouted> {
    let client = testbed.namespace("client")?;
    let appliance = testbed.namespace("appliance")?;
    let switch = testbed.namespace("switch")?;
    switch.add_bridge("br0")?;

    let outer = testbed.link((&client, "eth0"), (&appliance, "outside"))?;
    outer.first.add_address(&format!("{CLIENT_V4}/24"))?;
    outer.first.add_address(&format!("{CLIENT_V6}/64"))?;
    OUTSIDE.iter().try_for_each(|address| outer.second.add_address(address))?;
    OUTSIDE_GATEWAYS.iter().try_for_each(|gateway| client.add_default_route(*gateway))?;

    let inner = testbed.link((&appliance, "inside"), (&switch, "appliance"))?;
    inner.second.join_bridge("br0")?;
    INSIDE.iter().try_for_each(|address| inner.first.add_address(address))?;

    let servers = (1..=SERVER_COUNT).map(|number| Server::create(testbed, &switch, number));
    let servers = servers.collect::<Result<Vec<_>>>()?;
    Ok(SlbRouted { client: outer.first, outside: outer.second, inside: inner.first, servers })
}

impl Server {
    fn create(testbed: &Testbed, switch: &Namespace, number: u16) -> Result<Self> {
        let name = format!("server{number}");
        let namespace = testbed.namespace(&name)?;
        let link = testbed.link((&namespace, "eth0"), (switch, &name))?;
        link.second.join_bridge("br0")?;
        let v4 =
            IpAddr::from(Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 1, 10).to_bits() + u32::from(number)));
        // .11 has ::11 beside it, as people write it.
        let v6 = IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10 + number));
        link.first.add_address(&format!("{v4}/24"))?;
        link.first.add_address(&format!("{v6}/64"))?;
        INSIDE_GATEWAYS.iter().try_for_each(|gateway| namespace.add_default_route(*gateway))?;
        Ok(Self { name, end: link.first, v4, v6 })
    }

    /// Where it lives.
    pub fn namespace(&self) -> &Namespace {
        self.end.namespace()
    }

    /// Its address of the same family as `like`.
    pub fn address_like(&self, like: IpAddr) -> IpAddr {
        if like.is_ipv4() { self.v4 } else { self.v6 }
    }
}

impl SlbRouted {
    /// Web over IPv4 and IPv6, UDP over IPv4, held connections over IPv4 and IPv6; each on all servers.
    pub fn standard_services(&self) -> Vec<Service> {
        let on_all = |name: &str, vip: IpAddr, protocol, port, check_port| Service {
            name: name.into(),
            target: (vip, port).into(),
            protocol,
            servers: self.servers.iter().map(|server| (server.address_like(vip), port).into()).collect(),
            check_port,
        };
        vec![
            on_all("http-v4", VIP_V4, "tcp", HTTP_PORT, None),
            on_all("http-v6", VIP_V6, "tcp", HTTP_PORT, None),
            on_all("udp-v4", VIP_V4, "udp", UDP_PORT, Some(HTTP_PORT)),
            on_all("hold-v4", VIP_V4, "tcp", HOLD_PORT, None),
            on_all("hold-v6", VIP_V6, "tcp", HOLD_PORT, None),
        ]
    }

    /// Where the control socket of the configuration is.
    pub fn socket(&self) -> PathBuf {
        self.outside.namespace().directory().join("control.sock")
    }

    fn state_directory(&self) -> PathBuf {
        self.outside.namespace().directory().join("state")
    }

    /// Writes [`SlbRouted::config_text`] to the testbed's directory; again for a reload.
    pub fn write_config(&self, options: &Options, services: &[Service]) -> Result<PathBuf> {
        let state = self.state_directory();
        fs::create_dir_all(&state).map_err(Error::system(format!("creating {}", state.display())))?;
        let path = self.outside.namespace().directory().join("appliance.toml");
        fs::write(&path, self.config_text(options, services))
            .map_err(Error::system(format!("writing {}", path.display())))?;
        Ok(path)
    }

    /// The appliance's configuration for this lab.
    pub fn config_text(&self, options: &Options, services: &[Service]) -> String {
        let mut text = format!(
            "[appliance]\nname = \"lab\"\nworkers = {:?}\npolling = \"{}\"\nsession_capacity = {}\n\
             socket = {:?}\nstate_directory = {:?}\n",
            options.workers,
            options.polling,
            options.session_capacity,
            self.socket(),
            self.state_directory(),
        );
        for port in [&self.outside, &self.inside] {
            let (name, driver) = (port.interface(), &options.driver);
            append(
                &mut text,
                format_args!(
                    "\n[[port]]\nname = \"{name}\"\ninterface = \"{name}\"\ndriver = \"{driver}\"\n"
                ),
            );
        }
        let mut checks: Vec<Option<u16>> = services.iter().map(|service| service.check_port).collect();
        checks.sort_unstable();
        checks.dedup();
        for port in checks {
            append(
                &mut text,
                format_args!(
                    "\n[[health_check]]\nname = \"{}\"\nkind = \"tcp\"\n\
                 interval = \"500ms\"\nresponse_time = \"300ms\"\nretries = 1\n",
                    check_name(port)
                ),
            );
            if let Some(port) = port {
                append(&mut text, format_args!("port = {port}\n"));
            }
        }
        services.iter().for_each(|service| service.append_to(&mut text, options));
        text
    }
}

impl Service {
    fn append_to(&self, text: &mut String, options: &Options) {
        append(
            text,
            format_args!(
                "\n[[service]]\nname = \"{}\"\naddress = \"{}\"\nprotocol = \"{}\"\nport = {}\n\
             mode = \"routed\"\nsource_nat = \"{}\"\nscheduler = \"round-robin\"\nhealth_check = \"{}\"\n",
                self.name,
                self.target.ip(),
                self.protocol,
                self.target.port(),
                options.source_nat,
                check_name(self.check_port),
            ),
        );
        for server in &self.servers {
            let (address, port) = (server.ip(), server.port());
            append(text, format_args!("\n[[service.server]]\naddress = \"{address}\"\nport = {port}\n"));
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
