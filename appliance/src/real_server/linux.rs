//! What the two Linux set-ups have in common: kernel settings, the VIP, tunnels, marks, and the frame of the scripts.

use std::collections::HashSet;
use std::fmt::Write;
use std::net::IpAddr;

use config::{Encapsulation, Protocol};
use control::operator::RealServerFacts;

use super::{FileName, host_length};

/// Longest packet on the way to the servers, in bytes, unless somebody raised it.
const WAY_BYTES: u16 = 1_500;

/// One thing that has to be done at each start of the host.
pub(super) struct Step {
    /// Why, in comment lines without their `#`.
    pub why: &'static str,
    /// A shell command that does it, also if it is done already. Holds no `'`.
    pub up: String,
    /// A shell command that undoes it.
    pub down: String,
    /// Part of `up` that the set-up of another service has too if the thing serves both.
    pub shared: Option<String>,
}

/// A kernel setting: its path below `/proc/sys`, its value, and why.
pub(super) struct Setting {
    pub key: String,
    pub value: u8,
    pub why: &'static str,
}

/// All that a Linux server needs.
pub(super) struct Needs {
    pub settings: Vec<Setting>,
    pub modules: Vec<&'static str>,
    /// In order.
    pub steps: Vec<Step>,
    /// What is to be loaded into nftables.
    pub rules: Option<String>,
}

impl Needs {
    pub(super) fn of(name: &FileName, facts: &RealServerFacts, interface: Option<&str>) -> Self {
        let mut needs = Self {
            settings: if facts.address.is_ipv4() { silence(interface) } else { Vec::new() },
            modules: Vec::new(),
            steps: vec![vip(facts.address)],
            rules: rules(name, facts),
        };
        if let (Some(source), Some(encapsulation)) = (facts.encapsulation_source, facts.encapsulation) {
            needs.unwrap(source, encapsulation, facts.gue_port);
        }
        if needs.rules.is_some() {
            let name = &name.0;
            needs.steps.push(Step {
                why: "The rules of this service.",
                up: format!("nft -f {}", rules_path(name)),
                down: format!("nft delete table inet jeoul-{name} 2>/dev/null || true"),
                shared: None,
            });
        }
        needs
    }

    /// A device that takes what comes from the appliance out of its wrapping.
    fn unwrap(&mut self, source: IpAddr, encapsulation: Encapsulation, gue_port: u16) {
        let device = device_name(source);
        let (kind, module) = match source {
            IpAddr::V4(_) => ("ipip", "ipip"),
            IpAddr::V6(_) => ("ip6tnl mode ip6ip6", "ip6_tunnel"),
        };
        self.modules.push(module);
        self.steps.push(Step {
            why: "The device on which wrapped requests come out. It takes them from the appliance alone, and nothing\n\
                  leaves by it: replies go straight to the client.",
            up: format!(
                "ip link show dev {device} >/dev/null 2>&1 || ip link add {device} type {kind} remote {source} local any"
            ),
            down: format!("ip link del {device} 2>/dev/null || true"),
            shared: Some(format!("ip link add {device} ")),
        });
        self.steps.push(Step {
            why: "It works once it is up.",
            up: format!("ip link set {device} up"),
            down: ":".to_owned(),
            shared: None,
        });
        if source.is_ipv4() {
            self.settings.push(Setting {
                key: "net/ipv4/conf/all/rp_filter".to_owned(),
                value: 0,
                why: "A request comes out of the tunnel, its reply goes another way: the reverse path filter would\n\
                      drop it. The larger of `all` and the interface's own counts, so that both have to be 0. Where\n\
                      other interfaces relied on `all`, set it on each of them.",
            });
            self.steps.push(Step {
                why: "The tunnel's own half of the reverse path filter.",
                up: format!("echo 0 > /proc/sys/net/ipv4/conf/{device}/rp_filter"),
                down: ":".to_owned(),
                shared: None,
            });
        }
        if encapsulation == Encapsulation::Gue {
            self.modules.push("fou");
            let family = if source.is_ipv4() { "-4" } else { "-6" };
            self.steps.push(Step {
                why: "The UDP port on which generic UDP encapsulation is taken off; the device above takes the rest.",
                // It cannot be asked for by family: what cannot be added has to be there.
                up: format!(
                    "ip {family} fou add port {gue_port} gue 2>/dev/null || ip fou show | grep -q \"port {gue_port} \""
                ),
                down: format!("ip {family} fou del port {gue_port} 2>/dev/null || true"),
                shared: Some(format!("ip {family} fou add port {gue_port} gue")),
            });
        }
    }
}

