//! What the command line says about a lab.

use clap::{Args, ValueEnum};

/// A lab and how it is to be run.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Lab {
    /// Which lab
    pub topology: Topology,
    /// How the appliance takes its frames
    #[arg(long, value_enum, default_value_t = Driver::Auto)]
    pub driver: Driver,
    /// Leave the lab standing at the end, to look around, until Ctrl-C; of several the last one
    #[arg(long)]
    pub keep: bool,
    /// Requests per web service
    #[arg(long, value_name = "N", default_value_t = 300)]
    #[arg(value_parser = clap::value_parser!(u32).range(3..=100_000))]
    pub requests: u32,
    /// Of l3-dsr: how packets find their servers; all ways one after the other if it is not given
    #[arg(long, value_enum)]
    pub encapsulation: Option<Encapsulation>,
    /// Of one-arm-routed: how the arm is wired; all ways one after the other if it is not given
    #[arg(long, value_enum)]
    pub wiring: Option<Wiring>,
}

/// The labs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Topology {
    /// A client, the appliance and three servers: shares, a reload, a death under load, a return
    SlbRouted,
    /// One virtual address, two services on different pairs of servers; one service of a server dies
    SlbGroups,
    /// The appliance as a bridge in the only way between clients and servers
    TransparentInline,
    /// The appliance as a station beside clients and servers on one switch, with source NAT
    TransparentOneArm,
    /// Direct server return on one network: replies never cross the appliance
    L2Dsr,
    /// Direct server return across a router: by a tunnel or a mark
    L3Dsr,
    /// The appliance as a router with one interface: gateway, source NAT, or two VLANs
    OneArmRouted,
    /// Every way to choose a server, asked against measured, under concurrent calls on two workers
    Schedulers,
    /// Every kind of health check against every way in which a server fails that it can see, and when it notices
    Health,
    /// Three stateful firewalls between two appliances: every flow crosses one of them both ways, whatever fails
    FwlbSandwich,
    /// The same with firewalls that are bridges, a port of both appliances for each
    FwlbStealth,
    /// Firewalls with three legs, and an appliance in each of three zones
    FwlbDmz,
    /// Firewalls that translate addresses, each to its own
    FwlbNat,
    /// What becomes of the flows of a firewall that fails: on strict firewalls, ones that pick up, ones that share state
    FwlbFailover,
    /// Two mistakes that every textbook warns of, broken and then cured
    Traps,
}

/// How frames are taken, as the configuration spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Driver {
    /// AF_XDP, else AF_PACKET
    #[value(name = "auto")]
    Auto,
    /// AF_PACKET rings
    #[value(name = "af_packet")]
    AfPacket,
    /// AF_XDP or nothing
    #[value(name = "af_xdp")]
    AfXdp,
}

impl Driver {
    /// The word of the configuration.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Driver::Auto => "auto",
            Driver::AfPacket => "af_packet",
            Driver::AfXdp => "af_xdp",
        }
    }
}

/// How a packet of l3-dsr finds its server, as the configuration spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encapsulation {
    /// IP in IP
    Ipip,
    /// GUE variant 1, in UDP
    Gue,
    /// The server's own address, and a DSCP that stands for the virtual one
    Dscp,
}

/// How the arm of one-arm-routed is wired, and which way the servers answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wiring {
    /// Two networks on one switch; the servers' gateway is the appliance
    GatewayAppliance,
    /// Two networks on one switch; the servers' gateway is another router, so the source is translated
    GatewayRouter,
    /// Two VLANs of one interface
    TwoVlans,
}
