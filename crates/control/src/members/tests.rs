//! Rows, states and histories of servers over reloads, checks and what the operator does.

use super::*;
use crate::fixtures::{firewall, group};
use config::{OnDown, OnFailure};
use proptest::prelude::*;
use std::time::{Duration, SystemTime};

fn config(services: &[(&str, &[u8])]) -> Config {
    let mut text = String::from("[[port]]\nname = \"a\"\ninterface = \"eth1\"\n");
    text += "[[health_check]]\nname = \"c\"\nkind = \"tcp\"\nport = 80\n";
    for (place, (name, servers)) in services.iter().enumerate() {
        text += &format!("[[service]]\nname = \"{name}\"\naddress = \"198.18.0.{}\"\n", place + 10);
        text += "protocol = \"tcp\"\nport = 80\nmode = \"routed\"\nhealth_check = \"c\"\n";
        for server in *servers {
            text += &format!("[[service.server]]\naddress = \"198.18.1.{server}\"\n");
        }
    }
    let outcome = config::parse(&text, "test.toml");
    outcome.config.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics))
}

/// One service with one server of this weight.
fn weighing(weight: u32) -> Config {
    let mut config = config(&[("web", &[1])]);
    config.services[0].servers[0].weight = weight;
    config
}

fn on_down(on_down: OnDown, servers: &[u8]) -> Config {
    let mut config = config(&[("web", servers)]);
    config.services[0].on_down = on_down;
    config
}

fn key(service: &str, server: u8) -> ServerKey {
    ServerKey { service: service.into(), address: IpAddr::from([198, 18, 1, server]), port: None }
}

/// Members whose clock goes on by a second with every word to them.
struct Told {
    members: Members,
    now: Moment,
}

impl Told {
    fn new(config: &Config) -> Self {
        let mut told = Self { members: Members::default(), now: Moment::now() };
        told.configure(config);
        told
    }

    fn tick(&mut self) -> Moment {
        let second = Duration::from_secs(1);
        self.now = Moment { steady: self.now.steady + second, wall: self.now.wall + second };
        self.now
    }

    fn configure(&mut self, config: &Config) {
        let now = self.tick();
        self.members.configure(config, now).unwrap();
    }

    fn health(&mut self, key: &ServerKey, health: Health) -> bool {
        let now = self.tick();
        self.members.set_health(key, health, &"its check", now)
    }

    fn wish(&mut self, key: &ServerKey, wish: Wish) -> bool {
        let now = self.tick();
        self.members.set_wish(key, wish, now)
    }

    fn weight(&mut self, key: &ServerKey, weight: Option<u16>) -> bool {
        let now = self.tick();
        self.members.set_weight(key, weight, now)
    }

    fn get(&self, key: &ServerKey) -> &Member {
        self.members.get(key).unwrap()
    }

    fn state(&self, key: &ServerKey) -> MemberState {
        let member = self.get(key);
        let row = self.members.rows()[usize::from(member.id.index)];
        assert_eq!(row.state, member.state(), "workers are told what it is");
        member.state()
    }

    /// The history in words: from, to, reason.
    fn story(&self, key: &ServerKey) -> Vec<String> {
        let words =
            |change: &Change| format!("{} to {}: {}", change.from.word(), change.to.word(), change.reason);
        self.get(key).history().changes().map(words).collect()
    }
}

#[test]
fn a_server_keeps_its_row_over_reloads_and_a_removed_one_drains_first() {
    let mut told = Told::new(&config(&[("web", &[1, 2])]));
    let second = told.get(&key("web", 2)).id;
    told.health(&key("web", 2), Health::Up);
    told.configure(&config(&[("web", &[2, 3])]));
    assert_eq!(told.get(&key("web", 2)).id, second);
    assert_eq!(told.state(&key("web", 2)), MemberState::Up, "health is kept");
    assert_eq!(told.state(&key("web", 1)), MemberState::Draining);
    assert!(!told.members.release_empty(|_| 1), "its sessions live");
    assert!(told.members.release_empty(|_| 0));
    assert!(told.members.get(&key("web", 1)).is_none());
}

#[test]
fn a_row_comes_back_under_another_generation() {
    let mut told = Told::new(&config(&[("web", &[1])]));
    let first = told.get(&key("web", 1)).id;
    told.configure(&config(&[]));
    told.members.release_empty(|_| 0);
    told.configure(&config(&[("web", &[7])]));
    let second = told.get(&key("web", 7)).id;
    assert_eq!(first.index, second.index);
    assert_ne!(first.generation, second.generation);
}

