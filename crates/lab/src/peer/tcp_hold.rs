//! A TCP server that keeps its connections: each line is answered with the server's name and the line.
//!
//! It shows whether a connection survives what happens in between, and which end hears of an end.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use crate::error::{Error, Result};
use crate::ledger::lock;
use crate::namespace::Namespace;
use crate::program::POLL_INTERVAL;

/// A running server on one port, IPv4 and IPv6; see the module. Dropped, it aborts what is open.
#[derive(Debug)]
pub struct TcpHold {
    ending: Arc<AtomicBool>,
    connections: Arc<Mutex<Vec<Connection>>>,
    listener: Arc<TcpListener>,
    accepting: Option<JoinHandle<()>>,
}

/// Its thread owns the socket, so that it is closed as soon as the client has closed it.
#[derive(Debug)]
struct Connection {
    stream: Weak<TcpStream>,
    thread: JoinHandle<()>,
}

impl TcpHold {
    /// Starts it; it accepts from here on.
    pub fn start(namespace: &Namespace, name: &str, port: u16) -> Result<Self> {
        let binding = || format!("binding TCP port {port} in {}", namespace.name());
        let bind = || TcpListener::bind((Ipv6Addr::UNSPECIFIED, port));
        let listener = Arc::new(namespace.run(bind)?.map_err(Error::system(binding()))?);
        let (ending, connections) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (flag, list, name) = (Arc::clone(&ending), Arc::clone(&connections), name.to_string());
        let hears = Arc::clone(&listener);
        let accepting = thread::spawn(move || accept_until(&flag, &hears, &list, &name));
        Ok(Self { ending, connections, listener, accepting: Some(accepting) })
    }

    /// The clients whose connections are open at this end.
    pub fn clients(&self) -> Vec<SocketAddr> {
        let connections = lock(&self.connections);
        let open = connections.iter().filter_map(|connection| connection.stream.upgrade());
        let peers = open.filter_map(|stream| stream.peer_addr().ok());
        peers.map(|peer| SocketAddr::new(peer.ip().to_canonical(), peer.port())).collect()
    }

    /// Ends all connections in order, with a FIN. New ones are still accepted.
    pub fn close_all(&self) {
        self.end_all(None);
    }

    /// Ends all connections with a RST. New ones are still accepted.
    pub fn abort_all(&self) {
        self.end_all(Some(Duration::ZERO));
    }

    /// A close with a linger time of zero is a reset. Shutting the *read* side wakes the thread without a
    /// word on the wire.
    fn end_all(&self, linger: Option<Duration>) {
        let ended: Vec<Connection> = lock(&self.connections).drain(..).collect();
        for connection in ended {
            // These fail only on a connection that the client has already ended.
            let stream = connection.stream.upgrade();
            if let Some(stream) = &stream {
                let _ = set_socket_linger(stream, linger);
                let _ = stream.shutdown(Shutdown::Read);
            }
            let _ = connection.thread.join();
        }
    }
}

impl Drop for TcpHold {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        // It wakes whoever accepts, and the host refuses from here on (Linux: a listener that is shut down is no
        // listener).
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        self.abort_all();
    }
}

fn accept_until(ending: &AtomicBool, listener: &TcpListener, list: &Mutex<Vec<Connection>>, name: &str) {
    while !ending.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _client)) => {
                let (stream, name) = (Arc::new(stream), name.to_string());
                let weak = Arc::downgrade(&stream);
                // Locked first: whoever has an answer of this connection finds it in the list.
                let mut list = lock(list);
                // A thread that has ended and is remembered keeps its stack.
                list.retain(|connection| !connection.thread.is_finished());
                let thread = thread::spawn(move || answer_lines(&stream, &name));
                list.push(Connection { stream: weak, thread });
            }
            // It is ending, or a client gave up while it waited.
            Err(_) => thread::sleep(POLL_INTERVAL),
        }
    }
}

fn answer_lines(stream: &TcpStream, name: &str) {
    let mut lines = BufReader::new(stream).lines();
    let mut writer = stream;
    while let Some(Ok(line)) = lines.next() {
        if writer.write_all(format!("{name} {line}\n").as_bytes()).is_err() {
            return;
        }
    }
}
