//! A UDP client that asks an [`crate::UdpEcho`] server: one question, one answer, no retry, so that every
//! loss is seen.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::http::{Load, run_load};
use super::report::{Answer, Failure, Report};
use crate::error::Result;
use crate::namespace::Namespace;

/// One question from a new socket (so a new session) in the namespace of the calling thread.
pub fn udp_ask(target: SocketAddr, timeout: Duration) -> Result<Answer, Failure> {
    ask_from(&new_socket(target)?, target, timeout)
}

fn new_socket(target: SocketAddr) -> io::Result<UdpSocket> {
    if target.is_ipv4() {
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
    } else {
        UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))
    }
}

fn ask_from(socket: &UdpSocket, target: SocketAddr, timeout: Duration) -> Result<Answer, Failure> {
    let start = Instant::now();
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

/// Puts a load of UDP questions on `target`, from a namespace. No two of them have one client port: the sockets stay
/// open to the end, since the kernel gives a free port out again as soon as chance will have it.
pub fn ask_udp(namespace: &Namespace, target: SocketAddr, load: Load) -> Result<Report> {
    let asked = Mutex::new(Vec::with_capacity(load.count));
    run_load(namespace, target, load, |target, timeout| {
        let socket = new_socket(target)?;
        let answer = ask_from(&socket, target, timeout);
        asked.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
        answer
    })
}
