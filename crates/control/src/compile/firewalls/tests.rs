//! Groups of a configuration in the plan: who lives, which link leads there, and what a change costs.

use super::*;
use crate::compile::{Epochs, Services, compile, owned_addresses};
use crate::facts::{Interface, NextHop, Prefix, Route, RouteKind, RouteTable};
use crate::fixtures::{firewall, group};
use crate::links::Links;
use crate::members::{Health, Moment};
use config::{Firewall, Network, Position, ProbeResponder};
use flow::{FlowKey, KeyV4};
use plan::LinkTable;
use std::net::Ipv4Addr;

const KEYS: u32 = 10_000;

fn config(groups: Vec<Configured>) -> Config {
    let ports =
        "[[port]]\nname = \"a\"\ninterface = \"eth1\"\n[[port]]\nname = \"b\"\ninterface = \"eth2\"\n";
    let outcome = config::parse(ports, "test.toml");
    let config = outcome.config.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics));
    Config { firewall_groups: groups, ..config }
}

fn three() -> Vec<Firewall> {
    vec![firewall("fw1", 1), firewall("fw2", 2), firewall("fw3", 3)]
}

/// Two interfaces, and the networks 198.18.1.0/24 on the first and 198.18.2.0/24 on the second.
fn facts() -> Facts {
    let mut facts = Facts::default();
    for index in 1..=2_u8 {
        let interface = Interface {
            index: index.into(),
            name: format!("eth{index}"),
            mac: [2; 6],
            mtu: 1500,
            up: true,
            running: true,
        };
        facts.interfaces.insert(index.into(), interface);
        facts.add_route(Route {
            destination: Prefix::new(IpAddr::from([198, 18, index, 0]), 24),
            table: RouteTable::Main,
            metric: 0,
            kind: RouteKind::Unicast,
            next_hops: vec![NextHop { gateway: None, interface: Some(index.into()), weight: 1 }],
        });
    }
    facts
}

/// All that a plan is made from, with what is remembered between two.
struct Bench {
    config: Config,
    members: Members,
    facts: Facts,
    links: Links,
    table: LinkTable,
    services: Services,
}

impl Bench {
    fn new(config: Config) -> Self {
        let table = LinkTable::new(16);
        let links = Links::new(&table);
        let mut bench = Self {
            config: config.clone(),
            members: Members::default(),
            facts: facts(),
            links,
            table,
            services: Services::default(),
        };
        bench.configure(config);
        bench
    }

    fn configure(&mut self, config: Config) {
        self.members.configure(&config, Moment::now()).unwrap();
        self.config = config;
    }

    /// Gives these next hops a link row each, and nobody else.
    fn link(&mut self, next_hops: &[(u16, [u8; 4])]) {
        let wanted = next_hops.iter().map(|&(leg, address)| ((leg, IpAddr::from(address)), None)).collect();
        self.links.update(&self.table, &wanted);
    }

    fn hasher(&self) -> FlowHasher {
        FlowHasher::new([7; 16])
    }

    fn plan(&mut self) -> Plan {
        let inputs = Inputs {
            config: &self.config,
            members: &self.members,
            links: &self.links,
            facts: &self.facts,
            mtu_bytes_max: 1_500,
            hasher: FlowHasher::new([7; 16]),
            now_ns: 0,
        };
        compile(&inputs, Epochs::default(), &mut self.services)
    }

    fn key(&self, name: &str) -> ServerKey {
        let groups = self.config.firewall_groups.iter();
        let mut all = groups.flat_map(|group| group.firewalls.iter().map(move |firewall| (group, firewall)));
        let (group, firewall) = all.find(|(_, firewall)| firewall.name == name).unwrap();
        ServerKey::of_firewall(group, firewall)
    }

    fn health(&mut self, name: &str, health: Health) {
        let key = self.key(name);
        self.members.set_health(&key, health, &"a test", Moment::now());
    }

    /// The name of the firewall that each of many flows crosses.
    fn placed(&mut self) -> Vec<Option<String>> {
        let plan = self.plan();
        let group = &plan.v4.firewalls.groups()[0];
        let name = |number| {
            let hash = group.hash.of(&key(number), &self.hasher());
            group.rows.member(hash).map(|position| group.members[position].name.clone())
        };
        (0..KEYS).map(name).collect()
    }
}

fn key(number: u32) -> KeyV4 {
    let host = |base: u32| (Ipv4Addr::from_bits(base + number), 1_000);
    KeyV4::new(Zone(0), wire::protocol::TCP, host(0xC612_0000), host(0xC613_0000))
}

#[test]
fn the_order_of_the_file_places_no_flow_elsewhere() {
    let weighted = |places: [usize; 3]| {
        let mut firewalls = three();
        firewalls[1].weight = 3;
        config(vec![group("fw", 0, places.map(|place| firewalls[place].clone()).to_vec())])
    };
    let (mut one, mut other) = (Bench::new(weighted([0, 1, 2])), Bench::new(weighted([2, 0, 1])));
    assert_eq!(one.placed(), other.placed());
    assert!(one.placed().iter().all(Option::is_some));
    let print =
        |bench: &Bench| fingerprint(&bench.config.firewall_groups[0], &bench.members, &bench.hasher());
    assert_eq!(print(&one), print(&other));
    other.config.firewall_groups[0].hash = config::FirewallHash::FiveTuple;
    assert_ne!(print(&one), print(&other));
    let renamed =
        config(vec![group("fw", 0, vec![firewall("fw1", 1), firewall("fw2", 2), firewall("fwx", 3)])]);
    assert_ne!(print(&Bench::new(renamed)), print(&Bench::new(config(vec![group("fw", 0, three())]))));
}