#[test]
fn each_death_starts_a_reset_epoch_and_nothing_else_does() {
    let mut told = Told::new(&config(&[("web", &[1, 2])]));
    let epoch = told.members.reset_epoch();
    assert!(told.health(&key("web", 1), Health::Up));
    assert!(!told.health(&key("web", 1), Health::Up));
    assert_eq!(told.members.reset_epoch(), epoch);
    told.health(&key("web", 1), Health::Down);
    assert_eq!(told.members.reset_epoch(), epoch + 1);
    told.wish(&key("web", 1), Wish::Draining);
    assert_eq!(told.members.reset_epoch(), epoch + 1);
    told.wish(&key("web", 2), Wish::Disabled);
    assert_eq!(told.members.reset_epoch(), epoch + 2);
    told.configure(&config(&[]));
    assert_eq!(told.members.reset_epoch(), epoch + 2, "both were dead already");
}

#[test]
fn what_is_shown_follows_wish_check_and_weight() {
    let mut told = Told::new(&config(&[("web", &[1])]));
    let server = key("web", 1);
    assert_eq!(told.get(&server).shown(), Shown::Checking);
    told.health(&server, Health::Up);
    assert_eq!(told.get(&server).shown(), Shown::Up);
    told.wish(&server, Wish::Draining);
    assert_eq!(told.get(&server).shown(), Shown::Draining);
    told.health(&server, Health::Down);
    assert_eq!(told.get(&server).shown(), Shown::Down);
    told.wish(&server, Wish::Disabled);
    assert_eq!(told.get(&server).shown(), Shown::Disabled);
    assert!(!told.wish(&key("web", 9), Wish::Disabled));
}

#[test]
fn where_sessions_are_kept_a_server_that_is_down_drains_and_nobody_is_reset() {
    let mut told = Told::new(&on_down(OnDown::Keep, &[1, 2, 3]));
    let (epoch, server) = (told.members.reset_epoch(), key("web", 1));
    told.health(&server, Health::Up);
    assert!(told.health(&server, Health::Down));
    assert_eq!((told.state(&server), told.get(&server).shown()), (MemberState::Draining, Shown::Down));
    assert_eq!(told.members.reset_epoch(), epoch);
    told.health(&server, Health::Up);
    assert_eq!(told.state(&server), MemberState::Up);
    assert_eq!(told.members.reset_epoch(), epoch);

    // A server that is taken out or removed with its service is reset all the same; one that is removed alone drains.
    told.health(&key("web", 2), Health::Down);
    told.configure(&on_down(OnDown::Keep, &[1, 3]));
    assert_eq!(told.state(&key("web", 2)), MemberState::Draining);
    told.wish(&server, Wish::Disabled);
    assert_eq!((told.state(&server), told.members.reset_epoch()), (MemberState::Dead, epoch + 1));
    told.configure(&config(&[]));
    assert_eq!((told.state(&key("web", 3)), told.members.reset_epoch()), (MemberState::Dead, epoch + 2));
}

#[test]
fn a_reload_that_keeps_sessions_no_longer_resets_those_of_servers_that_are_down() {
    let mut told = Told::new(&on_down(OnDown::Keep, &[1]));
    let (epoch, server) = (told.members.reset_epoch(), key("web", 1));
    told.health(&server, Health::Down);
    told.configure(&on_down(OnDown::Reset, &[1]));
    assert_eq!((told.state(&server), told.members.reset_epoch()), (MemberState::Dead, epoch + 1));
    assert_eq!(told.get(&server).shown(), Shown::Down);
}

#[test]
fn the_operators_weight_holds_over_reloads_until_it_is_given_back() {
    let mut told = Told::new(&weighing(3));
    let server = key("web", 1);
    told.health(&server, Health::Up);
    let seen = |told: &Told| {
        let member = told.get(&server);
        (member.weight(), member.configured_weight().unwrap(), member.differs())
    };
    assert_eq!(seen(&told), (3, 3, vec![]));
    assert!(told.weight(&server, Some(7)));
    assert_eq!(seen(&told), (7, 3, vec!["weight"]));
    told.configure(&weighing(5));
    assert_eq!(seen(&told), (7, 5, vec!["weight"]), "also when the file's own changes");
    told.configure(&weighing(7));
    assert_eq!(seen(&told), (7, 7, vec![]), "nothing differs, and yet the operator's holds");
    told.configure(&weighing(5));
    assert_eq!(seen(&told), (7, 5, vec!["weight"]));
    assert!(told.weight(&server, None));
    assert_eq!(seen(&told), (5, 5, vec![]));
    assert!(!told.weight(&key("web", 9), Some(1)), "there is no such server");
}

