//! What each mode rewrites, and what it leaves alone: captures before and behind the appliance, compared.

#![allow(clippy::unwrap_used, reason = "a test")]

mod e2e;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use e2e::modes::{Mode, Scene, in_every_mode};
use e2e::sides::{Sides, Watch, frames_that, ip_packet, stripped, without_addresses};
use e2e::{PATIENCE, family, run_in};
use lab::topology::{HTTP_PORT, Hop, Host, UDP_PORT};
use lab::{Captured, Frame, GUE_PORT, Mac, Packet};

in_every_mode! { each_packet_is_rewritten_as_the_table_says_and_not_otherwise }

/// What the client's kernel writes into every packet: DSCP AF11 and ECN ECT(0).
const TRAFFIC_CLASS: u8 = 10 << 2 | 2;
/// The servers' marks begin with this one in the lab.
const FIRST_DSCP: u8 = 11;
/// Two datagrams tell two flows apart, by their lengths.
const QUESTION_BYTES: [usize; 2] = [100, 101];
/// The number of the tunnels' outer source.
const TUNNEL_SOURCES: [&str; 2] = ["198.18.1.251", "2001:db8:1::251"];

const TCP: u8 = 6;
const UDP: u8 = 17;

fn each_packet_is_rewritten_as_the_table_says_and_not_otherwise(driver: &str, mode: Mode) {
    let scene = Scene::new(driver, mode, Hop::None);
    mark_all_packets(&scene);
    let _appliance = scene.start();
    for vip in scene.site.vips {
        // Neighbours are found before, so that no packet of the flows waits for one.
        assert_eq!(ask(&scene, vip).len(), 3);
    }
    let watch = Watch::start(&scene);
    let servers = scene.site.vips.map(|vip| ask(&scene, vip));
    let sides = watch.stop();
    for (vip, names) in scene.site.vips.into_iter().zip(servers) {
        let flows: [(u8, u16, usize); 3] =
            [(TCP, HTTP_PORT, 0), (UDP, UDP_PORT, QUESTION_BYTES[0]), (UDP, UDP_PORT, QUESTION_BYTES[1])];
        for ((protocol, port, bytes), name) in flows.into_iter().zip(names) {
            let server = scene.server(&name);
            let flow =
                Flow { scene: &scene, sides: &sides, vip: (vip, port).into(), protocol, bytes, server };
            flow.check_requests();
            if mode.is_direct() {
                flow.check_direct_replies();
            } else {
                flow.check_replies();
            }
        }
    }
    if mode == Mode::Gue {
        check_entropy(&sides, scene.site.client.addresses());
    }
}

