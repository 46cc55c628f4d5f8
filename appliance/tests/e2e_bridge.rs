//! A bridge while it serves virtual addresses: what is not balanced crosses byte for byte, and nothing stays behind when
//! the appliance ends.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use e2e::modes::start;
use e2e::{PATIENCE, names, on_both_drivers, row, run_in, wait_for};
use lab::topology::transparent_inline::{TransparentInline, transparent_inline};
use lab::topology::{BRIDGE, HTTP_PORT, Hop, Host, Options, Peers};
use lab::{
    Appliance, Capture, Captured, Direction, Endpoint, HeldConnections, Iperf3, Load, Mac, TcpHold, Testbed,
};

on_both_drivers! {
    between_two_hosts_not_one_byte_changes_while_a_virtual_address_is_served,
    tagged_and_strange_frames_cross_byte_for_byte_and_a_links_own_do_not,
    a_station_is_where_it_was_heard_last,
    the_host_leg_is_reachable_and_all_is_as_before_when_the_appliance_ends,
}

const IPERF_PORT: u16 = 5201;
const IPERF_BYTES: u64 = 4_000_000;
/// A service of the hosts' own, and of the appliance's.
const OTHER_PORT: u16 = 2200;
/// The host leg's addresses.
const OWN: [&str; 2] = ["198.18.0.2", "2001:db8::2"];
/// An EtherType for experiments (IEEE 802).
const EXPERIMENT: u16 = 0x88b5;
/// How long before and after what is compared the taps are open.
const EDGE: Duration = Duration::from_millis(100);

struct Stage {
    lab: TransparentInline,
    options: Options,
    _peers: Peers,
    _testbed: Testbed,
}

impl Stage {
    fn new(driver: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let testbed = Testbed::new(&format!("bridge{}", NEXT.fetch_add(1, Ordering::Relaxed))).unwrap();
        let lab = transparent_inline(&testbed, Hop::None).unwrap();
        let peers = lab.site.start_peers().unwrap();
        let options = Options { driver: driver.into(), ..Options::default() };
        Self { lab, options, _peers: peers, _testbed: testbed }
    }

    fn start(&self) -> Appliance {
        start(&self.lab.site, &self.lab.site.write_configuration(&self.options).unwrap())
    }

    /// The far ends of the bridge's ports, outside and inside.
    fn ends(&self) -> [Endpoint; 2] {
        [0, 1].map(|index| self.lab.site.ports[index].opposite())
    }

    fn listen(&self, number: usize, direction: Direction) -> Capture {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("capture-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Capture::start(&self.ends()[number], &name, direction).unwrap()
    }
}

/// The frames that a station has sent, and when they were seen.
fn sightings_of(captured: &Captured, mac: Mac) -> Vec<(Duration, &[u8])> {
    assert_eq!(captured.dropped_by_kernel, 0);
    let frames = captured.frames.iter().map(|frame| (frame.at, frame.bytes.as_slice()));
    frames.filter(|(_, bytes)| bytes[6..12] == mac.0).collect()
}

/// The frames that a station has sent.
fn frames_of(captured: &Captured, mac: Mac) -> Vec<&[u8]> {
    sightings_of(captured, mac).into_iter().map(|(_, bytes)| bytes).collect()
}

/// How many of the frames that were seen in that time were not seen at the other side at all. A tap hears what two CPUs
/// send in an order of its own, and taps neither begin nor end at once, so what is near an end is not asked for.
fn lost(seen: &[(Duration, &[u8])], other_side: &[(Duration, &[u8])], time: &Range<Duration>) -> usize {
    let mut left: HashMap<&[u8], usize> = HashMap::new();
    for (_, bytes) in other_side {
        *left.entry(bytes).or_default() += 1;
    }
    let mut take = |bytes: &[u8]| left.get_mut(bytes).filter(|count| **count > 0).map(|count| *count -= 1);
    let inside = seen.iter().filter(|(at, _)| time.contains(at));
    inside.filter(|(_, bytes)| take(bytes).is_none()).count()
}

fn since_1970() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap()
}

