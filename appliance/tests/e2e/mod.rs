//! What every end-to-end test stands on: the routed lab with real peers, and the real binary in it.
//!
//! A test is a sentence and a function of the driver; [`on_both_drivers`] makes two tests of it. Peers are local
//! variables of the test and the [`Stage`] is the first of them, so that it is taken down last, also by a panic.

#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(dead_code, unused_macros, unused_imports, reason = "every binary of tests takes what it needs")]

pub mod modes;
pub mod sides;

use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lab::topology::slb_routed::{
    CLIENT_V4, CLIENT_V6, HOLD_PORT, HTTP_PORT, Options, Service, SlbRouted, UDP_PORT, VIP_V4, VIP_V6,
    slb_routed,
};
use lab::{Appliance, HeldConnections, HeldState, Load, NginxServer, TcpHold, Testbed, UdpEcho};
use serde_json::Value;

/// Long enough for any machine, since nothing waits for it when all is well.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The virtual address of each family, with its client.
pub const FAMILIES: [(IpAddr, IpAddr); 2] = [(VIP_V4, CLIENT_V4), (VIP_V6, CLIENT_V6)];

/// The binary under test.
pub const JEOUL: &str = env!("CARGO_BIN_EXE_jeoul");

/// Makes two tests of each function, one for each driver.
macro_rules! on_both_drivers {
    ($($sentence:ident),+ $(,)?) => {
        mod af_packet {
            $(#[test] fn $sentence() { crate::e2e::with_driver("af_packet", super::$sentence) })+
        }
        mod af_xdp {
            $(#[test] fn $sentence() { crate::e2e::with_driver("af_xdp", super::$sentence) })+
        }
    };
}
pub(crate) use on_both_drivers;

/// Runs a test on a machine that can, and says why it was skipped on another.
pub fn with_driver(driver: &'static str, test: fn(&str)) {
    let programs = ["nginx", "tcpdump", "ping"];
    let programs = programs.iter().try_for_each(|name| lab::find_program(name).map(|_path| ()));
    match Testbed::check_machine().and(programs) {
        Ok(()) => test(driver),
        Err(why) => eprintln!("skipped: {why}"),
    }
}

/// The lab without peers and without the appliance.
pub struct Stage {
    pub lab: SlbRouted,
    pub options: Options,
    _testbed: Testbed,
}

impl Stage {
    pub fn new(driver: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let testbed = Testbed::new(&format!("e2e{}", NEXT.fetch_add(1, Ordering::Relaxed))).unwrap();
        let lab = slb_routed(&testbed).unwrap();
        let options = Options { driver: driver.into(), ..Options::default() };
        Self { lab, options, _testbed: testbed }
    }

    /// nginx on every server.
    pub fn web(&self) -> Vec<NginxServer> {
        let start = |server: &lab::topology::slb_routed::Server| {
            NginxServer::start(server.namespace(), &server.name, &[HTTP_PORT]).unwrap()
        };
        self.lab.servers.iter().map(start).collect()
    }

    /// A server that holds connections on every server.
    pub fn hold(&self) -> Vec<TcpHold> {
        let start = |server: &lab::topology::slb_routed::Server| {
            TcpHold::start(server.namespace(), &server.name, HOLD_PORT).unwrap()
        };
        self.lab.servers.iter().map(start).collect()
    }

    /// A UDP server on every server.
    pub fn echo(&self) -> Vec<UdpEcho> {
        let start = |server: &lab::topology::slb_routed::Server| {
            UdpEcho::start(server.namespace(), &server.name, UDP_PORT).unwrap()
        };
        self.lab.servers.iter().map(start).collect()
    }

    /// A service on all servers, at one port, in each family: `NAME-v4` and `NAME-v6`.
    pub fn services(
        &self,
        name: &str,
        protocol: &'static str,
        port: u16,
        check_port: Option<u16>,
    ) -> Vec<Service> {
        let of_family = |(vip, _client): (IpAddr, IpAddr)| Service {
            name: format!("{name}-{}", family(vip)),
            target: (vip, port).into(),
            protocol,
            servers: self.lab.servers.iter().map(|server| (server.address_like(vip), port).into()).collect(),
            check_port,
        };
        FAMILIES.into_iter().map(of_family).collect()
    }

    /// The web services, answered by [`Stage::web`].
    pub fn web_services(&self) -> Vec<Service> {
        self.services("web", "tcp", HTTP_PORT, None)
    }

    /// The services of [`Stage::hold`].
    pub fn hold_services(&self) -> Vec<Service> {
        self.services("hold", "tcp", HOLD_PORT, None)
    }

    /// Writes the configuration file, with its directory.
    pub fn write(&self, text: &str) -> PathBuf {
        let path = self.lab.write_config(&self.options, &[]).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// The configuration with these services.
    pub fn text(&self, services: &[Service]) -> String {
        self.lab.config_text(&self.options, services)
    }

    /// Starts the appliance with these services and waits until all of their servers are up.
    pub fn start(&self, services: &[Service]) -> Appliance {
        self.start_with(&self.text(services))
    }

    /// The same with any configuration.
    pub fn start_with(&self, text: &str) -> Appliance {
        let appliance = self.launch(&self.write(text));
        wait_for("all servers to be up", || {
            let status = status(&appliance);
            status["servers_up"] == status["servers_total"]
        });
        appliance
    }

    /// Starts the appliance and waits until it forwards.
    pub fn launch(&self, configuration: &Path) -> Appliance {
        let namespace = self.lab.outside.namespace();
        Appliance::start(namespace, Path::new(JEOUL), configuration, &self.lab.socket(), PATIENCE).unwrap()
    }

    /// `run` with a configuration that it must refuse: its exit status and its words.
    pub fn refusal(&self, text: &str) -> (Option<i32>, String) {
        let configuration = self.write(text);
        let words = ["run", "--config", &configuration.display().to_string()];
        let output = self.in_appliance(JEOUL, &words);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Runs a program in the appliance's namespace.
    pub fn in_appliance(&self, program: &str, words: &[&str]) -> Output {
        run_in(self.lab.outside.namespace(), program, words)
    }

    /// Runs a program in the client's namespace.
    pub fn in_client(&self, program: &str, words: &[&str]) -> Output {
        run_in(self.lab.client.namespace(), program, words)
    }

    /// One echo request to each of a few, whether all were answered; and what ping said.
    pub fn ping(&self, words: &str) -> (bool, String) {
        let words: Vec<&str> =
            ["-n", "-c", "2", "-i", "0.2", "-W", "5"].into_iter().chain(words.split(' ')).collect();
        let output = self.in_client("ping", &words);
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Opens connections to the holding service of a family.
    pub fn hold_open(&self, vip: IpAddr, count: usize) -> HeldConnections {
        let target = (vip, HOLD_PORT).into();
        HeldConnections::open(self.lab.client.namespace(), target, count, PATIENCE).unwrap().unwrap()
    }

    /// Web requests from the client.
    pub fn ask(&self, target: impl Into<SocketAddr>, count: usize) -> lab::Report {
        let load = Load { count, concurrency: 4, timeout: PATIENCE, ..Load::default() };
        lab::run_requests(self.lab.client.namespace(), target.into(), load).unwrap()
    }

    /// UDP questions from the client.
    pub fn ask_udp(&self, target: impl Into<SocketAddr>, count: usize) -> lab::Report {
        let load = Load { count, timeout: PATIENCE, ..Load::default() };
        lab::ask_udp(self.lab.client.namespace(), target.into(), load).unwrap()
    }
}

/// Runs a program in a namespace to its end, however that is; status 124 if it did not end by itself.
pub fn run_in(namespace: &lab::Namespace, program: &str, words: &[&str]) -> Output {
    let mut command = namespace.command("timeout").unwrap();
    command.arg(PATIENCE.as_secs().to_string()).arg(lab::find_program(program).unwrap());
    command.args(words).output().unwrap()
}

/// "v4" or "v6".
pub fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "v4" } else { "v6" }
}

/// Waits until a condition holds; a panic that names it when it never does.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// What `show WHAT --json` says.
pub fn show(appliance: &Appliance, what: &str) -> Value {
    serde_json::from_str(&appliance.show(what).unwrap()).unwrap()
}

/// What `show status --json` says.
pub fn status(appliance: &Appliance) -> Value {
    show(appliance, "status")
}

/// The row of a table in which a field has this value.
pub fn row(appliance: &Appliance, what: &str, field: &str, value: &str) -> Value {
    let rows = show(appliance, what);
    let rows = rows.as_array().unwrap().iter();
    rows.clone().find(|row| row[field] == value).cloned().unwrap_or(Value::Null)
}

/// A server of a service as `show servers` has it.
pub fn server(appliance: &Appliance, service: &str, address: IpAddr) -> Value {
    let rows = show(appliance, "servers");
    let is_it = |row: &&Value| row["service"] == service && row["address"] == address.to_string();
    rows.as_array().unwrap().iter().find(is_it).cloned().unwrap_or(Value::Null)
}

/// The states of a server in all services.
pub fn states_of(appliance: &Appliance, addresses: [IpAddr; 2]) -> Vec<String> {
    let rows = show(appliance, "servers");
    let of_it = |row: &&Value| addresses.iter().any(|address| row["address"] == address.to_string());
    let word = |row: &Value| row["state"].as_str().unwrap().to_owned();
    rows.as_array().unwrap().iter().filter(of_it).map(word).collect()
}

/// Waits until a server has this state in all services.
pub fn wait_for_state(appliance: &Appliance, server: &lab::topology::slb_routed::Server, state: &str) {
    wait_for(&format!("{} to be {state}", server.name), || {
        let states = states_of(appliance, [server.v4, server.v6]);
        !states.is_empty() && states.iter().all(|other| other == state)
    });
}

/// A command that must succeed.
pub fn order(appliance: &Appliance, words: &[&str]) {
    let output = appliance.command(words).unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A command that must not succeed: its exit status and its words.
pub fn refused(appliance: &Appliance, words: &[&str]) -> (Option<i32>, String) {
    let output = appliance.command(words).unwrap();
    assert!(!output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stdout));
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The name of the server that each connection lives on; a panic if one does not live.
pub fn names(held: &mut HeldConnections) -> Vec<String> {
    let name = |state| match state {
        HeldState::Alive(name) => name,
        other => panic!("a held connection is {other:?}"),
    };
    held.probe(PATIENCE).into_iter().map(name).collect()
}

/// A service in the words of the file, for what [`Service`] cannot say. `keys` and the servers' keys are lines.
pub fn service_text(name: &str, address: &str, keys: &str, servers: &[&str]) -> String {
    let mut text =
        format!("\n[[service]]\nname = \"{name}\"\naddress = \"{address}\"\nmode = \"routed\"\n{keys}\n");
    for server in servers {
        writeln!(text, "\n[[service.server]]\n{server}").unwrap();
    }
    text
}

/// A counter of the namespace's kernel that speaks of what it did with packets, by the name that nstat gives it.
pub fn kernel_counter(namespace: &lab::Namespace, name: &str) -> u64 {
    let text = namespace
        .run(|| {
            let old = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
            let new = fs::read_to_string("/proc/thread-self/net/snmp6").unwrap();
            lines_of_snmp(&old) + &new
        })
        .unwrap();
    let value = text.lines().find_map(|line| {
        let (key, value) = line.split_once(char::is_whitespace)?;
        (key == name).then(|| value.trim().parse().unwrap())
    });
    value.unwrap_or_else(|| panic!("the kernel counts no {name}"))
}

/// `Ip: InReceives ..` over `Ip: 42 ..` as lines `IpInReceives 42`.
fn lines_of_snmp(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut flat = String::new();
    for pair in lines.chunks_exact(2) {
        let protocol = pair[0].split(':').next().unwrap();
        for (name, value) in pair[0].split(' ').zip(pair[1].split(' ')).skip(1) {
            writeln!(flat, "{protocol}{name} {value}").unwrap();
        }
    }
    flat
}
