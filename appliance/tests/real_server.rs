//! The scripts of `jeoul real-server` on real servers: network namespaces with an `/etc` of their own.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use lab::{Link, Namespace, Testbed};

/// Long enough for any machine, since nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

const CLIENT: [&str; 2] = ["198.18.0.1", "2001:db8::1"];
const SERVER: [&str; 2] = ["198.18.0.11", "2001:db8::11"];
const VIP: [&str; 2] = ["198.18.0.10", "2001:db8::10"];

/// Two services of each family with one VIP, so that undoing one has to leave it to the other; and a marked one.
const FILE: &str = r#"
[[port]]
name = "arm"
interface = "eth1"
[[service]]
name = "web"
address = "198.18.0.10"
mode = "l2-dsr"
[[service.server]]
address = "198.18.0.11"
[[service]]
name = "mail"
address = "198.18.0.10"
port = 25
mode = "l2-dsr"
[[service.server]]
address = "198.18.0.11"
[[service]]
name = "web-ipv6"
address = "2001:db8::10"
mode = "l2-dsr"
[[service.server]]
address = "2001:db8::11"
[[service]]
name = "dns"
address = "198.18.0.20"
protocol = "udp"
port = 53
mode = "l3-dsr"
encapsulation = "dscp"
[[service.server]]
address = "198.18.0.11"
dscp = 7
[[service]]
name = "wrapped"
address = "198.18.0.30"
mode = "l3-dsr"
encapsulation = "ipip"
encapsulation_source = "198.18.0.251"
[[service.server]]
address = "198.18.0.11"
"#;

/// A client and a server on one link.
struct Stage {
    client: Namespace,
    server: Namespace,
    link: Link,
    etc: PathBuf,
    file: PathBuf,
    _testbed: Testbed,
}

impl Stage {
    /// `None` on a machine that cannot, with the reason printed.
    fn new(label: &str) -> Option<Self> {
        let programs = ["nft", "unshare", "ss"];
        let programs = programs.iter().try_for_each(|name| lab::find_program(name).map(|_path| ()));
        if let Err(why) = Testbed::check_machine().and(programs) {
            eprintln!("skipped: {why}");
            return None;
        }
        let testbed = Testbed::new(label).unwrap();
        let (client, server) = (testbed.namespace("client").unwrap(), testbed.namespace("server").unwrap());
        let link = testbed.link((&client, "c0"), (&server, "s0")).unwrap();
        for (address, length) in CLIENT.iter().zip([24, 64]) {
            link.first.add_address(&format!("{address}/{length}")).unwrap();
        }
        for (address, length) in SERVER.iter().zip([24, 64]) {
            link.second.add_address(&format!("{address}/{length}")).unwrap();
        }
        let etc = testbed.directory().join("etc");
        fs::create_dir_all(etc.join("network")).unwrap();
        fs::write(etc.join("network/interfaces"), "source /etc/network/interfaces.d/*\n").unwrap();
        fs::write(etc.join("nftables.conf"), "#!/usr/sbin/nft -f\n").unwrap();
        let file = testbed.directory().join("jeoul.toml");
        fs::write(&file, FILE).unwrap();
        Some(Self { client, server, link, etc, file, _testbed: testbed })
    }

