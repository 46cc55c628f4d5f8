//! The one decision of steering, assembled for each place where it runs.
//!
//! ```text
//!                     port shut? ── yes ─▶ kernel          takes all? ── yes ─▶ socket
//!   destination MAC   unicast, not ours ─▶ drop
//!   outer tag         802.1Q, VLAN listed ─▶ socket        else, where VLANs are listed ─▶ kernel
//!                     VID 0: look behind it (once)
//!   no tag, VID 0     port leaves untagged ─▶ kernel
//!   destination MAC   01:80:c2:00:00:0x ─▶ kernel
//!   tags              any other, or a second one ─▶ socket
//!   EtherType         ARP: target or sender claimed ─▶ socket, else ─▶ kernel
//!                     IPv4, IPv6: below                    other ─▶ kernel
//!   ND (NS, NA)       target or source claimed ─▶ socket, else ─▶ kernel
//!   destination       multicast, 255.255.255.255 ─▶ kernel
//!                     the host's, and not claimed ─▶ kernel, else ─▶ socket
//!   cut short         ARP ─▶ kernel, everything else ─▶ socket, which counts it under its own reason
//! ```
//!
//! Headers are copied to the program's stack by a helper, so that the same instructions serve a frame in the
//! driver and a socket buffer in pieces; the helper's number and the verdicts are all in which the three
//! differ. A verdict costs two or three such copies and one or two lookups, some tens of nanoseconds.

use super::{CLAIMED, Counter, HAS_VLANS, HOST, LEAVES_UNTAGGED, SHUT, TAKES_ALL};
use crate::bpf::{Assembler, Comparison, Instruction, Label, Map, ProgramKind, Register, Width};
use Comparison::{AnyBit, Equal, NotEqual};
use Register::{Frame, R0, R1, R2, R3, R4, R6, R7, R8, R9};
use Width::{Byte, Double, Half, Word};

/// Helper numbers (`enum bpf_func_id`).
const MAP_LOOKUP_ELEM: i32 = 1;
const SKB_LOAD_BYTES: i32 = 26;
const REDIRECT_MAP: i32 = 51;
const XDP_LOAD_BYTES: i32 = 189;

/// Verdicts by place: `enum xdp_action`, `enum tcx_action_base`, bytes that a socket filter lets through.
pub(super) const XDP_DROP: i32 = 1;
pub(super) const XDP_PASS: i32 = 2;
pub(super) const XDP_REDIRECT: i32 = 4;
pub(super) const TCX_NEXT: i32 = -1;
pub(super) const TCX_DROP: i32 = 2;
pub(super) const FILTER_IGNORE: i32 = 0;
pub(super) const FILTER_ACCEPT: i32 = 0x4_0000;

/// Context offsets: `struct xdp_md` and `struct __sk_buff`.
const XDP_QUEUE: i16 = 16;
const SKB_TAG_PRESENT: i16 = 20;
const SKB_TAG: i16 = 24;
const SKB_TAG_PROTOCOL: i16 = 28;

/// The stack, downwards: Ethernet header, address to look up, network header, neighbour discovery,
/// configuration, counter index. Multiples of eight, since the verifier wants aligned access.
const ETHERNET: i16 = -16;
const ADDRESS: i16 = -32;
const HEADER: i16 = -72;
const DISCOVERY: i16 = -96;
const CONFIG: i16 = -104;
const COUNTER: i16 = -112;

const ETHERNET_BYTES: i32 = 14;
const TAG_BYTES: i32 = 4;
const ARP_BYTES: i32 = 28;
const IPV4_BYTES: i32 = 20;
const IPV6_BYTES: i32 = 40;
/// ICMPv6 type, code, checksum, flags and target address (RFC 4861, section 4.3).
const DISCOVERY_BYTES: i32 = 24;

/// The maps of one program.
pub(super) struct Maps<'a> {
    pub addresses: &'a Map,
    pub config: &'a Map,
    /// One value: a byte for each VLAN.
    pub vlans: &'a Map,
    pub counters: &'a Map,
    /// Queue to socket; for XDP only.
    pub sockets: Option<&'a Map>,
}

