//! One UDP packet to and fro at a time: how long a question to a [`crate::UdpEcho`] server and its answer take.
//!
//! The sockets block, as a program's do, so a host's own wake-up is in every figure; devices are compared by what
//! they add. For the calling thread, on the CPU that it is on.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::address::lab_address;
use crate::error::{Error, Result};
use crate::namespace::Namespace;

/// How long an answer is waited for before it counts as lost.
const PATIENCE: Duration = Duration::from_millis(500);

/// Lost answers after which a run is given up.
const LOST_MAX: u32 = 20;

/// Round trips of one run at the most.
const COUNT_MAX: usize = 2_000_000;

/// Asks again and again from one socket for so long. The time of each answer, in nanoseconds, in order; without answers
/// an empty list.
pub fn round_trips(namespace: &Namespace, target: SocketAddr, duration: Duration) -> Result<Vec<u64>> {
    let socket = connect(namespace, target)?;
    let (mut answers_ns, mut lost) = (Vec::new(), 0);
    let began = Instant::now();
    while began.elapsed() < duration && lost < LOST_MAX && answers_ns.len() < COUNT_MAX {
        match ask(&socket) {
            Some(answer) => answers_ns.push(u64::try_from(answer.as_nanos()).unwrap_or(u64::MAX)),
            None => lost += 1,
        }
    }
    Ok(answers_ns)
}

/// How late an answer was after a time without traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstAnswer {
    /// Of the first question; none if it was lost.
    pub first: Option<Duration>,
    /// Of one that followed at once.
    pub second: Option<Duration>,
}

/// Two questions from one socket, one after the other.
pub fn first_answer(namespace: &Namespace, target: SocketAddr) -> Result<FirstAnswer> {
    let socket = connect(namespace, target)?;
    Ok(FirstAnswer { first: ask(&socket), second: ask(&socket) })
}

fn connect(namespace: &Namespace, target: SocketAddr) -> Result<UdpSocket> {
    lab_address(target.ip())?;
    let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let connect = || {
        let socket = UdpSocket::bind(any)?;
        socket.connect(target)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok::<_, std::io::Error>(socket)
    };
    namespace.run(connect)?.map_err(Error::system(format!("asking {target}")))
}

/// One question and its answer; none if it does not come. A late answer to an earlier question is taken for one that
/// came very soon, so a lost answer is waited for long enough to be lost.
fn ask(socket: &UdpSocket) -> Option<Duration> {
    let mut answer = [0; 128];
    let began = Instant::now();
    socket.send(b"?").ok()?;
    socket.recv(&mut answer).ok()?;
    Some(began.elapsed())
}
