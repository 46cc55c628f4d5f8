//! What captures prove of a failure: that flows moved, stayed or were reset, with sequence numbers that their ends believe.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use lab::topology::HOLD_PORT;
use lab::{Capture, Captured, Direction, Mac};

use super::super::Stopped;
use super::super::report::Report;
use super::scene::Scene;

/// Where an IPv4 packet begins in a frame, and where what is looked at stands in its headers (RFC 791, RFC 9293).
const IP_AT: usize = 14;
const IP_LENGTH_AT: usize = 2;
const IP_SOURCE_AT: usize = 12;
const IP_DESTINATION_AT: usize = 16;
const TCP_SEQUENCE_AT: usize = 4;
const TCP_OFFSET_AT: usize = 12;
const TCP_FLAGS_AT: usize = 13;
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;

/// Captures between the outer appliance and the firewalls, at the client, and at the first server.
pub(super) struct Wire {
    firewalls: Capture,
    client: Capture,
    server: Capture,
}

/// A TCP segment over IPv4.
struct Segment {
    to: Mac,
    source: SocketAddr,
    destination: SocketAddr,
    flags: u8,
    sequence: u32,
    end: u32,
}

impl Wire {
    /// From here on.
    pub(super) fn watch(scene: &Scene) -> Result<Self, Stopped> {
        let site = &scene.site;
        let ports = &site.appliance(lab::topology::fwlb::Side::Outer)?.ports;
        let front = ports.get(1).ok_or("the outer appliance has no port to the firewalls")?;
        Ok(Self {
            // At the other end of the cable: AF_XDP sends past whoever listens at this one.
            firewalls: Capture::start(&front.opposite(), "wire-firewalls", Direction::Both)?,
            client: Capture::start(&site.client.end, "wire-client", Direction::Both)?,
            server: Capture::start(&site.servers[0].end, "wire-server", Direction::Both)?,
        })
    }

    /// What flows with these ends at the client went by after `failed` had failed: they moved, or stayed.
    pub(super) fn judge_ways(
        self,
        ends: &BTreeSet<SocketAddr>,
        (failed, stays): (Mac, bool),
        report: &mut Report,
    ) -> Result<(), Stopped> {
        let mut ways: BTreeMap<SocketAddr, Vec<Mac>> = BTreeMap::new();
        for segment in segments(&self.firewalls.stop()?) {
            if ends.contains(&segment.source) {
                let way = ways.entry(segment.source).or_default();
                if way.last() != Some(&segment.to) {
                    way.push(segment.to);
                }
            }
        }
        let is_right = |way: &Vec<Mac>| match stays {
            true => way[..] == [failed],
            // Once from the failed one to another, where it stays.
            false => way.len() == 2 && way[0] == failed && way[1] != failed,
        };
        let right = ways.values().filter(|way| is_right(way)).count();
        let words = if stays { "stay with it" } else { "move to one other firewall, and stay there" };
        report.expect_or(
            right == ends.len(),
            format!("in the capture its {} flows {words}", ends.len()),
            format!("{right} do"),
        );
        Ok(())
    }

    /// Whether both ends of these flows were reset, each by its own appliance, with the very number that it waited for.
    pub(super) fn judge_resets(
        self,
        ends: &BTreeSet<SocketAddr>,
        report: &mut Report,
    ) -> Result<(), Stopped> {
        for (name, capture, at_client) in [("client's", self.client, true), ("server's", self.server, false)]
        {
            let mut next: BTreeMap<SocketAddr, u32> = BTreeMap::new();
            let mut reset = BTreeSet::new();
            let mut wrong = 0;
            for segment in segments(&capture.stop()?) {
                // What the other end says: towards whoever is looked at.
                let end = if at_client { segment.destination } else { segment.source };
                if !ends.contains(&end) {
                    continue;
                }
                if segment.flags & RST == 0 {
                    next.insert(end, segment.end);
                } else if reset.insert(end) && next.get(&end) != Some(&segment.sequence) {
                    wrong += 1;
                }
            }
            report.expect_or(
                reset.len() == ends.len() && wrong == 0,
                format!(
                    "in the capture the {name} end of each of its {} flows is reset in sequence",
                    ends.len()
                ),
                format!("{} are, {wrong} of them with another number", reset.len()),
            );
        }
        Ok(())
    }
}

/// The IPv4 segments of the flows to and from the servers' programs.
fn segments(captured: &Captured) -> impl Iterator<Item = Segment> {
    let frames = captured.frames.iter().filter_map(|frame| segment(&frame.bytes));
    frames.filter(|segment| [segment.source, segment.destination].iter().any(|end| end.port() == HOLD_PORT))
}

fn segment(frame: &[u8]) -> Option<Segment> {
    let to = Mac(*frame.first_chunk()?);
    if frame.get(12..IP_AT)? != [8, 0] {
        return None;
    }
    let ip = &frame[IP_AT..];
    let short = |bytes: &[u8], at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let header_bytes = usize::from(ip.first()? & 0xf) * 4;
    let (total_bytes, protocol) = (usize::from(short(ip, IP_LENGTH_AT)?), *ip.get(9)?);
    let address = |at: usize| Some(IpAddr::V4(Ipv4Addr::from(*ip.get(at..)?.first_chunk::<4>()?)));
    let tcp = ip.get(header_bytes..total_bytes).filter(|_| protocol == 6)?;
    let data_bytes = tcp.len().checked_sub(usize::from(tcp.get(TCP_OFFSET_AT)? >> 4) * 4)?;
    let (flags, sequence) =
        (*tcp.get(TCP_FLAGS_AT)?, u32::from_be_bytes(*tcp.get(TCP_SEQUENCE_AT..)?.first_chunk()?));
    let phantoms = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    Some(Segment {
        to,
        source: (address(IP_SOURCE_AT)?, short(tcp, 0)?).into(),
        destination: (address(IP_DESTINATION_AT)?, short(tcp, 2)?).into(),
        flags,
        sequence,
        end: sequence.wrapping_add(data_bytes as u32).wrapping_add(phantoms),
    })
}