/// Network byte order on the wire as this machine loads it.
const fn half(bytes: [u8; 2]) -> i32 {
    u16::from_ne_bytes(bytes) as i32
}

const fn word(bytes: [u8; 4]) -> i32 {
    i32::from_ne_bytes(bytes)
}

/// EtherTypes of tags, and which bits of one name its VLAN (IEEE 802.1Q, tables 9-1 and 9-2).
const TAG: i32 = half([0x81, 0x00]);
const SERVICE_TAG: i32 = half([0x88, 0xa8]);
const VID_MASK: i32 = 0x0fff;

/// The steering program for one place.
pub(super) fn assemble(kind: ProgramKind, maps: &Maps<'_>) -> Vec<Instruction> {
    let mut assembler = Assembler::default();
    let mut label = || assembler.label();
    let to =
        Exits { socket: label(), kernel: label(), foreign: label(), redirected: label(), count: label() };
    Core { assembler, kind, maps, to }.assemble()
}

/// Where a decision ends.
#[derive(Clone, Copy)]
struct Exits {
    socket: Label,
    kernel: Label,
    foreign: Label,
    redirected: Label,
    count: Label,
}

/// `R6` context, `R7` offset of the network header, `R8` VLAN and in the end counter, `R9` EtherType of the
/// outer tag and in the end verdict.
struct Core<'a> {
    assembler: Assembler,
    kind: ProgramKind,
    maps: &'a Maps<'a>,
    to: Exits,
}

