//! What the health checks look like on the wire, and when a server was last heard.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use lab::topology::slb_routed::SlbRouted;
use lab::{Capture, Captured, Direction, Packet};
use wire::tcp::TcpFlags;

use super::super::Stopped;
use super::super::report::Report;

/// ICMP and ICMPv6.
const ECHO_PROTOCOLS: [u8; 2] = [1, 58];

/// A half-open check that was answered.
const ANSWERED_CHECK: &str = "-> SYN  <- SYN|ACK  -> RST";

/// One packet at its time.
struct Seen {
    at: Duration,
    packet: Packet,
}

/// All that crossed the appliance's port to the servers.
pub(super) struct Wire {
    packets: Vec<Seen>,
}

/// Begins to listen.
pub(super) fn listen(lab: &SlbRouted) -> Result<Capture, Stopped> {
    // At the other end: what a ring puts on the link passes no tap at the appliance's.
    Ok(Capture::start(&lab.inside.opposite(), "checks", Direction::Both)?)
}

impl Wire {
    /// Ends the capture and sorts it.
    pub(super) fn of(capture: Capture, report: &mut Report) -> Result<Self, Stopped> {
        let Captured { frames, dropped_by_kernel } = capture.stop()?;
        report.expect_or(
            dropped_by_kernel == 0,
            "the capture is whole",
            format!("{dropped_by_kernel} are missing"),
        );
        let seen = |frame: &lab::Frame| Some(Seen { at: frame.at, packet: frame.packet()? });
        Ok(Self { packets: frames.iter().filter_map(seen).collect() })
    }

    /// When a server last said something before a time: by its port, or by ICMP where there is none.
    pub(super) fn last_heard(&self, server: IpAddr, port: Option<u16>, before: Duration) -> Option<Duration> {
        let is_from = |packet: &Packet| {
            packet.source == server
                && match port {
                    Some(port) => packet.ports.is_some_and(|(source, _)| source == port),
                    None => ECHO_PROTOCOLS.contains(&packet.protocol) && packet.ttl == 64,
                }
        };
        let earlier = self.packets.iter().take_while(|seen| seen.at < before);
        earlier.filter(|seen| is_from(&seen.packet)).map(|seen| seen.at).last()
    }

    /// Every half-open check that a server answered is SYN, SYN-ACK, RST and nothing else.
    pub(super) fn judge_half_open(&self, ports: &[u16], report: &mut Report) {
        let mut checks: BTreeMap<(IpAddr, u16, u16), Vec<String>> = BTreeMap::new();
        for Seen { packet, .. } in &self.packets {
            let (Some((source, destination)), Some(flags)) = (packet.ports, packet.tcp_flags) else {
                continue;
            };
            let (check, arrow) = match (ports.contains(&destination), ports.contains(&source)) {
                (true, _) => ((packet.destination, destination, source), "->"),
                (false, true) => ((packet.source, source, destination), "<-"),
                _ => continue,
            };
            let packets = checks.entry(check).or_default();
            // One port of ours may ask again and again.
            if arrow == "->" && flags == TcpFlags::SYN || packets.is_empty() {
                packets.push(String::new());
            }
            if let Some(last) = packets.last_mut() {
                last.push_str(&format!("{arrow} {flags:?}  "));
            }
        }
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        checks.values().flatten().for_each(|packets| *kinds.entry(packets.trim_end()).or_default() += 1);
        kinds.iter().for_each(|(packets, count)| report.note(format!("{count:6} x  {packets}")));
        let answered = kinds.iter().filter(|(packets, _)| packets.contains("<- SYN|ACK"));
        let right = kinds.get(ANSWERED_CHECK).copied().unwrap_or_default();
        let all: usize = answered.map(|(_, count)| count).sum();
        let what = format!("all {all} that were answered are SYN, SYN-ACK, RST and nothing else");
        report.expect(all > 0 && right == all, what);
    }
}
