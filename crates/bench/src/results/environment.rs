//! Where and with what it was measured, as plain data that whoever assembles the bench fills.

use serde::{Deserialize, Serialize};

/// One thing that is known of the machine or of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// "kernel", "driver", "huge pages".
    pub name: String,
    /// "6.18.44", "af_xdp, copy mode", "none".
    pub value: String,
}

impl Fact {
    /// One fact.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Fact {
        Fact { name: name.into(), value: value.into() }
    }
}

/// The machine. Names of hosts and users have no place in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// `uname -r`.
    pub kernel: String,
    /// Model name.
    pub cpu: String,
    /// CPUs that are online.
    pub cores: u32,
    /// Of the machine, in bytes.
    pub memory_bytes: u64,
    /// "kvm", or "none".
    pub virtualisation: String,
    /// Our version, with the commit where it is known.
    pub jeoul: String,
    /// What hangs between generator and device: "veth, native XDP, offloads off".
    pub link: String,
    /// A drawing of the testbed, in text.
    #[serde(default)]
    pub topology: String,
    /// Which CPU does what.
    #[serde(default)]
    pub pinning: Vec<Fact>,
    /// Anything else: governor, isolated cores, huge pages, mitigations.
    #[serde(default)]
    pub facts: Vec<Fact>,
}

impl Environment {
    /// What makes figures of two machines incomparable, by name.
    pub fn identity(&self) -> [(&'static str, String); 6] {
        [
            ("kernel", self.kernel.clone()),
            ("CPU", self.cpu.clone()),
            ("cores", self.cores.to_string()),
            ("memory", format!("{} GiB", self.memory_bytes.div_ceil(1 << 30))),
            ("virtualisation", self.virtualisation.clone()),
            ("link", self.link.clone()),
        ]
    }
}

/// What one device was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceFacts {
    /// Its name in the profile.
    pub name: String,
    /// The appliance itself, not a peer.
    #[serde(default)]
    pub is_ours: bool,
    /// "jeoul 0.1.0", "DPDK 22.11.7".
    pub version: String,
    /// "AF_XDP, copy mode, native": how it takes frames, or empty.
    #[serde(default)]
    pub driver: String,
    /// Exactly what was run, one command a line, in order.
    #[serde(default)]
    pub commands: Vec<String>,
    /// Its configuration, word by word; empty where commands say all.
    #[serde(default)]
    pub configuration: String,
    /// Anything else.
    #[serde(default)]
    pub facts: Vec<Fact>,
}
