//! Firewalls, what goes wrong around them, and the sandwich that they are built into, with plain kernel routers
//! in the appliances' places.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use lab::topology::fwlb::{FwlbPlan, FwlbSite, Side, fwlb_site, published_address};
use lab::topology::{HOLD_PORT, UDP_PORT};
use lab::{
    Calls, Chatter, Datagrams, ESTABLISHED, Filtering, Firewall, FirewallPolicy, FtpMode, FtpServer,
    HeldConnections, HeldState, INVALID, OPENED, Pinged, RELATED, TcpHold, Testbed, UNTRACKED, UdpEcho,
    ftp_fetch, ftp_store, ping_many, send_frames, udp_ask,
};

/// Long enough for any machine, since nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long an answer is waited for where none can come.
const SILENCE: Duration = Duration::from_millis(400);

/// A protocol that nobody speaks (RFC 3692, 2.1).
const EXPERIMENT: u8 = 253;

fn build(label: &str, plan: &FwlbPlan) -> Option<(Testbed, FwlbSite)> {
    let programs = ["nft", "ping", "conntrack", "conntrackd", "vsftpd", "curl"];
    let programs = programs.iter().try_for_each(|name| lab::find_program(name).map(|_path| ()));
    if let Err(why) = Testbed::check_machine().and(programs) {
        eprintln!("skipped: {why}");
        return None;
    }
    let testbed = Testbed::new(label).unwrap();
    let site = fwlb_site(&testbed, plan).unwrap();
    site.route_over(0).unwrap();
    Some((testbed, site))
}

fn plan(firewalls: &[FirewallPolicy]) -> FwlbPlan {
    FwlbPlan { firewalls: firewalls.into(), ..FwlbPlan::sandwich() }
}

fn filtering(filtering: Filtering) -> FirewallPolicy {
    FirewallPolicy { filtering, ..FirewallPolicy::default() }
}

/// One connection of each family from the client to the first server.
fn hold(site: &FwlbSite) -> HeldConnections {
    let mut all: Option<HeldConnections> = None;
    for address in site.servers[0].addresses() {
        let one = open(site, (address, HOLD_PORT).into());
        match &mut all {
            Some(held) => held.append(one),
            None => all = Some(one),
        }
    }
    all.unwrap()
}

fn open(site: &FwlbSite, target: SocketAddr) -> HeldConnections {
    HeldConnections::open(site.client.namespace(), target, 1, PATIENCE).unwrap().unwrap()
}

fn server(site: &FwlbSite) -> (TcpHold, UdpEcho) {
    let namespace = site.servers[0].namespace();
    let hold = TcpHold::start(namespace, "server1", HOLD_PORT).unwrap();
    (hold, UdpEcho::start(namespace, "server1", UDP_PORT).unwrap())
}

fn alive(count: usize) -> Vec<HeldState> {
    vec![HeldState::Alive("server1".into()); count]
}

fn silent(count: usize) -> Vec<HeldState> {
    vec![HeldState::Silent; count]
}

fn ask(site: &FwlbSite, server: IpAddr, limit: Duration) -> bool {
    let ask = || udp_ask((server, UDP_PORT).into(), limit);
    site.client.namespace().run(ask).unwrap().is_ok()
}

fn ping(site: &FwlbSite, address: IpAddr) -> bool {
    site.client.namespace().ping(address, PATIENCE).unwrap()
}

fn count(firewall: &Firewall, name: &str) -> u64 {
    firewall.counter(name).unwrap()
}

