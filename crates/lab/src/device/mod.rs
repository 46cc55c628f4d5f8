//! Devices under test: what can stand between the two links of a [`Straight`] testbed.
//!
//! The appliance in each of its jobs, and what people would use instead. Each is started as its own manual says, on
//! one CPU where it can be told so, and gives the exact commands that a report repeats. A device that this machine
//! lacks is a reason ([`Plan::unavailable`]), never an error.
//!
//! Any thread; blocks. Refuses a job that a device does not have.

mod appliance;
mod forwarder;
mod kernel;
mod proxy;
mod testpmd;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use wire::Mac;

use crate::appliance::Appliance;
use crate::error::{Error, Result};
use crate::link::Endpoint;
use crate::namespace::Namespace;
use crate::process::{Process, Signal};
use crate::program::{self, find_program};
use crate::testbed::Testbed;
use crate::topology::straight::{FarEnds, Straight};

/// How long a device may take until it forwards. A table for ten million sessions is touched at its start.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long it may take to end in order before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// How much of a device's output an error carries.
const LAST_WORDS_LINES: usize = 12;

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A wire: no device at all, so the limit of whatever measures.
    Direct,
    /// The appliance.
    Jeoul,
    /// Our own forwarder in C on the same sockets, which does no work: `benches/forwarders`.
    BareForwarder,
    /// An XDP program that sends frames on inside the kernel: `benches/forwarders` too.
    XdpRedirect,
    /// DPDK's test program, which forwards and rewrites MAC addresses.
    Testpmd,
    /// The kernel's destination NAT with connection tracking.
    Nftables,
    /// The kernel as a router.
    Kernel,
    /// HAProxy in TCP mode.
    Haproxy,
    /// nginx's stream module.
    NginxStream,
}

/// What a device does with frames. All but the appliance only forward, one way or another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Job {
    /// Destination NAT between networks.
    SlbRouted,
    /// Destination NAT on a bridge.
    SlbTransparent,
    /// Servers that answer directly, on one network.
    SlbL2Dsr,
    /// Servers that answer directly, in IP-in-IP tunnels.
    SlbL3Dsr,
    /// A choice of firewalls.
    Fwlb,
    /// Plain routing: no session.
    Routing,
    /// Plain switching: no session.
    Switching,
}

/// How a device takes frames from the kernel, where it has a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Driver {
    /// AF_XDP sockets.
    AfXdp,
    /// AF_PACKET with mapped rings.
    AfPacket,
}

impl Driver {
    /// As a configuration writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::AfXdp => "af_xdp",
            Self::AfPacket => "af_packet",
        }
    }
}

/// A device as a trial wants it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it is.
    pub kind: Kind,
    /// How it takes frames; it matters to the appliance, the bare forwarder and testpmd.
    pub driver: Driver,
    /// Whether the appliance never sleeps.
    pub busy: bool,
    /// What it does.
    pub job: Job,
    /// Whether the appliance and nftables also translate the source.
    pub source_nat: bool,
    /// How many flows it must be able to hold at once.
    pub flows: u32,
    /// Whether they are IPv6.
    pub ipv6: bool,
    /// The CPU that it works on; the generator and the peers have another.
    pub cpu: u16,
    /// The CPU of everything that is not work: a control thread.
    pub control_cpu: u16,
    /// The longest that it runs.
    pub bound: Duration,
}

/// Where our own programs are.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The appliance's binary.
    pub jeoul: PathBuf,
    /// The directory of `bare-xdp`, `bare-packet` and `bare-redirect`.
    pub forwarders: PathBuf,
}

/// A device that forwards; see the module. Dropped, it is killed.
#[derive(Debug)]
pub struct Device {
    straight: Straight,
    destination: Mac,
    commands: Vec<String>,
    configuration: String,
    mode: String,
    running: Running,
}

/// What has to be ended.
#[derive(Debug)]
enum Running {
    /// Nothing: the kernel does it, or a wire.
    Kernel,
    Program(Process),
    Appliance(Box<Appliance>),
}

