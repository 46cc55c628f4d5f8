//! Every scheduler, held against what was asked of it.

use super::*;
use crate::{Cursor, Mode, PortRange, PreferenceRows, RowMember, SourceNat, Wheel};
use crate::{MemberState, service::ServiceMember};
use flow::{FlowHasher, FlowKey, V4, Zone};
use rewrite::MemberId;
use std::collections::HashMap;
use std::net::Ipv4Addr;

const SECOND_NS: u64 = 1_000_000_000;

/// A service with the members' weights and a world to choose in.
struct Stage {
    service: Service<V4>,
    loads: Loads,
    hasher: FlowHasher,
    now_ns: u64,
}

impl Stage {
    fn new(scheduler: Scheduler, weights: &[u32]) -> Self {
        let member = |(index, &weight): (usize, &u32)| ServiceMember {
            id: MemberId { index: index as u16, generation: 0 },
            address: Ipv4Addr::from_bits(0xc612_0100 + index as u32),
            port: None,
            state: MemberState::Up,
            weight,
            sessions_max: u64::MAX,
            warming: None,
            dscp: 0,
        };
        let service = Service {
            name: "web".into(),
            address: Ipv4Addr::new(198, 18, 0, 10),
            protocol: Some(6),
            ports: PortRange { first: 80, last: 80 },
            announce: true,
            members: weights.iter().enumerate().map(member).collect(),
            available: (0..weights.len() as u16).collect(),
            positions: (0..weights.len() as u16)
                .map(|at| (MemberId { index: at, generation: 0 }, at))
                .collect(),
            cursor: Cursor::default(),
            wheel: Wheel::new(weights.iter().map(|&weight| if scheduler.has_weights() { weight } else { 1 })),
            scheduler,
            mode: Mode::Routed,
            source_nat: SourceNat::Never,
            rows: None,
            persistence: None,
        };
        let hasher = FlowHasher::new([3; 16]);
        Self { service, loads: Loads::new(weights.len()), hasher, now_ns: 100 * SECOND_NS }
    }

    fn hashing(weights: &[u32], warming: &[usize], fields: HashFields) -> Self {
        let member = |(index, &weight): (usize, &u32)| RowMember {
            identity: vec![index as u8],
            weight,
            is_backup: false,
        };
        let members: Vec<RowMember> = weights.iter().enumerate().map(member).collect();
        let rows = PreferenceRows::build(&members, &vec![true; members.len()], &FlowHasher::new([3; 16]));
        let warm: Vec<bool> = (0..members.len()).map(|index| !warming.contains(&index)).collect();
        let rows_without_warming = (!warming.is_empty()).then(|| rows.with(&warm));
        Self::new(Scheduler::Hash { fields, rows, rows_without_warming }, weights)
    }

    /// Chooses for flow number `flow`; gives the member.
    fn choose(&self, flow: u32) -> Result<usize, Unserved> {
        self.choose_from(flow, Mac([2, 0, 0, 0, 0, 1]))
    }

    fn choose_from(&self, flow: u32, source_mac: Mac) -> Result<usize, Unserved> {
        let source = (Ipv4Addr::from_bits(0xc613_0000 + flow), 1_024);
        let key = <V4 as Family>::Key::new(Zone::default(), 6, source, (self.service.address, 80));
        let hash = key.hash(&self.hasher);
        let (hasher, loads, now_ns) = (&self.hasher, &self.loads, self.now_ns);
        let ask = Ask { key: &key, hash, source_mac, hasher, loads, now_ns };
        self.service.choose(&ask).map(|choice| usize::from(choice.member.id.index))
    }

    fn shares(&self, flows: u32) -> Vec<u64> {
        let mut shares = vec![0; self.service.members.len()];
        (0..flows).filter_map(|flow| self.choose(flow).ok()).for_each(|member| shares[member] += 1);
        shares
    }

    fn warm(&mut self, member: usize, for_s: u64) {
        self.service.members[member].warming =
            Some(Warming { since_ns: self.now_ns, for_ns: for_s * SECOND_NS });
    }
}

