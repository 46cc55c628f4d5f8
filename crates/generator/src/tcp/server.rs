//! The far end: no state. Every answer follows from the segment that it answers.

use wire::tcp::TcpFlags;

use super::Segment;

/// What the far end says to a segment; `None` when that needs no answer. A request is answered with as much
/// data as it has, and a FIN with a FIN.
pub fn answer(segment: &Segment) -> Option<Segment> {
    let Segment { flags, data_bytes, .. } = *segment;
    let opens = flags.contains(TcpFlags::SYN) && !flags.contains(TcpFlags::ACK);
    let ends = flags.contains(TcpFlags::FIN);
    if flags.contains(TcpFlags::RST) || !opens && data_bytes == 0 && !ends {
        return None;
    }
    let (sequence, flags) = match opens {
        // Any number will do: the client says it back in all that follows.
        true => (!segment.sequence, TcpFlags::SYN | TcpFlags::ACK),
        false if ends => (segment.acknowledgement, TcpFlags::FIN | TcpFlags::ACK),
        false => (segment.acknowledgement, TcpFlags::PSH | TcpFlags::ACK),
    };
    Some(Segment {
        macs: [segment.macs[1], segment.macs[0]],
        source: segment.destination,
        destination: segment.source,
        ports: [segment.ports[1], segment.ports[0]],
        sequence,
        acknowledgement: segment.end(),
        flags,
        data_bytes: if opens || ends { 0 } else { data_bytes },
    })
}
