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
//! [`Plan`] makes variants of it: more servers, several queues, delay lines, many callers behind the client.

use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::link::Endpoint;
use crate::namespace::Namespace;
use crate::peer::DelayLine;
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
/// The networks of [`SlbRouted::caller`].
const CALLERS: [&str; 2] = ["198.18.64.0/20", "2001:db8:64::/64"];
/// How many addresses [`SlbRouted::caller`] has to give.
pub const CALLERS_MAX: u16 = 4096;
/// More would leave the addresses that read alike in both families.
const SERVERS_MAX: u16 = 9;

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
    /// What holds the frames that it sends, where [`Plan::delayed`] says so.
    pub delay: Option<DelayLine>,
}

/// What a variant of the lab is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many servers there are, 1 to 9.
    pub servers: u16,
    /// How many queues the links to the appliance and to the servers have each way: one for each worker.
    pub queues: u8,
    /// The servers, as indices, that stand behind a delay line.
    pub delayed: Vec<u16>,
    /// Whether the client answers for [`SlbRouted::caller`]'s addresses too.
    pub callers: bool,
}

impl Default for Plan {
    /// The picture above.
    fn default() -> Self {
        Self { servers: 3, queues: 1, delayed: Vec::new(), callers: false }
    }
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
    /// What else stands in the table `[appliance]`.
    pub appliance_lines: Vec<String>,
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
            appliance_lines: Vec::new(),
        }
    }
}

/// Builds the lab in a testbed.
pub fn slb_routed(testbed: &Testbed) -> Result<SlbRouted> {
    slb_routed_as(testbed, &Plan::default())
}

/// Builds a variant of the lab.
pub fn slb_routed_as(testbed: &Testbed, plan: &Plan) -> Result<SlbRouted> {
    if !(1..=SERVERS_MAX).contains(&plan.servers) {
        return Err(Error::unusable(plan.servers.to_string(), "a lab has 1 to 9 servers"));
    }
    let client = testbed.namespace("client")?;
    let appliance = testbed.namespace("appliance")?;
    let switch = testbed.namespace("switch")?;
    switch.add_bridge("br0")?;

    let outer = testbed.link_with_queues((&client, "eth0"), (&appliance, "outside"), plan.queues)?;
    outer.first.add_address(&format!("{CLIENT_V4}/24"))?;
    outer.first.add_address(&format!("{CLIENT_V6}/64"))?;
    OUTSIDE.iter().try_for_each(|address| outer.second.add_address(address))?;
    OUTSIDE_GATEWAYS.iter().try_for_each(|gateway| client.add_default_route(*gateway))?;
    if plan.callers {
        for (network, client_address) in CALLERS.into_iter().zip([CLIENT_V4, CLIENT_V6]) {
            client.answer_for(network)?;
            appliance.add_route(network, client_address)?;
        }
    }

    let inner = testbed.link_with_queues((&appliance, "inside"), (&switch, "appliance"), plan.queues)?;
    inner.second.join_bridge("br0")?;
    INSIDE.iter().try_for_each(|address| inner.first.add_address(address))?;

    let servers = (0..plan.servers).map(|index| Server::create(testbed, plan, &switch, index));
    let servers = servers.collect::<Result<Vec<_>>>()?;
    Ok(SlbRouted { client: outer.first, outside: outer.second, inside: inner.first, servers })
}

impl Server {
    fn create(testbed: &Testbed, plan: &Plan, switch: &Namespace, index: u16) -> Result<Self> {
        let number = index + 1;
        let name = format!("server{number}");
        let namespace = testbed.namespace(&name)?;
        let (end, at_switch, delay) = if plan.delayed.contains(&index) {
            let hop = testbed.namespace(&format!("delay{number}"))?;
            let near = testbed.link((&namespace, "eth0"), (&hop, "near"))?;
            let far = testbed.link((&hop, "far"), (switch, &name))?;
            let delay = DelayLine::start(&near.second, &far.first)?;
            (near.first, far.second, Some(delay))
        } else {
            let link = testbed.link_with_queues((&namespace, "eth0"), (switch, &name), plan.queues)?;
            (link.first, link.second, None)
        };
        at_switch.join_bridge("br0")?;
        let v4 =
            IpAddr::from(Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 1, 10).to_bits() + u32::from(number)));
        // .11 has ::11 beside it, as people write it.
        let v6 = IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10 + number));
        end.add_address(&format!("{v4}/24"))?;
        end.add_address(&format!("{v6}/64"))?;
        INSIDE_GATEWAYS.iter().try_for_each(|gateway| namespace.add_default_route(*gateway))?;
        Ok(Self { name, end, v4, v6, delay })
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

    /// An address that the client has beside its own, in a lab with callers: `index` below [`CALLERS_MAX`], of the
    /// family of `like`. 256 in a row share a /24, in IPv6 all a /64.
    pub fn caller(&self, index: u16, like: IpAddr) -> IpAddr {
        let index = index % CALLERS_MAX;
        let [high, low] = index.to_be_bytes();
        match like {
            IpAddr::V4(_) => IpAddr::from([198, 18, 64 + high, low]),
            IpAddr::V6(_) => IpAddr::from([0x2001, 0xdb8, 0x64, 0, 0, 0, 0, index + 1]),
        }
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
        self.write_text(&self.config_text(options, services))
    }

    /// Writes any other configuration to the same place.
    pub fn write_text(&self, text: &str) -> Result<PathBuf> {
        let state = self.state_directory();
        fs::create_dir_all(&state).map_err(Error::system(format!("creating {}", state.display())))?;
        let path = self.outside.namespace().directory().join("appliance.toml");
        fs::write(&path, text).map_err(Error::system(format!("writing {}", path.display())))?;
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
        options.appliance_lines.iter().for_each(|line| append(&mut text, format_args!("{line}\n")));
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
