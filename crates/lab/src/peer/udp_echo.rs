//! A UDP server that answers every datagram with its name and with the client's address as it saw it, and sends a
//! long datagram's bytes back behind them.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::namespace::Namespace;

/// How long the server sleeps in a receive before it looks whether it shall end: the most that a drop waits.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The longest datagram that UDP carries.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// The shortest question that is sent back; shorter ones are only answered.
pub const ECHOED_BYTES_MIN: usize = 64;

/// A running server on one port, IPv4 and IPv6; see the module. The answer is `name address:port`; behind it, for a
/// question of [`ECHOED_BYTES_MIN`] or more, a line feed and the question.
#[derive(Debug)]
pub struct UdpEcho {
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpEcho {
    /// Starts it; it answers from here on.
    pub fn start(namespace: &Namespace, name: &str, port: u16) -> Result<Self> {
        let binding = || format!("binding UDP port {port} in {}", namespace.name());
        // One socket for both families: `bindv6only` is off in a new namespace.
        let bind = || UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port));
        let socket = namespace.run(bind)?.map_err(Error::system(binding()))?;
        socket.set_read_timeout(Some(LOOK_INTERVAL)).map_err(Error::system(binding()))?;
        let ending = Arc::new(AtomicBool::new(false));
        let (flag, name) = (Arc::clone(&ending), name.to_string());
        let thread = thread::spawn(move || answer_until(&flag, &socket, &name));
        Ok(Self { ending, thread: Some(thread) })
    }
}

fn answer_until(ending: &AtomicBool, socket: &UdpSocket, name: &str) {
    let mut question = vec![0; DATAGRAM_BYTES_MAX];
    while !ending.load(Ordering::Relaxed) {
        // A receive ends with a time-out, or with an ICMP error about an earlier answer; both mean: go on.
        let Ok((length, client)) = socket.recv_from(&mut question) else { continue };
        let seen = SocketAddr::new(client.ip().to_canonical(), client.port());
        let mut answer = format!("{name} {seen}").into_bytes();
        if length >= ECHOED_BYTES_MIN {
            answer.push(b'\n');
            answer.extend_from_slice(&question[..length]);
        }
        let _ = socket.send_to(&answer, client);
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the server has already been printed, and its client has missed the answer.
            let _ = thread.join();
        }
    }
}
