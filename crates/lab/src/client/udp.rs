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

/// The longest answer: what UDP carries.
const ANSWER_BYTES_MAX: usize = 65_535;

/// How long an answer to a long question is waited for before it is asked again.
const REPEAT_INTERVAL: Duration = Duration::from_secs(1);

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

/// An answer to a long question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echoed {
    /// Who answered, and the time since the first attempt.
    pub answer: Answer,
    /// How often the question was sent. One, but where a narrow link is found on the way: what was too long
    /// for it is lost, in IPv6 always (RFC 8200, 5), and its sender hears of it.
    pub attempts: u32,
}

/// One question of `question_bytes` (at least [`crate::ECHOED_BYTES_MIN`], at most 65,400) from a new socket
/// in the namespace of the calling thread, repeated every second until it is answered. Its bytes have to come
/// back as they were.
pub fn udp_ask_sized(
    target: SocketAddr,
    question_bytes: usize,
    timeout: Duration,
) -> Result<Echoed, Failure> {
    let start = Instant::now();
    let socket = new_socket(target)?;
    socket.connect(target)?;
    let question = question(question_bytes, 0);
    let mut attempts = 0;
    loop {
        attempts += 1;
        let left = timeout.saturating_sub(start.elapsed()).clamp(Duration::from_millis(1), REPEAT_INTERVAL);
        socket.set_read_timeout(Some(left))?;
        let asked = socket.send(&question).map_err(Failure::from);
        match asked.and_then(|_sent| receive_echo(&socket, &question, start)) {
            Ok(answer) => return Ok(Echoed { answer, attempts }),
            Err(failure) if start.elapsed() >= timeout => return Err(failure),
            Err(Failure::TimedOut | Failure::TooLong) => {}
            Err(failure) => return Err(failure),
        }
    }
}

/// Bytes to ask with: those of two questions with other seeds differ, and a piece that changed its place is
/// seen.
pub(super) fn question(length_bytes: usize, seed: u8) -> Vec<u8> {
    let byte = |index: usize| (index / 8).wrapping_mul(31).wrapping_add(index) as u8 ^ seed;
    (0..length_bytes).map(byte).collect()
}

/// Waits for the answer to a long question on a connected socket.
pub(super) fn receive_echo(socket: &UdpSocket, question: &[u8], start: Instant) -> Result<Answer, Failure> {
    let mut bytes = vec![0; ANSWER_BYTES_MAX];
    let length = socket.recv(&mut bytes)?;
    let latency = start.elapsed();
    let head = bytes[..length].iter().position(|byte| *byte == b'\n').ok_or(Failure::Malformed)?;
    if bytes[head + 1..length] != *question {
        return Err(Failure::Malformed);
    }
    parse_answer(&bytes[..head], latency).ok_or(Failure::Malformed)
}

fn parse_answer(bytes: &[u8], latency: Duration) -> Option<Answer> {
    let (server, client) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
    let client: SocketAddr = client.parse().ok()?;
    Some(Answer { server: server.into(), client_seen: Some(client.ip()), latency })
}

/// Puts a load of UDP questions on `target`, from a namespace. No two of them have one client port: the
/// sockets stay open to the end, since the kernel gives a free port out again as soon as chance will have it.
pub fn ask_udp(namespace: &Namespace, target: SocketAddr, load: Load) -> Result<Report> {
    let asked = Mutex::new(Vec::with_capacity(load.count));
    run_load(namespace, target, load, |target, timeout| {
        let socket = new_socket(target)?;
        let answer = ask_from(&socket, target, timeout);
        asked.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
        answer
    })
}
