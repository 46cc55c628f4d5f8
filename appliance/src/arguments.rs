//! The command line. What does not fit is refused with exit status 2 before anything is done.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "the docs are the help texts, in which a bracket is a bracket"
)]

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::filter::LevelFilter;

mod bench;
mod fwlb;
mod lab;

pub(crate) use bench::{Bench, BenchAction};
pub(crate) use fwlb::Fwlb;
pub(crate) use lab::{Driver, Encapsulation, Lab, Topology, Wiring};

/// Where a running appliance listens unless its file says otherwise.
const SOCKET_DEFAULT: &str = "/run/jeoul/control.sock";

/// A poll-mode L4 switch: server and firewall load balancing on AF_XDP and AF_PACKET rings.
///
/// `jeoul run` is the appliance. `jeoul check` looks at a configuration before it is used, `jeoul fwlb verify` at the
/// two ends of a firewall sandwich. `reload`, `show`, `explain`, `server` and `firewall` talk to the running appliance
/// through its control socket. `jeoul lab` shows everything at work in network namespaces of its own, with real peers.
#[derive(Debug, Parser)]
#[command(name = "jeoul", version, max_term_width = 100, after_help = EXIT_STATUS)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_STATUS: &str = "Exit status: 0 done, 1 failed, 2 wrong input.";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  jeoul explain 198.18.0.50:40000 198.18.0.10:80/tcp
  jeoul explain [2001:db8::50]:5000 [2001:db8::10]:53/udp
  jeoul explain 198.18.0.50 198.18.1.11/icmp --port outside
  jeoul explain 198.18.0.50 198.19.0.11/gre

Exit status: 0 explained, also a packet that is dropped; 1 failed, 2 wrong input.";

const SERVER_EXAMPLES: &str = "\
Examples:
  jeoul server drain web 198.18.1.11
  jeoul server weight web 198.18.1.11:8080 5
  jeoul server weight web 198.18.1.11:8080 file

Exit status: 0 done, 1 failed, 2 wrong input.";

const FIREWALL_EXAMPLES: &str = "\
Examples:
  jeoul firewall drain fw fw1
  jeoul firewall enable fw fw1

