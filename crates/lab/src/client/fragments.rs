//! Hand-made fragments: long UDP questions whose pieces leave in an order of the sender's choice.
//!
//! The kernel sends fragments in order and chooses their identification; here both are given, so that a
//! middle box meets last pieces first, and the pieces of two clients with one identification among each other
//! (RFC 4787, REQ-14; RFC 8200, 4.5). Answers come to ordinary sockets, so the far end is any
//! [`crate::UdpEcho`]. Blocks; any thread.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use wire::{Mac, protocol};

use super::report::{Answer, Failure};
use super::udp::{question, receive_echo};
use crate::address::lab_address;
use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::raw::RawSender;

/// What every fragment but the last carries behind its IP header (and the fragment header), a multiple of 8
/// as it has to be. Together they stay under 1500 bytes, in either family.
const PIECE_BYTES: usize = 1400;

/// The Ethernet header of a frame that is built.
const ETHERNET_BYTES: usize = 14;

/// In which order the fragments leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first one first.
    InOrder,
    /// The last one first, so that the ports come at the very end.
    LastFirst,
}

/// A question in fragments.
#[derive(Clone, Copy, Debug)]
pub struct FragmentedQuestion {
    /// The client's address; its namespace has to have it.
    pub source: IpAddr,
    /// The identification of all fragments. IPv4 takes the lower 16 bits; there 0 is the kernel's to replace.
    pub identification: u32,
    /// How long the question is: more than 1,392 bytes, or it is one fragment; at most 65,400.
    pub bytes: usize,
}

/// Asks all questions at one target, from one namespace. The first fragment to leave of each question leaves
/// before the second of any, and so on. Gives the answers in the questions' order, each within `timeout` of
/// the start.
pub fn ask_in_fragments(
    namespace: &Namespace,
    target: SocketAddr,
    questions: &[FragmentedQuestion],
    order: Order,
    timeout: Duration,
) -> Result<Vec<Result<Answer, Failure>>> {
    lab_address(target.ip())?;
    let asking = || format!("asking {target} in fragments");
    namespace.run(|| ask(target, questions, order, timeout))?.map_err(Error::system(asking()))
}

struct Asked {
    socket: UdpSocket,
    bytes: Vec<u8>,
    fragments: Vec<Vec<u8>>,
}

fn ask(
    target: SocketAddr,
    questions: &[FragmentedQuestion],
    order: Order,
    timeout: Duration,
) -> io::Result<Vec<Result<Answer, Failure>>> {
    let raw = RawSender::open()?;
    let prepare =
        |(index, question): (usize, &FragmentedQuestion)| prepare(target, question, index as u8, order);
    let asked = questions.iter().enumerate().map(prepare).collect::<io::Result<Vec<Asked>>>()?;
    let start = Instant::now();
    let rounds = asked.iter().map(|asked| asked.fragments.len()).max().unwrap_or(0);
    for round in 0..rounds {
        for fragment in asked.iter().filter_map(|asked| asked.fragments.get(round)) {
            raw.send(fragment, target.ip())?;
        }
    }
    let answer = |asked: Asked| {
        let left = timeout.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
        asked.socket.set_read_timeout(Some(left))?;
        receive_echo(&asked.socket, &asked.bytes, start)
    };
    Ok(asked.into_iter().map(answer).collect())
}

/// The socket for the answer, whose port the question names, and the question.
fn prepare(
    target: SocketAddr,
    question_plan: &FragmentedQuestion,
    seed: u8,
    order: Order,
) -> io::Result<Asked> {
    let socket = UdpSocket::bind((question_plan.source, 0))?;
    socket.connect(target)?;
    let bytes = question(question_plan.bytes, seed);
    let source = SocketAddr::new(question_plan.source, socket.local_addr()?.port());
    let mut fragments = fragment_udp(source, target, question_plan.identification, &bytes)
        .ok_or(io::ErrorKind::InvalidInput)?;
    if order == Order::LastFirst {
        fragments.reverse();
    }
    Ok(Asked { socket, bytes, fragments })
}

/// The IP packets that carry a datagram in fragments, in order, the UDP checksum over the whole. None where
/// the addresses are of two families or the datagram is longer than UDP carries.
pub fn fragment_udp(
    source: SocketAddr,
    target: SocketAddr,
    identification: u32,
    payload: &[u8],
) -> Option<Vec<Vec<u8>>> {
    // Addresses of frames that are never sent: raw sockets take packets.
    let ethernet = || wire::build::ethernet(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
    let ip = || match (source.ip(), target.ip()) {
        (IpAddr::V4(source), IpAddr::V4(target)) => Some((ethernet().ipv4(source, target), 20)),
        (IpAddr::V6(source), IpAddr::V6(target)) => Some((ethernet().ipv6(source, target), 40)),
        _ => None,
    };
    let (builder, ip_bytes) = ip()?;
    u16::try_from(payload.len() + 8).ok().filter(|length| *length < u16::MAX - 40)?;
    let whole = builder.udp(source.port(), target.port()).payload(payload).finish();
    let datagram = whole.get(ETHERNET_BYTES + ip_bytes..)?;
    let pieces = datagram.chunks(PIECE_BYTES).enumerate();
    let last = datagram.len().div_ceil(PIECE_BYTES).checked_sub(1)?;
    let fragment = |(index, piece): (usize, &[u8])| {
        let (builder, _) = ip()?;
        let offset_bytes = u16::try_from(index * PIECE_BYTES).ok()?;
        let builder = builder.identification(identification).fragment(offset_bytes, index < last);
        Some(builder.raw(protocol::UDP, piece).get(ETHERNET_BYTES..)?.to_vec())
    };
    pieces.map(fragment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_datagram_again() {
        for (source, target, header) in
            [("198.18.0.50:4000", "198.18.0.10:53", 20), ("[2001:db8::50]:4000", "[2001:db8::10]:53", 48)]
        {
            let payload = question(4_000, 1);
            let pieces = fragment_udp(source.parse().unwrap(), target.parse().unwrap(), 7, &payload).unwrap();
            assert_eq!(pieces.len(), 3);
            assert!(pieces.iter().all(|piece| piece.len() <= 1500));
            let datagram: Vec<u8> = pieces.iter().flat_map(|piece| piece[header..].to_vec()).collect();
            assert_eq!((&datagram[..4], &datagram[8..]), (&[0x0f, 0xa0, 0, 53][..], &payload[..]));
        }
        let (v4, v6) = ("198.18.0.50:1".parse().unwrap(), "[2001:db8::50]:1".parse().unwrap());
        assert_eq!(fragment_udp(v4, v6, 7, &[0; 4_000]), None);
        assert_eq!(fragment_udp(v4, v4, 7, &vec![0; 65_530]), None);
    }
}