fn between_two_hosts_not_one_byte_changes_while_a_virtual_address_is_served(driver: &str) {
    let stage = Stage::new(driver);
    let (a, b, client) = (&stage.lab.host_a, &stage.lab.host_b, stage.lab.site.client.namespace());
    let _iperf = Iperf3::start(b.namespace(), "hostb", IPERF_PORT).unwrap();
    let _hold = TcpHold::start(b.namespace(), "hostb", OTHER_PORT).unwrap();
    let _appliance = stage.start();
    let captures: Vec<Capture> = [0, 1]
        .into_iter()
        .flat_map(|number| [Direction::Out, Direction::In].map(|direction| stage.listen(number, direction)))
        .collect();
    let begin = since_1970();
    thread::sleep(EDGE);
    let ask = |vip: &IpAddr| {
        let load = Load { count: 100, concurrency: 2, timeout: PATIENCE, ..Load::default() };
        lab::run_requests(client, (*vip, HTTP_PORT).into(), load).unwrap().answered()
    };
    thread::scope(|scope| {
        let asking = scope.spawn(|| stage.lab.site.vips.iter().map(ask).collect::<Vec<_>>());
        for address in b.addresses() {
            let target = (address, OTHER_PORT).into();
            let mut held = HeldConnections::open(a.namespace(), target, 2, PATIENCE).unwrap().unwrap();
            assert!(a.namespace().ping(address, PATIENCE).unwrap());
            let target = (address, IPERF_PORT).into();
            let report = lab::run_iperf3(a.namespace(), target, IPERF_BYTES, PATIENCE).unwrap();
            assert!(report.sent_bytes >= IPERF_BYTES, "{report:?}");
            assert_eq!(names(&mut held), ["hostb"; 2]);
        }
        assert_eq!(asking.join().unwrap(), [100, 100]);
    });
    let time = begin + EDGE..since_1970();
    thread::sleep(EDGE);
    let captured: Vec<Captured> = captures.into_iter().map(|capture| capture.stop().unwrap()).collect();
    let [from_outside, to_outside, from_inside, to_inside] = &captured[..] else { panic!("four captures") };
    for (host, came, left, least) in [(a, from_outside, to_inside, 2_000), (b, from_inside, to_outside, 50)] {
        let [came, left] = [came, left].map(|captured| sightings_of(captured, host.end.mac()));
        let arp = came.iter().filter(|(_, bytes)| bytes[12..14] == [0x08, 0x06]).count();
        assert!(came.len() > least && arp > 0, "{}: {} frames", host.name, came.len());
        assert_eq!(lost(&came, &left, &time), 0, "{}: {} came, {} left", host.name, came.len(), left.len());
        assert_eq!(lost(&left, &came, &time), 0, "{}: {} came, {} left", host.name, came.len(), left.len());
    }
}

fn tagged_and_strange_frames_cross_byte_for_byte_and_a_links_own_do_not(driver: &str) {
    let stage = Stage::new(driver);
    let appliance = stage.start();
    let (a, b) = (Mac([2, 0, 0, 0, 0xa, 1]), Mac([2, 0, 0, 0, 0xb, 1]));
    for (number, from, to) in [(0, a, b), (1, b, a)] {
        let crossing = strange_frames(from, to);
        let staying: Vec<Vec<u8>> = (1..=0x0f)
            .map(|last| {
                wire::build::ethernet(from, Mac([0x01, 0x80, 0xc2, 0, 0, last])).raw(0x8808, &[0; 46])
            })
            .collect();
        let capture = stage.listen(1 - number, Direction::In);
        let echo = stage.listen(number, Direction::In);
        lab::send_frames(&stage.ends()[number], &[&crossing[..], &staying].concat()).unwrap();
        let constrained = || row(&appliance, "drops", "reason", "link-constrained")["packets"].as_u64();
        let expected = u64::try_from((number + 1) * staying.len()).unwrap();
        wait_for("the link's own frames to be counted", || constrained() == Some(expected));
        let captured = capture.stop().unwrap();
        let left = frames_of(&captured, from);
        for (index, frame) in crossing.iter().enumerate() {
            assert!(left.contains(&frame.as_slice()), "frame {index} does not cross: {frame:02x?}");
        }
        assert_eq!(left.len(), crossing.len());
        assert!(frames_of(&echo.stop().unwrap(), from).is_empty(), "nothing comes back");
    }
}

/// Tags of all kinds, lengths at both ends, broken and unknown protocols, and a spanning tree's own.
fn strange_frames(from: Mac, to: Mac) -> Vec<Vec<u8>> {
    let ethernet = |to| wire::build::ethernet(from, to);
    let data: Vec<u8> = (0..1500_u16).map(|number| number.to_le_bytes()[0]).collect();
    let v4 = |builder: wire::build::EthernetBuilder| {
        builder
            .ipv4([198, 18, 0, 21].into(), [198, 18, 0, 22].into())
            .tcp(4_000, 80)
            .payload(&data[..100])
            .finish()
    };
    let mut broken = v4(ethernet(to));
    broken[40] ^= 0xff;
    let mut broken_header = v4(ethernet(to));
    broken_header[25] ^= 0xff;
    let virtual_in_vlan = ethernet(to).vlan(30).ipv4([198, 18, 0, 50].into(), [198, 18, 0, 10].into());
    vec![
        ethernet(to).raw(EXPERIMENT, &data[..46]),
        ethernet(to).raw(EXPERIMENT, &data),
        ethernet(to).vlan(30).raw(EXPERIMENT, &data),
        ethernet(to).tag(0x8100, 0xf01e).raw(EXPERIMENT, &data[..64]),
        ethernet(to).tag(0x8100, 0xa000).raw(EXPERIMENT, &data[..64]),
        ethernet(to).service_vlan(40).vlan(30).raw(EXPERIMENT, &data[..700]),
        v4(ethernet(to).service_vlan(40).vlan(30)),
        v4(ethernet(to).vlan(30)),
        virtual_in_vlan.udp(4_000, 5_300).payload(&data[..20]).finish(),
        broken,
        broken_header,
        // A length in place of the type, and a spanning tree's frame (IEEE 802.1D, clause 9).
        ethernet(to).raw(38, &data[..46]),
        ethernet(Mac([0x01, 0x80, 0xc2, 0, 0, 0])).raw(38, &data[..46]),
        ethernet(Mac::BROADCAST).raw(EXPERIMENT, &data[..46]),
        ethernet(Mac::BROADCAST).vlan(30).raw(EXPERIMENT, &data[..46]),
        ethernet(Mac([0x01, 0x00, 0x5e, 1, 2, 3])).raw(EXPERIMENT, &data[..46]),
    ]
}