/// A device in the making.
struct Site<'a> {
    plan: &'a Plan,
    tools: &'a Tools,
    straight: &'a Straight,
    outside: &'a Endpoint,
    inside: &'a Endpoint,
    directory: &'a Path,
}

/// What a device has become.
struct Started {
    running: Running,
    commands: Vec<String>,
    /// The file that the commands name; empty if they name none.
    configuration: String,
    /// How it takes frames, in words of its own.
    mode: String,
    /// Whom clients send to, if it is not the interface outside.
    destination: Option<Mac>,
}

impl Plan {
    /// Why this machine cannot have the device; none if it can.
    pub fn unavailable(&self, tools: &Tools) -> Option<String> {
        let result = match self.kind {
            Kind::Direct => Ok(()),
            Kind::Jeoul => installed(&tools.jeoul),
            Kind::BareForwarder | Kind::XdpRedirect => installed(&forwarder::binary(self, tools)),
            Kind::Testpmd => testpmd::available(self.driver),
            Kind::Nftables => find_program("nft").map(drop).map_err(|error| missing(&error)),
            Kind::Kernel => Ok(()),
            Kind::Haproxy => find_program("haproxy").map(drop).map_err(|error| missing(&error)),
            Kind::NginxStream => proxy::stream_module().map(drop),
        };
        result.and_then(|()| self.has_job()).err()
    }

    /// All but the appliance have one job; that of a plain forwarder is good for every trial.
    fn has_job(&self) -> Result<(), String> {
        let only = match self.kind {
            Kind::Nftables | Kind::Haproxy | Kind::NginxStream => Some(Job::SlbRouted),
            _ => None,
        };
        match only {
            Some(job) if job != self.job => {
                Err(format!("it balances between networks, and does no {:?}", self.job))
            }
            _ => Ok(()),
        }
    }

    /// Builds the testbed and starts the device in it; it forwards from here on.
    pub fn start(&self, testbed: &Testbed, far_ends: FarEnds, tools: &Tools) -> Result<Device> {
        if self.kind == Kind::Direct {
            let straight = Straight::wire(testbed, far_ends)?;
            if far_ends == FarEnds::Generator {
                straight.servers.poll_receive()?;
                straight.clients.poll_receive()?;
            }
            let destination = straight.next_hop();
            return Ok(Device {
                straight,
                destination,
                commands: Vec::new(),
                configuration: String::new(),
                mode: "a wire".into(),
                running: Running::Kernel,
            });
        }
        let straight = Straight::with_device(testbed, far_ends)?;
        let Some((outside, inside)) = straight.device() else {
            return Err(Error::unusable("the testbed", "it has no place for a device"));
        };
        let site =
            Site { plan: self, tools, straight: &straight, outside, inside, directory: testbed.directory() };
        let started = match self.kind {
            Kind::Direct => unreachable!("a wire was answered above"),
            Kind::Jeoul => appliance::start(&site),
            Kind::BareForwarder | Kind::XdpRedirect => forwarder::start(&site),
            Kind::Testpmd => testpmd::start(&site),
            Kind::Nftables => kernel::start_nftables(&site),
            Kind::Kernel => kernel::start_routing(&site),
            Kind::Haproxy => proxy::start_haproxy(&site),
            Kind::NginxStream => proxy::start_nginx(&site),
        }?;
        let Started { running, commands, configuration, mode, destination } = started;
        // A generator's live frames enter an interface only where it polls, as those with XDP programs do by themselves.
        // The appliance has switched it off, so this comes last.
        if far_ends == FarEnds::Generator {
            [outside, inside].iter().try_for_each(|end| end.poll_receive())?;
        }
        // What an XDP program redirects is taken only by an end that polls, and programs at the far ends do not.
        if self.kind == Kind::XdpRedirect {
            [&straight.clients, &straight.servers].iter().try_for_each(|end| end.poll_receive())?;
        }
        let destination = destination.unwrap_or_else(|| straight.next_hop());
        Ok(Device { straight, destination, commands, configuration, mode, running })
    }
}