#[test]
fn a_firewall_drops_what_it_has_not_seen_opening_and_counts_it() {
    let kinds = [Filtering::Strict, Filtering::Strict, Filtering::PicksUp].map(filtering);
    let Some((_testbed, site)) = build("lab-firewall", &plan(&kinds)) else { return };
    let _server = server(&site);
    let [first, second, third] = &site.firewalls[..] else { panic!("three firewalls") };
    let mut held = hold(&site);
    assert_eq!(held.probe(PATIENCE), alive(2));
    for address in site.servers[0].addresses() {
        assert!(ask(&site, address, PATIENCE) && ping(&site, address), "{address}");
    }

    let expected = [(1, 1), (6, 2), (17, 2), (58, 1)];
    assert_eq!(first.flows_per_protocol().unwrap(), expected.into());
    let mut keys = held.local_addresses();
    keys.sort();
    let tcp = first.flows().unwrap().into_iter().filter(|flow| flow.original.protocol == 6);
    let mut tcp: Vec<_> = tcp.collect();
    tcp.sort_by_key(|flow| flow.original.source);
    assert_eq!(tcp.iter().map(|flow| flow.original.source).collect::<Vec<_>>(), keys);
    for flow in &tcp {
        assert_eq!((flow.state.as_str(), flow.replied), ("ESTABLISHED", true), "{flow:?}");
        assert_eq!(flow.reply.source, flow.original.destination);
        assert_eq!(flow.reply.either_way(), flow.original.either_way());
    }
    assert_eq!((count(first, OPENED), count(first, INVALID), count(first, UNTRACKED)), (6, 0, 0));
    assert!(count(first, ESTABLISHED) > 6);

    // A protocol that nobody may open a connection with.
    let (leg, source) = (&first.legs()[0], &site.appliance(Side::Outer).unwrap().ports[1]);
    let (IpAddr::V4(from), IpAddr::V4(to)) = (site.client.v4, site.servers[0].v4) else { panic!("IPv4") };
    let frame = wire::build::ethernet(source.mac(), leg.mac()).ipv4(from, to).raw(EXPERIMENT, &[0; 8]);
    send_frames(source, &[frame]).unwrap();
    wait_for(|| count(first, UNTRACKED) == 1);

    // In the middle of connections, a strict firewall takes none over, and one that picks up takes all.
    site.route_over(1).unwrap();
    assert_eq!(held.probe(SILENCE), silent(2));
    assert!(count(second, INVALID) >= 2);
    assert_eq!(count(second, OPENED), 0);
    assert_eq!(second.flows_per_protocol().unwrap().get(&6), None);
    site.route_over(2).unwrap();
    assert_eq!(held.probe(PATIENCE), alive(2));
    assert_eq!(third.flows_per_protocol().unwrap().get(&6), Some(&2));
    assert!(!first.flow_set().unwrap().is_disjoint(&third.flow_set().unwrap()));
}

