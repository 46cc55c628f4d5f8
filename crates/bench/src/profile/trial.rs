//! One trial of a profile: what is sent, how the answer is searched for.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Family, Job, words};

/// Frame sizes of RFC 2544, section 9.1, in bytes with the FCS.
pub(super) const RFC_2544_FRAME_BYTES: [u16; 7] = [64, 128, 256, 512, 1024, 1280, 1518];

/// The word for a mixture of sizes.
const IMIX: &str = "imix";

/// How long frames are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrameSize {
    /// Bytes with the 4 of the FCS, as RFC 2544 counts: 64 is 60 in a buffer.
    Bytes(u16),
    /// A mixture, as the generator defines it.
    Imix,
}

impl fmt::Display for FrameSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameSize::Bytes(bytes) => write!(formatter, "{bytes}"),
            FrameSize::Imix => formatter.write_str(IMIX),
        }
    }
}

/// A number, or "imix".
impl Serialize for FrameSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            FrameSize::Bytes(bytes) => serializer.serialize_u16(*bytes),
            FrameSize::Imix => serializer.serialize_str(IMIX),
        }
    }
}

impl<'de> Deserialize<'de> for FrameSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FrameSize, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = FrameSize;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a number of bytes or \"imix\"")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<FrameSize, E> {
                let bytes = u16::try_from(bytes).map_err(|_| E::custom("a frame longer than 65535 bytes"))?;
                Ok(FrameSize::Bytes(bytes))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<FrameSize, E> {
                if text == IMIX {
                    Ok(FrameSize::Imix)
                } else {
                    Err(E::custom("a frame size is a number or \"imix\""))
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// What is the same for all frames of a run. Figures of different settings are never compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Setting {
    /// Absent where the trial has no frames of its own (connections, transfers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame_bytes: Option<FrameSize>,
    /// Flows that frames are spread over; absent where the trial opens its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flows: Option<u64>,
    /// IPv4 or IPv6.
    #[serde(default)]
    pub family: Family,
}

impl fmt::Display for Setting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.frame_bytes {
            Some(FrameSize::Bytes(bytes)) => write!(formatter, "{bytes}-byte frames, ")?,
            Some(FrameSize::Imix) => formatter.write_str("IMIX, ")?,
            None => {}
        }
        match self.flows {
            Some(1) => formatter.write_str("1 flow, ")?,
            Some(flows) => write!(formatter, "{} flows, ", crate::units::grouped(flows))?,
            None => {}
        }
        formatter.write_str(match self.family {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        })
    }
}

/// The kinds of trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrialKind {
    /// The highest rate without loss (RFC 2544, 26.1).
    Throughput,
    /// Latency at that rate (RFC 2544, 26.2).
    Latency,
    /// Loss against offered load (RFC 2544, 26.3).
    LossCurve,
    /// The longest burst without loss (RFC 2544, 26.4; RFC 9004).
    BackToBack,
    /// What comes out when as much as possible goes in.
    Flood,
    /// The same, and every packet opens a session.
    NewFlows,
    /// Connections a second (RFC 9411, 7.2).
    ConnectionRate,
    /// Connections held at once (RFC 9411, 7.5).
    ConcurrentConnections,
    /// Connections a second that go up, stay and go down (RFC 9411, 4.3.4).
    Ramp,
    /// One UDP packet to and fro at a time.
    RoundTrip,
    /// One long transfer by TCP.
    Transfer,
    /// What a device costs without traffic, and how late the first packet is then.
    Idle,
}

words!(TrialKind {
    Throughput = "throughput",
    Latency = "latency",
    LossCurve = "loss-curve",
    BackToBack = "back-to-back",
    Flood = "flood",
    NewFlows = "new-flows",
    ConnectionRate = "connection-rate",
    ConcurrentConnections = "concurrent-connections",
    Ramp = "ramp",
    RoundTrip = "round-trip",
    Transfer = "transfer",
    Idle = "idle",
});

/// Who opens connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Client {
    /// Our generator, at a rate that it is told.
    #[default]
    Generator,
    /// wrk against nginx, as fast as answers come.
    Wrk,
}

words!(Client { Generator = "generator", Wrk = "wrk" });

/// The rate at which latency is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LatencyRate {
    /// This share of the throughput that the device reached in the same round (1.0: RFC 2544, 26.2).
    OfThroughput(f64),
    /// Packets a second, the same for all devices.
    PacketsPerSecond(f64),
}

/// The phases of a trial with connections (RFC 9411, 4.3.4); only what happens while it sustains counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phases {
    /// The rate goes up.
    pub ramp_up: Duration,
    /// The rate stays.
    pub sustain: Duration,
    /// The rate goes down.
    pub ramp_down: Duration,
}

impl Phases {
    /// All three.
    pub fn total(&self) -> Duration {
        self.ramp_up + self.sustain + self.ramp_down
    }
}

/// How the highest rate of connections is looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConnectionRate {
    /// Who opens them. With [`Client::Wrk`] nothing is searched for: one run of `phases.sustain` is the figure.
    pub client: Client,
    /// The first rate, in connections a second.
    pub start_per_s: f64,
    /// The highest rate, in connections a second.
    pub highest_per_s: f64,
    /// The search ends when the bounds are this near, as a share of the upper one.
    pub resolution: f64,
    /// A rate passes with less than this share of failures.
    pub failures_max: f64,
    /// Of each step.
    pub phases: Phases,
    /// Connections at once, of [`Client::Wrk`] alone.
    pub parallel: u32,
}

