//! TCP (RFC 9293).

use core::fmt;
use core::ops::BitOr;

use crate::Refusal;
use crate::checksum::{Checksum, ChecksumDelta};
use crate::field::{Header, get_u16, get_u32, header, set_u16, set_u32};

/// The control bits of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// The sender has no more data.
    pub const FIN: Self = Self(0x01);
    /// Opens a connection.
    pub const SYN: Self = Self(0x02);
    /// Ends it at once.
    pub const RST: Self = Self(0x04);
    /// Hand the data over now.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// Congestion was seen (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// The congestion window was reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// Whether all of `flags` are set.
    #[inline]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether any of `flags` is set.
    #[inline]
    pub const fn intersects(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }
}

impl BitOr for TcpFlags {
    type Output = Self;

    #[inline]
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
        let mut separator = "";
        for (bit, name) in NAMES.into_iter().enumerate() {
            if self.contains(Self(1 << bit)) {
                write!(f, "{separator}{name}")?;
                separator = "|";
            }
        }
        if *self == Self::NONE { f.write_str("-") } else { Ok(()) }
    }
}

header! {
    /// The TCP header without its options.
    Tcp, 20
}

header! {
    /// The eight bytes of a TCP header that every ICMP error quotes (RFC 792): ports and sequence number.
    TcpStart, 8
}

impl<'a> TcpStart<'a> {
    /// Takes them off the front of a quoted payload.
    pub fn split(payload: &'a mut [u8]) -> Result<(Self, &'a mut [u8]), Refusal> {
        Self::take(payload).ok_or(Refusal::QuoteTruncated)
    }

    /// The sender's port.
    pub fn source_port(&self) -> u16 {
        get_u16::<0, _>(self.0)
    }

    /// Sets the sender's port.
    pub fn set_source_port(&mut self, port: u16) {
        set_u16::<0, _>(self.0, port);
    }

    /// The receiver's port.
    pub fn destination_port(&self) -> u16 {
        get_u16::<2, _>(self.0)
    }

    /// Sets the receiver's port.
    pub fn set_destination_port(&mut self, port: u16) {
        set_u16::<2, _>(self.0, port);
    }

    /// Sequence number of the first byte of data, or of the SYN.
    pub fn sequence(&self) -> u32 {
        get_u32::<4, _>(self.0)
    }

    /// Follows a change of what the checksum covers, if it lies in `rest`, which is what follows these eight
    /// bytes.
    pub fn update_checksum(rest: &mut [u8], delta: ChecksumDelta) {
        // The checksum is the seventeenth and eighteenth byte of the header.
        if let Some(field) = rest.get_mut(8..).and_then(|rest| rest.first_chunk_mut::<2>()) {
            *field = Checksum::from_bits(u16::from_be_bytes(*field)).updated(delta).to_bits().to_be_bytes();
        }
    }
}

impl<'a> Tcp<'a> {
    /// Takes header and options off the front of an IP payload: header, options, data.
    #[inline]
    pub fn split(payload: &'a mut [u8]) -> Result<(Self, &'a mut [u8], &'a mut [u8]), Refusal> {
        let (tcp, rest) = Self::take(payload).ok_or(Refusal::TcpTruncated)?;
        let options_bytes =
            tcp.data_offset_bytes().checked_sub(Self::LENGTH).ok_or(Refusal::TcpDataOffset)?;
        let (options, data) = rest.split_at_mut_checked(options_bytes).ok_or(Refusal::TcpDataOffset)?;
        Ok((tcp, options, data))
    }

    /// Both ports at once: source:16 ‖ destination:16.
    #[inline(always)]
    pub fn ports(&self) -> u32 {
        get_u32::<0, _>(self.0)
    }

    /// Sets both ports: source:16 ‖ destination:16.
    #[inline(always)]
    pub fn set_ports(&mut self, ports: u32) {
        set_u32::<0, _>(self.0, ports);
    }

    /// The sender's port.
    #[inline]
    pub fn source_port(&self) -> u16 {
        get_u16::<0, _>(self.0)
    }

    /// Sets the sender's port.
    #[inline]
    pub fn set_source_port(&mut self, port: u16) {
        set_u16::<0, _>(self.0, port);
    }

    /// The receiver's port.
    #[inline]
    pub fn destination_port(&self) -> u16 {
        get_u16::<2, _>(self.0)
    }