Exit status: 0 done, 1 failed, 2 wrong input.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the appliance in the foreground
    ///
    /// Takes the ports of the configuration, announces the virtual addresses and forwards until it is told to
    /// end. Logs go to standard error, with the priority prefixes of the journal when systemd reads them.
    /// SIGTERM and SIGINT end it in order: announcements stop, interface settings are put back. SIGHUP
    /// reloads the file, as `jeoul reload` does. systemd is told when traffic is forwarded (Type=notify).
    ///
    /// A file with an error starts nothing, says what is wrong with line and column, and exits with status 2.
    #[command(after_help = EXIT_STATUS)]
    Run {
        /// The configuration file (TOML)
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The least that is logged: off, error, warn, info, debug or trace
        #[arg(long, value_name = "LEVEL", env = "JEOUL_LOG", default_value = "info")]
        log_level: LevelFilter,
    },

    /// Check a configuration file
    ///
    /// Prints every error and warning with its line, a caret and what would be right, all in one pass, and
    /// compares the file with this machine: interfaces, addresses, routes and CPUs. A missing interface is a
    /// warning here, so that a file can be checked where it is written; it is an error in `run`.
    ///
    /// It also finds what is valid and does not work: replies that go past the appliance or cannot be told
    /// apart, servers that a mode does not reach, virtual addresses that nobody asks for, packets that are
    /// too long once wrapped. Each comes with what to write instead.
    ///
    /// Findings go to standard error, the verdict to standard output. Exit status: 0 valid, 1 this machine
    /// could not be asked, 2 errors.
    Check {
        /// The configuration file (TOML)
        file: PathBuf,
        /// Look at the file alone, not at this machine
        #[arg(long)]
        offline: bool,
        /// Make every warning an error
        #[arg(long)]
        strict: bool,
    },

    /// Put the changed configuration file in force
    ///
    /// All or nothing: a file with an error is refused (exit status 2), and the old configuration stays in
    /// force. Established sessions live on either way, unless their service or server is gone.
    #[command(after_help = EXIT_STATUS)]
    Reload {
        #[command(flatten)]
        at: At,
    },

    /// Show what the running appliance does
    ///
    /// Tables are for people: numbers from 100000 on and bytes are rounded. `--json` prints exact values; its
    /// field names are stable.
    #[command(after_help = EXIT_STATUS)]
    Show {
        /// What to show
        what: What,
        /// With sessions: the clients that are to come back to their server, and until when
        #[arg(long)]
        sticky: bool,
        /// Print JSON, exact and for programs
        #[arg(long, short)]
        json: bool,
        #[command(flatten)]
        at: At,
    },

    /// Say what becomes of a packet, and why
    ///
    /// Which service, server and firewalls it gets, whether its source is translated, where it goes out and how it is
    /// rewritten; or why it is dropped, answered or waits. Then the same for the answer. The very code of the
    /// workers says it, on a copy of what they work by: nothing is sent, and no session, counter or turn moves.
    /// A session that is there already is named, and explains its own packets.
    ///
    /// A packet of TCP is a SYN, or a later segment where there is a session; of ICMP an echo request, whose
    /// identifier may be given in place of a port. Other protocols are asked about without ports.
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain {
        /// Where it comes from; IPv6 as [ADDRESS]:PORT
        #[arg(value_name = "SRC:PORT")]
        source: String,
        /// Where it goes, and its protocol: tcp, udp or icmp; esp, gre, sctp or a number without ports
        #[arg(value_name = "DST:PORT/PROTO")]
        destination: Destination,
        /// The port or bridge that it comes in by; default: the one that its source is reached by
        #[arg(long, value_name = "NAME")]
        port: Option<String>,
        /// Print JSON, for programs
        #[arg(long, short)]
        json: bool,
        #[command(flatten)]
        at: At,
    },

    /// Take a server out of a service, put it back, or change its share
    ///
    /// It lasts until the opposite command, the server's removal from the file, or a restart; a reload does not
    /// end it, and the file is not changed. `show servers` says where what runs differs from the file.
    #[command(after_help = SERVER_EXAMPLES)]
    Server {
        /// What to do with it
        action: Action,
        /// The service's name
        service: String,
        /// The server: 198.18.1.11, 198.18.1.11:8080, 2001:db8::11 or [2001:db8::11]:8080
        ///
        /// Without a port, the only server of the service with this address.
        #[arg(value_name = "ADDRESS[:PORT]")]
        server: ServerAddress,
        /// Its share of new sessions, from 0 (none) to 65535; or the word "file": what the file says again
        ///
        /// Only with `weight`. The number holds also when a reload changes the file's own. Where sessions are
        /// placed by a hash alone, appliances agree only as long as their weights do.
        #[arg(required_if_eq("action", "weight"))]
        weight: Option<ServerWeight>,
        #[command(flatten)]
        at: At,
    },

    /// Take a firewall out of a group, or put it back
    ///
    /// It lasts until the opposite command, the firewall's removal from the file, or a restart; a reload does not
    /// end it. The other end of the group is not told: it finds out by its own probes, which a firewall that is
    /// taken out here alone still answers. So say the same to both.
    #[command(after_help = FIREWALL_EXAMPLES)]
    Firewall {
        /// What to do with it
        action: FirewallAction,
        /// The group's name
        group: String,
        /// The firewall's name
        #[arg(value_name = "NAME")]
        firewall: String,
        #[command(flatten)]
        at: At,
    },

    /// Print the script that sets a server of a DSR service up, and the one that undoes it
    ///
    /// In direct server return the servers themselves answer with the virtual address. So each of them holds
    /// it on its loopback and answers no ARP for it; in mode l3-dsr it also takes requests out of their
    /// wrapping, or knows by their DSCP which virtual address was called. The script does that now and at each
    /// start of the server, says why line by line, and may be run again. It ends before the second script
    /// begins, which undoes it all and leaves alone what the set-up of another service needs.
    ///
    /// Nothing is done to this machine. Read it, copy it to the server, run it there as root:
    ///
    ///   jeoul real-server web --os debian --interface eth0 > set-up.sh
    ///   jeoul real-server web --os debian --interface eth0 --undo > undo.sh
    ///
    /// The service is asked of the running appliance, or with --config read from a file, on any machine.
    /// A service of another mode than l2-dsr or l3-dsr is refused, as is l3-dsr for Windows, which cannot do
    /// it (exit status 2). The name of the service becomes part of names of files: at most 32 letters,
    /// digits, - and _.
    #[command(after_help = EXIT_STATUS, verbatim_doc_comment)]
    RealServer {
        /// The service's name
        service: String,
        /// What the server runs
        #[arg(long, value_enum)]
        os: OperatingSystem,
        /// The server's interface towards the appliance [Windows default: Ethernet]
        ///
        /// On Linux the settings for all interfaces suffice; with a name they are written for that one too.
        #[arg(long, value_name = "IF")]
        interface: Option<String>,
        /// What the loopback adapter is or will be called; Windows alone [default: loopback]
        #[arg(long, value_name = "NAME")]
        loopback: Option<String>,
        /// Print only the script that undoes the set-up
        #[arg(long)]
        undo: bool,
        /// Read the service from this configuration file instead of asking an appliance
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        at: At,
    },

    /// What concerns both ends of a firewall sandwich
    #[command(subcommand)]
    Fwlb(Fwlb),

    /// Build a lab in network namespaces, run real traffic, show what happened, remove it
    ///
    /// The lab starts this very program as the appliance, nginx and other servers as real peers, and clients
    /// that call the virtual addresses. Its addresses are those set aside for benchmarks and documentation
    /// (198.18.0.0/15 and 2001:db8::/32); nothing outside its own namespaces is touched. Everything is
    /// removed at the end, also after Ctrl-C or a failure. Needs root, and the packages iproute2, ethtool,
    /// nftables, nginx and tcpdump.
    ///
    /// Exit status: 0 all was as expected, 1 something was not.
    Lab(Lab),

    /// Measure the appliance beside what you would use instead, and write a report
    ///
    /// In namespaces of its own it puts one device after another between the two legs of a traffic generator, or between
    /// real clients and servers, in rounds, so that all devices meet the same hour of the machine. The profile says which
    /// devices, which trials and how many rounds. A device that is not installed is named as not measured.
    ///
    /// Writes DIR/report.html, which needs nothing else, and DIR/results.json; progress goes to standard error. Needs
    /// root, iproute2, ethtool and util-linux, and of nftables, DPDK, HAProxy, nginx, wrk and iperf3 what is to be beside.
    #[command(after_help = EXIT_STATUS)]
    Bench(Bench),
}