/// ARP is the appliance's alone for the VIP.
fn silence(interface: Option<&str>) -> Vec<Setting> {
    let places = ["all", "lo"].into_iter().chain(interface);
    let settings = places.flat_map(|place| {
        [
            Setting {
                key: format!("net/ipv4/conf/{place}/arp_ignore"),
                value: 1,
                why: "1: answer ARP only for addresses of the interface that was asked; the VIP is on lo.",
            },
            Setting {
                key: format!("net/ipv4/conf/{place}/arp_announce"),
                value: 2,
                why: "2: never ask with the VIP as the sender; whoever hears it would learn this host as the VIP.",
            },
        ]
    });
    settings.collect()
}

fn vip(address: IpAddr) -> Step {
    let host = format!("{address}/{}", host_length(address));
    let (why, up) = match address {
        IpAddr::V4(_) => (
            "The VIP, on lo: this host takes packets for it, and only what others send there.",
            format!("ip addr replace {host} dev lo"),
        ),
        IpAddr::V6(_) => (
            "The VIP, on lo. Linux answers neighbour solicitations only for addresses of the interface that was\n\
             asked, so that it is silent by itself. `preferred_lft 0`: never the source of what begins here.",
            format!("ip -6 addr replace {host} dev lo preferred_lft 0 nodad"),
        ),
    };
    let down = format!("ip addr del {host} dev lo 2>/dev/null || true");
    Step { why, shared: Some(format!("addr replace {host} dev lo")), up, down }
}

/// A device per outer source: services that share one share it. At most 15 bytes.
fn device_name(source: IpAddr) -> String {
    let folded = match source {
        IpAddr::V4(v4) => v4.to_bits(),
        IpAddr::V6(v6) => {
            v6.segments().chunks(2).fold(0u32, |folded, pair| {
                // Two segments of 16 bits each.
                folded.rotate_left(5) ^ pair.iter().fold(0, |word, &half| word << 16 | u32::from(half))
            })
        }
    };
    format!("jeoul-{folded:08x}")
}

pub(super) fn rules_path(name: &str) -> String {
    format!("/etc/nftables.d/jeoul-{name}.nft")
}

/// The table of the service in nftables. Loading it again replaces it.
fn rules(name: &FileName, facts: &RealServerFacts) -> Option<String> {
    let ip = if facts.address.is_ipv4() { "ip" } else { "ip6" };
    let vip = facts.address;
    let mut chain = String::new();
    match facts.encapsulation? {
        Encapsulation::Dscp => {
            chain += "    # A request has this host's own address, and its DSCP says which VIP the client called.\n";
            chain +=
                "    chain prerouting {\n        type filter hook prerouting priority -300; policy accept;\n";
            for server in &facts.servers {
                let Some(dscp) = server.dscp else { continue };
                let address = server.address;
                // Writing to a `String` cannot fail.
                let _ = writeln!(chain, "        {ip} daddr {address} {ip} dscp {dscp} {ip} daddr set {vip}");
            }
        }
        encapsulation if facts.protocol != Protocol::Udp => {
            let mss = mss_bytes(encapsulation, vip);
            chain += "    # Wrapped requests of this connection still fit: the client is told to send no longer segments.\n";
            chain += "    # Where the whole way takes longer packets than 1500 bytes, this table may go.\n";
            chain += "    chain postrouting {\n        type filter hook postrouting priority -150; policy accept;\n";
            let _ = writeln!(
                chain,
                "        {ip} saddr {vip} tcp flags & (syn | rst) == syn tcp option maxseg size > {mss} tcp option maxseg size set {mss}"
            );
        }
        _ => return None,
    }
    let table = format!("table inet jeoul-{}", name.0);
    Some(format!("{table}\ndelete {table}\n{table} {{\n{chain}    }}\n}}\n"))
}