    /// Sets the receiver's port.
    #[inline]
    pub fn set_destination_port(&mut self, port: u16) {
        set_u16::<2, _>(self.0, port);
    }

    /// Sequence number of the first byte of data, or of the SYN.
    #[inline]
    pub fn sequence(&self) -> u32 {
        get_u32::<4, _>(self.0)
    }

    /// Sets the sequence number.
    #[inline]
    pub fn set_sequence(&mut self, sequence: u32) {
        set_u32::<4, _>(self.0, sequence);
    }

    /// The next sequence number that the sender expects.
    #[inline]
    pub fn acknowledgement(&self) -> u32 {
        get_u32::<8, _>(self.0)
    }

    /// Sets the acknowledgement number.
    #[inline]
    pub fn set_acknowledgement(&mut self, acknowledgement: u32) {
        set_u32::<8, _>(self.0, acknowledgement);
    }

    /// Length of header and options; a multiple of 4.
    #[inline]
    pub fn data_offset_bytes(&self) -> usize {
        usize::from(self.0[12] >> 4) * 4
    }

    /// Sets the length of header and options, at most 60, and clears the reserved bits. A remainder of 4 is
    /// cut off.
    #[inline]
    pub fn set_data_offset_bytes(&mut self, bytes: u8) {
        self.0[12] = (bytes / 4) << 4;
    }

    /// The control bits.
    #[inline]
    pub fn flags(&self) -> TcpFlags {
        TcpFlags(self.0[13])
    }

    /// Sets the control bits.
    #[inline]
    pub fn set_flags(&mut self, flags: TcpFlags) {
        self.0[13] = flags.0;
    }

    /// The window, not scaled.
    #[inline]
    pub fn window(&self) -> u16 {
        get_u16::<14, _>(self.0)
    }

    /// Sets the window.
    #[inline]
    pub fn set_window(&mut self, window: u16) {
        set_u16::<14, _>(self.0, window);
    }

    /// The checksum. Zero is a value like any other.
    #[inline]
    pub fn checksum(&self) -> Checksum {
        Checksum::from_bits(get_u16::<16, _>(self.0))
    }

    /// Sets the checksum.
    #[inline]
    pub fn set_checksum(&mut self, checksum: Checksum) {
        set_u16::<16, _>(self.0, checksum.to_bits());
    }

    /// Follows a change of what the checksum covers.
    #[inline]
    pub fn update_checksum(&mut self, delta: ChecksumDelta) {
        self.set_checksum(self.checksum().updated(delta));
    }

    /// The urgent pointer.
    #[inline]
    pub fn urgent_pointer(&self) -> u16 {
        get_u16::<18, _>(self.0)
    }

    /// Sets the urgent pointer.
    #[inline]
    pub fn set_urgent_pointer(&mut self, pointer: u16) {
        set_u16::<18, _>(self.0, pointer);
    }
}

/// Kind of the option that says the longest segment its sender takes (RFC 9293 section 3.7.1), four bytes in all.
const OPTION_MSS: u8 = 2;

/// Lowers every maximum segment size in the `options` of a SYN that is above `mss_bytes_max`, and says how the TCP
/// checksum changes by it; nothing when it does not. `options` is what lies between header and data: options that
/// contradict their own lengths are left alone from there on, as a receiver would.
pub fn clamp_mss(options: &mut [u8], mss_bytes_max: u16) -> Option<ChecksumDelta> {
    let mut changed = None;
    let mut at = 0;
    loop {
        let length = match options.get(at..).unwrap_or_default() {
            [] | [0, ..] | [_] => return changed,
            [1, ..] => 1,
            // Kind and length are part of an option.
            [_, ..2, ..] => return changed,
            [_, length, ..] => usize::from(*length),
        };
        if let Some([OPTION_MSS, _, high, low]) = options.get_mut(at..at + length) {
            let old = [*high, *low];
            if u16::from_be_bytes(old) > mss_bytes_max {
                let new = mss_bytes_max.to_be_bytes();
                [*high, *low] = new;
                // Behind an odd number of bytes it lies across two words, and the sum has it the other way round (RFC
                // 1071 section 2.B). The header in front is of even length.
                let word: fn([u8; 2]) -> u16 =
                    if at.is_multiple_of(2) { u16::from_be_bytes } else { u16::from_le_bytes };
                let delta = ChecksumDelta::between16(word(old), word(new));
                changed = Some(changed.unwrap_or_default().plus(delta));
            }
        }
        at += length;
    }
}
