#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a lab that cannot be made fails its test")]
//! Three network namespaces in a row: `left0` — `eth0` appliance `eth1` — `right0`.

use port::{BURST_FRAMES_MAX, PortIndex, Ports, Verdict};
use rings::steering::{Attach, Driver, Owner, Steering};
use rings::{Opened, PortSpec, RingLengths, WorkerPorts, namespace, open};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub const LEFT: PortIndex = PortIndex(0);
pub const RIGHT: PortIndex = PortIndex(1);

/// The appliance's MACs, left and right.
pub const MACS: [&str; 2] = ["02:00:00:00:00:10", "02:00:00:00:00:11"];
/// Addresses of the appliance's kernel on both sides.
pub const HOSTS: [&str; 2] = ["198.18.0.1", "198.18.1.1"];
pub const VIP: &str = "198.18.0.10";
/// Behind the right side, where only a kernel that forwards would bring a frame.
pub const BEYOND: [u8; 4] = [198, 18, 1, 2];

static COUNT: AtomicU32 = AtomicU32::new(0);

pub struct Lab {
    pub left: String,
    pub appliance: String,
    pub right: String,
}

impl Lab {
    /// Runs `test` in a thread of its own inside the appliance's namespace, and removes all of them, come
    /// what may.
    pub fn run(queues: u32, test: impl FnOnce(&Lab) + Send) {
        // SAFETY: no pointer is passed.
        if unsafe { libc::geteuid() } != 0 {
            println!("skipped: needs root to make network namespaces");
            return;
        }
        let lab = Lab::make(queues);
        std::thread::scope(|scope| {
            let test = scope.spawn(|| {
                namespace::enter(&lab.appliance).unwrap();
                test(&lab);
            });
            if let Err(panic) = test.join() {
                std::panic::resume_unwind(panic);
            }
        });
    }

    fn make(queues: u32) -> Lab {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // The process id stands last but one, where whoever removes the leftovers of dead processes looks for
        // it.
        let name = |side| format!("jeoul-ringsxdp-{number}-{}-{side}", std::process::id());
        let lab = Lab { left: name("left"), appliance: name("lb"), right: name("right") };
        for namespace in [&lab.left, &lab.appliance, &lab.right] {
            ip(&format!("netns add {namespace}"));
            ip(&format!("netns exec {namespace} sysctl -qw net.ipv6.conf.default.disable_ipv6=1"));
            ip(&format!("netns exec {namespace} sysctl -qw net.ipv6.conf.all.disable_ipv6=1"));
        }
        let queues = format!("numtxqueues {queues} numrxqueues {queues}");
        let sides = [(&lab.left, "left0"), (&lab.right, "right0")];
        for (side, (peer, peer_device)) in sides.into_iter().enumerate() {
            let us = &lab.appliance;
            ip(&format!(
                "link add eth{side} netns {us} {queues} type veth \
                 peer name {peer_device} netns {peer} {queues}"
            ));
            ip(&format!("-n {us} link set eth{side} address {} up", MACS[side]));
            ip(&format!("-n {us} address add {}/24 dev eth{side}", HOSTS[side]));
            ip(&format!("-n {peer} address add 198.18.{side}.2/24 dev {peer_device}"));
            ip(&format!("-n {peer} link set {peer_device} up"));
            for (namespace, device) in [(us.as_str(), format!("eth{side}")), (peer, peer_device.into())] {
                let off = "tx off gso off tso off gro off";
                ip(&format!("netns exec {namespace} ethtool -K {device} {off}"));
            }
        }
        lab
    }

    /// Runs `ip` in the appliance's namespace.
    pub fn ip(&self, arguments: &str) -> String {
        ip(&format!("-n {} {arguments}", self.appliance))
    }

    /// Runs `ip` in the left namespace.
    pub fn left_ip(&self, arguments: &str) -> String {
        ip(&format!("-n {} {arguments}", self.left))
    }

    /// Changes a setting of the appliance's kernel.
    pub fn sysctl(&self, setting: &str) {
        ip(&format!("netns exec {} sysctl -qw {setting}", self.appliance));
    }