#[test]
fn a_firewall_that_is_not_up_has_its_rows_taken_by_others_and_gets_exactly_them_back() {
    let mut bench = Bench::new(config(vec![group("fw", 0, three())]));
    let before = bench.placed();
    for health in [Health::Down, Health::Asymmetric, Health::Checking] {
        bench.health("fw2", health);
        for (now, before) in bench.placed().into_iter().zip(&before) {
            assert_ne!(now.as_deref(), Some("fw2"));
            assert!(now == *before || before.as_deref() == Some("fw2"));
        }
        bench.health("fw2", Health::Up);
        assert_eq!(bench.placed(), before);
    }
    for name in ["fw1", "fw2", "fw3"] {
        bench.health(name, Health::Down);
    }
    assert!(bench.placed().iter().all(Option::is_none));
}

#[test]
fn what_nothing_changed_is_shared_and_what_did_is_told() {
    let groups = || vec![group("one", 0, three()), group("two", 1, vec![firewall("fw9", 9)])];
    let mut bench = Bench::new(config(groups()));
    let first = bench.plan();
    let same = bench.plan();
    assert!(!other_firewalls(&first, &same));
    bench.health("fw9", Health::Down);
    let after = bench.plan();
    assert!(other_firewalls(&first, &after));
    assert_eq!(after.v4.firewalls.groups()[1].members[0].state, MemberState::Moving);
    assert_eq!(after.v4.firewalls.groups()[0].members, first.v4.firewalls.groups()[0].members);

    bench.configure(config(groups()));
    let after = bench.plan();
    let mut other_zone = config(groups());
    other_zone.zones.push("inside".to_owned());
    other_zone.ports[1].zone = 1;
    bench.configure(other_zone);
    assert!(other_firewalls(&after, &bench.plan()));
}

#[test]
fn a_group_has_its_networks_its_limits_and_what_each_firewall_translates_to() {
    let mut configured = group("fw", 0, three());
    configured.on_recovery = config::OnRecovery::Return;
    configured.firewalls[1].nat_addresses =
        vec![Network { address: IpAddr::from([198, 18, 9, 16]), prefix_length: 28 }];
    configured.firewalls[1].max_sessions = Some(10);
    configured.firewalls[2].max_session_rate = Some(20);
    let plan = Bench::new(config(vec![configured])).plan();
    let beyond = |address: [u8; 4]| plan.v4.firewalls.beyond(Zone(0), address.into());
    assert_eq!(beyond([198, 19, 0, 7]).map(|found| found.owner), Some(None));
    assert_eq!(beyond([198, 18, 9, 17]).map(|found| found.owner), Some(Some(1)));
    assert_eq!(beyond([198, 18, 9, 15]), None);
    let [group] = plan.v4.firewalls.groups() else { panic!("one group") };
    let limits: Vec<_> =
        group.members.iter().map(|member| (member.sessions_max, member.sessions_per_s_max)).collect();
    assert_eq!(limits, [(u64::MAX, u32::MAX), (10, u32::MAX), (u64::MAX, 20)]);
    assert!(group.returns && plan.v6.firewalls.is_empty());
}

#[test]
fn a_firewalls_row_names_the_link_that_leads_there_also_while_it_drains() {
    let mut firewalls = three();
    firewalls[1].port = Some(1);
    let mut bench = Bench::new(config(vec![group("fw", 0, firewalls.clone())]));
    let row_link = |bench: &mut Bench, name: &str| {
        let id = bench.members.get(&bench.key(name)).unwrap().id;
        bench.plan().members[usize::from(id.index)].link
    };
    assert_eq!(row_link(&mut bench, "fw1"), LinkIndex::UNRESOLVED, "nobody asked for it yet");
    bench.link(&[(0, [198, 18, 1, 1]), (0, [198, 18, 1, 2])]);
    let link = *bench.links.v4().get(&(0, [198, 18, 1, 1].into())).unwrap();
    assert_eq!(row_link(&mut bench, "fw1"), link);
    assert_eq!(row_link(&mut bench, "fw2"), LinkIndex::UNRESOLVED, "its path hangs on the other port");

    let id = bench.members.get(&bench.key("fw1")).unwrap().id;
    bench.configure(config(vec![group("fw", 0, firewalls[1..].to_vec())]));
    let row = bench.plan().members[usize::from(id.index)];
    assert_eq!((row.state, row.link), (MemberState::Draining, link));
}

#[test]
fn a_firewall_behind_a_port_of_another_zone_has_no_link() {
    let mut bench = Bench::new(config(vec![group("fw", 0, three())]));
    bench.link(&[(0, [198, 18, 1, 1])]);
    let is_linked =
        |bench: &mut Bench| bench.plan().members.iter().any(|row| row.link != LinkIndex::UNRESOLVED);
    assert!(is_linked(&mut bench));
    bench.config.zones.push("inside".to_owned());
    bench.config.ports[0].zone = 1;
    assert!(!is_linked(&mut bench));
}

#[test]
fn probe_responders_are_owned_and_announced() {
    let mut config = config(vec![group("fw", 0, three())]);
    let (address, at) = (IpAddr::from([198, 18, 1, 101]), Position::default());
    config.probe_responders.push(ProbeResponder { address, group: 0, firewall: 0, at, firewall_at: at });
    assert!(owned_addresses(&config).contains(&address));
    let plan = Bench::new(config).plan();
    let address = Ipv4Addr::new(198, 18, 1, 101);
    assert!(plan.v4.responders.contains(&address));
    assert!(plan.v4.owned.get(address).is_some_and(|vip| vip.announce));
}
