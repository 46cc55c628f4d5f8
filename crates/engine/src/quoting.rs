//! ICMP errors about sessions (RFC 5508 section 4, RULES N8, N9, R5).
//!
//! An error comes from where the quoted packet was going and is for whoever sent that. The quoted packet is one that the
//! appliance sent, so the session is found by its reversed key; what becomes of packets of that direction becomes of the
//! error, and the quotation is turned back into what its receiver had sent. No error ever ends or changes a session.
//!
//! ```text
//!   client ── A:p > VIP:80 ──▶ appliance ── A:p > S:8080 ──▶ hop with a small MTU
//!   client ◀─ VIP > A, quoting A:p > VIP:80 ── appliance ◀─ hop > A, quoting A:p > S:8080
//! ```
//!
//! Where servers answer directly, an error about a server's packet goes to that server, carried like a request. An error
//! about a tunnel's outer packet is for the client whose packet is inside, less what the outer header takes.
//!
//! Errors are rare, so the frame is taken apart anew here. An error that is about nothing we know is decided about like
//! any other packet.

use crate::answer::HOP_LIMIT;
use crate::arrival::{Arrival, Ingress, Reach};
use crate::path::{Fits, Path, Step, World};
use crate::path_mtu::MTU_BYTES_MIN;
use crate::reason::DropReason;
use crate::scratch::Scratch;
use crate::wrapping::overhead_bytes;
use flow::quote::{Quote, icmp_checksum_is_valid, rewrite_quote, set_icmp_checksum};
use flow::{Family, FlowKey, Network, NetworkHeader, Quoted, Zone};
use plan::{Beyond, Mode, Resolution};
use port::Frame;
use rewrite::{LinkIndex, Translation};
use session::{Flags, Hit, Lookup, tcp};
use std::net::IpAddr;
use wire::ethernet::{self, Ethernet};
use wire::icmp::{self, Icmp};
use wire::ipv4::Ipv4;
use wire::ipv6::Ipv6;
use wire::protocol;

/// The smallest MTU that a path really has: below it somebody jokes (RFC 791, RFC 8200 section 5).
const MTU_BYTES_TINY_V4: u32 = 576;
const MTU_BYTES_TINY_V6: u32 = MTU_BYTES_MIN as u32;

/// What an error is about.
enum About<F: Family, const PAYLOAD: usize> {
    /// A packet of a session: the error follows this direction.
    Session(Hit<PAYLOAD>, Quote<F>),
    /// A server's packet that never passed here; its flow has no session.
    Flow(F::Key),
    /// A packet from beyond firewalls, of a flow without a session.
    Crossing(Beyond, F::Key),
    /// A packet that we have put another header in front of.
    Tunnel {
        /// What a client sent to a VIP.
        inner: Quote<F>,
        /// Bytes of the quotation in front of it.
        offset_bytes: usize,
        /// Where the tunnel ends.
        end: F::Address,
    },
}

impl World<'_> {
    /// Decides about an ICMP error.
    pub fn quoting(&self, scratch: &mut Scratch, ingress: Ingress, frame: &mut Frame<'_>) -> Step {
        let Some(found) = self.look_again(ingress, frame) else { return DropReason::IcmpIgnored.into() };
        let translated = match found.is_v4 {
            true => self.v4().translate_error(scratch, &found, frame),
            false => self.v6().translate_error(scratch, &found, frame),
        };
        translated.unwrap_or_else(|| {
            let zone = self.port(ingress.port).map_or(Zone::default(), |port| port.zone);
            let mut parsed = match self.parse_alone(zone, frame.bytes_mut()) {
                Ok(parsed) => parsed,
                Err(refusal) => return DropReason::from(refusal).into(),
            };
            let (at, ethernet) = (&found.at, &mut parsed.ethernet);
            match &mut parsed.network {
                Network::V4(packet) => self.v4().unquoted(scratch, at, ethernet, packet),
                Network::V6(packet) => self.v6().unquoted(scratch, at, ethernet, packet),
                _ => DropReason::ProtocolUnknown.into(),
            }
        })
    }

    /// Where the IP packet in `frame` lies, which was parsed before.
    fn look_again(&self, ingress: Ingress, frame: &mut Frame<'_>) -> Option<Error> {
        let zone = self.port(ingress.port)?.zone;
        let frame_bytes = usize::from(frame.length());
        let (at, is_v4, length_bytes) = {
            let parsed = self.parse_alone(zone, frame.bytes_mut()).ok()?;
            let at = self.arrival(ingress.port, &parsed.ethernet, parsed.vlan).ok()?;
            match parsed.network {
                Network::V4(packet) => (at, true, packet.length_bytes),
                Network::V6(packet) => (at, false, packet.length_bytes),
                _ => return None,
            }
        };
        let (ethernet, rest) = Ethernet::split(frame.bytes_mut()).ok()?;
        let behind_tags = ethernet::split_tags(ethernet.ethertype(), rest).ok()?.payload.len();
        let (link_bytes, length_bytes) = (frame_bytes - behind_tags, usize::from(length_bytes));
        Some(Error { at, zone, is_v4, link_bytes, length_bytes })
    }
}

