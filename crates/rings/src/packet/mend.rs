//! What the kernel takes off a frame and leaves undone, put right again: the VLAN tag and the transport
//! checksum.
//!
//! Pure functions over bytes, called by the worker that owns the ring. They refuse a frame whose headers they
//! cannot follow, by `None`, and then have changed nothing.

const ETHERNET_BYTES: usize = 14;
const TAG_BYTES: usize = 4;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;

const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;

/// Extension headers that are walked at the most. RFC 8200 section 4.1 gives each a place, seven in all.
const EXTENSION_HEADERS_MAX: usize = 8;

/// Puts a stripped tag back in front of the EtherType. The four bytes before `start` are taken for it; gives
/// back where the frame begins now.
pub(super) fn put_tag_back(buffer: &mut [u8], start: usize, protocol: u16, control: u16) -> Option<usize> {
    let addresses_end = start.checked_add(12).filter(|&end| end <= buffer.len())?;
    let new_start = start.checked_sub(TAG_BYTES)?;
    buffer.copy_within(start..addresses_end, new_start);
    let [p0, p1] = protocol.to_be_bytes();
    let [c0, c1] = control.to_be_bytes();
    buffer[addresses_end - TAG_BYTES..addresses_end].copy_from_slice(&[p0, p1, c0, c1]);
    Some(new_start)
}

