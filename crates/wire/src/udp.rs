//! UDP, and the only place that knows what a checksum of zero means.

use crate::Refusal;
use crate::checksum::{Checksum, ChecksumDelta, Pseudo};
use crate::field::{Header, get_u16, get_u32, header, set_u16, set_u32};

header! {
    /// The UDP header.
    Udp, 8
}

impl<'a> Udp<'a> {
    /// Takes the header off the front of an IP payload. The data ends where the UDP length says.
    #[inline]
    pub fn split(payload: &'a mut [u8]) -> Result<(Self, &'a mut [u8]), Refusal> {
        let (udp, rest) = Self::take(payload).ok_or(Refusal::UdpTruncated)?;
        let data_bytes = usize::from(udp.length()).checked_sub(Self::LENGTH).ok_or(Refusal::UdpLength)?;
        let data = rest.get_mut(..data_bytes).ok_or(Refusal::UdpLength)?;
        Ok((udp, data))
    }

    /// Takes the header off the front of the first piece of a fragmented datagram. The UDP length is that of
    /// the whole datagram, of which the piece holds the start.
    #[inline]
    pub fn split_first_piece(payload: &'a mut [u8]) -> Result<(Self, &'a mut [u8]), Refusal> {
        let (udp, data) = Self::take(payload).ok_or(Refusal::UdpTruncated)?;
        if usize::from(udp.length()) < Self::LENGTH { Err(Refusal::UdpLength) } else { Ok((udp, data)) }
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

    /// The sender's port; 0 where no answer is expected.
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

    /// Length of header and data in bytes.
    #[inline]
    pub fn length(&self) -> u16 {
        get_u16::<4, _>(self.0)
    }

    /// Sets the length.
    #[inline]
    pub fn set_length(&mut self, length: u16) {
        set_u16::<4, _>(self.0, length);
    }

    /// The checksum; zero says that there is none.
    #[inline]
    pub fn checksum(&self) -> Checksum {
        Checksum::from_bits(get_u16::<6, _>(self.0))
    }

    /// Sets the checksum as it is given: [`on_wire`] turns a computed one into what may be sent.
    #[inline]
    pub fn set_checksum(&mut self, checksum: Checksum) {
        set_u16::<6, _>(self.0, checksum.to_bits());
    }

    /// Follows a change of what the checksum covers. None stays none (RFC 3022 section 4.1).
    #[inline]
    pub fn update_checksum(&mut self, delta: ChecksumDelta) {
        let checksum = self.checksum();
        if checksum != NO_CHECKSUM {
            self.set_checksum(on_wire(checksum.updated(delta)));
        }
    }
}

/// The sender computed none.
pub const NO_CHECKSUM: Checksum = Checksum::from_bits(0);

/// What is sent for a computed checksum: zero is taken, so its twin goes instead (RFC 768).
#[inline]
pub const fn on_wire(computed: Checksum) -> Checksum {
    if computed.to_bits() == 0 { Checksum::from_bits(0xffff) } else { computed }
}

/// Whether a datagram between these addresses may come without a checksum. IPv6 drops it (RFC 8200 section
/// 8.1); the tunnels that RFC 6935 exempts end at a receiver that knows it is one.
#[inline]
pub const fn may_lack_checksum(pseudo: Pseudo) -> bool {
    matches!(pseudo, Pseudo::V4 { .. })
}