    /// Lets the kernels of the appliance and of the left side speak IPv6, at once.
    pub fn enable_ipv6(&self) {
        for (namespace, device) in [(&self.appliance, "eth0"), (&self.left, "left0")] {
            for setting in [format!("{device}.accept_dad=0"), "all.disable_ipv6=0".to_owned()] {
                ip(&format!("netns exec {namespace} sysctl -qw net.ipv6.conf.{setting}"));
            }
        }
    }

    /// What `make` makes inside the namespace; sockets stay there.
    pub fn inside<T: Send>(&self, name: &str, make: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let made = scope.spawn(|| {
                namespace::enter(name).unwrap();
                make()
            });
            made.join().unwrap()
        })
    }

    /// Whether a client on the left gets a connection to the appliance's own kernel.
    pub fn host_answers(&self, address: &str) -> bool {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        self.inside(&self.left, || TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_ok())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for name in [&self.left, &self.appliance, &self.right] {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn ip(arguments: &str) -> String {
    let Output { status, stdout, stderr } =
        Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    assert!(status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

pub fn spec(interface: &str, driver: Driver, attach: Attach) -> PortSpec {
    PortSpec { interface: interface.to_owned(), driver, attach }
}

/// Steers by the addresses above.
pub fn steering() -> Steering {
    let mut steering = Steering::new(64).unwrap();
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let host = HOSTS.map(|host| (address(host), Owner::Host));
    steering.set_addresses(&[host[0], host[1], (address(VIP), Owner::Claimed)]).unwrap();
    steering
}

/// Both ports with these drivers, open.
pub fn open_both(kinds: [(Driver, Attach); 2], workers: usize) -> (Steering, Opened) {
    let steering = steering();
    let [left, right] = kinds;
    let specs = [spec("eth0", left.0, left.1), spec("eth1", right.0, right.1)];
    let opened = open(&steering, &specs, &[], workers, &RingLengths::default()).unwrap();
    opened.gates.iter().for_each(|gate| gate.open().unwrap());
    (steering, opened)
}

/// One turn of a worker that sends what comes in on one port out of the other; gives back how many frames
/// that were.
pub fn turn(ports: &mut WorkerPorts) -> usize {
    let mut forwarded = 0;
    for (from, to) in [(LEFT, RIGHT), (RIGHT, LEFT)] {
        let burst = ports.receive(from);
        assert!(burst.len() <= BURST_FRAMES_MAX);
        let verdicts: Vec<Verdict> = burst
            .iter()
            .map(|frame| {
                assert!(usize::from(frame.start()) >= port::HEAD_ROOM_BYTES);
                Verdict::Transmit { port: to, start: frame.start(), length: frame.length() }
            })
            .collect();
        drop(burst);
        assert_eq!(ports.settle(from, &verdicts).refused, 0);
        forwarded += verdicts.len();
    }
    ports.flush();
    forwarded
}

/// A UDP packet that carries `number`, of a flow of its own among 16, from the left to `destination`.
pub fn udp(number: u32, destination: [u8; 4], length: usize) -> Vec<u8> {
    const HEADERS_BYTES: usize = 42;
    let mut frame = vec![2, 0, 0, 0, 0, 0x10, 2, 0, 0, 0, 0, 0x77, 8, 0];
    frame.extend([0x45, 0]);
    frame.extend((length as u16 - 14).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 198, 18, 0, 2]);
    frame.extend(destination);
    let sum = frame[14..].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = sum.sum();
    let checksum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame.extend((4_000 + number as u16 % 16).to_be_bytes());
    frame.extend(9_u16.to_be_bytes());
    // No checksum (RFC 768).
    frame.extend((length as u16 - 34).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(number.to_be_bytes());
    frame.extend((HEADERS_BYTES + 4..length).map(|place| (place as u32).wrapping_mul(31 + number) as u8));
    frame
}

/// The number that a packet of [`udp`] carries.
pub fn number_of(frame: &[u8]) -> Option<u32> {
    let discard = frame.get(36..38)? == [0, 9] && frame[12..14] == [8, 0];
    discard.then(|| u32::from_be_bytes(*frame[42..].first_chunk().unwrap()))
}