/// Which appliance is meant.
#[derive(Debug, Args)]
pub(crate) struct At {
    /// The control socket of the appliance, as `socket` in its file says
    #[arg(long, value_name = "PATH", env = "JEOUL_SOCKET", default_value = SOCKET_DEFAULT)]
    pub socket: PathBuf,
}

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// The appliance as a whole: forwarding or degraded, and why
    Status,
    /// Services with their state, sessions and traffic
    Services,
    /// Servers with their state, sessions and last check
    Servers,
    /// Sessions that are open now
    Sessions,
    /// Ports with their driver, link and traffic
    Ports,
    /// Workers with their load
    Workers,
    /// Dropped frames by reason
    Drops,
    /// Next hops and hosts that frames are sent to
    Neighbours,
    /// How long the turns of the workers take
    Latency,
    /// Firewalls by group, with their state, share of the flows, and flows that drifted
    Firewalls,
    #[value(hide = true)]
    Bridge,
}

impl fmt::Display for What {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            What::Status => "status",
            What::Services => "services",
            What::Servers => "servers",
            What::Sessions => "sessions",
            What::Ports => "ports",
            What::Workers => "workers",
            What::Drops => "drops",
            What::Neighbours => "neighbours",
            What::Latency => "latency",
            What::Firewalls => "firewalls",
            What::Bridge => "bridge",
        })
    }
}

/// What can be done with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Action {
    /// Back into service, as its health check finds it
    Enable,
    /// Out of service at once; its sessions are reset
    Disable,
    /// No new sessions; old ones finish
    Drain,
    /// Another share of new sessions than the file says
    Weight,
}

/// What can be done with a firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FirewallAction {
    /// Back into service, as its probes find it
    Enable,
    /// Out of service at once; its flows fare as `on_failure` of the group says
    Disable,
    /// No new flows; old ones stay with it until they end
    Drain,
}

/// A server's share as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerWeight {
    /// This one.
    Number(u16),
    /// What the file says.
    File,
}

impl FromStr for ServerWeight {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("file", _) => Ok(Self::File),
            (_, Ok(number)) => Ok(Self::Number(number)),
            _ => Err("a number from 0 to 65535 is wanted, or the word \"file\"".into()),
        }
    }
}

/// What a real server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OperatingSystem {
    /// Debian and its kin, with ifupdown
    Debian,
    /// RHEL and its kin
    Rhel,
    /// Windows Server, with PowerShell
    Windows,
}

/// A server as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServerAddress {
    pub address: IpAddr,
    /// `None`: not given.
    pub port: Option<u16>,
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(formatter),
            None => self.address.fmt(formatter),
        }
    }
}

impl FromStr for ServerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return match socket.port() {
                0 => Err("port 0 is no server's".into()),
                port => Ok(Self { address: socket.ip(), port: Some(port) }),
            };
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match bare.unwrap_or(text).parse::<IpAddr>() {
            Ok(address) if bare.is_none() || address.is_ipv6() => Ok(Self { address, port: None }),
            _ => Err("an address is wanted, with or without a port: 198.18.1.11, 198.18.1.11:8080 or \
                      [2001:db8::11]:8080"
                .into()),
        }
    }
}

/// Where a packet goes, as it is written on the command line: an end and a protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    pub end: String,
    pub protocol: String,
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (end, protocol) = text
            .rsplit_once('/')
            .ok_or("a protocol is wanted behind the port: 198.18.0.10:80/tcp or [2001:db8::10]:53/udp")?;
        Ok(Self { end: end.into(), protocol: protocol.into() })
    }
}

#[cfg(test)]
mod tests;
