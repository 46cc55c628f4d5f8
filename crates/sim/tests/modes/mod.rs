//! One world for each mode, each with two connections that must live through whatever a test does to it.
//!
//! The golden files beside this one say what the worlds are, how an IPv4 and an IPv6 connection open, and how they go on.

use sim::golden::{MemoryBench, Script, read, run};
use std::path::PathBuf;

/// A mode, and how its world looks from outside.
pub struct Mode {
    pub name: &'static str,
    /// The ring that clients are on.
    pub clients: &'static str,
    /// The MAC address to which they send what is for the appliance.
    pub mac: [u8; 6],
    /// The VLAN that they are in; 0: none.
    pub vlan: u16,
}

/// What clients call in every mode, or an address of the pool where nobody calls in.
pub const VIP_V4: [u8; 4] = [198, 18, 0, 10];
pub const VIP_V6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x10];
/// Where the servers are.
pub const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 2, 0x11];

const PORT_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
const BRIDGE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

pub const MODES: &[Mode] = &[
    Mode { name: "routed", clients: "outside", mac: PORT_MAC, vlan: 0 },
    Mode { name: "source-nat", clients: "outside", mac: PORT_MAC, vlan: 0 },
    Mode { name: "one-arm", clients: "outside", mac: PORT_MAC, vlan: 0 },
    Mode { name: "outbound", clients: "outside", mac: PORT_MAC, vlan: 0 },
    Mode { name: "l2-dsr", clients: "outside", mac: PORT_MAC, vlan: 0 },
    Mode { name: "dscp", clients: "outside", mac: PORT_MAC, vlan: 0 },
    Mode { name: "ipip", clients: "outside", mac: PORT_MAC, vlan: 0 },
    Mode { name: "gue", clients: "outside", mac: PORT_MAC, vlan: 0 },
    Mode { name: "vlan", clients: "eth1", mac: PORT_MAC, vlan: 10 },
    Mode { name: "transparent", clients: "west", mac: BRIDGE_MAC, vlan: 0 },
    Mode { name: "one-arm-bridge", clients: "arm", mac: BRIDGE_MAC, vlan: 0 },
];

/// A mode's world, with both connections open.
pub struct Opened {
    pub bench: MemoryBench,
    /// The ring that clients are on.
    pub clients: usize,
    goes_on: Script,
}

impl Mode {
    /// Makes its world and opens both connections.
    pub fn open(&self) -> Opened {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let file = root.join("tests/modes").join(self.name).with_extension("golden");
        let text = std::fs::read_to_string(file).unwrap();
        let scripts = read(&text, &root.join("../../tests/golden")).unwrap();
        let [opens, goes_on] = <[Script; 2]>::try_from(scripts).unwrap();
        let manager = opens.manager().unwrap();
        let clients = manager.ring(self.clients).unwrap();
        let mut bench = MemoryBench::new(manager, 1);
        run(&opens, &mut bench).unwrap_or_else(|failure| panic!("{}: {failure}", self.name));
        Opened { bench, clients, goes_on }
    }
}

impl Opened {
    /// Both connections go on as if nothing had happened.
    pub fn go_on(&mut self, after: &str) {
        run(&self.goes_on, &mut self.bench).unwrap_or_else(|failure| panic!("{after}: {failure}"));
    }
}
