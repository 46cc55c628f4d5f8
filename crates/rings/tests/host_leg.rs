//! The host's leg: its own kernel speaks through a TAP port, and the test plays the engine between them.
#![allow(clippy::unwrap_used, reason = "a failure is the test's")]

mod packet_lab;
mod worker_lab;

use packet_lab::{Wire, eventually};
use port::{FRAME_BYTES_MAX, HEAD_ROOM_BYTES, PortIndex, Ports, Verdict};
use rings::interface::{self, add_address};
use rings::steering::{Attach, Driver, Steering};
use rings::tap::{MTU_BYTES_MAX, RECEIVES_BETWEEN_READS};
use rings::{Error, HostLegSpec, Opened, PortStatistics, RingLengths, TapStatistics, WorkerPorts, open};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;
use worker_lab::{LEFT, Lab, spec, steering};

const KINDS: [(Driver, Attach); 3] =
    [(Driver::AfXdp, Attach::Native), (Driver::AfXdp, Attach::Generic), (Driver::AfPacket, Attach::Auto)];

/// The host leg, behind the one interface.
const HOST: PortIndex = PortIndex(1);
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x50];

/// Addresses of the host leg, and of the left side in its networks.
const HOST_4: &str = "198.18.5.1";
const LEFT_4: &str = "198.18.5.2";
const HOST_6: &str = "2001:db8:5::1";
const LEFT_6: &str = "2001:db8:5::2";

fn leg(name: &str, mtu: u32) -> HostLegSpec {
    HostLegSpec { name: name.to_owned(), mac: MAC, mtu }
}

/// `eth0` and a host leg, open; the port takes all, as a bridge's does.
fn open_with_leg(kind: (Driver, Attach), workers: usize) -> (Steering, Opened) {
    let steering = steering();
    let ports = [spec("eth0", kind.0, kind.1)];
    let opened = open(&steering, &ports, &[leg("host0", 1_500)], workers, &RingLengths::default()).unwrap();
    add_address("host0", HOST_4.parse().unwrap(), 24).unwrap();
    opened.gates[0].set_takes_all(true).unwrap();
    opened.gates[0].open().unwrap();
    (steering, opened)
}

/// The next frame that the host sends, at `worker`.
fn next(ports: &mut WorkerPorts) -> Vec<u8> {
    eventually("a frame of the host", || ports.receive(HOST).first().map(|frame| frame.bytes().to_vec()))
}

/// Whether the receiver of an IPv4 or IPv6 frame without options would accept its TCP or UDP checksum.
fn has_whole_checksum(frame: &[u8]) -> Option<bool> {
    let (addresses, protocol, segment) = match frame[12..14] {
        [8, 0] => (
            &frame[26..34],
            frame[23],
            &frame[34..14 + usize::from(frame[16]) * 256 + usize::from(frame[17])],
        ),
        [0x86, 0xdd] => (&frame[22..54], frame[20], &frame[54..]),
        _ => return None,
    };
    let is_fragment = frame[12..14] == [8, 0] && (frame[20] & 0x3f, frame[21]) != (0, 0);
    if is_fragment || ![6, 17].contains(&protocol) {
        return None;
    }
    let mut all = [addresses, &[0, protocol], &(segment.len() as u16).to_be_bytes(), segment].concat();
    all.resize(all.len().next_multiple_of(2), 0);
    let sum: u32 = all.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    Some((sum & 0xffff) + (sum >> 16) == 0xffff)
}