fn wait_for(mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn firewalls_fail_in_every_way_and_come_back() {
    let kinds = [Filtering::Strict, Filtering::Strict, Filtering::Passes].map(filtering);
    let Some((_testbed, mut site)) = build("lab-faults", &plan(&kinds)) else { return };
    let _server = server(&site);
    let servers = site.servers[0].addresses();
    let all = |site: &FwlbSite, limit| servers.map(|address| ask(site, address, limit));
    assert_eq!(all(&site, PATIENCE), [true; 2]);
    for leg in [0, 1] {
        site.firewalls[0].cut(leg).unwrap();
        assert_eq!(all(&site, SILENCE), [false; 2], "leg {leg} is cut");
        site.firewalls[0].mend(leg).unwrap();
        assert_eq!(all(&site, PATIENCE), [true; 2]);
    }
    site.firewalls[0].kill().unwrap();
    assert_eq!(site.firewalls[0].flows_per_protocol().unwrap().get(&17), None);
    assert_eq!(all(&site, SILENCE), [false; 2], "it is dead");
    site.firewalls[0].restore().unwrap();
    assert_eq!(all(&site, PATIENCE), [true; 2]);

    // Deaf on the far side, it lets questions through and no answer back.
    site.firewalls[0].forget_flows().unwrap();
    let deafness = site.firewalls[0].make_deaf(1).unwrap();
    assert_eq!(all(&site, SILENCE), [false; 2], "it is deaf");
    let flows = site.firewalls[0].flows().unwrap();
    let questions: Vec<_> = flows.iter().filter(|flow| flow.original.protocol == 17).collect();
    assert!(questions.len() == 2 && questions.iter().all(|flow| !flow.replied), "{questions:?}");
    drop(deafness);
    assert_eq!(all(&site, PATIENCE), [true; 2]);

    // An answer over another firewall arrives where that one passes everything, and else not.
    let pings =
        |site: &FwlbSite, limit| servers.map(|address| site.client.namespace().ping(address, limit).unwrap());
    let misrouting = site.misroute(Side::Inner, 0, 2).unwrap();
    assert_eq!(pings(&site, PATIENCE), [true; 2]);
    let flows = site.firewalls[0].flows().unwrap();
    assert!(flows.iter().filter(|flow| flow.original.protocol != 17).all(|flow| !flow.replied), "{flows:?}");
    drop(misrouting);
    let _misrouting = site.misroute(Side::Inner, 0, 1).unwrap();
    assert_eq!(pings(&site, Duration::from_secs(1)), [false; 2]);
    assert_eq!(count(&site.firewalls[1], INVALID), 2);
}

#[test]
fn ftp_crosses_a_firewall_only_when_it_reads_the_control_connection() {
    let reads_ftp = FirewallPolicy { reads_ftp: true, tcp_ports: vec![21], ..FirewallPolicy::default() };
    let does_not = FirewallPolicy { reads_ftp: false, ..reads_ftp.clone() };
    let Some((_testbed, site)) = build("lab-ftp", &plan(&[reads_ftp, does_not])) else { return };
    let length = 300_000;
    let server = FtpServer::start(site.servers[0].namespace(), "server1", length).unwrap();
    let client = site.client.namespace();
    for (place, address) in site.servers[0].addresses().into_iter().enumerate() {
        for mode in [FtpMode::Active, FtpMode::Passive] {
            assert_eq!(ftp_fetch(client, address, mode, PATIENCE).unwrap(), Ok(length), "{address} {mode:?}");
            let name = format!("{mode:?}{place}");
            let stored = ftp_store(client, address, mode, PATIENCE, (&name, 50_000)).unwrap();
            assert_eq!(stored, Ok(()), "{address} {mode:?}");
            assert_eq!(server.stored_bytes(&name).unwrap(), 50_000);
        }
    }
    let first = &site.firewalls[0];
    // Eight transfers, each with a control and a data connection.
    assert_eq!((count(first, OPENED), count(first, RELATED)), (8, 8));
    assert_eq!((count(first, INVALID), count(first, UNTRACKED)), (0, 0));

    site.route_over(1).unwrap();
    let limit = Duration::from_secs(1);
    for mode in [FtpMode::Active, FtpMode::Passive] {
        assert!(ftp_fetch(client, site.servers[0].v4, mode, limit).unwrap().is_err(), "{mode:?}");
    }
    assert!(count(&site.firewalls[1], UNTRACKED) > 0);
}

#[test]
fn firewalls_that_are_bridges_filter_as_routed_ones_do() {
    let kinds = [Filtering::Strict, Filtering::Strict, Filtering::PicksUp].map(|filtering| FirewallPolicy {
        filtering,
        bridged: true,
        ..FirewallPolicy::default()
    });
    let Some((_testbed, site)) = build("lab-stealth", &plan(&kinds)) else { return };
    let _server = server(&site);
    let mut held = hold(&site);
    assert_eq!(held.probe(PATIENCE), alive(2));
    for address in site.servers[0].addresses() {
        assert!(ask(&site, address, PATIENCE) && ping(&site, address), "{address}");
    }
    let [first, second, _third] = &site.firewalls[..] else { panic!("three firewalls") };
    assert_eq!(first.flows_per_protocol().unwrap(), [(1, 1), (6, 2), (17, 2), (58, 1)].into());
    assert_eq!((count(first, OPENED), count(first, INVALID), count(first, UNTRACKED)), (6, 0, 0));
    site.route_over(1).unwrap();
    assert_eq!(held.probe(SILENCE), silent(2));
    assert!(count(second, INVALID) >= 2);
    site.route_over(2).unwrap();
    assert_eq!(held.probe(PATIENCE), alive(2));
}

#[test]
fn firewalls_that_share_what_they_know_take_each_others_connections_over() {
    let plan = FwlbPlan { share_flows: true, ..FwlbPlan::sandwich() };
    let Some((_testbed, mut site)) = build("lab-sharing", &plan) else { return };
    let _server = server(&site);
    let mut held = hold(&site);
    assert_eq!(held.probe(PATIENCE), alive(2));
    let established = |firewall: &Firewall| {
        let flows = firewall.flows().unwrap();
        flows.iter().filter(|flow| flow.state == "ESTABLISHED").count()
    };
    wait_for(|| site.firewalls[1..].iter().all(|firewall| established(firewall) == 2));
    site.firewalls[0].kill().unwrap();
    assert_eq!(established(&site.firewalls[0]), 0);
    for successor in [1, 2] {
        site.route_over(successor).unwrap();
        assert_eq!(held.probe(PATIENCE), alive(2));
        let firewall = &site.firewalls[successor];
        assert_eq!(
            (count(firewall, INVALID), count(firewall, UNTRACKED), count(firewall, OPENED)),
            (0, 0, 0)
        );
    }
    site.firewalls[0].restore().unwrap();
    let _another = hold(&site);
    wait_for(|| established(&site.firewalls[0]) == 2);
}

#[test]
fn a_firewall_that_translates_hides_servers_and_shows_one() {
    let Some((_testbed, site)) = build("lab-nat", &FwlbPlan::nat()) else { return };
    let _server = server(&site);
    let clients_server = TcpHold::start(site.client.namespace(), "client", HOLD_PORT).unwrap();
    for firewall in [0, 2] {
        site.route_over(firewall).unwrap();
        for like in site.client.addresses() {
            let shown = published_address(firewall, like);
            assert_eq!(open(&site, (shown, HOLD_PORT).into()).probe(PATIENCE), alive(1), "{shown}");
            let (server, target) = (site.servers[1].namespace(), (like, HOLD_PORT).into());
            let mut held = HeldConnections::open(server, target, 1, PATIENCE).unwrap().unwrap();
            assert_eq!(held.probe(PATIENCE), [HeldState::Alive("client".into())]);
            let seen: Vec<IpAddr> = clients_server.clients().iter().map(SocketAddr::ip).collect();
            let [network, length] = [shown, like].map(|ip| if ip.is_ipv4() { 29 } else { 125 });
            assert_eq!(network, length);
            let below = |ip: &IpAddr| match (ip, shown) {
                (IpAddr::V4(seen), IpAddr::V4(shown)) => {
                    (1..=8).contains(&(shown.to_bits() - seen.to_bits()))
                }
                (IpAddr::V6(seen), IpAddr::V6(shown)) => {
                    (1..=8).contains(&(shown.to_bits() - seen.to_bits()))
                }
                _ => false,
            };
            assert!(seen.iter().any(below), "{seen:?} below {shown}");
        }
        assert_eq!(count(&site.firewalls[firewall], UNTRACKED), 0);
    }
}

#[test]
fn flows_of_many_callers_go_both_ways_and_tell_who_lost_what() {
    let Some((_testbed, site)) = build("lab-flows", &FwlbPlan::sandwich()) else { return };
    let client = site.client.namespace();
    let start = |server: &lab::topology::Host| {
        let (namespace, name) = (server.namespace(), &server.name);
        let hold = TcpHold::start(namespace, name, HOLD_PORT).unwrap();
        (hold, UdpEcho::start(namespace, name, UDP_PORT).unwrap())
    };
    let _servers: Vec<_> = site.servers.iter().map(start).collect();
    let _callee = TcpHold::start(client, "client", HOLD_PORT).unwrap();
    for like in site.client.addresses() {
        let callers: Vec<IpAddr> = (0..20).map(|index| site.caller(index * 200, like)).collect();
        let servers = |port| site.servers.iter().map(move |server| (server.address_like(like), port).into());
        let calls = |targets: Vec<SocketAddr>, sources: &[IpAddr]| Calls {
            further_targets: targets[1..].into(),
            sources: sources.into(),
            count: 60,
            hold: true,
            ..Calls::to(targets[0])
        };
        let inwards = calls(servers(HOLD_PORT).collect(), &callers).make(client).unwrap();
        let outwards = callers.iter().map(|caller| (*caller, HOLD_PORT).into()).collect();
        let outwards = calls(outwards, &[]).make(site.servers[0].namespace()).unwrap();
        let each = site.servers.iter().map(|server| (&*server.name, 20)).collect();
        assert_eq!((inwards.per_server(), outwards.per_server()), (each, [("client", 60)].into()));

        let chatter = Chatter {
            padding_bytes: 100,
            interval: Duration::from_millis(10),
            timeout: PATIENCE,
            limit: PATIENCE,
        };
        let busy = [inwards, outwards].map(|called| called.held.keep_busy(chatter));
        let datagrams = Datagrams {
            targets: servers(UDP_PORT).collect(),
            sources: callers.clone(),
            count: 30,
            interval: Duration::from_millis(20),
            timeout: SILENCE,
            limit: PATIENCE,
        };
        let datagrams = datagrams.start(client).unwrap();
        let pair = (callers[0], site.servers[0].address_like(like));
        let pinged = ping_many(client, pair, 20, Duration::from_millis(5), PATIENCE).unwrap();
        assert_eq!(pinged, Pinged { sent: 20, answered: 20 });
        wait_for(|| datagrams.rounds() >= 3 && busy.iter().all(|busy| busy.rounds() >= 3));
        let deafness = site.firewalls[0].make_deaf(0).unwrap();
        let pinged = ping_many(client, pair, 3, Duration::from_millis(5), Duration::from_secs(1)).unwrap();
        assert_eq!(pinged, Pinged { sent: 3, answered: 0 });
        drop(deafness);
        for busy in busy {
            let states = busy.stop().states;
            assert_eq!(states.len(), 60);
            assert!(
                states.iter().all(|state| matches!(state, HeldState::Alive(_))),
                "TCP repeats: {states:?}"
            );
        }
        let flows = datagrams.stop();
        assert_eq!(flows.len(), 30);
        for (index, flow) in flows.iter().enumerate() {
            assert!(flow.answered >= 3 && flow.lost() >= 1, "{flow:?}");
            assert_eq!(flow.local.ip(), callers[index % 20]);
            assert_eq!(flow.server.as_deref(), Some(&*site.servers[index % 3].name));
        }
    }
    let counts = site.firewalls[0].flows_per_protocol().unwrap();
    assert_eq!((counts[&6], counts[&17]), (240, 60));
    assert_eq!((count(&site.firewalls[0], INVALID), count(&site.firewalls[0], UNTRACKED)), (0, 0));
}

#[test]
fn three_sides_reach_each_other_over_one_firewall() {
    let Some((_testbed, site)) = build("lab-dmz", &FwlbPlan::dmz()) else { return };
    site.route_over(1).unwrap();
    let (inner, dmz) = (&site.servers[2], &site.dmz_servers[1]);
    let pairs =
        [(&site.client, inner), (inner, &site.client), (&site.client, dmz), (dmz, inner), (inner, dmz)];
    for (from, to) in pairs {
        for address in to.addresses() {
            assert!(from.namespace().ping(address, PATIENCE).unwrap(), "{} to {address}", from.name);
        }
    }
    assert_eq!(count(&site.firewalls[1], OPENED), 10);
}
