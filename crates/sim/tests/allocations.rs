//! Nothing inside a turn allocates: counted, for every kind of work that a turn does. One worker, memory ports.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use allocation_counter::{AllocationInfo, measure};
use control::members::Health;
use sim::frame::{Scope, build};
use sim::{World, hostile};
use std::time::Duration;

const OUTSIDE: usize = 0;
const INSIDE: usize = 1;

fn frame(line: &str) -> Vec<u8> {
    let (client, port) = ("02:00:00:00:01:50", "02:00:00:00:01:01");
    build(&format!("{line} from {client} to {port}"), &Scope::default()).unwrap()
}

fn reply(line: &str) -> Vec<u8> {
    let (server, port) = ("02:00:00:00:02:11", "02:00:00:00:02:01");
    build(&format!("{line} from {server} to {port}"), &Scope::default()).unwrap()
}

/// Frames arrive, then turns are taken until the world rests: what that allocates is counted. What is thrown away
/// afterwards tells how many frames were sent, so that no check is about nothing.
fn turns(world: &mut World, frames: &[(usize, Vec<u8>)]) -> (AllocationInfo, usize) {
    for (port, frame) in frames {
        assert!(world.push(0, *port, frame));
    }
    let counted = measure(|| while world.turn() > 0 {});
    (counted, world.discard_sent())
}

fn assert_none(what: &str, (counted, sent): (AllocationInfo, usize), expected: usize) {
    assert_eq!(sent, expected, "{what}: frames sent");
    assert_eq!((counted.count_total, counted.bytes_total), (0, 0), "{what} allocates");
}

#[test]
fn the_counter_counts() {
    assert_eq!(measure(|| drop(std::hint::black_box(Box::new(7)))).count_total, 1);
}

#[test]
fn no_turn_allocates() {
    let mut world = hostile::world();
    assert_none("an empty turn", turns(&mut world, &[]), 0);

    let request = (OUTSIDE, frame("tcp 198.18.0.50:1 > 198.18.0.10:53 S"));
    assert_none("admission", turns(&mut world, std::slice::from_ref(&request)), 1);
    assert_none("a hit", turns(&mut world, &[request]), 1);

    // This server has no MAC address yet.
    let waiting = (OUTSIDE, frame("udp 198.18.0.50:1 > 198.18.1.12:53"));
    assert_none("parking", turns(&mut world, &[waiting]), 0);
    world.pass(Duration::from_millis(10));
    assert_none("looking at a waiting frame again", turns(&mut world, &[]), 0);
    world.pass(Duration::from_secs(4));
    assert_none("host unreachable", turns(&mut world, &[]), 1);

    let translated = (OUTSIDE, frame("udp 198.18.0.50:1 > 198.18.0.20:53"));
    assert_none("source NAT", turns(&mut world, &[translated]), 1);
    let v6 = (OUTSIDE, frame("udp [2001:db8:0:1::50]:1 > [2001:db8:0:1::10]:53"));
    assert_none("an IPv6 session", turns(&mut world, &[v6.clone(), v6]), 2);
    let routed = (INSIDE, reply("udp 198.18.1.11:53 > 198.18.0.50:9999"));
    assert_none("routing", turns(&mut world, &[routed]), 1);

    let answered = [
        "arp who-has 198.18.0.10 tell 198.18.0.50",
        "ns 2001:db8:0:1::50 > 2001:db8:0:1::10 who-has 2001:db8:0:1::10",
        "echo-request 198.18.0.50 > 198.18.0.10 id 1 seq 1",
        "tcp 198.18.0.50:1 > 198.18.0.20:2000 S seq 1",
        "udp 198.18.0.50:1 > 198.18.0.20:2000",
        "udp 198.18.0.50:1 > 198.18.1.11:53 ttl 1",
        "udp 198.18.0.50:1 > 198.18.1.11:53 bytes 1400 df",
    ];
    let answered: Vec<_> = answered.iter().map(|line| (OUTSIDE, frame(line))).collect();
    assert_none("answers", turns(&mut world, &answered), answered.len());
    let long = (OUTSIDE, frame("udp 198.18.0.50:1 > 198.18.1.11:53 bytes 1400"));
    assert_none("splitting", turns(&mut world, &[long]), 2);
    let quoting = "port-unreachable quoting ( udp 198.18.0.50:1 > 198.18.1.11:53 )";
    let error = (INSIDE, reply(&format!("icmp 198.18.1.11 > 198.18.0.50 {quoting}")));
    assert_none("an ICMP error", turns(&mut world, &[error]), 1);

    let hostile = ["tcp 198.18.0.50:1 > 198.18.0.10:1 SF", "udp 127.0.0.1:1 > 198.18.0.10:1", "raw 00"];
    let hostile: Vec<_> = hostile.iter().map(|line| (OUTSIDE, build_any(line))).collect();
    assert_none("drops", turns(&mut world, &hostile), 0);
}

fn build_any(line: &str) -> Vec<u8> {
    if line.starts_with("raw") { build(line, &Scope::default()).unwrap() } else { frame(line) }
}

#[test]
fn no_sweep_and_no_new_plan_allocates_on_the_worker() {
    let mut world = hostile::world();
    let opened: Vec<_> = (1..=8)
        .map(|port| (OUTSIDE, frame(&format!("tcp 198.18.0.50:{port} > 198.18.0.20:80 S seq 1"))))
        .collect();
    assert_none("admission", turns(&mut world, &opened), 8);
    let key = world.manager.server("translated/198.18.1.11").unwrap();
    world.manager.set_health(&key, Health::Down);
    let counted = measure(|| {
        for _ in 0..8 {
            world.turn();
        }
    });
    assert_none("resets of a dead server's sessions", (counted, world.discard_sent()), 16);
    assert_eq!(world.sessions(), 8);
    let counted = measure(|| {
        for _ in 0..100 {
            world.pass(Duration::from_secs(1));
            world.turn();
        }
    });
    assert_none("the sweep for age", (counted, world.discard_sent()), 0);
    assert_eq!(world.sessions(), 0);
}
