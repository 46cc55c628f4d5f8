//! What a server needs behind tunnels and marks: the inner packet reaches its own kernel.
//!
//! [`Decapsulator`] is a tunnel end in user space, for kernels without tunnel devices: it takes IP in IP (RFC
//! 2003; RFC 2473; protocols 4 and 41) and GUE variant 1 (an IP packet right behind a UDP header), strips the
//! outer header and sends the inner packet, with its own header, to the address that it names. That is the
//! server's own, on its loopback, so it goes round there and arrives with its client's source. Outer
//! fragments are put together by the kernel before. [`rewrite_dscp`] does for marked packets what the name
//! says, by a rule of the kernel's.
//!
//! Any thread. Refuses to start where something else has the UDP port; drops and counts what is no IP packet,
//! what is not for an address that the server holds, and what has used up its hops.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, ipproto};
use wire::udp::{NO_CHECKSUM, Udp};

use crate::error::{Error, Result};
use crate::ledger::lock;
use crate::namespace::Namespace;
use crate::raw::RawSender;

/// The UDP port of GUE.
pub const GUE_PORT: u16 = 6080;

/// How long a receive sleeps before it looks whether it shall end: the most that a drop waits.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Room for the bursts of a transfer while the thread waits for its turn.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// The longest IP packet.
const PACKET_BYTES_MAX: usize = 65_535;

/// Which tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// IP in IP, protocols 4 and 41.
    Ipip,
    /// GUE variant 1 on UDP port [`GUE_PORT`].
    Gue,
}

/// What a tunnel end has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decapsulated {
    /// Packets handed to the server's kernel.
    pub passed_packets: u64,
    /// Packets dropped.
    pub dropped_packets: u64,
    /// The outer source of the last one; its port is 0 in IP in IP.
    pub last_source: Option<SocketAddr>,
}

/// A running tunnel end; see the module.
#[derive(Debug)]
pub struct Decapsulator {
    ending: Arc<AtomicBool>,
    seen: Arc<Mutex<Decapsulated>>,
    threads: Vec<JoinHandle<()>>,
}

impl Decapsulator {
    /// Starts it in a server's namespace, for the virtual addresses that the server holds; it receives from
    /// here on.
    pub fn start(namespace: &Namespace, tunnel: Tunnel, held: &[IpAddr]) -> Result<Self> {
        let opening = || format!("opening a tunnel end in {}", namespace.name());
        let open = || -> io::Result<Vec<(Outer, RawSender)>> {
            outer_sockets(tunnel)?.into_iter().map(|outer| Ok((outer, RawSender::open()?))).collect()
        };
        let sockets = namespace.run(open)?.map_err(Error::system(opening()))?;
        // The inner packet comes in on the loopback with the source of somebody else.
        for place in ["all", "lo"] {
            namespace.set_parameters(&[
                (&format!("net.ipv4.conf.{place}.rp_filter"), "0"),
                (&format!("net.ipv4.conf.{place}.accept_local"), "1"),
            ])?;
        }
        let (ending, seen) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let start = |(outer, inner)| {
            let (ending, seen, held) = (Arc::clone(&ending), Arc::clone(&seen), held.to_vec());
            thread::spawn(move || pass_until(&ending, &outer, &inner, &held, &seen))
        };
        let threads = sockets.into_iter().map(start).collect();
        Ok(Self { ending, seen, threads })
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Decapsulated {
        *lock(&self.seen)
    }
}

impl Drop for Decapsulator {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// A socket that receives outer packets.
#[derive(Debug)]
struct Outer {
    socket: OwnedFd,
    gives: Gives,
}

/// What a socket gives in front of the inner packet.
#[derive(Clone, Copy, Debug)]
enum Gives {
    /// Nothing.
    Packet,
    /// The outer IPv4 header, as raw IPv4 sockets alone do.
    Ipv4Header,
    /// The UDP header of any datagram over IPv6. GUE may come without a checksum there (RFC 6935, RFC 6936);
    /// the kernel keeps that from a UDP socket, so a raw one takes exactly those.
    UdpHeader,
}

impl Gives {
    /// The inner packet and, where a header tells it, the outer source port; none of what another socket
    /// takes.
    fn strip(self, bytes: &mut [u8]) -> Option<(Option<u16>, &mut [u8])> {
        match self {
            Self::Packet => Some((None, bytes)),
            Self::Ipv4Header => {
                let header_bytes = usize::from(bytes.first()? & 0xf) * 4;
                Some((None, bytes.get_mut(header_bytes..)?))
            }
            Self::UdpHeader => {
                let (udp, data) = Udp::split(bytes).ok()?;
                let ours = udp.destination_port() == GUE_PORT && udp.checksum() == NO_CHECKSUM;
                ours.then_some((Some(udp.source_port()), data))
            }
        }
    }
}

fn outer_sockets(tunnel: Tunnel) -> io::Result<Vec<Outer>> {
    let outers = match tunnel {
        Tunnel::Gue => {
            let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, GUE_PORT))?;
            let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
            let raw = rustix::net::socket_with(AddressFamily::INET6, kind, flags, Some(ipproto::UDP))?;
            vec![
                Outer { socket: socket.into(), gives: Gives::Packet },
                Outer { socket: raw, gives: Gives::UdpHeader },
            ]
        }
        Tunnel::Ipip => {
            let raw = |(family, inner)| {
                let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
                let socket = rustix::net::socket_with(family, kind, flags, Some(inner))?;
                let bare = family == AddressFamily::INET6;
                Ok(Outer { socket, gives: if bare { Gives::Packet } else { Gives::Ipv4Header } })
            };
            let families = [AddressFamily::INET, AddressFamily::INET6];
            let kinds =
                families.into_iter().flat_map(|family| [(family, ipproto::IPIP), (family, ipproto::IPV6)]);
            kinds.map(raw).collect::<io::Result<_>>()?
        }
    };
    for Outer { socket, .. } in &outers {
        sockopt::set_socket_timeout(socket, Timeout::Recv, Some(LOOK_INTERVAL))?;
        sockopt::set_socket_recv_buffer_size_force(socket, SOCKET_BUFFER_BYTES)?;
    }
    Ok(outers)
}