#[test]
fn round_robin_is_exact_and_weights_are_exact_per_cycle() {
    assert_eq!(Stage::new(Scheduler::RoundRobin, &[9, 1, 1]).shares(300), [100, 100, 100]);
    assert_eq!(Stage::new(Scheduler::WeightedRoundRobin, &[5, 3, 2]).shares(100), [50, 30, 20]);
}

#[test]
fn round_robin_is_exact_among_threads() {
    let stage = Stage::new(Scheduler::WeightedRoundRobin, &[5, 3, 2]);
    std::thread::scope(|scope| {
        (0..4).for_each(|_| drop(scope.spawn(|| stage.shares(2_500))));
    });
    let sessions = [0, 1, 2].map(|index| stage.loads.sessions(MemberId { index, generation: 0 }));
    assert_eq!(sessions, [5_000, 3_000, 2_000]);
}

#[test]
fn the_fewest_sessions_stay_within_one_of_each_other_among_threads() {
    for members in [2, 7, EXACT_MEMBERS_MAX] {
        let stage = Stage::new(Scheduler::LeastConnections, &vec![4; members]);
        (0..members).for_each(|member| {
            (0..member).for_each(|_| {
                assert!(stage.loads.reserve(MemberId { index: member as u16, generation: 0 }, u64::MAX));
            });
        });
        std::thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(|| stage.shares(999))));
        });
        let sessions: Vec<u64> = stage.service.members.iter().map(|m| stage.loads.sessions(m.id)).collect();
        let (least, most) = (sessions.iter().min().unwrap(), sessions.iter().max().unwrap());
        assert!(most - least <= 1, "{sessions:?}");
    }
}

#[test]
fn the_fewest_sessions_by_weight_follow_the_weights() {
    assert_eq!(Stage::new(Scheduler::WeightedLeastConnections, &[1, 2, 5]).shares(800), [100, 200, 500]);
}

#[test]
fn the_best_of_eight_stays_within_a_few_sessions_of_the_mean() {
    let stage = Stage::new(Scheduler::LeastConnections, &vec![1; 2_000]);
    let shares = stage.shares(20_000);
    assert!(shares.iter().all(|share| (6..=12).contains(share)), "{:?}", shares.iter().max());
    let weights: Vec<u32> = (0..2_000).map(|member| 1 + member % 2).collect();
    let shares = Stage::new(Scheduler::WeightedLeastConnections, &weights).shares(30_000);
    let sum = |parity| shares.iter().skip(parity).step_by(2).sum::<u64>();
    assert!((sum(1) as f64 / sum(0) as f64 - 2.0).abs() < 0.1, "{} {}", sum(0), sum(1));
}

#[test]
fn a_slow_answer_makes_the_share_small_and_an_unknown_one_does_not() {
    let stage = Stage::new(Scheduler::ResponseTime, &[1, 1, 2, 1]);
    let note = |index, ns| stage.loads.note_response(MemberId { index, generation: 0 }, ns);
    note(0, 1_000_000);
    note(1, 10_000_000);
    note(2, 1_000_000);
    let shares = stage.shares(10_000);
    let ratio = |a: usize, b: usize| shares[a] as f64 / shares[b] as f64;
    assert!((ratio(0, 1) - 10.0).abs() < 0.3 && (ratio(2, 0) - 2.0).abs() < 0.05, "{shares:?}");
    assert!(ratio(0, 3) > 3.0 && shares[3] > 300, "counts as the mean of the others: {shares:?}");
}

#[test]
fn answers_faster_than_the_floor_are_alike() {
    let stage = Stage::new(Scheduler::ResponseTime, &[1, 1]);
    stage.loads.note_response(MemberId { index: 0, generation: 0 }, 3_000);
    stage.loads.note_response(MemberId { index: 1, generation: 0 }, 90_000);
    let shares = stage.shares(1_000);
    assert!(shares[0].abs_diff(shares[1]) <= 4, "{shares:?}");
}

