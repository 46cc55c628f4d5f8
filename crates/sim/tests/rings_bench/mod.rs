//! Golden scripts over real rings: a worker in one network namespace, the ends of its two links in another.

use engine::Worker;
use lab::Testbed;
use port::{Burst, PortIndex, Ports, Settled, Verdict};
use rings::packet::{PacketOptions, PacketPort};
use rings::steering::{Attach, Driver, Owner, Steering};
use rings::{PortSpec, RingLengths, WorkerPorts};
use sim::Manager;
use sim::golden::{Bench, Script, run};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// A time at which nothing has happened yet; it does not pass here.
const NOW_NS: u64 = 1_000_000_000_000;
/// How long an expected frame is waited for: far longer than a frame takes on any machine.
const WAIT: Duration = Duration::from_secs(5);
/// How long a place must be silent to count as at rest.
const SILENCE: Duration = Duration::from_millis(4);

/// The ports, lent to one script's worker after the other.
struct Lent<'p>(&'p mut WorkerPorts);

impl Ports for Lent<'_> {
    fn count(&self) -> usize {
        self.0.count()
    }

    fn receive(&mut self, port: PortIndex) -> Burst<'_> {
        self.0.receive(port)
    }

    fn settle(&mut self, port: PortIndex, verdicts: &[Verdict]) -> Settled {
        self.0.settle(port, verdicts)
    }

    fn inject(&mut self, port: PortIndex, frame: &[u8]) -> bool {
        self.0.inject(port, frame)
    }

    fn flush(&mut self) {
        self.0.flush();
    }
}

/// The far end of a link.
struct Peer {
    port: PacketPort,
    came: VecDeque<Vec<u8>>,
}

impl Peer {
    fn collect(&mut self) -> usize {
        let burst = self.port.receive();
        let count = burst.len();
        self.came.extend(burst.iter().map(|frame| frame.bytes().to_vec()));
        drop(burst);
        self.port.release();
        count
    }
}

struct RingsBench<'p> {
    manager: Manager,
    worker: Worker<Lent<'p>>,
    peers: &'p mut [Peer],
    steering: &'p mut Steering,
}

impl RingsBench<'_> {
    /// One turn of everybody; whether a frame moved.
    fn turn(&mut self) -> bool {
        let received = self.worker.turn(NOW_NS).received as usize;
        received + self.peers.iter_mut().map(Peer::collect).sum::<usize>() > 0
    }

    fn steer(&mut self) {
        let host =
            control::compile::host_addresses(self.manager.facts()).map(|address| (address, Owner::Host));
        let owned = control::compile::owned_addresses(self.manager.config());
        let owned = owned.into_iter().map(|address| (address, Owner::Claimed));
        let addresses: Vec<(IpAddr, Owner)> = host.chain(owned).collect();
        self.steering.set_addresses(&addresses).unwrap();
    }
}

impl Bench for RingsBench<'_> {
    fn manager(&mut self) -> &mut Manager {
        &mut self.manager
    }

    fn send(&mut self, port: usize, frame: &[u8]) {
        // A frame shorter than its Ethernet header cannot be sent, and need not be.
        if frame.len() >= 14 {
            assert!(self.peers[port].port.transmit(frame), "the peer's ring is full");
            self.peers[port].port.flush();
        }
    }

    fn settle(&mut self) {
        self.steer();
        let mut last = Instant::now();
        while last.elapsed() < SILENCE {
            if self.turn() {
                last = Instant::now();
            }
        }
    }

    fn receive(&mut self, port: usize) -> Option<Vec<u8>> {
        let started = Instant::now();
        while self.peers[port].came.is_empty() && started.elapsed() < WAIT {
            self.turn();
        }
        self.peers[port].came.pop_front()
    }

    fn left_over(&mut self, port: usize) -> Option<Vec<u8>> {
        self.peers[port].came.pop_front()
    }

    fn sees_all(&self) -> bool {
        false
    }

    fn pass(&mut self, _time: Duration) -> bool {
        false
    }
}

/// Runs every script that needs no time of its own over rings of this kind.
pub fn run_all(label: &str, scripts: Vec<Script>, driver: Driver, attach: Attach) {
    if let Err(reason) = Testbed::check_machine() {
        println!("skipped: {reason}");
        return;
    }
    let testbed = Testbed::new(label).unwrap();
    let (inside, outside) = (testbed.namespace("lb").unwrap(), testbed.namespace("peers").unwrap());
    // The kernels themselves have nothing to say on these links.
    for namespace in [&inside, &outside] {
        let silent = ["all", "default"].map(|of| format!("net.ipv6.conf.{of}.disable_ipv6"));
        namespace.set_parameters(&silent.each_ref().map(|name| (name.as_str(), "1"))).unwrap();
    }
    let links = ["eth1", "eth2"].map(|name| testbed.link((&inside, name), (&outside, name)).unwrap());
    for (name, mac) in [("eth1", "02:00:00:00:01:01"), ("eth2", "02:00:00:00:02:01")] {
        inside.output("ip", &["link", "set", name, "address", mac]).unwrap();
    }
    let mut steering = Steering::new(256).unwrap();
    let spec = |interface: &str| PortSpec { interface: interface.to_owned(), driver, attach };
    let specs = ["eth1", "eth2"].map(spec);
    let opened = inside.run(|| rings::open(&steering, &specs, &[], 1, &RingLengths::default())).unwrap();
    let mut opened = opened.unwrap_or_else(|error| panic!("{error}"));
    inside.run(|| opened.gates.iter().for_each(|gate| gate.open().unwrap())).unwrap();
    let open_peer = |name: &str| Peer {
        port: PacketPort::open(name, &PacketOptions::default()).unwrap(),
        came: VecDeque::new(),
    };
    let mut peers = outside.run(|| ["eth1", "eth2"].map(open_peer)).unwrap();
    let mut failures = Vec::new();
    let mut count = 0;
    for script in scripts.iter().filter(|script| !script.is_memory_only()) {
        let mut manager = script.manager().unwrap();
        let ports = Lent(&mut opened.workers[0]);
        let worker = Worker::new(manager.parts(ports, (0, 1)));
        let mut bench = RingsBench { manager, worker, peers: &mut peers, steering: &mut steering };
        bench.settle();
        bench.peers.iter_mut().for_each(|peer| peer.came.clear());
        count += 1;
        if let Err(failure) = run(script, &mut bench) {
            failures.push(failure.to_string());
        }
    }
    drop(links);
    assert!(count > 150, "only {count} scripts were run");
    assert!(failures.is_empty(), "{} of {count} scripts failed\n{}", failures.len(), failures.join("\n"));
}
