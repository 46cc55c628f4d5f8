//! ICMP errors about sessions.

use crate::arrival::Ingress;
use crate::path::{Step, World};
use crate::reason::DropReason;
use crate::scratch::Scratch;
use flow::{Network, Zone, parse};
use port::Frame;

impl World<'_> {
    /// Decides about an ICMP error.
    pub fn quoting(&self, scratch: &mut Scratch, ingress: Ingress, frame: &mut Frame<'_>) -> Step {
        let zone = self.port(ingress.port).map_or(Zone::default(), |port| port.zone);
        let mut parsed = match parse(frame.bytes_mut(), zone, &self.shared.hasher) {
            Ok(parsed) => parsed,
            Err(refusal) => return DropReason::from(refusal).into(),
        };
        let at = match self.arrival(ingress.port, &parsed.ethernet, parsed.vlan) {
            Ok(at) => at,
            Err(reason) => return reason.into(),
        };
        match &mut parsed.network {
            Network::V4(packet) => self.v4().unquoted(scratch, &at, &mut parsed.ethernet, packet),
            Network::V6(packet) => self.v6().unquoted(scratch, &at, &mut parsed.ethernet, packet),
            _ => DropReason::ProtocolUnknown.into(),
        }
    }
}
