//! What the table costs a packet: one thread, memory only, no kernel, driver or copy involved.
//!
//! `burst/…` is one packet of a 64-packet burst that is probed, touched and found, from a table of one
//! million sessions (far beyond the caches) and from one of a thousand (within them). `insert and remove` is
//! one session's life.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use session::{Entry, Flags, Insert, Lookup, Observation, Opening, Protocol, TableV4};

const BURST_PACKETS: usize = 64;
const OPENING: Opening = Opening {
    tick: 0,
    protocol: Protocol::Udp,
    epoch: 0,
    seen: Observation::NOTHING,
    marks: Flags::NONE,
    now_us: 0,
};

fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn entry(number: u64) -> Entry<2, 3> {
    Entry { hash: mix(number), key: [number, !number], payload: [number; 3] }
}

fn insert(table: &TableV4, number: u64) -> Insert<3> {
    table.insert(&OPENING, &entry(2 * number), &entry(2 * number + 1), |_| ())
}

fn burst(table: &TableV4, keys: &[u64; BURST_PACKETS]) -> u64 {
    let entries = keys.map(entry);
    let probes = entries.map(|entry| table.ask_for_tags(entry.hash)).map(|probe| table.look(probe));
    probes.iter().for_each(|probe| table.ask_for_slot(probe));
    let mut found = 0;
    for (probe, entry) in probes.iter().zip(&entries) {
        if let Lookup::Hit(hit) = table.find(probe, &entry.key) {
            table.record(&hit, 0, Observation::NOTHING);
            found += hit.payload[0];
        }
    }
    found
}

fn lookup(criterion: &mut Criterion) {
    for sessions in [1_000u64, 1_000_000] {
        let table = TableV4::with_capacity(sessions as usize);
        for number in 0..sessions {
            insert(&table, number);
        }
        let mut group = criterion.benchmark_group("burst");
        group.throughput(Throughput::Elements(BURST_PACKETS as u64));
        let mut next = 0;
        let mut keys = || {
            next += 1;
            std::array::from_fn(|i| mix(next * BURST_PACKETS as u64 + i as u64) % (2 * sessions))
        };
        group.bench_function(format!("{sessions} sessions"), |bencher| {
            bencher.iter_batched_ref(&mut keys, |keys| burst(&table, keys), BatchSize::SmallInput);
        });
    }
    let table = TableV4::with_capacity(1_000_000);
    for number in 0..900_000 {
        insert(&table, number);
    }
    let mut number = 1_000_000;
    criterion.bench_function("insert and remove", |bencher| {
        bencher.iter(|| {
            number += 1;
            if let Insert::Inserted { client, .. } = insert(&table, number) {
                black_box(table.remove(client.slot, client.birth));
            }
        });
    });
}

criterion_group!(benches, lookup);
criterion_main!(benches);