impl Device {
    /// The testbed that it stands in.
    pub fn straight(&self) -> &Straight {
        &self.straight
    }

    /// The MAC address that clients send to.
    pub fn destination(&self) -> Mac {
        self.destination
    }

    /// What was typed to have it, one command a line.
    pub fn commands(&self) -> &[String] {
        &self.commands
    }

    /// The file that the commands name, word by word; empty if they name none.
    pub fn configuration(&self) -> &str {
        &self.configuration
    }

    /// How it takes frames: driver, native or generic, copy or zero-copy, as far as it says so.
    pub fn mode(&self) -> &str {
        &self.mode
    }

    /// The process that works, if there is one.
    pub fn process_id(&self) -> Option<u32> {
        match &self.running {
            Running::Kernel => None,
            Running::Program(process) => Some(process.id()),
            Running::Appliance(appliance) => Some(appliance.process().id()),
        }
    }

    /// The appliance, for its own figures.
    pub fn appliance(&self) -> Option<&Appliance> {
        match &self.running {
            Running::Appliance(appliance) => Some(appliance),
            _ => None,
        }
    }

    /// Why it does not forward any more; none while it does.
    pub fn ended(&self) -> Option<String> {
        let status = match &self.running {
            Running::Kernel => None,
            Running::Program(process) => process.exit_status(),
            Running::Appliance(appliance) => appliance.process().exit_status(),
        };
        status.map(|status| format!("the device has ended ({status})"))
    }

    /// Ends it in order.
    pub fn stop(self) {
        let process = match &self.running {
            Running::Kernel => return,
            Running::Program(process) => process,
            Running::Appliance(appliance) => appliance.process(),
        };
        // What does not end in its time is killed with its handle.
        let _ = process.end_with(Signal::TERM, STOP_LIMIT);
    }
}

impl Site<'_> {
    fn namespace(&self) -> &Namespace {
        self.outside.namespace()
    }

    /// Starts a program of the device's and waits until its output says `ready`. Output goes to a log of this name.
    fn spawn_until(&self, mut command: Command, name: &str, ready: &str) -> Result<(Process, String)> {
        let path = self.directory.join(format!("{name}.log"));
        let log = fs::File::create(&path).map_err(Error::system(format!("creating {}", path.display())))?;
        let stderr = log.try_clone().map_err(Error::system(format!("opening {}", path.display())))?;
        command.stdin(Stdio::null()).stdout(log).stderr(stderr);
        let process = self.namespace().spawn(command)?;
        let said = || fs::read_to_string(&path).unwrap_or_default();
        let is_ready = program::wait_until(START_LIMIT, || !process.is_running() || said().contains(ready));
        let said = said();
        if is_ready && process.is_running() {
            return Ok((process, said));
        }
        let skipped = said.lines().count().saturating_sub(LAST_WORDS_LINES);
        let last: Vec<&str> = said.lines().skip(skipped).collect();
        Err(Error::TooSlow { waiting_for: format!("{name} to forward:\n{}", last.join("\n")) })
    }

    /// A command inside the device's namespace on the device's CPU.
    fn pinned(&self, program: &str) -> Result<Command> {
        let program = find_program(program)?;
        let mut command = self.namespace().command("taskset")?;
        command.args(["--cpu-list", &self.plan.cpu.to_string()]).arg(program);
        Ok(command)
    }
}

/// Whether a program of ours was built.
fn installed(path: &Path) -> Result<(), String> {
    match path.is_file() {
        true => Ok(()),
        false => Err(format!("not built: {}; `scripts/bench` builds it", file_name(path))),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What a report says of a program that is not there.
fn missing(error: &Error) -> String {
    match error {
        Error::Missing { program, package } => {
            format!("not installed: {program} (apt-get install {package})")
        }
        other => other.to_string(),
    }
}

/// A command as a person inside the namespace would type it: without the words that enter it.
fn typed(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let inside = words.iter().position(|word| *word == "exec").map_or(0, |at| at + 2);
    words[inside.min(words.len())..].iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
