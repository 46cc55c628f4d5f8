//! The far end: no state. Every answer follows from the segment that it answers.
//!
//! Its first number follows from the addresses and ports, as a SYN cookie does. So a segment of a connection
//! that was opened with another server, or by another way, shows by its acknowledgement number, and is
//! answered as whoever does not know a connection answers: with a RST.

use std::net::IpAddr;

use wire::tcp::TcpFlags;

use super::Segment;

/// Bytes that the far end says on one connection at the most: an acknowledgement beyond is of no connection of
/// ours. One of 256 that are no such thing passes for one.
const SAID_BYTES_MAX: u32 = 1 << 24;

/// What the far end says to a segment; `None` when that needs no answer. A request is answered with as much
/// data as it has, and a FIN with a FIN.
pub fn answer(segment: &Segment) -> Option<Segment> {
    let Segment { flags, data_bytes, .. } = *segment;
    let opens = flags.contains(TcpFlags::SYN) && !flags.contains(TcpFlags::ACK);
    let ends = flags.contains(TcpFlags::FIN);
    if flags.contains(TcpFlags::RST) || !opens && data_bytes == 0 && !ends {
        return None;
    }
    let first = first(segment);
    let is_known = segment.acknowledgement.wrapping_sub(first).wrapping_sub(1) < SAID_BYTES_MAX;
    let (sequence, flags) = match opens {
        true => (first, TcpFlags::SYN | TcpFlags::ACK),
        // RFC 9293, section 3.10.7.1.
        false if !is_known => (segment.acknowledgement, TcpFlags::RST),
        false if ends => (segment.acknowledgement, TcpFlags::FIN | TcpFlags::ACK),
        false => (segment.acknowledgement, TcpFlags::PSH | TcpFlags::ACK),
    };
    let answers_data = !opens && !ends && is_known;
    Some(Segment {
        macs: [segment.macs[1], segment.macs[0]],
        source: segment.destination,
        destination: segment.source,
        ports: [segment.ports[1], segment.ports[0]],
        sequence,
        acknowledgement: segment.end(),
        flags,
        data_bytes: if answers_data { data_bytes } else { 0 },
    })
}

/// The far end's first number for a connection.
fn first(segment: &Segment) -> u32 {
    let address = |address: IpAddr| match address {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            mixed((bits >> 64) as u64).wrapping_add(bits as u64)
        }
    };
    let [from, to] = segment.ports.map(u64::from);
    let clients = mixed(address(segment.source) << 16 ^ from);
    mixed(clients.wrapping_add(address(segment.destination) << 16 ^ to)) as u32
}

/// A number in which every bit depends on every bit (splitmix64's last steps).
fn mixed(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;
    use wire::Mac;

    fn syn() -> Segment {
        Segment {
            macs: [Mac([2; 6]), Mac([4; 6])],
            source: "198.18.0.1".parse().unwrap(),
            destination: "198.19.0.1".parse().unwrap(),
            ports: [1_024, 80],
            sequence: 7,
            acknowledgement: 0,
            flags: TcpFlags::SYN,
            data_bytes: 0,
        }
    }

    #[test]
    fn another_server_does_not_know_a_connection() {
        let opened = answer(&syn()).unwrap();
        assert_eq!(opened.flags, TcpFlags::SYN | TcpFlags::ACK);
        for (flags, data_bytes, then) in [
            (TcpFlags::PSH | TcpFlags::ACK, 6, TcpFlags::PSH | TcpFlags::ACK),
            (TcpFlags::FIN | TcpFlags::ACK, 0, TcpFlags::FIN | TcpFlags::ACK),
        ] {
            let next = Segment { sequence: 8, acknowledgement: opened.end(), flags, data_bytes, ..syn() };
            let here = answer(&next).unwrap();
            assert_eq!((here.flags, here.data_bytes, here.sequence), (then, data_bytes, opened.end()));
            for other in [
                Segment { destination: "198.19.0.2".parse().unwrap(), ..next },
                Segment { source: "198.18.0.2".parse().unwrap(), ..next },
                Segment { ports: [1_025, 80], ..next },
            ] {
                let reset = answer(&other).unwrap();
                assert_eq!((reset.flags, reset.data_bytes), (TcpFlags::RST, 0), "{other:?}");
                assert_eq!(reset.sequence, next.acknowledgement);
            }
        }
    }
}
