//! A server whose mood can be changed while it runs: all the ways in which a server fails that a health check can
//! see, and some that only a better check sees.
//!
//! Over TCP it speaks HTTP, plain or in TLS; over UDP it answers a datagram with a word. It counts what it has
//! accepted, so that a check which must never be seen by an application can be held to it. Any thread may hold the
//! handle; dropped, the server ends. What a server's kernel does wrong is [`PacketFilter`](super::PacketFilter)'s.

mod http;
mod tcp;
mod tls;
mod udp;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::error::{Error, Result};
use crate::ledger::lock;
use crate::namespace::Namespace;
use tcp::TcpDoor;
use udp::UdpDoor;

/// The body of a good answer over HTTP, and all of it over UDP.
pub const READY: &str = "READY";

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// HTTP/1.1, one request for each connection.
    Http,
    /// The same in TLS, with a certificate that proves nothing.
    Https,
    /// One datagram for each datagram.
    Udp,
}

/// How a server behaves towards those who come from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It answers as it should, with status 200 and [`READY`].
    Good,
    /// It answers so over HTTP.
    Answers {
        /// The status.
        status: u16,
        /// The body.
        body: &'static str,
    },
    /// It accepts, reads, and never says a word.
    Hangs,
    /// It gives a good answer, a byte each second.
    Drips,
    /// Its answer begins well and never ends: a header without an end.
    Floods,
    /// It resets what it has accepted.
    Resets,
    /// It closes what it has accepted.
    Closes,
    /// It answers with bytes that mean nothing.
    Garbles,
    /// It is not there: its host refuses.
    Refuses,
}

/// A running server on one port, IPv4 and IPv6; see the module.
#[derive(Debug)]
pub struct MoodServer {
    namespace: Namespace,
    speech: Speech,
    port: u16,
    shared: Arc<Shared>,
    door: Option<Door>,
}

/// What a server's threads look at.
#[derive(Debug)]
struct Shared {
    mood: Mutex<Mood>,
    accepted: AtomicU64,
}

/// Where the server is to be found, while it is there.
#[derive(Debug)]
enum Door {
    Tcp { _door: TcpDoor },
    Udp { _door: UdpDoor },
}

impl MoodServer {
    /// Starts it in a good mood; it answers from here on.
    pub fn start(namespace: &Namespace, speech: Speech, port: u16) -> Result<Self> {
        let shared = Arc::new(Shared { mood: Mutex::new(Mood::Good), accepted: AtomicU64::new(0) });
        let mut server = Self { namespace: namespace.clone(), speech, port, shared, door: None };
        server.open()?;
        Ok(server)
    }

    /// Changes its mood. Connections that are open are served as they were begun.
    pub fn set(&mut self, mood: Mood) -> Result<()> {
        let of_tcp = !matches!(mood, Mood::Good | Mood::Hangs | Mood::Garbles | Mood::Refuses);
        if self.speech == Speech::Udp && of_tcp {
            return Err(Error::unusable(
                format!("{mood:?}"),
                "a UDP server is good, hangs, garbles or refuses",
            ));
        }
        *lock(&self.shared.mood) = mood;
        if mood == Mood::Refuses {
            self.door = None;
            return Ok(());
        }
        self.open()
    }

    /// Connections that it has accepted, or datagrams that it has received.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    fn open(&mut self) -> Result<()> {
        if self.door.is_none() {
            let (namespace, port, shared) = (&self.namespace, self.port, Arc::clone(&self.shared));
            self.door = Some(match self.speech {
                Speech::Http => Door::Tcp { _door: TcpDoor::open(namespace, port, None, shared)? },
                Speech::Https => {
                    Door::Tcp { _door: TcpDoor::open(namespace, port, Some(tls::identity()?), shared)? }
                }
                Speech::Udp => Door::Udp { _door: UdpDoor::open(namespace, port, shared)? },
            });
        }
        Ok(())
    }
}

impl Shared {
    fn mood(&self) -> Mood {
        *lock(&self.mood)
    }

    fn count(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }
}