/// Computes the TCP or UDP checksum of a frame whose sender left it to hardware that was never met.
pub(super) fn finish_checksum(frame: &mut [u8]) -> Option<()> {
    let transport = locate_transport(frame)?;
    let segment = frame.get_mut(transport.start..transport.end)?;
    let field = match transport.protocol {
        PROTOCOL_TCP if segment.len() >= 20 => 16,
        PROTOCOL_UDP if segment.len() >= 8 => 6,
        _ => return None,
    };
    let length = u32::try_from(segment.len()).ok()?;
    segment[field..field + 2].fill(0);
    let pseudo = transport.addresses + u64::from(transport.protocol) + u64::from(length);
    let sum = match !fold(pseudo + sum_words(segment)) {
        // RFC 768: a UDP checksum that comes out as zero is sent as all ones.
        0 if transport.protocol == PROTOCOL_UDP => u16::MAX,
        sum => sum,
    };
    segment[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    Some(())
}

/// Where the transport header and its payload lie, without the padding that Ethernet adds.
struct Transport {
    start: usize,
    end: usize,
    protocol: u8,
    /// The addresses of the pseudo header, summed.
    addresses: u64,
}

fn locate_transport(frame: &[u8]) -> Option<Transport> {
    let mut network = ETHERNET_BYTES;
    let mut ethertype = word(frame, 12)?;
    for _ in 0..2 {
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_SERVICE_VLAN {
            break;
        }
        ethertype = word(frame, network + 2)?;
        network += TAG_BYTES;
    }
    match ethertype {
        ETHERTYPE_IPV4 => locate_in_ipv4(frame, network),
        ETHERTYPE_IPV6 => locate_in_ipv6(frame, network),
        _ => None,
    }
}

fn locate_in_ipv4(frame: &[u8], network: usize) -> Option<Transport> {
    let header = frame.get(network..network + 20)?;
    let header_bytes = usize::from(header[0] & 0x0f) * 4;
    let more_or_offset = word(header, 6)? & 0x3fff;
    if header[0] >> 4 != 4 || header_bytes < 20 || more_or_offset != 0 {
        return None;
    }
    Some(Transport {
        start: network + header_bytes,
        end: network + usize::from(word(header, 2)?),
        protocol: header[9],
        addresses: sum_words(&header[12..20]),
    })
}

fn locate_in_ipv6(frame: &[u8], network: usize) -> Option<Transport> {
    let header = frame.get(network..network + 40)?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let mut start = network + 40;
    let mut protocol = header[6];
    for _ in 0..EXTENSION_HEADERS_MAX {
        match protocol {
            // Hop-by-hop and destination options.
            0 | 60 => {}
            // A routing header that is used up: the destination is the final one already (RFC 8200 section
            // 8.1).
            43 if frame.get(start + 3) == Some(&0) => {}
            _ => break,
        }
        protocol = *frame.get(start)?;
        start += (usize::from(*frame.get(start + 1)?) + 1) * 8;
    }
    let end = network + 40 + usize::from(word(header, 4)?);
    Some(Transport { start, end, protocol, addresses: sum_words(&header[8..40]) })
}

fn word(bytes: &[u8], offset: usize) -> Option<u16> {
    let pair = bytes.get(offset..offset + 2)?;
    Some(u16::from_be_bytes([pair[0], pair[1]]))
}

/// The sum of RFC 1071 before folding; 64 bits hold any frame's.
fn sum_words(bytes: &[u8]) -> u64 {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let sum: u64 = pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum();
    sum + odd.first().map_or(0, |&last| u64::from(last) << 8)
}

fn fold(mut sum: u64) -> u16 {
    while sum > u64::from(u16::MAX) {
        sum = (sum & u64::from(u16::MAX)) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ethernet, then `network`, to a fixed pair of MAC addresses.
    fn ethernet(ethertype: u16, network: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        frame.extend(ethertype.to_be_bytes());
        frame.extend(network);
        frame
    }

    fn udp(payload: &[u8]) -> Vec<u8> {
        let length = (8 + payload.len()) as u16;
        let mut segment = vec![0x30, 0x39, 0x00, 0x35];
        segment.extend(length.to_be_bytes());
        segment.extend([0xab, 0xcd]);
        segment.extend(payload);
        segment
    }

    fn ipv4(protocol: u8, segment: &[u8]) -> Vec<u8> {
        let length = (20 + segment.len()) as u16;
        let mut packet = vec![0x45, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0, 198, 18, 0, 1, 198, 18, 0, 2]);
        packet.extend(segment);
        packet
    }

    fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((payload.len() as u16).to_be_bytes());
        packet.extend([next, 64]);
        packet.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        packet.extend(payload);
        packet
    }

    /// The receiver's check, written another way: pseudo header and segment as one byte string sum to all
    /// ones.
    fn receiver_accepts(addresses: &[u8], protocol: u8, segment: &[u8]) -> bool {
        let mut all = addresses.to_vec();
        all.extend([0, protocol]);
        all.extend((segment.len() as u16).to_be_bytes());
        all.extend(segment);
        if all.len() % 2 == 1 {
            all.push(0);
        }
        let mut sum = 0u32;
        for pair in all.chunks(2) {
            sum += u32::from(pair[0]) * 256 + u32::from(pair[1]);
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum == 0xffff
    }

    #[test]
    fn a_stripped_tag_goes_back_between_the_addresses_and_the_type() {
        let mut buffer = vec![0; 4];
        buffer.extend(ethernet(ETHERTYPE_IPV4, &[1, 2, 3]));
        assert_eq!(put_tag_back(&mut buffer, 4, ETHERTYPE_SERVICE_VLAN, 0x6014), Some(0));
        let expected = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xa8, 0x60, 0x14, 8, 0, 1, 2, 3];
        assert_eq!(buffer, expected);
    }

    #[test]
    fn a_tag_without_room_is_refused() {
        let mut buffer = ethernet(ETHERTYPE_IPV4, &[]);
        let before = buffer.clone();
        assert_eq!(put_tag_back(&mut buffer, 3, ETHERTYPE_VLAN, 1), None);
        assert_eq!(put_tag_back(&mut buffer[..13], 4, ETHERTYPE_VLAN, 1), None);
        assert_eq!(buffer, before);
    }

    #[test]
    fn udp_over_ipv4_is_finished_and_padding_is_left_out() {
        let segment = udp(b"odd length!");
        let mut frame = ethernet(ETHERTYPE_IPV4, &ipv4(PROTOCOL_UDP, &segment));
        let end = frame.len();
        frame.extend([0xee; 7]);
        finish_checksum(&mut frame).unwrap();
        assert!(receiver_accepts(&frame[26..34], PROTOCOL_UDP, &frame[34..end]));
        assert_eq!(frame[end..], [0xee; 7]);
    }

    #[test]
    fn tcp_behind_two_tags_and_an_extension_header_is_finished() {
        let mut segment = vec![0x11; 20];
        segment.extend(b"payload");
        let mut payload = vec![PROTOCOL_TCP, 0, 1, 4, 0, 0, 0, 0];
        payload.extend(&segment);
        let mut inner = vec![0, 20, 0x81, 0, 0, 30, 0x86, 0xdd];
        inner.extend(ipv6(60, &payload));
        let mut frame = ethernet(ETHERTYPE_SERVICE_VLAN, &inner);
        finish_checksum(&mut frame).unwrap();
        assert!(receiver_accepts(&frame[30..62], PROTOCOL_TCP, &frame[70..]));
    }

    #[test]
    fn a_udp_checksum_of_zero_is_sent_as_ones() {
        // The payload word is chosen so that all the words sum to all ones.
        let addresses = [198u8, 18, 0, 1, 198, 18, 0, 2];
        let mut segment = udp(&[0, 0]);
        segment[6..8].fill(0);
        let rest = fold(sum_words(&addresses) + 17 + 10 + sum_words(&segment));
        segment[8..].copy_from_slice(&(!rest).to_be_bytes());
        let mut frame = ethernet(ETHERTYPE_IPV4, &ipv4(PROTOCOL_UDP, &segment));
        finish_checksum(&mut frame).unwrap();
        assert_eq!(frame[40..42], [0xff, 0xff]);
    }

    #[test]
    fn what_cannot_be_followed_is_refused_and_unchanged() {
        let whole = ethernet(ETHERTYPE_IPV4, &ipv4(PROTOCOL_UDP, &udp(b"x")));
        for length in 0..whole.len() {
            let mut frame = whole[..length].to_vec();
            assert_eq!(finish_checksum(&mut frame), None, "cut to {length} bytes");
            assert_eq!(frame, whole[..length]);
        }
        let mut fragment = whole.clone();
        fragment[20] |= 0x20;
        assert_eq!(finish_checksum(&mut fragment), None);
        let mut backwards = whole;
        backwards[16..18].copy_from_slice(&[0, 10]);
        assert_eq!(finish_checksum(&mut backwards), None);
        let mut on_its_way = ethernet(ETHERTYPE_IPV6, &ipv6(43, &[17, 0, 4, 1, 0, 0, 0, 0]));
        assert_eq!(finish_checksum(&mut on_its_way), None);
    }
}