/// Every packet of the client's and of the servers' bears DSCP and ECN of its own.
fn mark_all_packets(scene: &Scene) {
    let rules = "table inet marking {\nchain outgoing {\ntype filter hook output priority 0;\n\
                 ip dscp set 10\nip ecn set ect0\nip6 dscp set 10\nip6 ecn set ect0\n}\n}\n";
    let path = scene.site.appliance.directory().join("mark.nft");
    std::fs::write(&path, rules).unwrap();
    for host in scene.site.servers.iter().chain([&scene.site.client]) {
        let output = run_in(host.namespace(), "nft", &["-f", &path.display().to_string()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A web request and two datagrams, one after the other; who answered.
fn ask(scene: &Scene, vip: IpAddr) -> Vec<String> {
    let web = scene.client().run(|| lab::http_get((vip, HTTP_PORT).into(), PATIENCE)).unwrap();
    let mut names = vec![web.unwrap().server];
    for bytes in QUESTION_BYTES {
        let answer = scene.client().run(|| lab::udp_ask_sized((vip, UDP_PORT).into(), bytes, PATIENCE));
        let answer = answer.unwrap().unwrap();
        assert_eq!(answer.attempts, 1, "{}", family(vip));
        names.push(answer.answer.server);
    }
    names
}

/// One connection, or one question and its answer.
struct Flow<'a> {
    scene: &'a Scene,
    sides: &'a Sides,
    vip: SocketAddr,
    protocol: u8,
    /// The length of the question; 0 where it does not matter.
    bytes: usize,
    server: &'a Host,
}

type Seen<'a> = Vec<(&'a Frame, Packet)>;

impl Flow<'_> {
    fn client(&self) -> IpAddr {
        self.scene.client_like(self.vip.ip())
    }

    fn real(&self) -> IpAddr {
        self.server.address_like(self.vip.ip())
    }

    /// Whether it is one of this flow's packets, by all that no mode rewrites.
    fn has(&self, frame: &Frame, packet: &Packet) -> bool {
        let is_long = |packet: &[u8]| {
            // The answer is the question, behind a line.
            let data = packet.len() - if packet[0] >> 4 == 4 { 28 } else { 48 };
            let line = |data: &[u8]| data.iter().position(|byte| *byte == b'\n').unwrap() + 1;
            let server_first = packet[packet.len() - data..].starts_with(b"server");
            let extra = if server_first { line(&packet[packet.len() - data..]) } else { 0 };
            data - extra == self.bytes
        };
        packet.source.is_ipv4() == self.vip.is_ipv4()
            && packet.protocol == self.protocol
            && packet.has_port(self.vip.port())
            && (self.bytes == 0 || is_long(&ip_packet(frame)))
    }

    fn find<'b>(&self, captured: &'b Captured, is: impl Fn(&Packet) -> bool) -> Seen<'b> {
        let mut seen = frames_that(captured, is);
        seen.retain(|(frame, packet)| self.has(frame, packet));
        seen
    }

    /// The requests as the appliance got them and as it sent them on, its only way of doing so. Tunnelled ones are given
    /// inside and outside.
    fn check_requests(&self) {
        let (client, vip, mode) = (self.client(), self.vip.ip(), self.scene.mode);
        let before =
            self.find(&self.sides.received, |packet| packet.source == client && packet.destination == vip);
        let least = if self.protocol == TCP { 4 } else { 1 };
        assert!(before.len() >= least, "{} requests", before.len());
        let behind: Vec<Frame> = if mode.is_tunnel() {
            let mut inner: Vec<Frame> = self.sides.sent.frames.iter().filter_map(stripped).collect();
            inner.retain(|frame| self.is_of_client(frame) && self.has(frame, &frame.packet().unwrap()));
            inner
        } else {
            let target = if mode == Mode::L2Dsr { vip } else { self.real() };
            let source = if mode.translates_source() { vip } else { client };
            let seen =
                self.find(&self.sides.sent, |packet| packet.source == source && packet.destination == target);
            seen.into_iter().map(|(frame, _packet)| frame.clone()).collect()
        };
        assert_eq!(before.len(), behind.len(), "each request is sent on once");
        let mut ports = BTreeSet::new();
        for ((old_frame, old), new_frame) in before.iter().zip(&behind) {
            let new = new_frame.packet().unwrap();
            let is_syn = old.tcp_flags.is_some_and(|flags| flags == wire::tcp::TcpFlags::SYN);
            if !(mode.is_tunnel() && is_syn) {
                let [old, new] = [*old_frame, new_frame].map(|frame| without_addresses(&ip_packet(frame)));
                assert_eq!(old, new, "what no mode rewrites");
            }
            let class = match mode {
                Mode::Dscp => self.mark() << 2 | TRAFFIC_CLASS & 3,
                _ => TRAFFIC_CLASS,
            };
            assert_eq!((old.traffic_class, new.traffic_class), (TRAFFIC_CLASS, class));
            let hops = u8::from(!(mode.is_transparent() || mode == Mode::L2Dsr));
            assert_eq!(new.ttl, old.ttl - hops);
            let ((old_source, old_target), (new_source, new_target)) =
                (old.ports.unwrap(), new.ports.unwrap());
            assert_eq!(old_target, new_target);
            if mode.translates_source() {
                ports.insert(new_source);
            } else {
                assert_eq!(old_source, new_source);
            }
            assert_eq!(new.vlan, old.vlan.map(|_client_vlan| 20));
            // Servers are behind the last port.
            let own = self.scene.site.ports.last().unwrap().mac();
            assert_eq!(new.source_mac, if mode == Mode::TransparentInline { old.source_mac } else { own });
            assert_eq!(new.destination_mac, self.next_hop());
            if mode == Mode::L2Dsr {
                assert_eq!(old_frame.bytes[12..], new_frame.bytes[12..], "from the EtherType on");
            }
        }
        assert!(ports.len() == usize::from(mode.translates_source()), "one source port: {ports:?}");
        if mode.is_tunnel() {
            self.check_outer();
        }
        self.check_server(&behind);
    }

    fn mark(&self) -> u8 {
        let index = self.scene.site.servers.iter().position(|server| server.name == self.server.name);
        FIRST_DSCP + u8::try_from(index.unwrap()).unwrap()
    }

    /// Whom the appliance hands requests to.
    fn next_hop(&self) -> Mac {
        let router = || {
            let router = self.scene.router.as_ref().unwrap();
            router.ends.iter().find(|end| end.interface() == "appliance").unwrap().mac()
        };
        match self.scene.mode {
            Mode::Ipip | Mode::Gue | Mode::Dscp => router(),
            _ => self.server.wire.mac(),
        }
    }

    /// The appliance's health checks go the same way, from its own address.
    fn is_of_client(&self, frame: &Frame) -> bool {
        frame.packet().is_some_and(|packet| packet.source == self.client())
    }

    /// The outer headers of what goes to this flow's server.
    fn check_outer(&self) {
        let (real, is_v4) = (self.real(), self.vip.is_ipv4());
        let outer = frames_that(&self.sides.sent, |packet| packet.destination == real);
        let is_request = |frame: &Frame| stripped(frame).is_some_and(|inner| self.is_of_client(&inner));
        let outer: Vec<_> = outer.into_iter().filter(|(frame, _)| is_request(frame)).collect();
        assert!(!outer.is_empty());
        for (_frame, packet) in outer {
            assert_eq!(packet.source.to_string(), TUNNEL_SOURCES[usize::from(!is_v4)]);
            assert_eq!((packet.ttl, packet.traffic_class), (64, TRAFFIC_CLASS), "ECN and DSCP are copied");
            let protocol = match self.scene.mode {
                Mode::Gue => UDP,
                _ if is_v4 => 4,
                _ => 41,
            };
            assert_eq!(packet.protocol, protocol);
        }
    }

    /// The server gets what the appliance sent; between them a router at the most.
    fn check_server(&self, sent: &[Frame]) {
        if self.scene.mode.is_tunnel() {
            return;
        }
        let place = self.scene.site.servers.iter().position(|server| server.name == self.server.name);
        // The appliance's health checks come from its own address.
        let source = if self.scene.mode.translates_source() { self.vip.ip() } else { self.client() };
        let got = self.find(&self.sides.servers[place.unwrap()], |packet| packet.source == source);
        let sent: Vec<Vec<u8>> = sent.iter().map(|frame| without_addresses(&ip_packet(frame))).collect();
        let got: Vec<Vec<u8>> = got.iter().map(|(frame, _)| without_addresses(&ip_packet(frame))).collect();
        assert!(sent == got, "the server gets {} packets of {}", got.len(), sent.len());
    }

    /// The replies as the appliance got them and as it sent them on.
    fn check_replies(&self) {
        let (client, vip, real, mode) = (self.client(), self.vip.ip(), self.real(), self.scene.mode);
        let target = if mode.translates_source() { vip } else { client };
        let before =
            self.find(&self.sides.received, |packet| packet.source == real && packet.destination == target);
        let behind =
            self.find(&self.sides.sent, |packet| packet.source == vip && packet.destination == client);
        let least = if self.protocol == TCP { 3 } else { 1 };
        assert!(before.len() >= least, "{} replies", before.len());
        assert_eq!(before.len(), behind.len(), "each reply is sent on once");
        for ((old_frame, old), (new_frame, new)) in before.iter().zip(&behind) {
            let rest = [*old_frame, *new_frame].map(|frame| without_addresses(&ip_packet(frame)));
            assert_eq!(rest[0], rest[1], "what no mode rewrites");
            assert_eq!((old.traffic_class, new.traffic_class), (TRAFFIC_CLASS, TRAFFIC_CLASS));
            assert_eq!(new.ttl, old.ttl - u8::from(!mode.is_transparent()));
            assert_eq!(old.ports.unwrap().0, self.vip.port());
            assert_eq!(new.ports.unwrap().0, self.vip.port());
            if !mode.translates_source() {
                assert_eq!(old.ports, new.ports);
            }
            assert_eq!(new.vlan, old.vlan.map(|_server_vlan| 10));
            if mode == Mode::TransparentInline {
                assert_eq!((new.source_mac, new.destination_mac), (old.source_mac, old.destination_mac));
                continue;
            }
            assert_eq!(new.source_mac, self.scene.site.ports[0].mac());
            let next = match &self.scene.router {
                Some(router) => router.ends.iter().find(|end| end.interface() == "servers").unwrap().mac(),
                None => self.scene.site.client.wire.mac(),
            };
            assert_eq!(new.destination_mac, next);
        }
        self.check_client();
    }

    /// A server of direct return answers from the virtual address, and none of it crosses the appliance.
    fn check_direct_replies(&self) {
        let (client, vip) = (self.client(), self.vip.ip());
        for captured in [&self.sides.received, &self.sides.sent] {
            let crossing = self.find(captured, |packet| packet.destination == client);
            assert!(crossing.is_empty(), "a reply crosses the appliance");
        }
        let got = self.find(&self.sides.client, |packet| packet.source == vip);
        assert!(!got.is_empty() && got.iter().all(|(_, packet)| packet.traffic_class == TRAFFIC_CLASS));
        self.check_client();
    }

    /// The client has spoken with the virtual address alone.
    fn check_client(&self) {
        let strange = self.find(&self.sides.client, |packet| !packet.involves(self.vip.ip()));
        assert!(strange.is_empty(), "the client sees {:?}", strange.first());
    }
}

/// The outer source port is the flow's own: one for each flow, and not the same for all.
fn check_entropy(sides: &Sides, clients: [IpAddr; 2]) {
    let mut outer = BTreeSet::new();
    let mut inner = BTreeSet::new();
    for frame in sides.sent.frames.iter().filter(|frame| frame.inner_packet().is_some()) {
        let (packet, flow) = (frame.packet().unwrap(), frame.inner_packet().unwrap());
        if !clients.contains(&flow.source) {
            continue;
        }
        let (source, target) = packet.ports.unwrap();
        assert!(target == GUE_PORT && source >= 49_152, "{source} to {target}");
        let flow = (flow.source, flow.ports.unwrap(), flow.protocol);
        inner.insert(flow);
        outer.insert((flow, source));
    }
    let ports: BTreeSet<u16> = outer.iter().map(|(_flow, port)| *port).collect();
    assert_eq!((inner.len(), outer.len()), (6, 6), "a flow keeps its port");
    assert!(ports.len() >= 4, "six flows have {} ports", ports.len());
}