#[test]
fn weight_zero_of_either_takes_no_new_sessions_and_keeps_the_old() {
    let mut told = Told::new(&weighing(1));
    let (server, epoch) = (key("web", 1), told.members.reset_epoch());
    told.health(&server, Health::Up);
    told.weight(&server, Some(0));
    assert_eq!((told.state(&server), told.get(&server).shown()), (MemberState::Draining, Shown::Draining));
    told.weight(&server, Some(2));
    told.configure(&weighing(0));
    assert_eq!(told.state(&server), MemberState::Up, "the operator's weight is in force");
    told.weight(&server, None);
    assert_eq!((told.state(&server), told.members.reset_epoch()), (MemberState::Draining, epoch));
}

#[test]
fn health_wish_weight_and_history_survive_a_reload() {
    let mut told = Told::new(&config(&[("web", &[1, 2, 3])]));
    for server in 1..=3 {
        told.health(&key("web", server), Health::Up);
    }
    told.health(&key("web", 1), Health::Down);
    told.wish(&key("web", 2), Wish::Disabled);
    told.wish(&key("web", 3), Wish::Draining);
    told.weight(&key("web", 3), Some(9));
    let seen = |told: &Told| -> Vec<_> {
        let one = |server| {
            let member = told.get(&key("web", server));
            let since = member.history().since();
            (
                member.id,
                member.shown(),
                member.weight(),
                member.differs(),
                since,
                told.story(&key("web", server)),
            )
        };
        (1..=3).map(one).collect()
    };
    let (before, epoch) = (seen(&told), told.members.reset_epoch());
    let shown: Vec<Shown> = before.iter().map(|server| server.1).collect();
    assert_eq!(shown, [Shown::Down, Shown::Disabled, Shown::Draining]);
    assert_eq!(before[2].3, ["weight", "draining"]);
    told.configure(&config(&[("dns", &[4]), ("web", &[3, 5, 2, 1])]));
    assert_eq!(seen(&told), before);
    assert_eq!(told.members.reset_epoch(), epoch);
}

#[test]
fn what_became_of_a_server_is_told_with_reasons() {
    let mut told = Told::new(&config(&[("web", &[1])]));
    let server = key("web", 1);
    told.health(&server, Health::Up);
    let up = told.now;
    told.weight(&server, Some(5));
    assert_eq!(told.get(&server).history().since(), up, "a weight changes no state");
    told.weight(&server, Some(5));
    told.health(&server, Health::Down);
    told.wish(&server, Wish::Draining);
    told.health(&server, Health::Up);
    told.wish(&server, Wish::Enabled);
    told.weight(&server, None);
    told.configure(&weighing(0));
    told.configure(&config(&[("web", &[2])]));
    told.configure(&config(&[("web", &[1])]));
    let expected = [
        "checking to up: its check",
        "up to up: weight 5 by the operator",
        "up to down: its check",
        "down to down: draining by the operator",
        "down to draining: its check",
        "draining to up: enabled by the operator",
        "up to up: weight given back to the file by the operator",
        "up to draining: weight 0 in the file",
        "draining to up: in the file again",
    ];
    assert_eq!(told.story(&server), expected);
    let at: Vec<SystemTime> = told.get(&server).history().changes().map(|change| change.at.wall).collect();
    assert!(at.is_sorted());
}

#[test]
fn a_server_that_is_put_back_into_the_file_begins_without_the_operators_wishes() {
    let mut told = Told::new(&config(&[("web", &[1, 2])]));
    let server = key("web", 1);
    told.health(&server, Health::Up);
    told.wish(&server, Wish::Draining);
    told.weight(&server, Some(4));
    told.configure(&config(&[("web", &[2])]));
    assert_eq!(told.get(&server).differs(), Vec::<&str>::new(), "the file does not have it at all");
    assert!(!told.weight(&server, Some(3)) && !told.wish(&server, Wish::Enabled));
    told.configure(&config(&[("web", &[1, 2])]));
    let member = told.get(&server);
    assert_eq!((member.shown(), member.weight(), member.differs()), (Shown::Up, 1, vec![]));
}