/// An ICMP error, and where its packet lies in its frame.
struct Error {
    at: Arrival,
    zone: Zone,
    is_v4: bool,
    link_bytes: usize,
    length_bytes: usize,
}

impl Error {
    /// The packet, without padding.
    fn packet<'f>(&self, frame: &'f mut Frame<'_>) -> Option<&'f mut [u8]> {
        frame.bytes_mut().get_mut(self.link_bytes..self.link_bytes + self.length_bytes)
    }
}

impl<F, const KEY: usize, const PAYLOAD: usize, const LINES: usize> Path<'_, F, KEY, PAYLOAD, LINES>
where
    F: Family + Fits<KEY, PAYLOAD>,
{
    /// The error as its receiver is to see it, on its way; `None` when it is about nothing we know.
    fn translate_error(&self, scratch: &mut Scratch, error: &Error, frame: &mut Frame<'_>) -> Option<Step> {
        let (about, ends) = {
            let Quoted { header, transport: message, .. } = F::split_quoted(error.packet(frame)?).ok()?;
            let ends = (header.source(), header.destination());
            if self.view.owned.get(ends.0).is_some() {
                return None;
            }
            let about = self.about(error, message)?;
            if !icmp_checksum_is_valid::<F>(ends.0, ends.1, message) {
                return Some(DropReason::IcmpChecksum.into());
            }
            self.note_tiny_mtu(message);
            (about, ends)
        };
        Some(match about {
            About::Session(hit, quote) => self.about_session(scratch, error, frame, (&hit, &quote), ends),
            About::Flow(key) => self.about_flow(scratch, error, frame, &key, ends),
            About::Crossing(beyond, key) => self.about_crossing(scratch, error, frame, (beyond, &key)),
            About::Tunnel { inner, offset_bytes, end } => {
                self.about_tunnel(error, frame, (&inner, offset_bytes), end)
            }
        })
    }

    /// What the error `message` is about, if we know it.
    fn about(&self, error: &Error, message: &mut [u8]) -> Option<About<F, PAYLOAD>> {
        let reach = error.at.reach;
        let quoted = message.get_mut(Icmp::LENGTH..)?;
        let quote = Quote::<F>::parse(quoted).ok()?;
        if reach == Reach::Own && self.view.outer_sources.contains(&quote.source.0) {
            let offset_bytes = quote.inner(quoted, quote.destination.1)?.offset_bytes;
            let inner = Quote::<F>::parse(quoted.get_mut(offset_bytes..)?).ok()?;
            return Some(About::Tunnel { inner, offset_bytes, end: quote.destination.0 });
        }
        let key = quote.key(error.zone).swapped();
        let probe = self.table.probe(key.hash(&self.world.shared.hasher));
        match self.table.find(&probe, key.words()) {
            // Between other hosts a bridge translates what its servers' side sends, and nothing else.
            Lookup::Hit(hit) if reach == Reach::Other && !Self::is_reply_to_translate(&hit) => None,
            Lookup::Hit(hit) => Some(About::Session(hit, quote)),
            Lookup::Busy => None,
            Lookup::Miss if self.view.owned.get(quote.source.0).is_none() => {
                let beyond = self.beyond(error.zone, quote.source.0).filter(|_| reach == Reach::Own)?;
                Some(About::Crossing(beyond, key))
            }
            Lookup::Miss => {
                let vip = self.view.owned.get(quote.source.0)?;
                let service = vip.service(quote.protocol, quote.source.1)?;
                (service.mode.is_direct() && reach == Reach::Own).then_some(About::Flow(key))
            }
        }
    }

    /// Counts what only shrinks a path to spite its users. It is passed on: the receiver has bounds of its own.
    fn note_tiny_mtu(&self, message: &mut [u8]) {
        let Ok((header, _)) = Icmp::split(message) else { return };
        let (mtu_bytes, bound_bytes) = match F::ICMP {
            protocol::ICMP => (header.mtu() & 0xffff, MTU_BYTES_TINY_V4),
            _ => (header.mtu(), MTU_BYTES_TINY_V6),
        };
        let is_tiny = tells_mtu::<F>(&header) && mtu_bytes < bound_bytes;
        self.world.counters.tiny_mtus.add(u64::from(is_tiny));
    }

    fn about_session(
        &self,
        scratch: &mut Scratch,
        error: &Error,
        frame: &mut Frame<'_>,
        (hit, quote): (&Hit<PAYLOAD>, &Quote<F>),
        ends: (F::Address, F::Address),
    ) -> Step {
        if !self.is_in_window(hit, quote) {
            return DropReason::IcmpOutsideWindow.into();
        }
        let translation = F::translation(&hit.payload);
        let resolution = match translation.to_firewall() {
            Some(_) => Resolution::Link(self.link_index_of(&translation)),
            None => self.view.routes.resolve(translation.destination.0, 0),
        };
        let link = match resolution {
            Resolution::Link(link) if self.world.shared.links.get(link).is_some() => link,
            Resolution::Unreachable => return DropReason::NoRoute.into(),
            // The frame is still as it came: it can wait.
            _ => return self.park_for(translation.destination.0, 0),
        };
        let is_direct = hit.direction.activity.flags().contains(Flags::ONE_WAY);
        let translation = match is_direct {
            true => carried(&translation, ends),
            false => match self.turn_back((error, frame), &translation, quote, ends) {
                Some(translation) => translation,
                None => return DropReason::AnswerImpossible.into(),
            },
        };
        self.emit_again(scratch, error, frame, (&translation, link))
    }

    /// Turns the quotation back into what the error's receiver once sent, and gives back what is to become of the error
    /// itself.
    fn turn_back(
        &self,
        (error, frame): (&Error, &mut Frame<'_>),
        translation: &Translation<F>,
        quote: &Quote<F>,
        (source, destination): (F::Address, F::Address),
    ) -> Option<Translation<F>> {
        let message = F::split_quoted(error.packet(frame)?).ok()?.transport;
        rewrite_quote::<F>(message, translation.destination, translation.source).ok()?;
        set_icmp_checksum::<F>(source, destination, message).ok()?;
        // Where the session hides its sender, it hides whoever speaks for that side too.
        let is_hidden = translation.source.0 != quote.destination.0;
        let new_source = if is_hidden { translation.source.0 } else { source };
        Some(readdressed(translation, (source, destination), new_source))
    }

    /// Whether the quoted segment is one that its sender can have sent of late (RFC 5927 section 4.1).
    fn is_in_window(&self, hit: &Hit<PAYLOAD>, quote: &Quote<F>) -> bool {
        let sent = self.table.peer_direction(hit).and_then(|peer| peer.sequence_end());
        match (quote.tcp_sequence, sent) {
            (Some(sequence), Some(end)) => end.wrapping_sub(sequence) <= tcp::ACKNOWLEDGEMENT_LAG_BYTES_MAX,
            _ => true,
        }
    }

    /// An error about a flow that was placed by its hash goes where its packets go.
    fn about_flow(
        &self,
        scratch: &mut Scratch,
        error: &Error,
        frame: &mut Frame<'_>,
        key: &F::Key,
        ends: (F::Address, F::Address),
    ) -> Step {
        let (vip, port) = key.destination();
        let service = self.view.owned.get(vip).and_then(|vip| vip.service(key.protocol(), port));
        let hasher = &self.world.shared.hasher;
        let Some((service, member)) = service.and_then(|s| Some((s, s.choose_by_hash(key, hasher)?))) else {
            return DropReason::IcmpIgnored.into();
        };
        let candidate = self.candidate((key, key.hash(hasher)), service, member);
        match candidate.and_then(|candidate| self.request_now(key, &candidate)) {
            Ok((request, link)) => self.emit_again(scratch, error, frame, (&carried(&request, ends), link)),
            Err(step) => step,
        }
    }

    /// An error about a flow that was placed by its hash among firewalls goes through the firewall of that flow, whoever
    /// speaks.
    fn about_crossing(
        &self,
        scratch: &mut Scratch,
        error: &Error,
        frame: &mut Frame<'_>,
        (beyond, key): (Beyond, &F::Key),
    ) -> Step {
        match self.firewall_by_hash(beyond, key) {
            Ok(firewall) => {
                let translation = self.translation_by(key, firewall);
                self.emit_again(scratch, error, frame, (&translation, self.link_index_of(&translation)))
            }
            Err(reason) => reason.into(),
        }
    }

    /// An error about a tunnel's packet becomes one about the packet inside, for its sender.
    fn about_tunnel(
        &self,
        error: &Error,
        frame: &mut Frame<'_>,
        (inner, offset_bytes): (&Quote<F>, usize),
        end: F::Address,
    ) -> Step {
        let key = inner.key(error.zone);
        let (vip, client) = (key.destination().0, key.source().0);
        let service =
            self.view.owned.get(vip).and_then(|vip| vip.service(key.protocol(), key.destination().1));
        let overhead_bytes = match service.map(|service| service.mode) {
            Some(Mode::IpInIp { .. }) => overhead_bytes(F::VERSION == 4, false),
            Some(Mode::Gue { .. }) => overhead_bytes(F::VERSION == 4, true),
            _ => return DropReason::IcmpIgnored.into(),
        };
        let probe = self.table.probe(key.hash(&self.world.shared.hasher));
        if let Lookup::Hit(hit) = self.table.find(&probe, key.words()) {
            if let (Some(sequence), Some(sent)) = (inner.tcp_sequence, hit.direction.sequence_end())
                && sent.wrapping_sub(sequence) > tcp::ACKNOWLEDGEMENT_LAG_BYTES_MAX
            {
                return DropReason::IcmpOutsideWindow.into();
            }
            if F::translation(&hit.payload).destination.0 == end {
                self.note_narrow_tunnel(error, frame, end, overhead_bytes);
            }
        }
        let link = match self.view.routes.resolve(client, 0) {
            Resolution::Link(link) => self.world.shared.links.get(link),
            Resolution::Unreachable => return DropReason::NoRoute.into(),
            Resolution::Unresolved { .. } => None,
        };
        let Some((link, leg)) = link.and_then(|link| Some((link, self.world.port(link.port)?))) else {
            return self.park_for(client, 0);
        };
        let rewritten = unwrap_quote::<F>((error, frame), offset_bytes, (vip, client), overhead_bytes);
        let macs = rewritten.and_then(|()| {
            let (mut ethernet, _) = Ethernet::split(frame.bytes_mut()).ok()?;
            ethernet.set_source(leg.mac);
            ethernet.set_destination(link.mac);
            Some(())
        });
        match macs {
            Some(()) => Step::Send(self.world.egress(link.port, link.mac)),
            None => DropReason::AnswerImpossible.into(),
        }
    }

    /// Remembers a way that has no room for what IPv6 promises to carry once the tunnel's header is in front.
    fn note_narrow_tunnel(
        &self,
        error: &Error,
        frame: &mut Frame<'_>,
        end: F::Address,
        overhead_bytes: u16,
    ) -> Option<()> {
        let IpAddr::V6(end) = end.into() else { return None };
        let message = F::split_quoted(error.packet(frame)?).ok()?.transport;
        let (header, _) = Icmp::split(message).ok()?;
        let mtu_bytes = u16::try_from(header.mtu()).ok().filter(|_| tells_mtu::<F>(&header))?;
        if mtu_bytes < MTU_BYTES_MIN + overhead_bytes {
            self.world.shared.path_mtus.note(end, mtu_bytes, self.world.tick);
        }
        Some(())
    }

    /// Sends the error on as `translation` says.
    fn emit_again(
        &self,
        scratch: &mut Scratch,
        error: &Error,
        frame: &mut Frame<'_>,
        (translation, link): (&Translation<F>, LinkIndex),
    ) -> Step {
        let mut parsed = match self.world.parse_alone(error.zone, frame.bytes_mut()) {
            Ok(parsed) => parsed,
            Err(refusal) => return DropReason::from(refusal).into(),
        };
        match F::packet(&mut parsed.network) {
            Some(packet) => {
                self.emit_unusual(scratch, &error.at, &mut parsed.ethernet, packet, translation, link)
            }
            None => DropReason::ProtocolUnknown.into(),
        }
    }
}

/// What becomes of an error that goes to a server which answers directly: it is carried as requests are, and still says
/// who speaks, which no request's source address does.
fn carried<F: Family>(translation: &Translation<F>, ends: (F::Address, F::Address)) -> Translation<F> {
    match translation.shape.keeps_addresses() {
        true => *translation,
        false => readdressed(translation, ends, ends.0),
    }
}

/// The translation of a message from and to `ends` that is to come from `new_source`.
fn readdressed<F: Family>(
    translation: &Translation<F>,
    (source, destination): (F::Address, F::Address),
    new_source: F::Address,
) -> Translation<F> {
    let new_destination = translation.destination.0;
    let address_delta =
        F::address_delta(source, new_source).plus(F::address_delta(destination, new_destination));
    let (source, destination) = ((new_source, 0), (new_destination, 0));
    Translation { source, destination, address_delta, ..*translation }
}

/// Takes the outer header off the quotation of an error, and sends it from `ends.0` to `ends.1`: what was too big for the
/// tunnel is too big by what the tunnel adds. `None` when the frame is not what it was.
fn unwrap_quote<F: Family>(
    (error, frame): (&Error, &mut Frame<'_>),
    offset_bytes: usize,
    ends: (F::Address, F::Address),
    overhead_bytes: u16,
) -> Option<()> {
    let network_bytes = F::split_quoted(error.packet(frame)?).ok()?.network_bytes;
    let front_bytes = error.link_bytes + network_bytes + Icmp::LENGTH;
    let length_bytes = error.length_bytes.checked_sub(offset_bytes)?;
    frame.set_length(error.link_bytes + error.length_bytes).ok()?;
    frame.bytes_mut().copy_within(..front_bytes, offset_bytes);
    frame.trim_front(offset_bytes).ok()?;
    let packet = frame.bytes_mut().get_mut(error.link_bytes..)?;
    match (ends.0.into(), ends.1.into()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut split = Ipv4::split_quoted(packet).ok()?;
            split.header.set_total_length(u16::try_from(length_bytes).ok()?);
            split.header.set_source(source);
            split.header.set_destination(destination);
            split.header.set_ttl(HOP_LIMIT);
            split.header.set_checksum(split.header.compute_checksum(split.options));
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let (header, _) = packet.split_first_chunk_mut()?;
            let mut header = Ipv6::over(header);
            header.set_payload_length(u16::try_from(length_bytes - Ipv6::LENGTH).ok()?);
            header.set_source(source);
            header.set_destination(destination);
            header.set_hop_limit(HOP_LIMIT);
        }
        _ => return None,
    }
    let message = packet.get_mut(network_bytes..)?;
    let (mut header, _) = Icmp::split(message).ok()?;
    if tells_mtu::<F>(&header) {
        // IPv4 has the MTU in the low half of its word; it never carries into the high one.
        let mtu_bytes = header.mtu().saturating_sub(u32::from(overhead_bytes));
        // No host of IPv6 sends less; what is too long for the tunnel then enters it in pieces (RFC 2473 section 7.1).
        header.set_mtu(if F::VERSION == 4 { mtu_bytes } else { mtu_bytes.max(MTU_BYTES_MIN.into()) });
    }
    set_icmp_checksum::<F>(ends.0, ends.1, message).ok()
}

/// Whether an error says how much the next link carries.
fn tells_mtu<F: Family>(header: &Icmp<'_>) -> bool {
    match F::ICMP {
        protocol::ICMP => {
            (header.kind(), header.code()) == (icmp::v4::UNREACHABLE, icmp::v4::CODE_FRAGMENTATION_NEEDED)
        }
        _ => header.kind() == icmp::v6::PACKET_TOO_BIG,
    }
}
