//! A UDP client that asks an [`crate::UdpEcho`] server: one question, one answer, no retry, so that every
//! loss is seen.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::http::{Load, run_load};
use super::report::{Answer, Failure, Report};
use crate::error::Result;
use crate::namespace::Namespace;

/// One question from a new socket (so a new session) in the namespace of the calling thread.
pub fn udp_ask(target: SocketAddr, timeout: Duration) -> Result<Answer, Failure> {
    let start = Instant::now();
    let socket = if target.is_ipv4() {
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?
    } else {
        UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?
    };
    // Connected, it takes answers from `target` alone, and hears of an ICMP port unreachable.
    socket.connect(target)?;
    socket.set_read_timeout(Some(timeout))?;
    socket.send(b"who")?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer)?;
    parse_answer(&answer[..length], start.elapsed()).ok_or(Failure::Malformed)
}

fn parse_answer(bytes: &[u8], latency: Duration) -> Option<Answer> {
    let (server, client) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
    let client: SocketAddr = client.parse().ok()?;
    Some(Answer { server: server.into(), client_seen: Some(client.ip()), latency })
}

/// Puts a load of UDP questions on `target`, from a namespace.
pub fn ask_udp(namespace: &Namespace, target: SocketAddr, load: Load) -> Result<Report> {
    run_load(namespace, target, load, udp_ask)
}