    fn script(&self, service: &str, os: &str, undo: bool) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jeoul"));
        command.args(["real-server", service, "--os", os, "--interface", "s0", "--config"]).arg(&self.file);
        let output = command.args(undo.then_some("--undo")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a script on the server, whose `/etc` is that of the stage.
    fn run(&self, service: &str, os: &str, undo: bool) {
        let path = self.etc.with_file_name("script.sh");
        fs::write(&path, self.script(service, os, undo)).unwrap();
        let inside = format!("mount --bind {} /etc && exec bash {}", self.etc.display(), path.display());
        let private = ["-m", "--propagation", "private", "bash", "-c", &inside];
        let output = self.server.output("unshare", &private);
        assert!(output.is_ok(), "{service}: {}", output.unwrap_err());
    }

    fn server_says(&self, program: &str, words: &[&str]) -> String {
        String::from_utf8(self.server.output(program, words).unwrap().stdout).unwrap()
    }

    /// Everything that a script changes.
    fn state(&self) -> (Vec<String>, Vec<String>, String, Vec<PathBuf>) {
        let kinds = ["arp_ignore", "arp_announce", "rp_filter"];
        let settings = ["all", "lo", "s0"].into_iter().flat_map(|place| {
            kinds.map(|kind| self.server.parameter(&format!("net.ipv4.conf.{place}.{kind}")).unwrap())
        });
        let addresses = self.server_says("ip", &["-brief", "address", "show"]);
        let addresses = addresses.lines().map(str::to_owned).collect();
        let rules = self.server_says("nft", &["list", "ruleset"]);
        (settings.collect(), addresses, rules, files(&self.etc))
    }

    /// Whether the server answers for `address` on the link.
    fn is_answered(&self, address: &str) -> bool {
        self.client.output("ip", &["neigh", "flush", "dev", "c0"]).unwrap();
        let target = SocketAddr::new(address.parse().unwrap(), 9);
        let from: IpAddr = if target.is_ipv4() { "0.0.0.0" } else { "::" }.parse().unwrap();
        let asked = || UdpSocket::bind((from, 0)).unwrap().send_to(b"?", target).map(|_length| ());
        self.client.run(asked).unwrap().unwrap();
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let known = self.client.output("ip", &["neigh", "show", address]).unwrap();
            let known = String::from_utf8(known.stdout).unwrap();
            if known.contains("lladdr") || known.contains("FAILED") {
                return known.contains("lladdr");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("neither an answer nor none");
    }

    /// Sends frames for `address` to the server's MAC address, as L2 DSR does.
    fn direct(&self, address: &str) {
        let mac = self.link.second.mac().to_string();
        let words = ["neigh", "replace", address, "lladdr", &mac, "dev", "c0", "nud", "permanent"];
        self.client.output("ip", &words).unwrap();
    }
}

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Set up twice, a server answers no ARP and no neighbour solicitation for the VIP and takes connections to it; undone
/// twice, it is as it was.
fn a_server_set_up_is_silent_and_serves_and_undone_it_is_as_before(os: &str) {
    let Some(stage) = Stage::new(&format!("rs-{os}")) else { return };
    let before = stage.state();
    for (family, service) in ["web", "web-ipv6"].into_iter().enumerate() {
        stage.run(service, os, false);
        stage.run(service, os, false);
        assert!(stage.is_answered(SERVER[family]));
        assert!(!stage.is_answered(VIP[family]), "{service}");
        stage.direct(VIP[family]);
        let vip = SocketAddr::new(VIP[family].parse().unwrap(), 80);
        let listener = stage.server.run(|| TcpListener::bind(vip).unwrap()).unwrap();
        let connected = stage.client.run(|| TcpStream::connect_timeout(&vip, PATIENCE)).unwrap().unwrap();
        let (accepted, _client) = listener.accept().unwrap();
        assert_eq!(accepted.local_addr().unwrap(), vip);
        drop(connected);
    }
    assert_eq!(stage.server.parameter("net.ipv4.conf.s0.arp_ignore").unwrap(), "1");
    assert_eq!(stage.server.parameter("net.ipv4.conf.all.arp_announce").unwrap(), "2");
    let held = stage.server_says("ip", &["-6", "addr", "show", "dev", "lo", "to", VIP[1]]);
    assert!(held.contains("deprecated"), "the VIP is no source of what begins here: {held}");
    for _ in 0..2 {
        stage.run("web", os, true);
        stage.run("web-ipv6", os, true);
        assert_eq!(stage.state(), before);
    }
}

#[test]
fn a_debian_server_set_up_is_silent_and_serves_and_undone_it_is_as_before() {
    a_server_set_up_is_silent_and_serves_and_undone_it_is_as_before("debian");
}

#[test]
fn a_rhel_server_set_up_is_silent_and_serves_and_undone_it_is_as_before() {
    a_server_set_up_is_silent_and_serves_and_undone_it_is_as_before("rhel");
}

#[test]
fn a_vip_on_loopback_alone_is_answered_for() {
    let Some(stage) = Stage::new("rs-leak") else { return };
    stage.server.output("ip", &["addr", "add", "198.18.0.10/32", "dev", "lo"]).unwrap();
    assert!(stage.is_answered(VIP[0]), "what the scripts are there for does not happen");
}

#[test]
fn what_another_service_needs_stays_when_one_is_undone() {
    let Some(stage) = Stage::new("rs-two") else { return };
    let before = stage.state();
    stage.server.set_parameter("net.ipv4.conf.all.arp_announce", "1").unwrap();
    stage.run("web", "debian", false);
    stage.run("mail", "debian", false);
    stage.run("web", "debian", true);
    assert!(stage.server_says("ip", &["addr", "show", "dev", "lo"]).contains("198.18.0.10/32"));
    assert_eq!(stage.server.parameter("net.ipv4.conf.all.arp_ignore").unwrap(), "1");
    assert_eq!(stage.server.parameter("net.ipv4.conf.all.arp_announce").unwrap(), "2");
    stage.run("mail", "debian", true);
    assert_eq!(stage.server.parameter("net.ipv4.conf.all.arp_announce").unwrap(), "1");
    stage.server.set_parameter("net.ipv4.conf.all.arp_announce", "0").unwrap();
    assert_eq!(stage.state(), before);
}

#[test]
fn a_marked_request_to_the_server_is_one_to_the_vip() {
    let Some(stage) = Stage::new("rs-dscp") else { return };
    let before = stage.state();
    for _ in 0..2 {
        stage.run("dns", "debian", false);
    }
    let included = fs::read_to_string(stage.etc.join("nftables.conf")).unwrap();
    assert_eq!(included.matches("include").count(), 1, "{included}");
    let vip: SocketAddr = "198.18.0.20:53".parse().unwrap();
    let server = stage.server.run(|| UdpSocket::bind(vip).unwrap()).unwrap();
    let mark = "add table ip lab; add chain ip lab out { type filter hook output priority 0; }; \
                add rule ip lab out udp sport 5007 ip dscp set 7; add rule ip lab out udp sport 5006 ip dscp set 6";
    stage.client.output("nft", &[mark]).unwrap();
    for port in [5_000, 5_006, 5_007] {
        let client =
            stage.client.run(|| UdpSocket::bind((CLIENT[0].parse::<IpAddr>().unwrap(), port)).unwrap());
        client.unwrap().send_to(b"?", (SERVER[0].parse::<IpAddr>().unwrap(), 53)).unwrap();
    }
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    // In the order in which they were sent: had the others come, they would be first.
    let (_length, client) = server.recv_from(&mut [0; 16]).unwrap();
    assert_eq!(client.port(), 5_007);
    stage.run("dns", "debian", true);
    assert_eq!(stage.state(), before);
}

#[test]
fn a_server_of_wrapped_requests_announces_room_for_the_outer_header() {
    let Some(stage) = Stage::new("rs-mss") else { return };
    // This machine's kernel may know no tunnels; the rules are the same without.
    let script = stage.script("wrapped", "debian", false);
    let rules = script.split("write_file /etc/nftables.d/jeoul-wrapped.nft <<'JEOUL_END'\n").nth(1).unwrap();
    let rules = rules.split("JEOUL_END").next().unwrap();
    let path = stage.etc.join("rules.nft");
    fs::write(&path, rules).unwrap();
    let vip: SocketAddr = "198.18.0.30:80".parse().unwrap();
    stage.server.output("ip", &["addr", "add", "198.18.0.30/32", "dev", "lo"]).unwrap();
    stage.direct("198.18.0.30");
    let listener = stage.server.run(|| TcpListener::bind(vip).unwrap()).unwrap();
    let mss = || {
        let connected = stage.client.run(|| TcpStream::connect_timeout(&vip, PATIENCE)).unwrap().unwrap();
        let _accepted = listener.accept().unwrap();
        let local = format!("sport = :{}", connected.local_addr().unwrap().port());
        let said = stage.client.output("ss", &["--tcp", "--numeric", "--info", &local]).unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        let mss = said
            .split_whitespace()
            .find_map(|word| word.strip_prefix("mss:"))
            .unwrap_or_else(|| panic!("{said}"));
        mss.parse::<u16>().unwrap()
    };
    let without = mss();
    stage.server.output("nft", &["-f", path.to_str().unwrap()]).unwrap();
    assert_eq!(without - mss(), 20, "what an outer IPv4 header takes");
}