#[test]
fn no_more_than_the_last_sixteen_changes_are_kept() {
    let mut told = Told::new(&config(&[("web", &[1])]));
    let server = key("web", 1);
    for turn in 0..100 {
        told.health(&server, if turn % 2 == 0 { Health::Up } else { Health::Down });
    }
    let history: Vec<&Change> = told.get(&server).history().changes().collect();
    assert_eq!(history.len(), CHANGES_KEPT_MAX);
    assert!(history.windows(2).all(|pair| pair[0].to == pair[1].from));
    assert_eq!(history.last().unwrap().at, told.now);
}

/// Two services, and a group of these firewalls whose paths are probed.
fn fenced(on_failure: OnFailure, firewalls: &[u8]) -> Config {
    let mut config = config(&[("web", &[1, 2])]);
    let names = firewalls.iter().map(|&last| firewall(&format!("fw{last}"), last)).collect();
    let mut group = group("fw", 0, names);
    (group.on_failure, group.health_check) = (on_failure, Some(0));
    config.firewall_groups.push(group);
    config
}

#[test]
fn firewalls_have_the_first_rows_and_servers_those_behind() {
    let told = Told::new(&fenced(OnFailure::Move, &[1, 2]));
    let mut rows: Vec<(u16, &str)> =
        told.members.all().map(|(key, member)| (member.id.index, key.service.as_str())).collect();
    rows.sort();
    assert_eq!(rows, [(0, "fw"), (1, "fw"), (2, "web"), (3, "web")]);
    assert_eq!(told.get(&key("fw", 2)).path().map(|path| path.name.as_str()), Some("fw2"));
    assert!(told.get(&key("web", 2)).path().is_none());
}

#[test]
fn a_new_firewall_takes_a_row_of_a_small_number_or_is_refused() {
    let servers = |count: usize| {
        let mut config = config(&[("web", &[1])]);
        let like = config.services[0].servers[0].clone();
        config.services[0].servers = (0..count as u32)
            .map(|place| config::Server { address: IpAddr::V4((0xC612_0000 + place).into()), ..like.clone() })
            .collect();
        config
    };
    let with_firewall = |mut config: Config| {
        config.firewall_groups.push(group("fw", 0, vec![firewall("fw1", 1)]));
        config
    };
    let mut told = Told::new(&servers(FIREWALL_ROWS_MAX));
    let refused = told.members.configure(&with_firewall(servers(FIREWALL_ROWS_MAX)), told.now);
    assert_eq!(refused, Err(TooManyServers::Firewalls));
    // The last server has the last small row, and behind it stand others.
    told.configure(&servers(FIREWALL_ROWS_MAX + 2));
    told.configure(&servers(FIREWALL_ROWS_MAX - 1));
    told.members.release_empty(|_| 0);
    told.configure(&with_firewall(servers(FIREWALL_ROWS_MAX - 1)));
    assert!(usize::from(told.get(&key("fw", 1)).id.index) < FIREWALL_ROWS_MAX);
}

#[test]
fn what_a_failure_means_for_the_flows_of_a_firewall_is_the_groups_to_say() {
    let meanings = [
        (OnFailure::Move, MemberState::Moving, 0),
        (OnFailure::Reset, MemberState::Dead, 1),
        (OnFailure::Keep, MemberState::Draining, 0),
    ];
    for (on_failure, state, resets) in meanings {
        let mut told = Told::new(&fenced(on_failure, &[1, 2]));
        let one = key("fw", 1);
        assert_eq!((told.state(&one), told.get(&one).shown()), (MemberState::Draining, Shown::Checking));
        told.health(&one, Health::Up);
        assert_eq!(told.state(&one), MemberState::Up);
        let epoch = told.members.reset_epoch();
        for (health, shown) in [(Health::Down, Shown::Down), (Health::Asymmetric, Shown::Asymmetric)] {
            assert!(told.health(&one, health));
            assert_eq!((told.state(&one), told.get(&one).shown()), (state, shown), "{on_failure:?}");
        }
        assert_eq!(told.members.reset_epoch(), epoch + resets);
        told.health(&one, Health::Up);
        assert_eq!(told.state(&one), MemberState::Up);
        told.wish(&one, Wish::Disabled);
        assert_eq!((told.state(&one), told.get(&one).shown()), (state, Shown::Disabled));
        told.wish(&one, Wish::Draining);
        assert_eq!((told.state(&one), told.get(&one).shown()), (MemberState::Draining, Shown::Draining));
    }
}

