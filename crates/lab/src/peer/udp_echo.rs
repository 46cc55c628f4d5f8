//! A UDP server that answers every datagram with its name and with the client's address as it saw it, and
//! sends a long datagram's bytes back behind them.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
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

/// A running server on one port, IPv4 and IPv6; see the module. The answer is `name address:port`; behind it,
/// for a question of [`ECHOED_BYTES_MIN`] or more, a line feed and the question.
#[derive(Debug)]
pub struct UdpEcho {
    ending: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl UdpEcho {
    /// Starts it; it answers from here on, from the address that its route to the client has.
    pub fn start(namespace: &Namespace, name: &str, port: u16) -> Result<Self> {
        // One socket for both families: `bindv6only` is off in a new namespace.
        Self::start_at(namespace, name, port, &[Ipv6Addr::UNSPECIFIED.into()])
    }

    /// Starts it on these addresses of its host alone. A server of direct return needs this: it has to answer
    /// from the virtual address that was asked, and a socket on all addresses does not.
    pub fn start_at(namespace: &Namespace, name: &str, port: u16, addresses: &[IpAddr]) -> Result<Self> {
        let binding = || format!("binding UDP port {port} in {}", namespace.name());
        let bind = || addresses.iter().map(|address| UdpSocket::bind((*address, port))).collect();
        let sockets: io::Result<Vec<UdpSocket>> = namespace.run(bind)?;
        let mut echo = Self { ending: Arc::default(), threads: Vec::new() };
        for socket in sockets.map_err(Error::system(binding()))? {
            socket.set_read_timeout(Some(LOOK_INTERVAL)).map_err(Error::system(binding()))?;
            let (flag, name) = (Arc::clone(&echo.ending), name.to_string());
            echo.threads.push(thread::spawn(move || answer_until(&flag, &socket, &name)));
        }
        Ok(echo)
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
        for thread in self.threads.drain(..) {
            // A panic of the server has already been printed, and its client has missed the answer.
            let _ = thread.join();
        }
    }
}
