//! The gate of one port: its steering programs on its interface, shut until every worker has its sockets.

use super::decision::{self, Maps};
use super::{
    COUNTERS, Counter, HAS_VLANS, LEAVES_UNTAGGED, SHUT, Steering, SteeringCounters, TAKES_ALL, VLAN_MAX,
    VLANS, lock,
};
use crate::bpf::{Hook, Link, Map, MapKind, Program, ProgramKind};
use crate::packet::LinkHealth;
use crate::silence::Silence;
use crate::{Error, interface};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard};

/// Queues of one interface at the most. The kernel allows thousands; nobody has a core for each.
pub const QUEUES_MAX: u32 = 256;

/// Which rings carry a port's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// AF_XDP, or fail.
    AfXdp,
    /// AF_PACKET, or fail.
    AfPacket,
    /// AF_XDP; where it is not to be had, AF_PACKET with the reason kept.
    Auto,
}

/// Where a port's programs are put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// AF_XDP: in the driver; where that is not to be had, in the kernel's emulation. AF_PACKET: at tcx
    /// ingress; where that is not to be had, nftables stand there. The reason is kept.
    Auto,
    /// AF_XDP in the driver, or fail; AF_PACKET as [`Attach::Auto`].
    Native,
    /// AF_XDP in the kernel's emulation; AF_PACKET as [`Attach::Auto`].
    Generic,
    /// AF_PACKET with nftables at ingress even where the kernel has tcx, for a host whose tcx hooks are
    /// somebody else's; AF_XDP as [`Attach::Auto`].
    Nftables,
}

const NEEDS_TCX: &str = "Linux 6.6 or later with CONFIG_NET_XGRESS, and no nftables at ingress";

/// Why a port has nftables at ingress.
const NO_TCX: &str = "kernel kept silent by nftables: kernel has no tcx";
const NFTABLES_ASKED_FOR: &str = "kernel kept silent by nftables: asked for";

/// How a port is driven, for the log and for `show ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortFacts {
    /// `af_xdp` or `af_packet`.
    pub driver: &'static str,
    /// `native zero-copy`, `native copy`, `generic copy` or `af_packet ring`; before the workers' sockets are
    /// open, the first word alone.
    pub mode: &'static str,
    /// Why it is not the better one, where it is not.
    pub reason: Option<String>,
}

/// The maps that belong to one port.
#[derive(Debug)]
pub(super) struct PortMaps {
    /// One value of eight bytes: MAC, flags.
    config: Map,
    /// One value of a byte for each VLAN.
    vlans: Map,
    counters: Map,
    pub(super) sockets: Option<Map>,
}

#[derive(Debug)]
struct State {
    mac: [u8; 6],
    flags: u16,
    zero_copy: bool,
    /// `None` when the programs were taken off.
    hold: Option<Hold>,
}

/// What a port has on its interface.
#[derive(Debug)]
enum Hold {
    /// An XDP or tcx program.
    Link(Link),
    /// In tcx's place; steering knows it too.
    Silence(Arc<Mutex<Silence>>),
}

/// Which rings a port has, and for AF_XDP where its program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rings {
    XdpNative,
    XdpGeneric,
    Packet,
}

/// The steering programs of one port. Shared by the control thread and the workers' set-up and end, never
/// used in a turn. Dropping it, like [`Gate::detach`], takes the programs off.
#[derive(Debug)]
pub struct Gate {
    interface: String,
    index: u32,
    maps: PortMaps,
    rings: Rings,
    /// The socket filter of an AF_PACKET port.
    filter: Option<Program>,
    reason: Option<String>,
    state: Mutex<State>,
}

impl Gate {
    /// Puts the steering programs on `interface`, shut: everything still goes to the kernel.
    pub fn attach(
        steering: &Steering,
        interface: &str,
        driver: Driver,
        attach: Attach,
    ) -> Result<Self, Error> {
        match driver {
            Driver::AfXdp => Self::attach_xdp(steering, interface, attach),
            Driver::AfPacket => Self::attach_packet(steering, interface, attach, None),
            Driver::Auto => Self::attach_xdp(steering, interface, attach).or_else(|error| match error {
                Error::NoInterface { .. } => Err(error),
                refused => Self::attach_packet(steering, interface, attach, Some(refused.to_string())),
            }),
        }
    }

    /// The same port on AF_PACKET, for when its AF_XDP sockets were refused for `reason`.
    pub fn attach_instead(
        steering: &Steering,
        interface: &str,
        attach: Attach,
        reason: &Error,
    ) -> Result<Self, Error> {
        Self::attach_packet(steering, interface, attach, Some(reason.to_string()))
    }

