//! The door of a mood server that speaks over TCP: a listener, and a thread for each connection.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::Shutdown;
use rustix::net::sockopt::set_socket_linger;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::http::{self, DRIP_INTERVAL};
use super::{Mood, Shared};
use crate::error::{Error, Result};
use crate::ledger::lock;
use crate::namespace::Namespace;
use crate::program::POLL_INTERVAL;

/// Connections that are served at once; one more is closed. Checks leave one at a time.
const CONNECTIONS_MAX: usize = 64;

/// The beginning of no protocol: neither a status line nor a TLS record.
const GARBAGE: &[u8] = b"\x00\xff\x07 what?\r\n\r\n\x00\x00\x00\x00";

/// A listening socket and what came by it. Dropped, its host refuses at once, and all connections end.
#[derive(Debug)]
pub(super) struct TcpDoor {
    ending: Arc<AtomicBool>,
    listener: Arc<TcpListener>,
    accepting: Option<JoinHandle<()>>,
    connections: Arc<Mutex<Vec<Connection>>>,
}

/// Its thread owns the socket, so that it is closed as soon as the client has closed it.
#[derive(Debug)]
struct Connection {
    stream: Weak<TcpStream>,
    thread: JoinHandle<()>,
}

/// How the connections of a door are served.
struct Service {
    tls: Option<Arc<ServerConfig>>,
    shared: Arc<Shared>,
}

impl TcpDoor {
    pub(super) fn open(
        namespace: &Namespace,
        port: u16,
        tls: Option<Arc<ServerConfig>>,
        shared: Arc<Shared>,
    ) -> Result<Self> {
        let binding = || format!("binding TCP port {port} in {}", namespace.name());
        let bind = || TcpListener::bind((Ipv6Addr::UNSPECIFIED, port));
        let listener = Arc::new(namespace.run(bind)?.map_err(Error::system(binding()))?);
        let (ending, connections) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (flag, hears, list) = (Arc::clone(&ending), Arc::clone(&listener), Arc::clone(&connections));
        let service = Arc::new(Service { tls, shared });
        let accepting = thread::spawn(move || accept_until(&flag, &hears, &list, &service));
        Ok(Self { ending, listener, accepting: Some(accepting), connections })
    }
}

impl Drop for TcpDoor {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        // It wakes whoever accepts, and the host refuses from here on (Linux: a listener that is shut down is no
        // listener).
        let _ = rustix::net::shutdown(&*self.listener, Shutdown::Both);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for connection in lock(&self.connections).drain(..) {
            // Fails only on a connection that the client has already ended.
            let _ = connection.stream.upgrade().map(|stream| stream.shutdown(std::net::Shutdown::Both));
            let _ = connection.thread.join();
        }
    }
}

fn accept_until(
    ending: &AtomicBool,
    listener: &TcpListener,
    list: &Mutex<Vec<Connection>>,
    service: &Arc<Service>,
) {
    while !ending.load(Ordering::Relaxed) {
        let Ok((stream, _client)) = listener.accept() else {
            // The door is being closed, or a client gave up while it waited.
            thread::sleep(POLL_INTERVAL);
            continue;
        };
        service.shared.count();
        let mut list = lock(list);
        list.retain(|connection| !connection.thread.is_finished());
        if list.len() < CONNECTIONS_MAX {
            let (stream, service) = (Arc::new(stream), Arc::clone(service));
            let weak = Arc::downgrade(&stream);
            let work = move || {
                // An error is the client's: it has gone away.
                let _ = service.serve(&stream);
            };
            list.push(Connection { stream: weak, thread: thread::spawn(work) });
        }
    }
}

impl Service {
    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        let mood = self.shared.mood();
        let mut plain = stream;
        match mood {
            // A close with a linger time of zero is a reset.
            Mood::Resets => return Ok(set_socket_linger(stream, Some(Duration::ZERO))?),
            // In order, also where a request has come already: a close that leaves bytes unread is a reset.
            Mood::Closes => {
                return stream.shutdown(std::net::Shutdown::Write).and_then(|()| wait_for_end(plain));
            }
            Mood::Garbles => return plain.write_all(GARBAGE).and_then(|()| wait_for_end(plain)),
            // Before the handshake of TLS: who only waits for that is to wait in vain too.
            Mood::Hangs => return wait_for_end(plain),
            Mood::Drips => stream.set_read_timeout(Some(DRIP_INTERVAL))?,
            _ => {}
        }
        match &self.tls {
            None => http::serve(&mut plain, mood),
            Some(identity) => {
                let connection = ServerConnection::new(Arc::clone(identity)).map_err(io::Error::other)?;
                let mut secured = StreamOwned::new(connection, plain);
                http::serve(&mut secured, mood)?;
                secured.conn.send_close_notify();
                secured.flush()
            }
        }
    }
}

/// Reads on until the client has had enough.
fn wait_for_end(mut client: impl Read) -> io::Result<()> {
    let mut piece = [0; 256];
    while client.read(&mut piece)? > 0 {}
    Ok(())
}