#[test]
fn bandwidth_goes_to_whoever_moves_least_and_counts_what_it_expects() {
    let stage = Stage::new(Scheduler::Bandwidth, &[1, 1, 1]);
    let rate = |index, rate| stage.loads.set_rate(MemberId { index, generation: 0 }, 0, rate, 100);
    rate(0, 1_000);
    rate(1, 500);
    rate(2, 500);
    // Ten more sessions of 100 bytes a second lift the two to where the first is, and then all take turns.
    assert_eq!(stage.shares(10), [0, 5, 5]);
    assert_eq!(stage.shares(30), [10, 10, 10]);
}

#[test]
fn every_choice_of_hash_fields_looks_at_these_alone() {
    let by_mac = HashFields { source_mac: true, ..HashFields::FLOW };
    let by_mac = HashFields { source_address: false, source_port: false, ..by_mac };
    let stage = Stage::hashing(&[1; 8], &[], by_mac);
    let mut of_mac = HashMap::new();
    for flow in 0..200 {
        let mac = Mac([2, 0, 0, 0, 0, (flow % 20) as u8]);
        let member = stage.choose_from(flow, mac).unwrap();
        assert_eq!(*of_mac.entry(mac).or_insert(member), member);
    }
    assert!(of_mac.values().collect::<std::collections::HashSet<_>>().len() > 4);
}

#[test]
fn who_warms_up_gets_a_growing_part_under_every_scheduler() {
    let schedulers = [
        Scheduler::RoundRobin,
        Scheduler::WeightedRoundRobin,
        Scheduler::WeightedLeastConnections,
        Scheduler::LeastConnections,
        Scheduler::ResponseTime,
    ];
    let stages = schedulers.into_iter().map(|scheduler| Stage::new(scheduler, &[2, 2]));
    for mut stage in stages.chain([Stage::hashing(&[2, 2], &[1], HashFields::FLOW)]) {
        stage.warm(1, 30);
        let mut parts = Vec::new();
        for _ in 0..4 {
            let shares = stage.shares(2_000);
            parts.push(shares[1] as f64 / shares[0] as f64);
            (0..2).for_each(|index| {
                let id = MemberId { index, generation: 0 };
                (0..shares[usize::from(index)]).for_each(|_| stage.loads.release(id));
            });
            stage.now_ns += 10 * SECOND_NS;
        }
        let name = &stage.service.scheduler;
        assert!(parts[0] < 0.1 && parts[1] > 0.1 && parts[1] < 0.6, "{name:?}: {parts:?}");
        assert!(
            parts[2] > parts[1] && parts[2] < 0.95 && (parts[3] - 1.0).abs() < 0.1,
            "{name:?}: {parts:?}"
        );
    }
}

#[test]
fn a_full_member_is_passed_over_and_when_all_are_full_nobody_is_chosen() {
    let schedulers = [
        Scheduler::RoundRobin,
        Scheduler::WeightedRoundRobin,
        Scheduler::LeastConnections,
        Scheduler::WeightedLeastConnections,
        Scheduler::ResponseTime,
        Scheduler::Bandwidth,
    ];
    let stages = schedulers.into_iter().map(|scheduler| Stage::new(scheduler, &[1, 3, 1]));
    for mut stage in stages.chain([Stage::hashing(&[1, 3, 1], &[], HashFields::FLOW)]) {
        for (member, bound) in stage.service.members.iter_mut().zip([7, 2, 30]) {
            member.sessions_max = bound;
        }
        assert_eq!(stage.shares(60), [7, 2, 30], "{:?}", stage.service.scheduler);
        assert_eq!(stage.choose(61), Err(Unserved::AllFull));
        stage.loads.release(MemberId { index: 1, generation: 0 });
        assert_eq!(stage.choose(62), Ok(1));
        stage.service.available = [].into();
        assert_eq!(stage.choose(63), Err(Unserved::NoServer));
    }
}
