//! What crosses an appliance's ports, seen from outside: captures of what it receives and of what it sends, of the
//! client and of the servers.

use lab::{Capture, Captured, Direction, Frame, Packet};

use super::modes::Scene;

/// Running captures.
pub struct Watch {
    received: Vec<Capture>,
    sent: Vec<Capture>,
    client: Capture,
    servers: Vec<Capture>,
}

/// What they have seen; frames in order of time.
pub struct Sides {
    /// What the appliance received by its ports.
    pub received: Captured,
    /// What the appliance sent by its ports.
    pub sent: Captured,
    /// What the client sent and received.
    pub client: Captured,
    /// What each server sent and received, in their order.
    pub servers: Vec<Captured>,
}

impl Watch {
    /// Starts them all.
    pub fn start(scene: &Scene) -> Self {
        let site = &scene.site;
        let at_ports = |name: &str, direction| -> Vec<Capture> {
            let start = |(index, port): (usize, &lab::Endpoint)| {
                Capture::start(&port.opposite(), &format!("{name}-{index}"), direction).unwrap()
            };
            site.ports.iter().enumerate().map(start).collect()
        };
        let at_host = |host: &lab::topology::Host| {
            Capture::start(&host.end, &format!("at-{}", host.name), Direction::Both).unwrap()
        };
        Self {
            received: at_ports("received", Direction::Out),
            sent: at_ports("sent", Direction::In),
            client: at_host(&site.client),
            servers: site.servers.iter().map(at_host).collect(),
        }
    }

    /// Ends them all. Nothing was lost by a capture, and every checksum is right.
    pub fn stop(self) -> Sides {
        let stop = |capture: Capture| {
            let captured = capture.stop().unwrap();
            assert_eq!(captured.dropped_by_kernel, 0);
            if let Err(wrong) = captured.verify_checksums() {
                assert!(wrong.is_empty(), "{wrong:?}");
            }
            captured
        };
        let merge = |captures: Vec<Capture>| {
            let mut frames: Vec<Frame> =
                captures.into_iter().flat_map(|capture| stop(capture).frames).collect();
            frames.sort_by_key(|frame| frame.at);
            Captured { frames, dropped_by_kernel: 0 }
        };
        Sides {
            received: merge(self.received),
            sent: merge(self.sent),
            client: stop(self.client),
            servers: self.servers.into_iter().map(stop).collect(),
        }
    }
}

/// The frames whose packet is such a one, with it.
pub fn frames_that(captured: &Captured, is: impl Fn(&Packet) -> bool) -> Vec<(&Frame, Packet)> {
    let with_packet = |frame| Frame::packet(frame).map(|packet| (frame, packet));
    captured.frames.iter().filter_map(with_packet).filter(|(_frame, packet)| is(packet)).collect()
}

/// The IP packet of a frame, without tags in front and without padding behind.
pub fn ip_packet(frame: &Frame) -> Vec<u8> {
    let bytes = &frame.bytes;
    let start = if bytes[12..14] == [0x81, 0x00] { 18 } else { 14 };
    let word = |at: usize| usize::from(u16::from_be_bytes([bytes[start + at], bytes[start + at + 1]]));
    let length = if bytes[start] >> 4 == 4 { word(2) } else { word(4) + 40 };
    bytes[start..start + length].to_vec()
}

/// A TCP or UDP packet with zeros for all that a mode may rewrite: addresses, ports, TTL, DSCP and checksums; the ECN
/// bits stay.
pub fn without_addresses(packet: &[u8]) -> Vec<u8> {
    let mut bytes = packet.to_vec();
    let (header, protocol) = if bytes[0] >> 4 == 4 {
        bytes[1] &= 3;
        bytes[8] = 0;
        bytes[10..20].fill(0);
        (20, bytes[9])
    } else {
        bytes[0] &= 0xf0;
        bytes[1] &= 0x3f;
        bytes[7..40].fill(0);
        (40, bytes[6])
    };
    assert!(matches!(protocol, 6 | 17), "neither TCP nor UDP");
    bytes[header..header + 4].fill(0);
    let checksum = header + if protocol == 6 { 16 } else { 6 };
    bytes[checksum..checksum + 2].fill(0);
    bytes
}

/// The frame without its outer header; none without one.
pub fn stripped(frame: &Frame) -> Option<Frame> {
    frame.inner_packet()?;
    let outer = ip_packet(frame);
    let is_gue = frame.packet()?.protocol == 17;
    let header = if outer[0] >> 4 == 4 { 20 } else { 40 } + if is_gue { 8 } else { 0 };
    let start = frame.bytes.len() - outer.len();
    let inner = &outer[header..];
    let mut link = frame.bytes[..start].to_vec();
    let ethertype: [u8; 2] = if inner[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    link[start - 2..].copy_from_slice(&ethertype);
    Some(Frame { at: frame.at, bytes: [&link[..], inner].concat() })
}
