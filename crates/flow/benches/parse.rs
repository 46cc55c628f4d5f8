//! What it costs to take a frame apart and to hash its flow, by kind of frame. The frame stays in the
//! first-level cache, so this is the work alone; a frame that a driver has just written costs its cache lines
//! beside.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use criterion::{Criterion, criterion_group, criterion_main};
use flow::{FlowHasher, Zone, parse};
use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use wire::build::{self, EthernetBuilder};
use wire::tcp::TcpFlags;
use wire::{Mac, protocol};

const V4: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 10)];
const V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10)];

fn ethernet() -> EthernetBuilder {
    build::ethernet(Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]))
}

/// One frame of each kind that takes another way through the parser.
fn frames() -> [(&'static str, Vec<u8>); 9] {
    let v4 = || ethernet().ipv4(V4[0], V4[1]);
    let v6 = || ethernet().ipv6(V6[0], V6[1]);
    let mut damaged = v4().tcp(40_000, 80).finish();
    damaged[24] ^= 1;
    [
        ("ipv4 tcp", v4().tcp(40_000, 80).flags(TcpFlags::ACK).finish()),
        ("ipv4 udp", v4().udp(40_000, 53).finish()),
        ("ipv4 echo request", v4().echo_request(1, 1).finish()),
        ("ipv4 fragment", v4().fragment(0, true).udp(40_000, 53).payload(&[0; 64]).finish()),
        ("ipv4 tcp, 802.1Q", ethernet().vlan(20).ipv4(V4[0], V4[1]).tcp(40_000, 80).finish()),
        ("ipv6 tcp", v6().tcp(40_000, 80).flags(TcpFlags::ACK).finish()),
        ("ipv6 udp", v6().udp(40_000, 53).finish()),
        (
            "ipv6 tcp, hop-by-hop",
            v6().extension(protocol::HOP_BY_HOP, &[1, 4, 0, 0, 0, 0]).tcp(40_000, 80).finish(),
        ),
        ("ipv4 checksum wrong", damaged),
    ]
}

fn parsing(criterion: &mut Criterion) {
    let hasher = FlowHasher::new([7; 16]);
    let mut group = criterion.benchmark_group("parse");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1));
    for (title, mut frame) in frames() {
        group.bench_function(title, |bencher| {
            bencher.iter(|| black_box(parse(black_box(&mut frame), Zone(0), &hasher)).is_ok());
        });
    }
}

criterion_group!(benches, parsing);
criterion_main!(benches);