#[test]
fn a_check_that_begins_with_a_reload_leaves_the_flows_where_they_are() {
    let unchecked = |mut config: Config| {
        config.firewall_groups[0].health_check = None;
        config
    };
    let mut told = Told::new(&unchecked(fenced(OnFailure::Move, &[1])));
    assert_eq!(told.state(&key("fw", 1)), MemberState::Up);
    told.configure(&fenced(OnFailure::Move, &[1]));
    assert_eq!(told.state(&key("fw", 1)), MemberState::Draining);
}

#[test]
fn a_removed_firewall_drains_and_those_of_a_removed_group_hand_their_flows_on() {
    for on_failure in [OnFailure::Move, OnFailure::Reset, OnFailure::Keep] {
        let mut told = Told::new(&fenced(on_failure, &[1, 2]));
        for last in [1, 2] {
            told.health(&key("fw", last), Health::Up);
        }
        let epoch = told.members.reset_epoch();
        told.configure(&fenced(on_failure, &[2]));
        assert_eq!(told.state(&key("fw", 1)), MemberState::Draining);
        told.configure(&config(&[("web", &[1, 2])]));
        assert_eq!([1, 2].map(|last| told.state(&key("fw", last))), [MemberState::Moving; 2]);
        assert_eq!(told.members.reset_epoch(), epoch, "nothing is reset");
        assert_eq!(told.get(&key("fw", 1)).path().map(|path| path.zone), Some(0), "its way is still known");
    }
}

#[derive(Clone, Copy, Debug)]
enum Word {
    Health(Health),
    Wish(Wish),
    Weight(Option<u16>),
    /// The service's servers, by bits, and what becomes of their sessions.
    File(u8, OnDown),
}

fn word() -> impl Strategy<Value = Word> {
    let health = prop::sample::select(vec![Health::Checking, Health::Up, Health::Down]);
    let wish = prop::sample::select(vec![Wish::Enabled, Wish::Draining, Wish::Disabled]);
    let on_down = prop::sample::select(vec![OnDown::Keep, OnDown::Reset]);
    prop_oneof![
        4 => health.prop_map(Word::Health),
        2 => wish.prop_map(Word::Wish),
        2 => prop::option::of(0_u16..3).prop_map(Word::Weight),
        1 => (0_u8..4, on_down).prop_map(|(servers, on_down)| Word::File(servers, on_down)),
    ]
}

proptest! {
    /// Whatever is said in whatever order: rows say what members are, an epoch begins exactly with a death, and each
    /// history leads to what is shown.
    #[test]
    fn rows_epochs_and_histories_follow_what_is_said(words in prop::collection::vec((0_u8..2, word()), 1..60)) {
        let mut told = Told::new(&on_down(OnDown::Reset, &[0, 1]));
        for (server, word) in words {
            let server = key("web", server);
            let dead = |told: &Told| -> Vec<MemberId> {
                let is_dead = |member: &&Member| member.state() == MemberState::Dead;
                told.members.all().map(|(_, member)| member).filter(is_dead).map(|member| member.id).collect()
            };
            let (before, epoch) = (dead(&told), told.members.reset_epoch());
            match word {
                Word::Health(health) => {
                    told.health(&server, health);
                }
                Word::Wish(wish) => {
                    told.wish(&server, wish);
                }
                Word::Weight(weight) => {
                    told.weight(&server, weight);
                }
                Word::File(bits, kept) => {
                    let servers: Vec<u8> = (0..2).filter(|bit| bits >> bit & 1 == 1).collect();
                    told.configure(&on_down(kept, &servers));
                }
            }
            let died = dead(&told).iter().any(|id| !before.contains(id));
            prop_assert_eq!(told.members.reset_epoch(), epoch + u64::from(died));
            for (key, member) in told.members.all() {
                prop_assert_eq!(told.state(key), member.state());
                let changes: Vec<&Change> = member.history().changes().collect();
                prop_assert!(changes.len() <= CHANGES_KEPT_MAX);
                prop_assert!(changes.windows(2).all(|pair| pair[0].to == pair[1].from));
                prop_assert_eq!(changes.last().map_or(Shown::Checking, |change| change.to), member.shown());
                prop_assert!(member.history().since().steady <= told.now.steady);
            }
        }
    }
}