    fn attach_xdp(steering: &Steering, name: &str, attach: Attach) -> Result<Self, Error> {
        let found = interface::find(name)?;
        let maps = PortMaps::new(found.mac, true)?;
        let program = load(ProgramKind::Xdp, &maps.with(steering))?;
        let put = |hook| Link::attach(&program, found.index, hook);
        let (link, rings, reason) = match attach {
            Attach::Generic => (put(Hook::XdpGeneric), Rings::XdpGeneric, None),
            Attach::Native => (put(Hook::XdpNative), Rings::XdpNative, None),
            Attach::Auto | Attach::Nftables => match put(Hook::XdpNative) {
                Err(error) if !is_final(&error) => {
                    let reason = attach_error(name, found.mtu, error).to_string();
                    (put(Hook::XdpGeneric), Rings::XdpGeneric, Some(reason))
                }
                result => (result, Rings::XdpNative, None),
            },
        };
        let link = link.map_err(|error| attach_error(name, found.mtu, error))?;
        Ok(Self::new(&found, maps, rings, None, reason, Hold::Link(link)))
    }

    fn attach_packet(
        steering: &Steering,
        name: &str,
        attach: Attach,
        reason: Option<String>,
    ) -> Result<Self, Error> {
        let found = interface::find(name)?;
        let maps = PortMaps::new(found.mac, false)?;
        let filter = load(ProgramKind::SocketFilter, &maps.with(steering))?;
        let link = match attach {
            Attach::Nftables => None,
            _ => attach_ingress(steering, &found, &maps)?,
        };
        let (hold, silenced) = match link {
            Some(link) => (Hold::Link(link), None),
            None => {
                let why = if attach == Attach::Nftables { NFTABLES_ASKED_FOR } else { NO_TCX };
                (Hold::Silence(steering.silence(name)?), Some(why))
            }
        };
        let reasons: Vec<String> = reason.into_iter().chain(silenced.map(str::to_owned)).collect();
        let reason = (!reasons.is_empty()).then(|| reasons.join("; "));
        Ok(Self::new(&found, maps, Rings::Packet, Some(filter), reason, hold))
    }

    fn new(
        found: &interface::Interface,
        maps: PortMaps,
        rings: Rings,
        filter: Option<Program>,
        reason: Option<String>,
        hold: Hold,
    ) -> Self {
        let state = State { mac: found.mac, flags: SHUT, zero_copy: false, hold: Some(hold) };
        let (interface, index) = (found.name.clone(), found.index);
        Self { interface, index, maps, rings, filter, reason, state: Mutex::new(state) }
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    pub(crate) fn interface_index(&self) -> u32 {
        self.index
    }

    /// Whether frames come by AF_XDP.
    pub fn is_xdp(&self) -> bool {
        self.rings != Rings::Packet
    }

    /// Whether zero-copy would work: the program sits in the driver.
    pub(crate) fn is_native(&self) -> bool {
        self.rings == Rings::XdpNative
    }

    pub(crate) fn filter(&self) -> Option<BorrowedFd<'_>> {
        self.filter.as_ref().map(Program::fd)
    }

    /// How the port is driven.
    pub fn facts(&self) -> PortFacts {
        let zero_copy = self.state().zero_copy;
        let (driver, mode) = match self.rings {
            Rings::XdpNative if zero_copy => ("af_xdp", "native zero-copy"),
            Rings::XdpNative => ("af_xdp", "native copy"),
            Rings::XdpGeneric => ("af_xdp", "generic copy"),
            Rings::Packet => ("af_packet", "af_packet ring"),
        };
        PortFacts { driver, mode, reason: self.reason.clone() }
    }

    pub(crate) fn set_zero_copy(&self, zero_copy: bool) {
        self.state().zero_copy = zero_copy;
    }

    /// Tells the program which socket the frames of `queue` go to.
    pub(crate) fn insert_socket(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), Error> {
        let Some(sockets) = &self.maps.sockets else { return Ok(()) };
        sockets.update(&queue.to_ne_bytes(), &socket.as_raw_fd().to_ne_bytes()).map_err(|error| {
            Error::from_io(format!("{}: handing queue {queue} to its socket", self.interface), error)
        })
    }

    /// Begins to take frames; call when every worker has its ports.
    pub fn open(&self) -> Result<(), Error> {
        // Rather neither ring nor kernel for a moment than both.
        if self.takes_untagged() {
            self.begin_silence()?;
        }
        self.change(|state| state.flags &= !SHUT)
    }

