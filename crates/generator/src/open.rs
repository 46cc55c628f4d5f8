//! From the interfaces that the command line names to rings that take every frame.
//!
//! Control thread. No interface is touched but those that were named.

use std::fmt;
use std::sync::Arc;

use rings::interface::{self, PromiscuousMembership};
use rings::steering::{Attach, Driver, Gate, Steering};
use rings::{PortSpec, RingLengths, WorkerPorts, ethtool};
use wire::Mac;

use crate::live;

/// Entries of each AF_XDP ring: a burst of a device under test that was held up for some milliseconds.
const XDP_ENTRIES: u32 = 4_096;

/// Slots of an AF_PACKET receive ring, 32 MiB.
const PACKET_RECEIVE_SLOTS: usize = 16_384;

/// How frames are sent and received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriverChoice {
    /// The fastest that works here.
    #[default]
    Auto,
    /// Sent by the kernel's live frames, received by AF_XDP or AF_PACKET.
    Live,
    /// AF_XDP both ways.
    AfXdp,
    /// AF_PACKET both ways.
    AfPacket,
}

/// How a port is driven, for reports.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PortReport {
    /// The port's name in the profile.
    pub name: String,
    /// The interface's name.
    pub interface: String,
    /// `live`, `af_xdp` or `af_packet`.
    pub driver: &'static str,
    /// How the rings work.
    pub mode: String,
    /// Why it is not a faster one.
    pub reason: Option<String>,
    /// Frames that came and were lost by the generator itself: its ring was full. They are lost in the streams'
    /// counts too, so a run in which there are any says little about the device under test.
    pub receive_dropped: u64,
}

/// A port with its rings, shut until [`OpenPort::open`].
pub struct OpenPort {
    /// Its rings.
    pub ports: WorkerPorts,
    /// Its interface's number.
    pub index: u32,
    /// Its own address.
    pub mac: Mac,
    /// Whether the kernel makes the frames that it sends.
    pub is_live: bool,
    /// What its link carries; `None` when the driver does not tell.
    pub link_bits_per_second: Option<u64>,
    /// How it is driven.
    pub report: PortReport,
    hold: Hold,
}

/// What must live as long as the rings.
pub struct Hold {
    gate: Arc<Gate>,
    _steering: Steering,
    _promiscuous: PromiscuousMembership,
}

impl fmt::Debug for OpenPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenPort").field("report", &self.report).finish_non_exhaustive()
    }
}

impl OpenPort {
    /// Opens the rings of `interface` under the profile's `name`.
    pub fn new(name: &str, interface: &str, choice: DriverChoice) -> Result<Self, rings::Error> {
        let driver = match choice {
            DriverChoice::Auto | DriverChoice::Live => Driver::Auto,
            DriverChoice::AfXdp => Driver::AfXdp,
            DriverChoice::AfPacket => Driver::AfPacket,
        };
        let found = interface::find(interface)?;
        let steering = Steering::new(1)?;
        let spec = PortSpec { interface: interface.to_owned(), driver, attach: Attach::Auto };
        let lengths = RingLengths {
            xdp_entries: XDP_ENTRIES,
            packet_receive_slots: PACKET_RECEIVE_SLOTS,
            ..RingLengths::default()
        };
        let opened = rings::open(&steering, &[spec], &[], 1, &lengths)?;
        let (Some(gate), Some(ports)) = (opened.gates.into_iter().next(), opened.workers.into_iter().next())
        else {
            return Err(rings::Error::NoInterface { interface: interface.to_owned() });
        };
        gate.set_takes_all(true)?;
        let facts = gate.facts();
        let report = PortReport {
            name: name.to_owned(),
            interface: interface.to_owned(),
            driver: facts.driver,
            mode: facts.mode.to_owned(),
            reason: facts.reason,
            receive_dropped: 0,
        };
        let promiscuous = PromiscuousMembership::join(interface)?;
        Ok(Self {
            ports,
            index: found.index,
            mac: Mac(found.mac),
            is_live: false,
            link_bits_per_second: ethtool::link_bits_per_second(interface)?,
            report,
            hold: Hold { gate, _steering: steering, _promiscuous: promiscuous },
        })
    }

    /// Has the kernel make the frames where that was asked for, or may be; for a port that sends nothing else.
    /// After all ports have their programs, which the far end of a veth needs, and before any is opened, so
    /// that the probe is counted nowhere.
    pub fn choose_live(&mut self, choice: DriverChoice) -> Result<(), rings::Error> {
        let why_not = match choice {
            DriverChoice::Auto | DriverChoice::Live => live::why_not(&self.report.interface),
            DriverChoice::AfXdp | DriverChoice::AfPacket => return Ok(()),
        };
        match why_not {
            None => {
                self.is_live = true;
                self.report.mode =
                    format!("live frames, received by {}, {}", self.report.driver, self.report.mode);
                self.report.driver = "live";
                Ok(())
            }
            Some(reason) if choice == DriverChoice::Live => {
                let what = format!("{}: live frames: {reason}", self.report.interface);
                Err(rings::Error::Unsupported { what, needs: "another --driver" })
            }
            Some(reason) => {
                let reasons = self.report.reason.take().into_iter().chain([reason]);
                self.report.reason = Some(reasons.collect::<Vec<_>>().join("; "));
                Ok(())
            }
        }
    }

    /// Begins to take frames, all of them.
    pub fn open(&self) -> Result<(), rings::Error> {
        self.hold.gate.open()
    }

    /// The rings, and what must outlive them.
    pub fn into_parts(self) -> (WorkerPorts, Hold) {
        (self.ports, self.hold)
    }
}
