//! Profiles: what is to be sent, in a TOML file.
//!
//! [`Profile::parse`] is pure; [`Profile::load`] reads the file and nothing else. What is wrong is refused
//! with file, line and column: everything that is wrong in itself in one pass, after what is no profile at
//! all. What the command line changes is applied by [`Overrides`], and a profile is only run when it has a
//! bound in time and one in packets ([`Profile::bounds`]).

mod file;
mod overrides;
mod refusal;
mod streams;

use std::net::IpAddr;
use std::time::Duration;

use wire::Mac;

pub use overrides::Overrides;
pub use refusal::Refusal;

use crate::flows::{Flows, Network};
use crate::sizes::{FCS_BYTES, FRAME_BYTES_MIN, Sizes};
use crate::stamp::STAMP_BYTES;
use crate::units::Rate;

/// Streams of a profile at the most: a stamp has a byte for them.
pub const STREAMS_MAX: usize = 255;

/// Longest file that is read.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// A whole profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The file's name.
    pub name: String,
    /// Ports by name, in the order in which the file names them first.
    pub ports: Vec<Port>,
    /// The streams, in the order of the file.
    pub streams: Vec<Stream>,
    /// How long frames are sent at the most.
    pub duration: Option<Duration>,
    /// How many frames are sent at the most, over all streams.
    pub packets: Option<u64>,
}

/// One port of the generator.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// The name by which streams and the command line know it.
    pub name: String,
    /// Networks for whose addresses it answers ARP and neighbour solicitations.
    pub answers: Vec<Network>,
}

/// One stream: flows that are alike, from one port to one other.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// Its name in reports.
    pub name: String,
    /// Index of the port that it is sent on.
    pub transmit: usize,
    /// Index of the port that it is expected on.
    pub receive: usize,
    /// Of its frames, check sequence included.
    pub sizes: Sizes,
    /// Its sources.
    pub flows: Flows,
    /// What its packets are.
    pub protocol: Protocol,
    /// Where they go.
    pub destination: IpAddr,
    /// To which port there.
    pub destination_port: u16,
    /// By which next hop; the receiving port's own where none is named.
    pub destination_mac: Option<Mac>,
    /// When they are sent.
    pub mode: Mode,
    /// Whether their latency is recorded.
    pub latency: bool,
    /// How connections end; for TCP handshakes and data.
    pub close: Close,
    /// How long an answer may take before its connection has failed.
    pub timeout: Duration,
    /// How long an established connection is held before it ends; `None`: not at all, or for ever.
    pub hold: Option<Duration>,
    /// While connections are held, something is said on each of them once in so long.
    pub exchange: Option<Duration>,
}

/// What the packets of a stream are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Datagrams.
    Udp,
    /// The first segment of a connection, never answered.
    TcpSyn,
    /// Connections: opened, then ended.
    TcpHandshake,
    /// Connections with one request and one answer.
    TcpData,
}

impl Protocol {
    /// Whether the generator plays both ends of connections.
    pub fn connects(self) -> bool {
        matches!(self, Self::TcpHandshake | Self::TcpData)
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Close {
    /// Both ends say that they are done.
    #[default]
    Fin,
    /// The client resets it.
    Rst,
    /// It stays open.
    Keep,
}

/// When the frames of a stream are sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// Evenly.
    Continuous {
        /// How fast.
        rate: Rate,
    },
    /// In bursts.
    Burst {
        /// Frames of one burst.
        packets: u64,
        /// Time from the end of one to the beginning of the next.
        gap: Duration,
        /// How many bursts.
        count: u64,
        /// How fast inside a burst.
        rate: Rate,
    },
    /// One rate after another.
    Steps(Vec<Step>),
    /// Evenly up from nothing, at one rate, evenly down to nothing.
    Ramp {
        /// How fast at the top; never [`Rate::Max`].
        rate: Rate,
        /// How long it goes up, stays, goes down.
        phases: [Duration; 3],
    },
}

/// One rate for some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// How fast; never [`Rate::Max`].
    pub rate: Rate,
    /// How long.
    pub duration: Duration,
}