    /// Leaves every frame to the kernel again.
    pub fn shut(&self) -> Result<(), Error> {
        self.change(|state| state.flags |= SHUT)?;
        self.end_silence()
    }

    fn begin_silence(&self) -> Result<(), Error> {
        self.silence().map_or(Ok(()), |silence| lock(&silence).begin())
    }

    fn end_silence(&self) -> Result<(), Error> {
        self.silence().map_or(Ok(()), |silence| lock(&silence).end())
    }

    /// Follows a change of the interface's MAC.
    pub fn set_mac(&self, mac: [u8; 6]) -> Result<(), Error> {
        self.change(|state| state.mac = mac)
    }

    /// Whether every frame is taken, whatever its addresses and tags: a port that switches. So are the
    /// link-local groups, which a bridge has its own rules for, and what the kernel would answer or forward.
    /// An interface accepts frames for other MACs only while it is promiscuous
    /// ([`crate::interface::PromiscuousMembership`]). Refused behind nftables, which decide by addresses.
    pub fn set_takes_all(&self, takes_all: bool) -> Result<(), Error> {
        if takes_all && self.silence().is_some() {
            let what = format!("{}: taking every frame by AF_PACKET", self.interface);
            return Err(Error::Unsupported { what, needs: NEEDS_TCX });
        }
        self.change(|state| match takes_all {
            true => state.flags |= TAKES_ALL,
            false => state.flags &= !TAKES_ALL,
        })
    }

    /// Makes these, and no others, the VLANs (1 to [`VLAN_MAX`]) of which every frame to this port's MAC, to
    /// everyone or to a group goes to the socket whole, its tag in it. As long as there are some, other VLANs
    /// are the kernel's; with none, all tagged frames go to the socket, which knows none of them. Only 802.1Q
    /// tags count: a service tag (802.1ad) is of no VLAN that can be listed. A VLAN that stays is never
    /// missing in between.
    ///
    /// The host's leg in such a VLAN has this port's MAC, or what is sent to it is dropped as another host's.
    /// Behind nftables the kernel sees the frames too: it must have no VLAN device of these numbers there.
    pub fn set_vlans(&self, vlans: &[u16]) -> Result<(), Error> {
        let mut listed = [0u8; VLANS];
        for &vlan in vlans {
            if vlan == 0 || vlan > VLAN_MAX {
                return Err(Error::OutOfBounds {
                    what: format!("{}: VLAN to steer by", self.interface),
                    value: u64::from(vlan),
                    bound: u64::from(VLAN_MAX),
                    advice: "or zero, which names no VLAN; use 1 to 4094",
                });
            }
            listed[usize::from(vlan)] = 1;
        }
        self.maps.set_vlans(&listed)?;
        self.change(|state| match vlans.is_empty() {
            true => state.flags &= !HAS_VLANS,
            false => state.flags |= HAS_VLANS,
        })
    }

    /// Whether frames of no VLAN, untagged or with a priority alone, are steered at all (so it begins), or
    /// all left to the kernel: for an interface of which only VLANs are ports.
    pub fn set_untagged(&self, untagged: bool) -> Result<(), Error> {
        if untagged {
            if self.state().flags & SHUT == 0 {
                self.begin_silence()?;
            }
            return self.change(|state| state.flags &= !LEAVES_UNTAGGED);
        }
        self.change(|state| state.flags |= LEAVES_UNTAGGED)?;
        self.end_silence()
    }

    fn takes_untagged(&self) -> bool {
        self.state().flags & LEAVES_UNTAGGED == 0
    }

    fn change(&self, change: impl FnOnce(&mut State)) -> Result<(), Error> {
        let mut state = self.state();
        change(&mut state);
        self.maps.set_config(state.mac, state.flags)
    }

    /// Takes the programs off the interface; the kernel sees every frame again.
    pub fn detach(&self) {
        self.state().hold = None;
    }

    fn silence(&self) -> Option<Arc<Mutex<Silence>>> {
        match &self.state().hold {
            Some(Hold::Silence(silence)) => Some(Arc::clone(silence)),
            _ => None,
        }
    }

    /// What was decided since the port was attached.
    pub fn counters(&self) -> Result<SteeringCounters, Error> {
        self.maps.read_counters()
    }