/// The MSS that leaves room for the outer header (RFC 9293, 3.7.1: IP and TCP headers without options taken off).
fn mss_bytes(encapsulation: Encapsulation, address: IpAddr) -> u16 {
    let (ip_bytes, tcp_bytes) = (if address.is_ipv4() { 20 } else { 40 }, 20);
    let udp_bytes = if encapsulation == Encapsulation::Gue { 8 } else { 0 };
    WAY_BYTES - (ip_bytes + udp_bytes) - (ip_bytes + tcp_bytes)
}

/// Comment lines.
pub(super) fn comment(text: &str, indent: &str) -> String {
    text.lines().map(|line| format!("{indent}# {line}\n")).collect()
}

/// A part of a script that writes `text` to `path`.
pub(super) fn write_file(path: &str, text: &str) -> String {
    format!("write_file {path} <<'JEOUL_END'\n{text}JEOUL_END\n")
}

fn settings_path(name: &FileName) -> String {
    format!("/etc/sysctl.d/90-jeoul-{}.conf", name.0)
}

/// What both scripts begin with.
fn head(title: &str, undoes: bool) -> String {
    let does = if undoes { "Undoes the set-up of this host as a" } else { "Sets this host up as a" };
    format!(
        "#!/bin/bash\n# {does} {title}.\n# Written by `jeoul real-server`. May be run again. Needs root.\nset -euo pipefail\n\
         umask 022\n\
         die() {{ echo \"jeoul: $*\" >&2; exit 1; }}\n\
         [ \"$(id -u)\" -eq 0 ] || die \"run this as root\"\n"
    )
}

/// What an operating system adds to the common frame.
pub(super) struct Own<'a> {
    /// Before anything is written: what this host must have.
    pub tests: String,
    /// Files that make the steps last.
    pub files: String,
    /// The files that name the steps, as a pattern of the shell: what stands there is still needed.
    pub step_files: &'a str,
    /// Removes the files, before the steps are undone.
    pub remove: String,
    /// The file from which nftables.service loads its rules.
    pub nftables_conf: &'a str,
}

/// The script that sets up, and the one that undoes.
pub(super) fn scripts(name: &FileName, title: &str, needs: &Needs, own: &Own<'_>) -> (String, String) {
    (set_up(name, title, needs, own), undo(name, title, needs, own))
}

fn set_up(name: &FileName, title: &str, needs: &Needs, own: &Own<'_>) -> String {
    let mut text = head(title, false);
    text += "command -v ip >/dev/null || die \"ip is missing: install iproute2 (RHEL: iproute)\"\n";
    if needs.rules.is_some() {
        text += "command -v nft >/dev/null || die \"nft is missing: install nftables\"\n";
    }
    for place in needs.settings.iter().map(|setting| &setting.key) {
        text += &format!(
            "[ -e /proc/sys/{place} ] || die \"/proc/sys/{place} is missing: no such interface?\"\n"
        );
    }
    text += &own.tests;
    text += "\n# Writes a file whole or not at all, with its directory.\n\
             write_file() { mkdir -p \"$(dirname \"$1\")\"; cat > \"$1.new\"; mv \"$1.new\" \"$1\"; }\n";
    if !needs.settings.is_empty() {
        text += &settings(name, &needs.settings);
    }
    if !needs.modules.is_empty() {
        text += "\n# --- Kernel modules, now and at each start\n";
        let modules: String = needs.modules.iter().map(|module| format!("{module}\n")).collect();
        text += &write_file(&modules_path(name), &modules);
        for module in &needs.modules {
            text += &format!("modprobe {module}\n");
        }
    }
    if let Some(rules) = &needs.rules {
        text += "\n# --- Rules of nftables, also after a reload of nftables.service\n";
        text += &write_file(&rules_path(&name.0), rules);
        let conf = own.nftables_conf;
        text += &format!(
            "if [ -e {conf} ] && ! grep -qxF '{INCLUDE}' {conf}; then\n    echo '{INCLUDE}' >> {conf}\nfi\n"
        );
    }
    text += "\n# --- At each start of this host\n";
    text += &own.files;
    text += "\n# --- Now\n";
    for step in &needs.steps {
        text += &comment(step.why, "");
        text += &format!("{}\n", step.up);
    }
    text += "echo \"jeoul: done; the server itself has to listen on the VIP or on every address\"\nexit 0\n";
    text
}

