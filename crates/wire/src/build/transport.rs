//! The transport layer of a frame under construction.

use super::{IpBuilder, field_length};
use crate::icmp::Icmp;
use crate::protocol;
use crate::tcp::{Tcp, TcpFlags};
use crate::udp::Udp;

/// A frame up to its TCP data.
#[derive(Clone, Debug)]
#[must_use]
pub struct TcpBuilder {
    ip: IpBuilder,
    header: [u8; Tcp::LENGTH],
    options: Vec<u8>,
    payload: Vec<u8>,
}

impl TcpBuilder {
    pub(super) fn new(ip: IpBuilder, source_port: u16, destination_port: u16) -> Self {
        let mut header = [0; Tcp::LENGTH];
        let mut tcp = Tcp::over(&mut header);
        tcp.set_source_port(source_port);
        tcp.set_destination_port(destination_port);
        tcp.set_flags(TcpFlags::ACK);
        tcp.set_window(u16::MAX);
        Self { ip, header, options: Vec::new(), payload: Vec::new() }
    }

    /// The control bits; ACK unless said.
    pub fn flags(mut self, flags: TcpFlags) -> Self {
        Tcp::over(&mut self.header).set_flags(flags);
        self
    }

    /// The sequence number; 0 unless said.
    pub fn sequence(mut self, sequence: u32) -> Self {
        Tcp::over(&mut self.header).set_sequence(sequence);
        self
    }

    /// The acknowledgement number; 0 unless said.
    pub fn acknowledgement(mut self, acknowledgement: u32) -> Self {
        Tcp::over(&mut self.header).set_acknowledgement(acknowledgement);
        self
    }

    /// The window; 65,535 unless said.
    pub fn window(mut self, window: u16) -> Self {
        Tcp::over(&mut self.header).set_window(window);
        self
    }

    /// Options, filled up to a multiple of 4 with ends of list.
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self.options.resize(options.len().next_multiple_of(4), 0);
        self
    }

    /// The data.
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// The frame.
    pub fn finish(mut self) -> Vec<u8> {
        let header_length = u8::try_from(Tcp::LENGTH + self.options.len()).unwrap_or(u8::MAX);
        Tcp::over(&mut self.header).set_data_offset_bytes(header_length);
        let segment = [&self.header, &self.options[..], &self.payload[..]].concat();
        self.ip.segment(protocol::TCP, 16, segment)
    }
}

/// A frame up to its UDP data.
#[derive(Clone, Debug)]
#[must_use]
pub struct UdpBuilder {
    ip: IpBuilder,
    header: [u8; Udp::LENGTH],
    payload: Vec<u8>,
    with_checksum: bool,
}

impl UdpBuilder {
    pub(super) fn new(ip: IpBuilder, source_port: u16, destination_port: u16) -> Self {
        let mut header = [0; Udp::LENGTH];
        let mut udp = Udp::over(&mut header);
        udp.set_source_port(source_port);
        udp.set_destination_port(destination_port);
        Self { ip, header, payload: Vec::new(), with_checksum: true }
    }

    /// Sends no checksum.
    pub fn without_checksum(mut self) -> Self {
        self.with_checksum = false;
        self
    }

    /// The data.
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// The frame.
    pub fn finish(mut self) -> Vec<u8> {
        Udp::over(&mut self.header).set_length(field_length(Udp::LENGTH + self.payload.len()));
        let segment = [&self.header, &self.payload[..]].concat();
        if self.with_checksum {
            self.ip.segment(protocol::UDP, 6, segment)
        } else {
            self.ip.raw(protocol::UDP, &segment)
        }
    }
}

/// A frame up to its ICMP data, of either family.
#[derive(Clone, Debug)]
#[must_use]
pub struct IcmpBuilder {
    ip: IpBuilder,
    header: [u8; Icmp::LENGTH],
    payload: Vec<u8>,
}

impl IcmpBuilder {
    pub(super) fn new(ip: IpBuilder, kind: u8, code: u8, rest: [u8; 4]) -> Self {
        let mut header = [0; Icmp::LENGTH];
        let mut icmp = Icmp::over(&mut header);
        icmp.set_kind(kind);
        icmp.set_code(code);
        icmp.set_rest(rest);
        Self { ip, header, payload: Vec::new() }
    }

    /// The data.
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// The frame.
    pub fn finish(self) -> Vec<u8> {
        let segment = [&self.header, &self.payload[..]].concat();
        let protocol = self.ip.icmp_protocol();
        self.ip.segment(protocol, 2, segment)
    }
}
