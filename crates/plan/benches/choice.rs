//! What the choice of a member costs a new session: one thread, memory only, every scheduler, up to 10,000 members.
//!
//! Places are given back at once, and response times and byte rates are all different. Each choice is made for another
//! flow; its key and hash are part of the time.
//!
//! And what the choice of a firewall costs: by both hashes, the one in force, the one that comes next at its limit, and
//! the last of all.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use criterion::{Criterion, criterion_group, criterion_main};
use flow::{Family, FlowHasher, FlowKey, V4, Zone};
use plan::{
    Ask, Cursor, FirewallHash, HashFields, Loads, MemberState, Mode, PortRange, PreferenceRows, RowMember,
    Scheduler, Service, ServiceMember, SourceNat, Wheel,
};
use rewrite::MemberId;
use std::hint::black_box;
use std::net::Ipv4Addr;
use wire::Mac;

const SIZES: [u16; 4] = [3, 32, 1_000, 10_000];

fn schedulers(members: &[RowMember], hasher: &FlowHasher) -> [(&'static str, Scheduler); 7] {
    let rows = PreferenceRows::build(members, &vec![true; members.len()], hasher);
    [
        ("round-robin", Scheduler::RoundRobin),
        ("weighted-round-robin", Scheduler::WeightedRoundRobin),
        ("least-connections", Scheduler::LeastConnections),
        ("weighted-least-connections", Scheduler::WeightedLeastConnections),
        ("hash", Scheduler::Hash { fields: HashFields::FLOW, rows, rows_without_warming: None }),
        ("response-time", Scheduler::ResponseTime),
        ("bandwidth", Scheduler::Bandwidth),
    ]
}

fn id(index: u16) -> MemberId {
    MemberId { index, generation: 0 }
}

fn service(scheduler: Scheduler, members: &[RowMember]) -> Service<V4> {
    let member = |(index, row): (usize, &RowMember)| ServiceMember {
        id: id(index as u16),
        address: Ipv4Addr::from_bits(0xc612_0000 + index as u32),
        port: None,
        state: MemberState::Up,
        weight: row.weight,
        sessions_max: u64::MAX,
        warming: None,
        dscp: 0,
    };
    let count = members.len() as u16;
    Service {
        name: "web".into(),
        address: Ipv4Addr::new(198, 19, 255, 1),
        protocol: Some(wire::protocol::TCP),
        ports: PortRange { first: 80, last: 80 },
        announce: true,
        members: members.iter().enumerate().map(member).collect(),
        positions: (0..count).map(|at| (id(at), at)).collect(),
        available: (0..count).collect(),
        cursor: Cursor::default(),
        wheel: Wheel::new(members.iter().map(|row| if scheduler.has_weights() { row.weight } else { 1 })),
        scheduler,
        persistence: None,
        mode: Mode::Routed,
        source_nat: SourceNat::Never,
        rows: None,
    }
}

fn choose(criterion: &mut Criterion) {
    let hasher = FlowHasher::new([7; 16]);
    for size in SIZES {
        let member = |index: u16| RowMember {
            identity: index.to_be_bytes().to_vec(),
            weight: 1 + u32::from(index % 7),
            is_backup: false,
        };
        let members: Vec<RowMember> = (0..size).map(member).collect();
        let loads = Loads::new(usize::from(size));
        for index in 0..size {
            (0..index % 5).for_each(|_| assert!(loads.reserve(id(index), u64::MAX)));
            loads.note_response(id(index), 1_000_000 + u64::from(index) * 1_000);
            loads.set_rate(id(index), 0, 1_000 + u64::from(index), 0);
        }
        for (name, scheduler) in schedulers(&members, &hasher) {
            let service = service(scheduler, &members);
            let mut number = 0u32;
            criterion.bench_function(&format!("{name}/{size} members"), |bencher| {
                bencher.iter(|| {
                    number = number.wrapping_add(1);
                    let source = (Ipv4Addr::from_bits(0xc613_0000 + (number & 0xffff)), number as u16 | 1);
                    let key = <V4 as Family>::Key::new(Zone(0), 6, source, (service.address, 80));
                    let (hash, source_mac) = (key.hash(&hasher), Mac::ZERO);
                    let (hasher, loads) = (&hasher, &loads);
                    let ask = Ask { key: &key, hash, source_mac, hasher, loads, now_ns: 0 };
                    if let Ok(choice) = black_box(service.choose(&ask)) {
                        loads.release(choice.member.id);
                    }
                });
            });
        }
    }
}

/// Flows between pairs of addresses that are all different; an order of preference by its first, second and last.
fn choose_firewall(criterion: &mut Criterion) {
    let hasher = FlowHasher::new([7; 16]);
    for size in [3, 16, 64] {
        let member = |index: u16| RowMember {
            identity: format!("fw{index}").into_bytes(),
            weight: 1 + u32::from(index % 3),
            is_backup: false,
        };
        let members: Vec<RowMember> = (0..size).map(member).collect();
        let rows = PreferenceRows::build(&members, &vec![true; members.len()], &hasher);
        let mut number = 0u32;
        let mut key = move || {
            number = number.wrapping_add(1);
            let source = (Ipv4Addr::from_bits(0xc612_0000 | number & 0xffff), number as u16 | 1);
            let destination = (Ipv4Addr::from_bits(0xc613_0000 | number >> 16), 80);
            <V4 as Family>::Key::new(Zone(0), 6, source, destination)
        };
        let named = [("address-pair", FirewallHash::AddressPair), ("five-tuple", FirewallHash::FiveTuple)];
        for (name, hash) in named {
            criterion.bench_function(&format!("firewall by {name}/{size} members"), |bencher| {
                bencher.iter(|| rows.member(hash.of(&key(), &hasher)));
            });
        }
        for (name, skipped) in [("first", 0), ("second", 1), ("last", usize::from(size) - 1)] {
            criterion.bench_function(&format!("{name} preference/{size} members"), |bencher| {
                bencher.iter(|| rows.preferences(FirewallHash::AddressPair.of(&key(), &hasher)).nth(skipped));
            });
        }
    }
}

criterion_group!(benches, choose, choose_firewall);
criterion_main!(benches);
