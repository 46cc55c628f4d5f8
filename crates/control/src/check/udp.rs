//! One datagram from a connected UDP socket, and perhaps its answer.
//!
//! Connected, so that only the server's own answers come, and an ICMP error that quotes the datagram comes as an error
//! of the socket. Each check has a socket and so a source port of its own: an answer to an earlier one goes nowhere.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use config::UdpRequest;
use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};

use super::attempt::{Progress, Start};
use super::reason::shown;
use super::{Outcome, Reason};

/// How much of an answer is searched for what is expected in it.
pub const REPLY_BYTES_SEARCHED: usize = 4 << 10;

/// Datagrams that are read at once, where others than the server can send some.
const READS_MAX: usize = 64;

/// A datagram under way.
pub(super) struct UdpProbe {
    socket: UdpSocket,
    server: SocketAddr,
    expected: Option<Vec<u8>>,
}

impl UdpProbe {
    pub(super) fn start(
        server: SocketAddr,
        request: &UdpRequest,
        registry: &Registry,
        token: Token,
    ) -> Start<Self> {
        let any = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let sent = UdpSocket::bind(SocketAddr::new(any, 0)).and_then(|mut socket| {
            socket.connect(server)?;
            registry.register(&mut socket, token, Interest::READABLE)?;
            socket.send(&request.send)?;
            Ok(socket)
        });
        match sent {
            Ok(socket) => Start::UnderWay(Self { socket, server, expected: request.expect_reply.clone() }),
            Err(error) => Start::failed(error),
        }
    }

    /// A socket at this address of ours that waits for the answer to a datagram which somebody else sends.
    pub(super) fn wait(
        source: IpAddr,
        server: SocketAddr,
        request: &UdpRequest,
        registry: &Registry,
        token: Token,
    ) -> Start<Self> {
        let bound = UdpSocket::bind(SocketAddr::new(source, 0)).and_then(|mut socket| {
            // For the sake of ICMP errors. The kernel may know no route to the server's VIP, and needs none.
            let _no_route = socket.connect(server);
            registry.register(&mut socket, token, Interest::READABLE)?;
            Ok(socket)
        });
        match bound {
            Ok(socket) => Start::UnderWay(Self { socket, server, expected: request.expect_reply.clone() }),
            Err(error) => Start::failed(error),
        }
    }

    /// Where the datagram came from.
    pub(super) fn source(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }

    pub(super) fn ready(&mut self) -> Progress {
        let mut buffer = [0; REPLY_BYTES_SEARCHED];
        for _ in 0..READS_MAX {
            return match self.socket.recv_from(&mut buffer) {
                Ok((_, from)) if from != self.server => continue,
                Ok((length, _)) => Progress::over(self.judge(&buffer[..length])),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => Progress::default(),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    Progress::over(Outcome::Failure(Reason::PortUnreachable))
                }
                Err(error) => Progress::over(Outcome::Failure(Reason::from(&error))),
            };
        }
        Progress::default()
    }

    fn judge(&self, answer: &[u8]) -> Outcome {
        let Some(expected) = &self.expected else { return Outcome::Success };
        let found = expected.is_empty() || answer.windows(expected.len()).any(|window| window == expected);
        if found {
            return Outcome::Success;
        }
        let (expected, searched_bytes) = (shown(expected), REPLY_BYTES_SEARCHED);
        Outcome::Failure(Reason::NotInReply { expected, searched_bytes })
    }
}