/// Connections that are opened and held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Concurrency {
    /// To be held at once.
    pub connections: u64,
    /// Opened a second.
    pub rate_per_s: f64,
    /// It passes with less than this share of failures.
    pub failures_max: f64,
    /// How long all are held while data flows on them.
    pub sustain: Duration,
}

impl Concurrency {
    /// How long opening them takes, and closing them again.
    pub fn opening(&self) -> Duration {
        // Bounded by ten million connections at one a second.
        Duration::from_secs_f64(self.connections as f64 / self.rate_per_s)
    }

    /// How long each is held, so that all are for as long as they should, even if opening them takes a quarter longer.
    pub fn hold(&self) -> Duration {
        self.opening() * 5 / 4 + self.sustain
    }

    /// Each has data on it once in so long: while all are held, and no more of them a second than are opened.
    pub fn exchange(&self) -> Duration {
        self.opening().max(self.sustain)
    }
}

/// How a trial is done. Durations are of one run of the generator; rates are in packets a second and `None` stands for
/// the highest that the generator reaches.
#[derive(Clone, Debug, PartialEq)]
pub enum Method {
    /// RFC 2544, 26.1: [`crate::search::Throughput`].
    Throughput {
        /// Of each step of the search.
        duration: Duration,
        /// Where the search begins.
        highest_pps: Option<f64>,
        /// The search ends when the bounds are this near, as a share of the upper one.
        resolution: f64,
        /// Loss that still counts as none: 0 for RFC 2544, 0.005 for what CSIT calls PDR.
        acceptable_loss: f64,
        /// How often a rate that failed is tried again before it counts as failed.
        retries: u32,
        /// The rate found is tried once more for so long.
        verify: Option<Duration>,
    },
    /// RFC 2544, 26.2.
    Latency {
        /// Of the run.
        duration: Duration,
        /// At which rate.
        rate: LatencyRate,
    },
    /// RFC 2544, 26.3: [`crate::search::LossCurve`].
    LossCurve {
        /// Of each point.
        duration: Duration,
        /// The first point.
        highest_pps: Option<f64>,
        /// From point to point, as a share of the first.
        step: f64,
    },
    /// RFC 9004: [`crate::search::BackToBack`].
    BackToBack {
        /// Searches, of which the mean counts.
        searches: u32,
        /// The longest burst, in packets.
        longest_packets: u64,
        /// A search ends when the bounds are this near, as a share of the upper one.
        resolution: f64,
        /// Rest after each burst, so that all buffers are empty.
        settle: Duration,
    },
    /// Offered the highest rate; what comes out counts.
    Flood {
        /// Of the run.
        duration: Duration,
        /// Offered.
        highest_pps: Option<f64>,
    },
    /// The same with a new flow in every packet.
    NewFlows {
        /// Of the run.
        duration: Duration,
        /// Offered.
        highest_pps: Option<f64>,
    },
    /// RFC 9411, 7.2: [`crate::search::ConnectionRate`].
    ConnectionRate(ConnectionRate),
    /// RFC 9411, 7.5.
    ConcurrentConnections(Concurrency),
    /// RFC 9411, 4.3.4, at one rate, second by second.
    Ramp {
        /// At the top, in connections a second.
        rate_per_s: f64,
        /// It passes with less than this share of failures.
        failures_max: f64,
        /// Of the run.
        phases: Phases,
    },
    /// UDP ping-pong.
    RoundTrip {
        /// Of the run.
        duration: Duration,
    },
    /// TCP from one end to the other.
    Transfer {
        /// To be moved.
        bytes: u64,
        /// Connections at once.
        streams: u32,
    },
    /// No traffic, then one packet.
    Idle {
        /// Without traffic.
        duration: Duration,
    },
}

impl Method {
    /// Its kind.
    pub fn kind(&self) -> TrialKind {
        match self {
            Method::Throughput { .. } => TrialKind::Throughput,
            Method::Latency { .. } => TrialKind::Latency,
            Method::LossCurve { .. } => TrialKind::LossCurve,
            Method::BackToBack { .. } => TrialKind::BackToBack,
            Method::Flood { .. } => TrialKind::Flood,
            Method::NewFlows { .. } => TrialKind::NewFlows,
            Method::ConnectionRate(_) => TrialKind::ConnectionRate,
            Method::ConcurrentConnections(_) => TrialKind::ConcurrentConnections,
            Method::Ramp { .. } => TrialKind::Ramp,
            Method::RoundTrip { .. } => TrialKind::RoundTrip,
            Method::Transfer { .. } => TrialKind::Transfer,
            Method::Idle { .. } => TrialKind::Idle,
        }
    }
}

/// One trial of a profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// What figures call it; unlike any other in the profile. Default: kind and job, `throughput slb-routed`.
    pub name: String,
    /// What the devices do meanwhile.
    pub job: Job,
    /// Which devices take part: indices into the profile's, ascending, at least one.
    pub devices: Vec<usize>,
    /// Every combination of frame size and flows, at least one.
    pub settings: Vec<Setting>,
    /// How it is done.
    pub method: Method,
}
