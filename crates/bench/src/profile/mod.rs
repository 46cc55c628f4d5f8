//! What is to be measured: devices, jobs, trials, rounds, as a TOML file says it.
//!
//! `docs/bench.md` explains every key. [`Profile::parse`] is pure and finds all that is wrong in one pass; each
//! [`ProfileError`] names file, line and column and says what would be right.

mod error;
mod fields;
mod read;
mod trial;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use error::ProfileError;
pub use trial::{
    Client, Concurrency, ConnectionRate, FrameSize, LatencyRate, Method, Phases, Setting, Trial, TrialKind,
};

/// A word that profiles and raw results write alike.
pub(crate) trait Word: Copy + Sized + 'static {
    /// Every value with its word.
    const WORDS: &'static [(&'static str, Self)];
}

/// Gives an enumeration its words: how files write it, how it is shown, how JSON holds it.
macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $crate::profile::Word for $type {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, $type::$variant)),+];
        }

        impl $type {
            /// The word that files use for it.
            pub fn word(self) -> &'static str {
                match self {
                    $($type::$variant => $word),+
                }
            }
        }

        impl ::std::fmt::Display for $type {
            fn fmt(&self, formatter: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                formatter.pad(self.word())
            }
        }

        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.word())
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as ::serde::Deserialize>::deserialize(deserializer)?;
                match text.as_str() {
                    $($word => Ok($type::$variant),)+
                    _ => Err(::serde::de::Error::unknown_variant(&text, &[$($word),+])),
                }
            }
        }
    };
}
pub(crate) use words;

/// What stands between the generator's two legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceKind {
    /// The appliance itself.
    Jeoul,
    /// Our own forwarder in C that does no work: what the driver alone allows.
    BareForwarder,
    /// DPDK's test program.
    Testpmd,
    /// Destination NAT with connection tracking in the kernel.
    Nftables,
    /// IP forwarding in the kernel.
    Kernel,
    /// HAProxy, which ends connections and opens its own.
    Haproxy,
    /// nginx's stream module, which does too.
    NginxStream,
    /// A wire: the generator's own limit.
    Direct,
    /// An XDP program that sends frames on inside the kernel.
    XdpRedirect,
}

words!(DeviceKind {
    Jeoul = "jeoul",
    BareForwarder = "bare-forwarder",
    Testpmd = "testpmd",
    Nftables = "nftables",
    Kernel = "kernel",
    Haproxy = "haproxy",
    NginxStream = "nginx-stream",
    Direct = "direct",
    XdpRedirect = "xdp-redirect",
});

impl DeviceKind {
    /// Whether it exists with either driver, and has to be told which.
    pub fn takes_driver(self) -> bool {
        matches!(self, DeviceKind::Jeoul | DeviceKind::BareForwarder | DeviceKind::Testpmd)
    }

    /// Whether it is a process that waits for frames, so that idle time costs it something.
    pub fn waits(self) -> bool {
        self.takes_driver()
    }

    /// Whether it ends connections itself, and so sees no frames of a generator that opens none.
    pub fn is_proxy(self) -> bool {
        matches!(self, DeviceKind::Haproxy | DeviceKind::NginxStream)
    }
}

/// How a device takes frames from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Driver {
    /// AF_XDP sockets.
    AfXdp,
    /// AF_PACKET with mapped rings.
    AfPacket,
}

words!(Driver { AfXdp = "af_xdp", AfPacket = "af_packet" });

/// How the appliance waits for frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Polling {
    /// Never sleeps.
    Busy,
    /// Spins under traffic, sleeps when idle.
    Adaptive,
}

words!(Polling { Busy = "busy", Adaptive = "adaptive" });

/// What a device does with frames in a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Job {
    /// Server load balancing between networks, full NAT of the destination.
    SlbRouted,
    /// The same on a bridge.
    SlbTransparent,
    /// Servers answer directly, one network.
    SlbL2Dsr,
    /// Servers answer directly, in tunnels.
    SlbL3Dsr,
    /// Firewall load balancing.
    Fwlb,
    /// Plain routing: no session.
    Routing,
    /// Plain switching: no session.
    Switching,
}

words!(Job {
    SlbRouted = "slb-routed",
    SlbTransparent = "slb-transparent",
    SlbL2Dsr = "slb-l2-dsr",
    SlbL3Dsr = "slb-l3-dsr",
    Fwlb = "fwlb",
    Routing = "routing",
    Switching = "switching",
});

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    #[default]
    Ipv4,
    /// IPv6.
    Ipv6,
}

words!(Family { Ipv4 = "ipv4", Ipv6 = "ipv6" });

/// One device of a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// What figures call it; unlike any other in the profile. Default: kind and driver, `jeoul/af_xdp`.
    pub name: String,
    /// What it is.
    pub kind: DeviceKind,
    /// How it takes frames; `Some` exactly where [`DeviceKind::takes_driver`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    /// How the appliance waits; `None` for other kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub polling: Option<Polling>,
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.name)
    }
}

/// What a bench is to measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The report's title.
    pub title: String,
    /// Rounds in which every device has its turn, from 1.
    pub rounds: u32,
    /// The longest that it may take: no round begins that would probably end later. The first always runs.
    pub time_budget: Option<Duration>,
    /// The device that ratios are of, an index into `devices`.
    pub reference: usize,
    /// In the order in which they take their turns; at least one.
    pub devices: Vec<Device>,
    /// In the order in which they run; at least one.
    pub trials: Vec<Trial>,
    /// The text that this was read from, kept for the report.
    pub text: String,
}

/// Rounds where a profile says nothing: with fewer a median says little.
pub const ROUNDS_DEFAULT: u32 = 5;

/// Rounds of a quick run ([`Profile::quicken`]).
pub const ROUNDS_QUICK: u32 = 3;

/// Longest profile that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

impl Profile {
    /// Reads `text`; `file_name` only appears in the findings, which are sorted by place.
    pub fn parse(text: &str, file_name: &str) -> Result<Profile, Vec<ProfileError>> {
        read::profile(text, file_name)
    }

    /// Makes a quick run of it: three rounds, unless it asks for fewer. Figures get wider spreads, never other meanings.
    pub fn quicken(&mut self) {
        self.rounds = self.rounds.min(ROUNDS_QUICK);
    }
}