fn a_station_is_where_it_was_heard_last(driver: &str) {
    let stage = Stage::new(driver);
    let appliance = stage.start();
    for (host, port) in [(&stage.lab.host_a, "outside"), (&stage.lab.host_b, "inside")] {
        assert!(host.namespace().ping(OWN[0].parse().unwrap(), PATIENCE).unwrap());
        assert_eq!(station(&appliance, host)["port"], port);
    }
    let mac = Mac([2, 0, 0, 0, 0xc, 1]);
    let station = || row(&appliance, "bridge", "mac", &mac.to_string());
    let [outside, inside] = stage.ends();
    let announce = wire::build::ethernet(mac, Mac::BROADCAST).raw(EXPERIMENT, &[0; 46]);
    lab::send_frames(&outside, std::slice::from_ref(&announce)).unwrap();
    wait_for("the station to be known", || station()["port"] == "outside");
    lab::send_frames(&inside, std::slice::from_ref(&announce)).unwrap();
    wait_for("the station to have moved", || station()["port"] == "inside");
    assert_eq!(station()["moves"], 1);
    // What is for it now goes where it is, and is no longer flooded to where it was.
    let captures = [0, 1].map(|number| stage.listen(number, Direction::In));
    let host_b = stage.lab.host_b.end.mac();
    let host_a = stage.lab.host_a.end.mac();
    let for_it = wire::build::ethernet(host_a, mac).raw(EXPERIMENT, &[1; 46]);
    let from_its_side = wire::build::ethernet(host_b, mac).raw(EXPERIMENT, &[2; 46]);
    lab::send_frames(&inside, std::slice::from_ref(&from_its_side)).unwrap();
    lab::send_frames(&outside, std::slice::from_ref(&for_it)).unwrap();
    wait_for("the frame of its own side to be counted", || {
        row(&appliance, "drops", "reason", "same-port")["packets"].as_u64() >= Some(1)
    });
    let [at_outside, at_inside] = captures.map(|capture| capture.stop().unwrap());
    let experiments = |captured, mac| {
        let mut frames = frames_of(captured, mac);
        frames.retain(|frame| frame[12..14] == EXPERIMENT.to_be_bytes());
        frames.len()
    };
    assert!(frames_of(&at_inside, host_a).contains(&for_it.as_slice()));
    assert_eq!((experiments(&at_inside, host_a), experiments(&at_outside, host_a)), (1, 0));
    assert_eq!((experiments(&at_inside, host_b), experiments(&at_outside, host_b)), (0, 0));
}

fn station(appliance: &Appliance, host: &Host) -> serde_json::Value {
    row(appliance, "bridge", "mac", &host.end.mac().to_string())
}

fn the_host_leg_is_reachable_and_all_is_as_before_when_the_appliance_ends(driver: &str) {
    let stage = Stage::new(driver);
    let namespace = &stage.lab.site.appliance;
    for port in ["outside", "inside"] {
        assert!(run_in(namespace, "ethtool", &["-K", port, "gro", "on"]).status.success());
    }
    let state = || {
        let words = |program: &str, words: &[&str]| {
            String::from_utf8_lossy(&run_in(namespace, program, words).stdout).into_owned()
        };
        let of_port = |port| {
            let link = words("ip", &["-d", "-o", "link", "show", port]);
            [words("ethtool", &["-k", port]), link]
        };
        let links = words("ip", &["-o", "link", "show"]);
        let tables = words("nft", &["list", "tables"]);
        let ports = ["outside", "inside"].map(of_port);
        (ports, links.lines().count(), tables, words("ip", &["-o", "address", "show"]))
    };
    let before = state();
    let appliance = stage.start();
    let _hold = TcpHold::start(namespace, "leg", OTHER_PORT).unwrap();
    for from in [&stage.lab.host_a, &stage.lab.host_b] {
        for own in OWN {
            let own: IpAddr = own.parse().unwrap();
            assert!(from.namespace().ping(own, PATIENCE).unwrap(), "{} pings {own}", from.name);
            let target = (own, OTHER_PORT).into();
            let held = HeldConnections::open(from.namespace(), target, 2, PATIENCE).unwrap();
            assert_eq!(names(&mut held.unwrap()), ["leg"; 2]);
        }
    }
    let during = state();
    assert!(during.3.contains(BRIDGE), "the host leg has the bridge's name: {}", during.3);
    assert_ne!(before.0, during.0);
    assert!(appliance.stop(PATIENCE).unwrap().success());
    assert_eq!(before, state());
}