    /// How the interface is; `Removed` too when the programs were taken off.
    pub fn health(&self) -> LinkHealth {
        let held = match &self.state().hold {
            Some(Hold::Link(link)) => link.interface_index().ok(),
            Some(Hold::Silence(_)) => interface::find(&self.interface).ok().map(|found| found.index),
            None => None,
        };
        if held != Some(self.index) {
            return LinkHealth::Removed;
        }
        match interface::find(&self.interface) {
            Ok(found) if found.index == self.index && !found.is_up() => LinkHealth::Down,
            _ => LinkHealth::Up,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// The program that keeps the kernel out; `None` where the kernel has no place for it.
fn attach_ingress(
    steering: &Steering,
    found: &interface::Interface,
    maps: &PortMaps,
) -> Result<Option<Link>, Error> {
    // It counts for itself, and nobody reads it: the filter sees each frame too, and one frame is counted
    // once.
    let ingress_counters = counters()?;
    let ingress = Maps { counters: &ingress_counters, ..maps.with(steering) };
    let program = load(ProgramKind::Classifier, &ingress)?;
    match Link::attach(&program, found.index, Hook::TcxIngress) {
        Ok(link) => Ok(Some(link)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => Ok(None),
        Err(error) => {
            let what = format!("{}: keeping the kernel out at tcx ingress", found.name);
            Err(Error::privileged(what, "CAP_BPF and CAP_NET_ADMIN", error))
        }
    }
}

pub(super) fn load(kind: ProgramKind, maps: &Maps<'_>) -> Result<Program, Error> {
    let name = match kind {
        ProgramKind::Xdp => "steer_xdp",
        ProgramKind::Classifier => "steer_ingress",
        ProgramKind::SocketFilter => "steer_filter",
    };
    Program::load(kind, &decision::assemble(kind, maps), name)
}

fn counters() -> Result<Map, Error> {
    Map::new(MapKind::PerCpuArray, 4, 8, COUNTERS, "steer_counters")
}

impl PortMaps {
    pub(super) fn new(mac: [u8; 6], with_sockets: bool) -> Result<Self, Error> {
        let sockets = match with_sockets {
            true => Some(Map::new(MapKind::Sockets, 4, 4, QUEUES_MAX, "steer_sockets")?),
            false => None,
        };
        let config = Map::new(MapKind::Array, 4, 8, 1, "steer_port")?;
        let vlans = Map::new(MapKind::Array, 4, VLANS, 1, "steer_vlans")?;
        let maps = Self { config, vlans, counters: counters()?, sockets };
        maps.set_config(mac, SHUT)?;
        Ok(maps)
    }

    pub(super) fn with<'a>(&'a self, steering: &'a Steering) -> Maps<'a> {
        Maps {
            addresses: &steering.addresses,
            config: &self.config,
            vlans: &self.vlans,
            counters: &self.counters,
            sockets: self.sockets.as_ref(),
        }
    }

    pub(super) fn set_config(&self, mac: [u8; 6], flags: u16) -> Result<(), Error> {
        let mut value = [0; 8];
        value[..6].copy_from_slice(&mac);
        value[6..].copy_from_slice(&flags.to_ne_bytes());
        self.config
            .update(&[0; 4], &value)
            .map_err(|error| Error::from_io("changing a port's steering", error))
    }

    /// Which VLANs are listed: a byte for each, zero or one.
    pub(super) fn set_vlans(&self, listed: &[u8; VLANS]) -> Result<(), Error> {
        self.vlans
            .update(&[0; 4], listed)
            .map_err(|error| Error::from_io("changing the VLANs of a port's steering", error))
    }

    pub(super) fn read_counters(&self) -> Result<SteeringCounters, Error> {
        let read = |counter: Counter| {
            self.counters
                .sum_over_cpus(counter as u32)
                .map_err(|error| Error::from_io("reading steering counters", error))
        };
        Ok(SteeringCounters {
            to_socket: read(Counter::ToSocket)?,
            to_kernel: read(Counter::ToKernel)?,
            foreign_mac: read(Counter::ForeignMac)?,
            socket_missing: read(Counter::SocketMissing)?,
        })
    }
}

/// Whether another mode of attaching would fail for the same reason.
fn is_final(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST | libc::EPERM | libc::ENODEV))
}

fn attach_error(interface: &str, mtu: u32, error: io::Error) -> Error {
    let interface = interface.to_owned();
    let what = format!("{interface}: attaching the XDP program");
    match error.raw_os_error() {
        // EEXIST: one sits there in the other mode.
        Some(libc::EBUSY | libc::EEXIST) => Error::Occupied { interface },
        Some(libc::ERANGE) => Error::MtuTooLarge { interface, mtu },
        Some(libc::ENODEV) => Error::NoInterface { interface },
        Some(libc::EOPNOTSUPP) => Error::Unsupported { what, needs: "a driver with native XDP" },
        _ => Error::privileged(what, "CAP_BPF and CAP_NET_ADMIN", error),
    }
}
