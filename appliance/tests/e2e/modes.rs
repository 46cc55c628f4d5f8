//! Every forwarding mode as a lab with real peers and the appliance in it.
//!
//! [`in_every_mode`] makes of one function of driver and mode two tests for each mode.

use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use lab::topology::l2_dsr::l2_dsr;
use lab::topology::l3_dsr::{Encapsulation, l3_dsr};
use lab::topology::one_arm_routed::{Wiring, one_arm_routed};
use lab::topology::routed_two_ports::routed_two_ports;
use lab::topology::transparent_inline::transparent_inline;
use lab::topology::transparent_one_arm::transparent_one_arm;
use lab::topology::{Hop, Host, Options, Peers, Router, Site};
use lab::{Appliance, Decapsulator, Namespace, Testbed, VlanSwitch};

use super::{JEOUL, PATIENCE, status, wait_for};

/// A row of the table of rewrites, in the wiring that makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A bridge between clients and servers.
    TransparentInline,
    /// A bridge with one port: source NAT.
    TransparentOneArm,
    /// A router between clients and servers.
    Routed,
    /// One port, and the servers' gateway.
    RoutedOneArm,
    /// One port, and the servers' gateway is elsewhere: source NAT.
    RoutedBypassed,
    /// Two VLANs of one interface.
    RoutedInVlans,
    /// Direct return on one network.
    L2Dsr,
    /// Direct return through IP in IP.
    Ipip,
    /// Direct return through GUE.
    Gue,
    /// Direct return with a mark.
    Dscp,
}

/// Makes the tests `af_packet::MODE` and `af_xdp::MODE` of a function of driver and mode.
macro_rules! in_every_mode {
    ($test:ident) => {
        mod each {
            use crate::e2e::modes::Mode;
            pub fn transparent_inline(driver: &str) {
                super::$test(driver, Mode::TransparentInline);
            }
            pub fn transparent_one_arm(driver: &str) {
                super::$test(driver, Mode::TransparentOneArm);
            }
            pub fn routed(driver: &str) {
                super::$test(driver, Mode::Routed);
            }
            pub fn routed_one_arm(driver: &str) {
                super::$test(driver, Mode::RoutedOneArm);
            }
            pub fn routed_bypassed(driver: &str) {
                super::$test(driver, Mode::RoutedBypassed);
            }
            pub fn routed_in_vlans(driver: &str) {
                super::$test(driver, Mode::RoutedInVlans);
            }
            pub fn l2_dsr(driver: &str) {
                super::$test(driver, Mode::L2Dsr);
            }
            pub fn l3_dsr_ipip(driver: &str) {
                super::$test(driver, Mode::Ipip);
            }
            pub fn l3_dsr_gue(driver: &str) {
                super::$test(driver, Mode::Gue);
            }
            pub fn l3_dsr_dscp(driver: &str) {
                super::$test(driver, Mode::Dscp);
            }
        }
        use each::*;
        crate::e2e::on_both_drivers! {
            transparent_inline,
            transparent_one_arm,
            routed,
            routed_one_arm,
            routed_bypassed,
            routed_in_vlans,
            l2_dsr,
            l3_dsr_ipip,
            l3_dsr_gue,
            l3_dsr_dscp,
        }
    };
}
pub(crate) use in_every_mode;

impl Mode {
    /// Whether servers answer the client straight.
    pub fn is_direct(self) -> bool {
        matches!(self, Self::L2Dsr | Self::Ipip | Self::Gue | Self::Dscp)
    }

    /// Whether the request has an outer header.
    pub fn is_tunnel(self) -> bool {
        matches!(self, Self::Ipip | Self::Gue)
    }

    /// Whether servers see an address of the appliance's in place of the client's.
    pub fn translates_source(self) -> bool {
        matches!(self, Self::TransparentOneArm | Self::RoutedBypassed)
    }

    /// Whether the appliance is a bridge.
    pub fn is_transparent(self) -> bool {
        matches!(self, Self::TransparentInline | Self::TransparentOneArm)
    }
}

/// A lab of a mode with its peers, before the appliance starts.
pub struct Scene {
    pub mode: Mode,
    pub site: Site,
    pub peers: Peers,
    pub options: Options,
    /// The router of the labs that have one.
    pub router: Option<Router>,
    _decapsulators: Vec<Decapsulator>,
    _vlan_switch: Option<VlanSwitch>,
    _testbed: Testbed,
}

impl Scene {
    /// Builds the lab and starts all peers.
    pub fn new(driver: &str, mode: Mode, hop: Hop) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let testbed = Testbed::new(&format!("mode{}", NEXT.fetch_add(1, Ordering::Relaxed))).unwrap();
        let (mut router, mut decapsulators, mut vlan_switch) = (None, Vec::new(), None);
        let mut tunnelled = |encapsulation| {
            let lab = l3_dsr(&testbed, encapsulation, hop).unwrap();
            (router, decapsulators) = (Some(lab.router), lab.decapsulators);
            lab.site
        };
        let site = match mode {
            Mode::Ipip => tunnelled(Encapsulation::Ipip),
            Mode::Gue => tunnelled(Encapsulation::Gue),
            Mode::Dscp => tunnelled(Encapsulation::Dscp),
            Mode::Routed => routed_two_ports(&testbed, hop).unwrap(),
            Mode::TransparentInline => transparent_inline(&testbed, hop).unwrap().site,
            Mode::TransparentOneArm => transparent_one_arm(&testbed, hop).unwrap(),
            Mode::L2Dsr => {
                let lab = l2_dsr(&testbed, hop).unwrap();
                router = Some(lab.router);
                lab.site
            }
            Mode::RoutedOneArm | Mode::RoutedBypassed | Mode::RoutedInVlans => {
                let wiring = match mode {
                    Mode::RoutedOneArm => Wiring::GatewayAppliance,
                    Mode::RoutedBypassed => Wiring::GatewayRouter,
                    _ => Wiring::TwoVlans,
                };
                let lab = one_arm_routed(&testbed, wiring, hop).unwrap();
                (router, vlan_switch) = (lab.router, lab.vlan_switch);
                lab.site
            }
        };
        let peers = site.start_peers().unwrap();
        let options = Options { driver: driver.into(), ..Options::default() };
        Self {
            mode,
            site,
            peers,
            options,
            router,
            _decapsulators: decapsulators,
            _vlan_switch: vlan_switch,
            _testbed: testbed,
        }
    }

    /// Starts the appliance and waits until all servers are up.
    pub fn start(&self) -> Appliance {
        let configuration = self.site.write_configuration(&self.options).unwrap();
        start(&self.site, &configuration)
    }

    /// Where the client lives.
    pub fn client(&self) -> &Namespace {
        self.site.client.namespace()
    }

    /// The client's address of this family.
    pub fn client_like(&self, like: IpAddr) -> IpAddr {
        self.site.client.address_like(like)
    }

    /// A server by its name.
    pub fn server(&self, name: &str) -> &Host {
        self.site.servers.iter().find(|server| server.name == name).unwrap()
    }
}

/// Starts the appliance of a site and waits until all servers are up.
pub fn start(site: &Site, configuration: &Path) -> Appliance {
    let socket = site.socket();
    let appliance =
        Appliance::start(&site.appliance, Path::new(JEOUL), configuration, &socket, PATIENCE).unwrap();
    wait_for("all servers to be up", || {
        let status = status(&appliance);
        status["servers_up"] == status["servers_total"]
    });
    appliance
}