impl Core<'_> {
    fn assemble(mut self) -> Vec<Instruction> {
        let by_type = [(); 3].map(|()| self.assembler.label());
        self.assembler.copy(R6, R1);
        self.port_state();
        self.foreign_mac();
        self.outer_tag();
        self.vlan();
        self.link_local_group();
        self.assembler.jump_if(R8, NotEqual, 0, self.to.socket);
        self.dispatch(by_type);
        let [arp, ipv4, ipv6] = by_type;
        self.assembler.bind(arp);
        self.arp();
        self.assembler.bind(ipv4);
        self.ipv4();
        self.assembler.bind(ipv6);
        self.ipv6();
        self.exits();
        self.assembler.finish()
    }

    /// Copies `count` bytes of the frame, from `R7 + offset` on, to the stack; goes to `cut_short` where they
    /// end early.
    fn fetch(&mut self, offset: i32, stack: i16, count: i32, cut_short: Label) {
        let helper = if self.kind == ProgramKind::Xdp { XDP_LOAD_BYTES } else { SKB_LOAD_BYTES };
        let assembler = &mut self.assembler;
        assembler.copy(R1, R6);
        assembler.copy(R2, R7);
        assembler.add(R2, offset);
        assembler.copy(R3, Frame);
        assembler.add(R3, i32::from(stack));
        assembler.set(R4, count);
        assembler.call(helper);
        assembler.jump_if(R0, NotEqual, 0, cut_short);
    }

    /// Loads what is known of the address at `ADDRESS` into `R1`; goes to `unknown` where that is nothing.
    fn look_up(&mut self, unknown: Label) {
        let assembler = &mut self.assembler;
        assembler.map(R1, self.maps.addresses);
        assembler.copy(R2, Frame);
        assembler.add(R2, i32::from(ADDRESS));
        assembler.call(MAP_LOOKUP_ELEM);
        assembler.jump_if_null(R0, unknown);
        assembler.load(Word, R1, R0, 0);
    }

    /// Sends the frame to the socket when the address at `ADDRESS` is claimed.
    fn socket_if_claimed(&mut self) {
        let unknown = self.assembler.label();
        self.look_up(unknown);
        self.assembler.jump_if(R1, AnyBit, CLAIMED as i32, self.to.socket);
        self.assembler.bind(unknown);
    }

    /// The end of every IP packet: the kernel's when its destination is the host's alone.
    fn by_destination(&mut self) {
        self.look_up(self.to.socket);
        self.assembler.jump_if(R1, Equal, HOST as i32, self.to.kernel);
        self.assembler.jump(self.to.socket);
    }

    /// Reads MAC and flags of the port once, so that one frame is not judged by two of them.
    fn port_state(&mut self) {
        let assembler = &mut self.assembler;
        assembler.map_value(R1, self.maps.config);
        assembler.load(Double, R1, R1, 0);
        assembler.store(Double, Frame, CONFIG, R1);
        assembler.load(Half, R1, Frame, CONFIG + 6);
        assembler.jump_if(R1, AnyBit, i32::from(SHUT), self.to.kernel);
        assembler.jump_if(R1, AnyBit, i32::from(TAKES_ALL), self.to.socket);
        assembler.set(R7, 0);
        self.fetch(0, ETHERNET, ETHERNET_BYTES, self.to.socket);
        self.assembler.set(R7, ETHERNET_BYTES);
    }

    fn foreign_mac(&mut self) {
        let accepted = self.assembler.label();
        let assembler = &mut self.assembler;
        assembler.load(Byte, R1, Frame, ETHERNET);
        assembler.jump_if(R1, AnyBit, 1, accepted);
        for (width, at) in [(Word, 0), (Half, 4)] {
            assembler.load(width, R1, Frame, ETHERNET + at);
            assembler.load(width, R2, Frame, CONFIG + at);
            assembler.jump_if_registers(R1, NotEqual, R2, self.to.foreign);
        }
        assembler.bind(accepted);
    }

    /// IEEE 802.1Q, table 8-1: 01-80-C2-00-00-00 to -0F never leave the link.
    fn link_local_group(&mut self) {
        let other = self.assembler.label();
        let assembler = &mut self.assembler;
        assembler.load(Word, R1, Frame, ETHERNET);
        assembler.jump_if(R1, NotEqual, word([0x01, 0x80, 0xc2, 0x00]), other);
        assembler.load(Half, R1, Frame, ETHERNET + 4);
        assembler.and(R1, half([0xff, 0xf0]));
        assembler.jump_if(R1, Equal, 0, self.to.kernel);
        assembler.bind(other);
    }

    /// Takes note of the outer tag and goes behind it: its EtherType is in `R9`, its VID in `R8`; zeros where
    /// there is none.
    fn outer_tag(&mut self) {
        let tagged = self.assembler.label();
        let done = self.assembler.label();
        self.assembler.set(R8, 0);
        self.assembler.set(R9, 0);
        if self.kind != ProgramKind::Xdp {
            self.tag_beside_frame(done);
        }
        let assembler = &mut self.assembler;
        assembler.load(Half, R1, Frame, ETHERNET + 12);
        assembler.jump_if(R1, Equal, TAG, tagged);
        assembler.jump_if(R1, NotEqual, SERVICE_TAG, done);
        assembler.bind(tagged);
        assembler.copy(R9, R1);
        self.fetch(0, HEADER, TAG_BYTES, self.to.socket);
        let assembler = &mut self.assembler;
        assembler.load(Half, R8, Frame, HEADER);
        assembler.swap_network_half(R8);
        assembler.and(R8, VID_MASK);
        assembler.load(Half, R1, Frame, HEADER + 2);
        assembler.store(Half, Frame, ETHERNET + 12, R1);
        assembler.add(R7, TAG_BYTES);
        assembler.bind(done);
    }

    /// The kernel takes the outer tag off before taps and ingress run, and keeps it beside the frame.
    fn tag_beside_frame(&mut self, done: Label) {
        let untagged = self.assembler.label();
        let assembler = &mut self.assembler;
        assembler.load(Word, R1, R6, SKB_TAG_PRESENT);
        assembler.jump_if(R1, Equal, 0, untagged);
        assembler.load(Word, R8, R6, SKB_TAG);
        assembler.and(R8, VID_MASK);
        assembler.load(Word, R9, R6, SKB_TAG_PROTOCOL);
        assembler.jump(done);
        assembler.bind(untagged);
    }

    /// Judges by the VLAN. VID 0 names none (IEEE 802.1Q, 9.6), and a service tag's is another provider's
    /// numbering.
    fn vlan(&mut self) {
        let none = self.assembler.label();
        let unlisted = self.assembler.label();
        let done = self.assembler.label();
        let assembler = &mut self.assembler;
        assembler.jump_if(R8, Equal, 0, none);
        assembler.jump_if(R9, NotEqual, TAG, unlisted);
        assembler.map_value(R1, self.maps.vlans);
        assembler.add_register(R1, R8);
        assembler.load(Byte, R1, R1, 0);
        assembler.jump_if(R1, NotEqual, 0, self.to.socket);
        assembler.bind(unlisted);
        assembler.load(Half, R1, Frame, CONFIG + 6);
        assembler.jump_if(R1, AnyBit, i32::from(HAS_VLANS), self.to.kernel);
        assembler.jump(done);
        assembler.bind(none);
        assembler.load(Half, R1, Frame, CONFIG + 6);
        assembler.jump_if(R1, AnyBit, i32::from(LEAVES_UNTAGGED), self.to.kernel);
        assembler.bind(done);
    }

    /// By what follows the Ethernet header, or the one priority tag.
    fn dispatch(&mut self, [arp, ipv4, ipv6]: [Label; 3]) {
        let assembler = &mut self.assembler;
        assembler.load(Half, R1, Frame, ETHERNET + 12);
        assembler.jump_if(R1, Equal, half([0x08, 0x00]), ipv4);
        assembler.jump_if(R1, Equal, half([0x86, 0xdd]), ipv6);
        assembler.jump_if(R1, Equal, half([0x08, 0x06]), arp);
        assembler.jump_if(R1, Equal, TAG, self.to.socket);
        assembler.jump_if(R1, Equal, SERVICE_TAG, self.to.socket);
        assembler.jump(self.to.kernel);
    }

    /// Puts ::ffff:0:0/96 in front of the IPv4 address that follows (RFC 4291, 2.5.5.2).
    fn map_ipv4(&mut self) {
        self.assembler.store_value(Double, Frame, ADDRESS, 0);
        self.assembler.store_value(Word, Frame, ADDRESS + 8, word([0, 0, 0xff, 0xff]));
    }

    fn arp(&mut self) {
        self.fetch(0, HEADER, ARP_BYTES, self.to.kernel);
        let assembler = &mut self.assembler;
        // Ethernet, IPv4, and the lengths of their addresses (RFC 826).
        assembler.load(Word, R1, Frame, HEADER);
        assembler.jump_if(R1, NotEqual, word([0, 1, 0x08, 0x00]), self.to.kernel);
        assembler.load(Half, R1, Frame, HEADER + 4);
        assembler.jump_if(R1, NotEqual, half([6, 4]), self.to.kernel);
        self.map_ipv4();
        for sender_or_target in [14, 24] {
            for at in [0, 2] {
                self.assembler.load(Half, R1, Frame, HEADER + sender_or_target + at);
                self.assembler.store(Half, Frame, ADDRESS + 12 + at, R1);
            }
            self.socket_if_claimed();
        }
        self.assembler.jump(self.to.kernel);
    }

    fn ipv4(&mut self) {
        self.fetch(0, HEADER, IPV4_BYTES, self.to.socket);
        let assembler = &mut self.assembler;
        assembler.load(Byte, R1, Frame, HEADER + 16);
        assembler.and(R1, 0xf0);
        assembler.jump_if(R1, Equal, 0xe0, self.to.kernel);
        assembler.load(Word, R1, Frame, HEADER + 16);
        assembler.jump_if(R1, Equal, -1, self.to.kernel);
        assembler.store(Word, Frame, ADDRESS + 12, R1);
        self.map_ipv4();
        self.by_destination();
    }

    fn copy_address(&mut self, from: i16) {
        for at in [0, 8] {
            self.assembler.load(Double, R1, Frame, from + at);
            self.assembler.store(Double, Frame, ADDRESS + at, R1);
        }
    }

    fn ipv6(&mut self) {
        const ICMPV6: i32 = 58;
        const NEIGHBOR_SOLICITATION: i32 = 135;
        const NEIGHBOR_ADVERTISEMENT: i32 = 136;
        let discovery = self.assembler.label();
        let other = self.assembler.label();
        self.fetch(0, HEADER, IPV6_BYTES, self.to.socket);
        self.assembler.load(Byte, R1, Frame, HEADER + 6);
        self.assembler.jump_if(R1, NotEqual, ICMPV6, other);
        self.fetch(IPV6_BYTES, DISCOVERY, DISCOVERY_BYTES, other);
        self.assembler.load(Byte, R1, Frame, DISCOVERY);
        self.assembler.jump_if(R1, Equal, NEIGHBOR_SOLICITATION, discovery);
        self.assembler.jump_if(R1, NotEqual, NEIGHBOR_ADVERTISEMENT, other);
        self.assembler.bind(discovery);
        for target_or_source in [DISCOVERY + 8, HEADER + 8] {
            self.copy_address(target_or_source);
            self.socket_if_claimed();
        }
        self.assembler.jump(self.to.kernel);
        self.assembler.bind(other);
        self.assembler.load(Byte, R1, Frame, HEADER + 24);
        self.assembler.jump_if(R1, Equal, 0xff, self.to.kernel);
        self.copy_address(HEADER + 24);
        self.by_destination();
    }

    /// Turns each end into a verdict, counts it and leaves.
    fn exits(&mut self) {
        let (taken, left, dropped) = match self.kind {
            ProgramKind::Xdp => (XDP_REDIRECT, XDP_PASS, XDP_DROP),
            // Hides from the kernel what the socket filter lets through.
            ProgramKind::Classifier => (TCX_DROP, TCX_NEXT, TCX_DROP),
            ProgramKind::SocketFilter => (FILTER_ACCEPT, FILTER_IGNORE, FILTER_IGNORE),
        };
        self.assembler.bind(self.to.socket);
        if let Some(sockets) = self.maps.sockets {
            self.redirect(sockets);
            self.conclude(Counter::SocketMissing, dropped);
            self.assembler.bind(self.to.redirected);
        }
        self.conclude(Counter::ToSocket, taken);
        self.assembler.bind(self.to.kernel);
        self.conclude(Counter::ToKernel, left);
        self.assembler.bind(self.to.foreign);
        self.conclude(Counter::ForeignMac, dropped);
        self.count();
    }

    fn conclude(&mut self, counter: Counter, verdict: i32) {
        self.assembler.set(R8, counter as i32);
        self.assembler.set(R9, verdict);
        self.assembler.jump(self.to.count);
    }

    /// Goes on behind this only where the queue has no socket, as the redirect itself says.
    fn redirect(&mut self, sockets: &Map) {
        let assembler = &mut self.assembler;
        assembler.map(R1, sockets);
        assembler.load(Word, R2, R6, XDP_QUEUE);
        assembler.set(R3, XDP_DROP);
        assembler.call(REDIRECT_MAP);
        assembler.jump_if(R0, Equal, XDP_REDIRECT, self.to.redirected);
    }

    /// Each CPU adds to its own counter, so a plain addition loses nothing.
    fn count(&mut self) {
        let done = self.assembler.label();
        let assembler = &mut self.assembler;
        assembler.bind(self.to.count);
        assembler.store(Word, Frame, COUNTER, R8);
        assembler.map(R1, self.maps.counters);
        assembler.copy(R2, Frame);
        assembler.add(R2, i32::from(COUNTER));
        assembler.call(MAP_LOOKUP_ELEM);
        assembler.jump_if_null(R0, done);
        assembler.load(Double, R1, R0, 0);
        assembler.add(R1, 1);
        assembler.store(Double, R0, 0, R1);
        assembler.bind(done);
        assembler.copy(R0, R9);
        assembler.exit();
    }
}