/// How long a run may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Frames are sent for so long at the most.
    pub duration: Duration,
    /// So many frames are sent at the most, over all streams.
    pub packets: u64,
}

impl Profile {
    /// The bounds of a run; an error without one of the two.
    pub fn bounds(&self) -> Result<Bounds, String> {
        let missing = |bound: &str, example: &str| {
            format!(
                "{}: the run has no bound in {bound}; write {bound} under [limits], or give --{example}",
                self.name
            )
        };
        let duration = self.duration.ok_or_else(|| missing("duration", "duration 2s"))?;
        let packets = self.packets.ok_or_else(|| missing("packets", "packets 1000000"))?;
        Ok(Bounds { duration, packets })
    }
}

impl Stream {
    /// Bytes of a frame before the payload.
    pub fn headers_bytes(&self) -> usize {
        headers_bytes(self.protocol, self.destination.is_ipv4())
    }
}

/// Bytes of a frame of this kind before the payload.
pub(crate) fn headers_bytes(protocol: Protocol, is_ipv4: bool) -> usize {
    let network = if is_ipv4 { 20 } else { 40 };
    wire::ethernet::LENGTH + network + if protocol == Protocol::Udp { 8 } else { 20 }
}

/// The shortest frame of this kind that can be measured, check sequence included: UDP needs room for a
/// stamp, a SYN has a short one in its header.
pub(crate) fn frame_bytes_min(protocol: Protocol, is_ipv4: bool) -> usize {
    let stamp = if protocol == Protocol::Udp { STAMP_BYTES } else { 0 };
    (headers_bytes(protocol, is_ipv4) + stamp + FCS_BYTES).max(FRAME_BYTES_MIN)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    /// A stream that is right, with lines of its own in place of those of the same key.
    fn profile(lines: &[&str]) -> Result<Profile, Vec<Refusal>> {
        let mut text = String::from("[[stream]]\n");
        let key = |line: &str| line.split('=').next().map(str::trim).map(str::to_owned);
        let right = [
            "name = \"s\"",
            "port = \"a\"",
            "protocol = \"udp\"",
            "source = \"198.18.0.0/24\"",
            "destination = \"198.19.0.1\"",
            "mode = { continuous = { rate = \"1kpps\" } }",
        ];
        let is_replaced = |line: &str| lines.iter().any(|other| key(other) == key(line));
        right.iter().filter(|line| !is_replaced(line)).chain(lines).for_each(|line| {
            text.push_str(line);
            text.push('\n');
        });
        Profile::parse(&text, "test")
    }

    #[test]
    fn every_example_can_be_run() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/generator");
        let paths = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let read = |path: std::path::PathBuf| {
            let profile = Profile::load(&path).unwrap_or_else(|refusals| panic!("{}", refusals[0]));
            profile.bounds().unwrap_or_else(|missing| panic!("{missing}"));
            assert!(profile.streams.iter().all(|stream| stream.transmit != stream.receive), "{path:?}");
        };
        assert_eq!(paths.map(read).count(), 6);
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let profile = profile(&[]).unwrap();
        let stream = &profile.streams[0];
        assert_eq!((stream.transmit, stream.receive, stream.sizes), (0, 0, Sizes::Fixed(64)));
        assert_eq!((stream.flows.count(), stream.flows.source(0).1, stream.destination_port), (1, 1_024, 9));
        assert!(stream.latency && stream.destination_mac.is_none());
        assert_eq!((profile.duration, profile.packets), (None, None));
    }

    #[test]
    fn what_is_wrong_is_refused_where_it_stands() {
        const CONNECTS: &str = "protocol = \"tcp-handshake\"";
        const FAR: &str = "receive = \"b\"";
        for (lines, message) in [
            (&["flows = 10_000_001"][..], "make 10000000"),
            (&["frame_bytes = 63"], "from 64"),
            (&["source = \"2001:db8::/64\""], "of different families"),
            (&["family = \"ipv6\""], "of the other family"),
            (&["imix = true", "frame_bytes = 64"], "either frame_bytes or imix"),
            (&["protocol = \"tcp-handshake\""], "no port can do both"),
            (&["close = \"fin\""], "leave it out"),
            (&["hold = \"5s\""], "leave it out"),
            (&["exchange = \"5s\""], "leave it out"),
            (&[CONNECTS, FAR, "exchange = \"5s\""], "only on connections that are held"),
            (&[CONNECTS, FAR, "hold = \"999ms\""], "at least the timeout, 1s"),
            (&[CONNECTS, FAR, "hold = \"5s\"", "close = \"keep\""], "stay open"),
            (&["mode = { ramp = { rate = \"max\", sustain = \"1s\" } }"], "rate in numbers"),
            (&["source_ports = \"9-8\""], "write ports"),
            (&["mode = { continuous = { rate = \"1\" } }"], "write a rate"),
            (&["mode = { steps = [] }"], "at least one"),
            (&["mode = { steps = [{ rate = \"max\", duration = \"1s\" }] }"], "rate in numbers"),
            (&["mode = { burst = { packets = 0, gap = \"1s\", count = 1 } }"], "bursts have packets"),
            (&["destination_mac = \"x\""], "\"x\""),
            (&["speed = 1"], "unknown field"),
            (
                &["source = \"2001:db8::/64\"", "destination = \"2001:db8:1::1\"", "frame_bytes = 83"],
                "from 84",
            ),
        ] {
            let refusals = profile(lines).unwrap_err();
            let text: Vec<String> = refusals.iter().map(ToString::to_string).collect();
            assert!(text.iter().any(|line| line.contains(message)), "{lines:?}: {text:?}");
            assert!(refusals.iter().all(|refusal| refusal.line > 1 && refusal.column > 0), "{text:?}");
        }
        assert!(Profile::parse("", "test").is_err());
    }

    #[test]
    fn a_run_without_both_bounds_is_refused() {
        let missing = |limits: &str| {
            let text = fs::read_to_string(
                Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/generator/udp-64.toml"),
            );
            let text = text.unwrap();
            let (_, streams) = text.split_once("[[stream]]").unwrap();
            let profile =
                Profile::parse(&format!("[limits]\n{limits}\n[[stream]]{streams}"), "test").unwrap();
            profile.bounds().map_err(|message| message.contains("packets"))
        };
        assert_eq!(missing("packets = 1"), Err(false));
        assert_eq!(missing("duration = \"1s\""), Err(true));
        assert!(missing("packets = 1\nduration = \"1s\"").is_ok());
    }

    #[test]
    fn the_command_line_goes_before_the_file() {
        let mut profile = profile(&["mode = { continuous = { rate = \"1kpps\" } }"]).unwrap();
        let mut other = profile.streams[0].clone();
        other.mode = Mode::Continuous { rate: Rate::Packets(3_000.0) };
        profile.streams.push(other);
        let mac = Mac([2, 0, 0, 0, 0, 7]);
        let overrides = Overrides {
            rate: Some(Rate::Packets(100.0)),
            frame_bytes: Some(128),
            duration: Some(Duration::from_secs(2)),
            packets: Some(5),
            destination_macs: vec![("a".to_owned(), mac)],
        };
        overrides.apply(&mut profile).unwrap();
        let modes: Vec<&Mode> = profile.streams.iter().map(|stream| &stream.mode).collect();
        let even = |packets| Mode::Continuous { rate: Rate::Packets(packets) };
        assert_eq!(modes, [&even(25.0), &even(75.0)]);
        assert!(profile.streams.iter().all(|stream| stream.sizes == Sizes::Fixed(128)));
        assert_eq!(profile.bounds(), Ok(Bounds { duration: Duration::from_secs(2), packets: 5 }));
        assert_eq!(profile.streams[1].destination_mac, Some(mac));
        for wrong in [
            Overrides { frame_bytes: Some(63), ..Overrides::default() },
            Overrides { packets: Some(0), ..Overrides::default() },
            Overrides { destination_macs: vec![("z".to_owned(), mac)], ..Overrides::default() },
        ] {
            assert!(wrong.apply(&mut profile).is_err(), "{wrong:?}");
        }
    }
}