fn pass_until(
    ending: &AtomicBool,
    outer: &Outer,
    inner: &RawSender,
    held: &[IpAddr],
    seen: &Mutex<Decapsulated>,
) {
    let mut bytes = vec![0; PACKET_BYTES_MAX];
    while !ending.load(Ordering::Relaxed) {
        // A receive ends with a time-out, or with an ICMP error; both mean: go on.
        let received = rustix::net::recvfrom(&outer.socket, &mut bytes[..], RecvFlags::empty());
        let Ok((length, _length, source)) = received else { continue };
        let source = source.and_then(|source| SocketAddr::try_from(source).ok());
        let Some((port, packet)) = outer.gives.strip(&mut bytes[..length]) else { continue };
        let passed = age(packet)
            .filter(|destination| held.contains(destination))
            .and_then(|destination| inner.send(packet, destination).ok());
        let mut seen = lock(seen);
        seen.last_source =
            source.map(|source| SocketAddr::new(source.ip().to_canonical(), port.unwrap_or(source.port())));
        match passed {
            Some(()) => seen.passed_packets += 1,
            None => seen.dropped_packets += 1,
        }
    }
}

/// Takes one off the hops that the packet may still go, and gives its destination; none if it is no IP packet
/// or may go no further. The kernel writes the checksum of an IPv4 header that it is given.
fn age(packet: &mut [u8]) -> Option<IpAddr> {
    let (hops_at, destination) = match packet.first()? >> 4 {
        4 => (8, IpAddr::from(*packet.get(16..)?.first_chunk::<4>()?)),
        6 => (7, IpAddr::from(*packet.get(24..)?.first_chunk::<16>()?)),
        _ => return None,
    };
    let hops = packet.get_mut(hops_at)?;
    *hops = hops.checked_sub(1).filter(|left| *left > 0)?;
    Some(destination)
}

/// Makes a server's kernel send packets with a DSCP to the virtual address of their family instead of the
/// real one, without the mark. Stateless: replies come from the virtual address by themselves.
pub fn rewrite_dscp(namespace: &Namespace, dscp: u8, real: [IpAddr; 2], held: [IpAddr; 2]) -> Result<()> {
    let rule = |family: &str, (real, held): (IpAddr, IpAddr)| {
        format!("{family} dscp {dscp} {family} daddr {real} {family} daddr set {held} {family} dscp set 0\n")
    };
    let [real_v4, real_v6] = real;
    let [held_v4, held_v6] = held;
    let rules = rule("ip", (real_v4, held_v4)) + &rule("ip6", (real_v6, held_v6));
    let hook = "type filter hook prerouting priority raw; policy accept;";
    let text = format!("table inet dscp {{\nchain rewrite {{\n{hook}\n{rules}}}\n}}\n");
    let path = namespace.directory().join(format!("{}.nft", namespace.name()));
    std::fs::write(&path, text).map_err(Error::system(format!("writing {}", path.display())))?;
    namespace.output("nft", &["-f", &path.to_string_lossy()])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use wire::protocol;

    use super::*;

    #[test]
    fn a_packet_ages_by_one_hop_and_ends_at_its_last() {
        let frame = wire::build::ethernet(wire::Mac([2; 6]), wire::Mac([4; 6]));
        let packet = |ttl| {
            let ip = frame.clone().ipv4(Ipv4Addr::new(198, 18, 0, 50), Ipv4Addr::new(198, 18, 1, 10));
            ip.ttl(ttl).raw(protocol::UDP, &[0; 8])[14..].to_vec()
        };
        let mut young = packet(2);
        assert_eq!(age(&mut young), Some("198.18.1.10".parse().unwrap()));
        assert_eq!(young[8], 1);
        assert_eq!(age(&mut packet(1)), None);
        assert_eq!(age(&mut packet(0)), None);
        assert_eq!(age(&mut packet(9)[..18]), None);
        assert_eq!(age(&mut [0x50; 40]), None);
        assert_eq!(age(&mut []), None);
    }
}