/// Loads the rules of all services that were set up here.
const INCLUDE: &str = "include \"/etc/nftables.d/jeoul-*.nft\"";

fn modules_path(name: &FileName) -> String {
    format!("/etc/modules-load.d/jeoul-{}.conf", name.0)
}

fn settings(name: &FileName, settings: &[Setting]) -> String {
    let path = settings_path(name);
    let mut text = String::from(
        "\n# --- Kernel settings, now and at each start. What they were before stands in the file too, for the way back;\n\
         # where another service was set up first, what they were before that.\n\
         before() {\n    local known\n    \
         known=$(grep -hs \"^# before: $1 = \" /etc/sysctl.d/90-jeoul-*.conf | sed -n 1p || true)\n    \
         echo \"${known:-# before: $1 = $(cat \"/proc/sys/$1\")}\"\n}\n\
         saved=$(\n",
    );
    for setting in settings {
        text += &format!("    before {}\n", setting.key);
    }
    text += ")\n{\necho \"$saved\"\ncat <<'JEOUL_END'\n";
    let mut told = HashSet::new();
    for setting in settings {
        // `all`, `lo` and the interface have the same reasons.
        if told.insert(setting.why) {
            text += &comment(setting.why, "");
        }
        text += &format!("{} = {}\n", setting.key, setting.value);
    }
    text += &format!("JEOUL_END\n}} | write_file {path}\n");
    for setting in settings {
        text += &format!("echo {} > /proc/sys/{}\n", setting.value, setting.key);
    }
    text
}

fn undo(name: &FileName, title: &str, needs: &Needs, own: &Own<'_>) -> String {
    let mut text = head(title, true);
    text += "\n# --- Nothing at the next start\n";
    text += &own.remove;
    if !needs.modules.is_empty() {
        text += &format!("rm -f {}\n", modules_path(name));
    }
    text += &format!(
        "\n# --- Now, but for what the set-up of another service needs too\n\
         needed() {{ grep -qsF -- \"$1\" {}; }}\n",
        own.step_files
    );
    for step in needs.steps.iter().rev().filter(|step| step.down != ":") {
        match &step.shared {
            Some(shared) => text += &format!("needed '{shared}' || {}\n", braced(&step.down)),
            None => text += &format!("{}\n", step.down),
        }
    }
    if needs.rules.is_some() {
        let (path, conf) = (rules_path(&name.0), own.nftables_conf);
        text += &format!(
            "rm -f {path}\n\
             if [ -e {conf} ] && ! ls /etc/nftables.d/jeoul-*.nft >/dev/null 2>&1; then\n    \
             sed -i '\\|^include \"/etc/nftables.d/jeoul-|d' {conf}\nfi\n"
        );
    }
    if !needs.settings.is_empty() {
        let path = settings_path(name);
        text += &format!(
            "\n# --- Kernel settings as they were before, then what the other services need\n\
             apply() {{\n    local key value\n    while read -r key _ value; do\n        \
             [ ! -w \"/proc/sys/$key\" ] || echo \"$value\" > \"/proc/sys/$key\"\n    done\n}}\n\
             if [ -e {path} ]; then\n    sed -n 's/^# before: //p' {path} | apply\n    rm -f {path}\nfi\n\
             for other in /etc/sysctl.d/90-jeoul-*.conf; do\n    \
             [ ! -e \"$other\" ] || grep '^net/' \"$other\" | apply\ndone\n"
        );
    }
    text += "echo \"jeoul: undone\"\nexit 0\n";
    text
}

/// `a || b` as one command.
fn braced(command: &str) -> String {
    format!("{{ {command}; }}")
}
