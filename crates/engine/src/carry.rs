//! Packets of the appliance's own making that go to a server as a client's would: the last word about a dead server's
//! session, and what control sends to find out whether a server serves a VIP.
//!
//! Servers that answer directly hold the VIP themselves, and a packet reaches it there only by the server's MAC address, in
//! its tunnel or under its mark. So nothing here knows a mode: the packet becomes what a client's packet with the same
//! addresses becomes, by the same hands. It opens no session and counts for no member, since it is nobody's traffic.

use crate::arrival::{Arrival, Ingress, Reach};
use crate::egress::Outcome;
use crate::path::{Fits, Path, Step, World};
use crate::reason::DropReason;
use crate::scratch::Scratch;
use crate::shared::{Bearer, CARRY_BYTES_MAX, Carry, Report};
use flow::{Family, FlowKey, NetworkHeader, Packet, Zone};
use plan::ServiceMember;
use port::{Frame, HEAD_ROOM_BYTES, Ports};
use rewrite::{Birth, Carriage, Course, Direction, Endpoints, LinkIndex, Shape, Translation, translate};
use wire::ethernet::{self, Ethernet};

/// Where the version of an IP packet stands (RFC 791 section 3.1, RFC 8200 section 3).
const VERSION_SHIFT: u8 = 4;

impl World<'_> {
    /// Carries a packet of control's. What cannot be carried now is lost, and sent again by whoever misses the answer; a
    /// next hop that is not known is reported, so that it is known by then.
    pub fn obey_carry<P: Ports>(&self, ports: &mut P, scratch: &mut Scratch, carry: &Carry) {
        let mut buffer = [0; HEAD_ROOM_BYTES + ethernet::LENGTH + CARRY_BYTES_MAX];
        let packet = carry.packet();
        let version = packet.first().map_or(0, |byte| byte >> VERSION_SHIFT);
        let ethertype = if version == 4 { ethernet::ETHERTYPE_IPV4 } else { ethernet::ETHERTYPE_IPV6 };
        let sent = match on_ethernet(&mut buffer, ethertype, packet) {
            Some(mut frame) if version == 4 => {
                self.v4().carry_order((ports, &mut *scratch), &mut frame, carry)
            }
            Some(mut frame) => self.v6().carry_order((ports, &mut *scratch), &mut frame, carry),
            None => Ok(false),
        };
        if let Err(Step::Park { port, next_hop }) = sent {
            scratch.report(self.shared, self.tick, Report::Unresolved { port, address: next_hop });
        }
        self.counters.carries_lost.add(u64::from(sent != Ok(true)));
    }
}

/// A frame with `packet` in it; its addresses are set when its way is known.
fn on_ethernet<'b>(buffer: &'b mut [u8], ethertype: u16, packet: &[u8]) -> Option<Frame<'b>> {
    let bytes = buffer.get_mut(HEAD_ROOM_BYTES..)?;
    let (mut ethernet, room) = Ethernet::split(bytes).ok()?;
    ethernet.set_ethertype(ethertype);
    room.get_mut(..packet.len())?.copy_from_slice(packet);
    Frame::new(buffer, HEAD_ROOM_BYTES, ethernet::LENGTH + packet.len())
}

impl<F, const KEY: usize, const PAYLOAD: usize, const LINES: usize> Path<'_, F, KEY, PAYLOAD, LINES>
where
    F: Family + Fits<KEY, PAYLOAD>,
{
    fn carry_order<P: Ports>(
        &self,
        hands: (&mut P, &mut Scratch),
        frame: &mut Frame<'_>,
        carry: &Carry,
    ) -> Result<bool, Step> {
        self.carry(hands, frame, Zone::default(), |packet| self.request_of(packet, carry))
    }

    /// What a client's packet of that flow would become on its way to the server that `carry` names.
    fn request_of(&self, packet: &Packet<'_, F>, carry: &Carry) -> Result<Translation<F>, Step> {
        let (service, place) = match carry.bearer {
            Bearer::Server { service, place } => (service, place),
            Bearer::Firewall => return self.past_firewall(packet, carry),
        };
        let (protocol, port) = service;
        let vip = self.view.owned.get(packet.header.destination()).ok_or(DropReason::NoService)?;
        let service = vip.service(protocol, port).ok_or(DropReason::NoService)?;
        if !service.mode.is_direct() {
            return Err(DropReason::NoService.into());
        }
        let member = service.members.get(usize::from(place));
        let member = member.filter(|member| member.id == carry.member).ok_or(DropReason::NoServer)?;
        // These modes change no port, and a check may ask another one than the service's.
        let member = ServiceMember { port: None, ..member.clone() };
        let candidate = self.candidate((&packet.key, packet.hash), service, &member)?;
        // The link is all that is left of a firewall here.
        self.request_now(&packet.key, &candidate).map(|(request, link)| Translation { link, ..request })
    }

    /// What a packet of ours becomes on its way to a firewall: only the link is the firewall's.
    fn past_firewall(&self, packet: &Packet<'_, F>, carry: &Carry) -> Result<Translation<F>, Step> {
        let row = self.world.plan.members.get(usize::from(carry.member.index));
        let row =
            row.filter(|row| row.generation == carry.member.generation).ok_or(DropReason::NoFirewall)?;
        if row.link == LinkIndex::UNRESOLVED {
            return Err(DropReason::NextHopUnresolved.into());
        }
        let ends = Endpoints { source: packet.key.source(), destination: packet.key.destination() };
        let born = Birth::at(self.world.now_ns);
        let course = Course { member: carry.member, direction: Direction::Request, link: row.link, born };
        Ok(translate(ends, ends, Shape::OWN_MACS.carried(Carriage::Direct), course))
    }

    /// Sends the packet in `frame` the way that `translation` finds for it, whatever the frame's own addresses are. False
    /// when it found no room; the step that speaks against it where there is one.
    pub fn carry<P: Ports>(
        &self,
        (ports, scratch): (&mut P, &mut Scratch),
        frame: &mut Frame<'_>,
        zone: Zone,
        translation: impl FnOnce(&Packet<'_, F>) -> Result<Translation<F>, Step>,
    ) -> Result<bool, Step> {
        scratch.wrappings.clear();
        let mut parsed = self.world.parse_alone(zone, frame.bytes_mut()).map_err(DropReason::from)?;
        let packet = F::packet(&mut parsed.network).ok_or(DropReason::ProtocolUnknown)?;
        let request = translation(packet)?;
        let Some(link) = self.world.shared.links.get(request.link) else {
            return Err(self.park_for(request.destination.0, packet.hash));
        };
        let at = Arrival { port: link.port, leg: link.port, vlan: 0, reach: Reach::Own };
        let step = self.emit_uncounted(scratch, &at, &mut parsed.ethernet, packet, &request, request.link);
        let (Step::Send(_) | Step::Wrap(..)) = step else { return Err(step) };
        let ingress = Ingress { port: link.port, is_host: false };
        let sent = match self.world.finish(scratch, ingress, frame, step) {
            Ok(Outcome::Sent(ring)) => Ok(ports.inject(ring, frame.bytes())),
            // Nothing that is ready to be sent waits, or is for us.
            Ok(Outcome::Parked | Outcome::Taken) => Ok(false),
            Err(reason) => Err(reason.into()),
        };
        self.world.send_copies(ports, scratch);
        self.world.counters.injected.add(u64::from(sent == Ok(true)));
        sent
    }
}