/// What the client on the left sends, by TCP and in datagrams, and gets back whole.
fn exchange(address: SocketAddr, echo: SocketAddr) {
    let text: Vec<u8> = (0..200_000u32).map(|place| (place * 7) as u8).collect();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut reader = stream.try_clone().unwrap();
    let sent = text.clone();
    let writer = std::thread::spawn(move || stream.write_all(&sent));
    let mut back = vec![0; text.len()];
    reader.read_exact(&mut back).unwrap();
    writer.join().unwrap().unwrap();
    assert!(back == text, "the stream differs");
    // Its end is the echo's.
    drop(reader);
    let local = if echo.is_ipv4() { LEFT_4 } else { LEFT_6 };
    let socket = UdpSocket::bind((local, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // The longest that is not cut up, and one that is.
    for length in [0, 1, 1_400, 4_000] {
        socket.send_to(&text[..length], echo).unwrap();
        let mut back = [0; 5_000];
        assert_eq!(socket.recv(&mut back).unwrap(), length);
        assert!(back[..length] == text[..length], "the datagram of {length} bytes differs");
    }
}

/// Gives back what comes, once by TCP and as often as asked in datagrams.
fn echo(listener: &TcpListener, datagrams: &UdpSocket) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut reader = stream.try_clone().unwrap();
    std::io::copy(&mut reader, &mut stream).unwrap();
    for _ in 0..4 {
        let mut text = [0; 5_000];
        let (length, peer) = datagrams.recv_from(&mut text).unwrap();
        datagrams.send_to(&text[..length], peer).unwrap();
    }
}

#[test]
fn the_host_speaks_through_its_leg() {
    for kind in KINDS {
        Lab::run(1, |lab| {
            lab.enable_ipv6();
            let (_steering, mut opened) = open_with_leg(kind, 1);
            add_address("host0", HOST_6.parse().unwrap(), 64).unwrap();
            lab.left_ip(&format!("address add {LEFT_4}/24 dev left0"));
            lab.left_ip(&format!("address add {LEFT_6}/64 dev left0 nodad"));
            let ports = &mut opened.workers[0];
            let mut checked = 0;
            for host in [HOST_4, HOST_6].map(|address| address.parse::<IpAddr>().unwrap()) {
                let listener = TcpListener::bind((host, 0)).unwrap();
                let datagrams = UdpSocket::bind((host, 0)).unwrap();
                let (there, echoing) = (listener.local_addr().unwrap(), datagrams.local_addr().unwrap());
                // Left to itself: where the test fails, nothing comes that it waits for.
                std::thread::spawn(move || echo(&listener, &datagrams));
                std::thread::scope(|scope| {
                    let client = scope.spawn(|| lab.inside(&lab.left, || exchange(there, echoing)));
                    while !client.is_finished() {
                        checked += cross(ports);
                        std::thread::yield_now();
                    }
                    client.join().unwrap();
                });
            }
            assert!(checked > 20, "{kind:?}: only {checked} checksums were seen");
            let lost: Vec<_> = ports.statistics(HOST).unwrap().losses().filter(|loss| loss.1 > 0).collect();
            assert_eq!(lost, [], "{kind:?}");
            assert_eq!(ports.umem_use().lent, 0);
        });
    }
}

/// One turn between the interface and the host leg; how many frames of the host had a checksum.
fn cross(ports: &mut WorkerPorts) -> usize {
    let mut checked = 0;
    let mut verdicts = Vec::new();
    for frame in ports.receive(HOST) {
        assert!(usize::from(frame.start()) >= HEAD_ROOM_BYTES);
        assert!(usize::from(frame.length()) <= 1_514, "the kernel did not cut {} bytes", frame.length());
        assert_ne!(has_whole_checksum(frame.bytes()), Some(false), "{:02x?}", frame.bytes());
        checked += usize::from(has_whole_checksum(frame.bytes()).is_some());
        verdicts.push(Verdict::Transmit { port: LEFT, start: frame.start(), length: frame.length() });
    }
    assert_eq!(ports.settle(HOST, &verdicts).refused, 0);
    verdicts.clear();
    for frame in ports.receive(LEFT) {
        verdicts.push(Verdict::Transmit { port: HOST, start: frame.start(), length: frame.length() });
    }
    assert_eq!(ports.settle(LEFT, &verdicts).refused, 0);
    ports.flush();
    checked
}

/// Lets the host send a datagram to a neighbour that it knows, out of the queue of port `from`.
fn say(lab: &Lab, length: usize, from: u16) {
    lab.ip("neighbour replace 198.18.5.9 lladdr 02:00:00:00:00:99 dev host0 nud permanent");
    let socket = UdpSocket::bind((HOST_4, from)).unwrap();
    socket.send_to(&vec![7; length], ("198.18.5.9", 9)).unwrap();
}

#[test]
fn an_idle_leg_is_asked_seldom_but_at_once_after_a_sleep_and_a_write() {
    Lab::run(1, |lab| {
        let (_steering, mut opened) = open_with_leg(KINDS[2], 1);
        let ports = &mut opened.workers[0];
        assert!(ports.receive(HOST).is_empty());
        say(lab, 100, 0);
        for passed in 1..RECEIVES_BETWEEN_READS {
            assert!(ports.receive(HOST).is_empty(), "asked after {passed} receives");
        }
        assert_eq!(ports.receive(HOST).len(), 1);

        assert!(ports.receive(HOST).is_empty());
        say(lab, 100, 0);
        assert!(!ports.wait(None), "woken by a waker that nobody used");
        assert_eq!(ports.receive(HOST).len(), 1);

        assert!(ports.receive(HOST).is_empty());
        say(lab, 100, 0);
        // IEEE 802's EtherType for experiments: the kernel has no answer.
        assert!(ports.inject(HOST, &[&MAC[..], &[2, 0, 0, 0, 0, 9], &[0x88, 0xb5], &[0; 46]].concat()));
        assert_eq!(ports.receive(HOST).len(), 1);
    });
}

#[test]
fn a_frame_too_long_is_counted_and_a_leg_reflects() {
    Lab::run(1, |lab| {
        let (_steering, mut opened) = open_with_leg(KINDS[0], 1);
        let ports = &mut opened.workers[0];
        lab.ip("link set host0 mtu 3000");
        say(lab, 2_500, 0);
        say(lab, FRAME_BYTES_MAX - 42 + 1, 0);
        say(lab, FRAME_BYTES_MAX - 42, 0);
        assert_eq!(next(ports).len(), FRAME_BYTES_MAX);
        assert!(!ports.inject(HOST, &[0; FRAME_BYTES_MAX + 1]));
        assert!(!ports.inject(HOST, &[0; 13]));
        let PortStatistics::Tap(counted) = ports.statistics(HOST).unwrap() else { panic!("no TAP") };
        assert_eq!(counted, TapStatistics { oversize: 2, transmit_refused: 2 });

        // The host hears its own frame again, on the wire of its device.
        let wire = Wire::open("host0");
        say(lab, 100, 0);
        let place = eventually("a frame of the host", || {
            ports.receive(HOST).first().map(|frame| (frame.start(), frame.length()))
        });
        while wire.receive().is_some() {}
        let back = |start| [Verdict::Transmit { port: HOST, start, length: place.1 }];
        assert_eq!(ports.settle(HOST, &back(place.0)).refused, 0);
        eventually("the frame on the wire", || wire.receive().filter(|frame| frame.len() == 142));
        say(lab, 100, 0);
        next(ports);
        assert_eq!(ports.settle(HOST, &back(60_000)).refused, 1, "outside its buffer");
    });
}

#[test]
fn each_worker_has_its_share_of_what_the_host_sends() {
    const FLOWS: u16 = 64;
    Lab::run(1, |lab| {
        let (_steering, mut opened) = open_with_leg(KINDS[2], 2);
        (0..FLOWS).for_each(|flow| say(lab, 100, 5_000 + flow));
        let mut flows = Vec::new();
        let mut shares = [0; 2];
        eventually("all that was sent", || {
            for (ports, share) in opened.workers.iter_mut().zip(&mut shares) {
                let burst = ports.receive(HOST);
                *share += burst.len();
                flows.extend(
                    burst.iter().map(|frame| u16::from_be_bytes([frame.bytes()[34], frame.bytes()[35]])),
                );
            }
            (flows.len() == usize::from(FLOWS)).then_some(())
        });
        flows.sort_unstable();
        assert!(flows.iter().copied().eq(5_000..5_000 + FLOWS), "{flows:?}");
        assert!(shares[0] > 0 && shares[1] > 0, "a worker got nothing: {shares:?}");
    });
}

#[test]
fn a_leg_goes_with_its_workers_and_its_name_is_refused_before() {
    Lab::run(1, |_| {
        let (steering, opened) = open_with_leg(KINDS[2], 2);
        let found = interface::find("host0").unwrap();
        let made = &opened.host_legs[0];
        assert_eq!((made.name.as_str(), made.index, made.mac), ("host0", found.index, MAC));
        assert_eq!((found.mac, found.mtu, found.is_running()), (MAC, 1_500, true));
        let open = |leg: HostLegSpec| open(&steering, &[], &[leg], 2, &RingLengths::default());
        for taken in ["host0", "eth1", "lo"] {
            let error = open(leg(taken, 1_500)).unwrap_err();
            assert!(matches!(&error, Error::Exists { interface } if interface == taken), "{error}");
        }
        let mut workers = opened.workers;
        workers.pop();
        assert!(interface::exists("host0"), "the other worker has it still");
        drop(workers);
        // A program that a neighbouring test starts has our descriptors for a moment.
        eventually("the leg to go", || (!interface::exists("host0")).then_some(()));
        drop(open(leg("host0", MTU_BYTES_MAX)).unwrap());
        let error = open(leg("host0", MTU_BYTES_MAX + 1)).unwrap_err();
        assert!(matches!(error, Error::OutOfBounds { value: 1_587, bound: 1_586, .. }), "{error}");
        for odd in ["", "sixteen-letters-", "host%d", "a b", "a/b"] {
            let error = open(leg(odd, 1_500)).unwrap_err();
            assert!(matches!(error, Error::Unsupported { .. }), "{odd:?}: {error}");
        }
        assert!(!interface::exists("host0"));
    });
}

#[test]
fn a_leg_that_somebody_removes_is_refused_to_and_keeps_no_worker_awake() {
    Lab::run(1, |lab| {
        let (_steering, mut opened) = open_with_leg(KINDS[2], 1);
        let ports = &mut opened.workers[0];
        lab.ip("link delete host0");
        // Ends for what the descriptor says now, and the next receive understands.
        ports.wait(Some(Duration::from_secs(5)));
        assert!(ports.receive(HOST).is_empty());
        assert!(!ports.inject(HOST, &[0; 60]));
        let waker = ports.waker();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(100));
                waker.wake();
            });
            assert!(ports.wait(None), "woken by the device that is gone");
        });
    });
}

#[test]
fn a_machine_without_the_tun_driver_is_told_so() {
    Lab::run(1, |_| {
        // A file system of this thread's own, where /dev/net is empty.
        // SAFETY: all strings are static C strings.
        unsafe {
            assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0);
            let none = std::ptr::null();
            let private = libc::MS_REC | libc::MS_PRIVATE;
            assert_eq!(libc::mount(none, c"/".as_ptr(), none, private, none.cast()), 0);
            assert_eq!(
                libc::mount(c"none".as_ptr(), c"/dev/net".as_ptr(), c"tmpfs".as_ptr(), 0, none.cast()),
                0
            );
        }
        let error = open(&steering(), &[], &[leg("host0", 1_500)], 1, &RingLengths::default()).unwrap_err();
        assert!(error.to_string().contains("modprobe tun"), "{error}");
    });
}
