//! Two namespaces and servers of every manner, good and bad.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lab::{Link, Namespace, Testbed};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

/// The servers' addresses.
pub const FAMILIES: [&str; 2] = ["198.18.1.2", "2001:db8:1::2"];

/// How long a server of a test waits for anything.
const SERVER_PATIENCE: Duration = Duration::from_secs(20);

/// `near` (198.18.1.1/24, 2001:db8:1::1/64), where the checks live, and `far` (.2), where the servers do.
pub struct Bed {
    pub near: Namespace,
    pub far: Namespace,
    pub link: Link,
    _testbed: Testbed,
}

impl Bed {
    /// `None`, with a word why, where namespaces cannot be made.
    pub fn new(label: &str) -> Option<Self> {
        if let Err(why) = Testbed::check_machine() {
            println!("skipped: {why}");
            return None;
        }
        let testbed = Testbed::new(label).unwrap();
        let (near, far) = (testbed.namespace("near").unwrap(), testbed.namespace("far").unwrap());
        let link = testbed.link((&near, "near"), (&far, "far")).unwrap();
        for (end, host) in [(&link.first, 1), (&link.second, 2)] {
            end.add_address(&format!("198.18.1.{host}/24")).unwrap();
            end.add_address(&format!("2001:db8:1::{host}/64")).unwrap();
        }
        Some(Self { near, far, link, _testbed: testbed })
    }

    /// `ip ARGUMENTS` in `far`.
    pub fn ip_far(&self, arguments: &str) {
        ip(&self.far, arguments);
    }

    /// `ip ARGUMENTS` in `near`.
    pub fn ip_near(&self, arguments: &str) {
        ip(&self.near, arguments);
    }

    /// A server that treats every connection alike, in turn.
    pub fn serve(&self, address: SocketAddr, manner: impl FnMut(TcpStream) + Send + 'static) -> TcpServer {
        let listener = self.listener(address);
        listener.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = thread::spawn(move || accept(&listener, &seen, manner));
        TcpServer { stop, thread: Some(thread) }
    }

    /// One that nobody accepts on: the kernel alone completes handshakes.
    pub fn listener(&self, address: SocketAddr) -> TcpListener {
        self.far.run(|| TcpListener::bind(address)).unwrap().unwrap()
    }

    /// Answers every datagram with `answer`.
    pub fn serve_datagrams(&self, address: SocketAddr, answer: &'static [u8]) -> TcpServer {
        let socket = self.far.run(|| UdpSocket::bind(address)).unwrap().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = thread::spawn(move || {
            let mut buffer = [0; 2_048];
            while !seen.load(Ordering::Relaxed) {
                if let Ok((_, from)) = socket.recv_from(&mut buffer) {
                    socket.send_to(answer, from).unwrap();
                }
            }
        });
        TcpServer { stop, thread: Some(thread) }
    }
}

/// A server's thread; it ends with the value.
pub struct TcpServer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for TcpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking(), "a server panicked");
    }
}

fn accept(listener: &TcpListener, stop: &AtomicBool, mut manner: impl FnMut(TcpStream)) {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(SERVER_PATIENCE)).unwrap();
                stream.set_write_timeout(Some(SERVER_PATIENCE)).unwrap();
                manner(stream);
            }
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn ip(namespace: &Namespace, arguments: &str) {
    let words: Vec<&str> = arguments.split(' ').collect();
    namespace.output("ip", &words).unwrap();
}

pub fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().unwrap(), port)
}

/// Reads a request to its end.
pub fn hear_request(stream: &mut impl Read) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|length| length == 1) {
        request.push(byte[0]);
    }
    String::from_utf8_lossy(&request).into_owned()
}

/// Hears a request, answers, closes.
pub fn answering(answer: impl Into<Vec<u8>>) -> impl FnMut(TcpStream) + Send + 'static {
    let answer = answer.into();
    move |mut stream| {
        hear_request(&mut stream);
        // A check that has heard enough may be gone.
        let _gone = stream.write_all(&answer);
    }
}

/// The same in TLS.
pub fn answering_in_tls(answer: &'static str) -> impl FnMut(TcpStream) + Send + 'static {
    let certificate = include_bytes!("tls_certificate.der").as_slice();
    let key = include_bytes!("tls_key.der").as_slice();
    let settings = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(certificate)], PrivateKeyDer::try_from(key).unwrap())
        .unwrap();
    let settings = Arc::new(settings);
    move |stream| {
        let mut stream = rustls::StreamOwned::new(ServerConnection::new(settings.clone()).unwrap(), stream);
        // A check of the handshake alone sends no request, and one that is no TLS fails here.
        if hear_request(&mut stream).is_empty() {
            return;
        }
        stream.write_all(answer.as_bytes()).unwrap();
        stream.conn.send_close_notify();
        // The check may be gone.
        let _gone = stream.flush();
    }
}
