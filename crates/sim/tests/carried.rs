//! What control has carried to a server becomes, byte for byte, what a client's packet with the same addresses becomes; and
//! it leaves no trace in tables and books.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod two_ports;

use allocation_counter::measure;
use sim::World;
use sim::frame::{Scope, build, print};
use two_ports::world;

const INSIDE: usize = 1;

const FACTS: &[&str] = &[
    "address eth1 2001:db8:0:1::2/64",
    "address eth2 2001:db8:0:2::2/64",
    "neighbour eth1 2001:db8:0:1::50 CLIENT",
    "neighbour eth2 2001:db8:0:2::11 SERVER",
];

/// Each mode, as a service says it in each family.
const MODES: [(&str, [&str; 2]); 4] = [
    ("l2-dsr", [r#"mode = "l2-dsr""#; 2]),
    (
        "ipip",
        [
            "mode = \"l3-dsr\"\nencapsulation = \"ipip\"\nencapsulation_source = \"198.18.1.251\"",
            "mode = \"l3-dsr\"\nencapsulation = \"ipip\"\nencapsulation_source = \"2001:db8:0:2::251\"",
        ],
    ),
    (
        "gue",
        [
            "mode = \"l3-dsr\"\nencapsulation = \"gue\"\nencapsulation_source = \"198.18.1.251\"",
            "mode = \"l3-dsr\"\nencapsulation = \"gue\"\nencapsulation_source = \"2001:db8:0:2::251\"",
        ],
    ),
    ("dscp", ["mode = \"l3-dsr\"\nencapsulation = \"dscp\""; 2]),
];

/// What is sent to `VIP` by `SOURCE`.
const PACKETS: [&str; 5] = [
    "tcp SOURCE:49152 > VIP:80 A seq 6 ack 1 df data 474554",
    "tcp SOURCE:49152 > VIP:80 A seq 6 ack 1 bytes 1200",
    "tcp SOURCE:49153 > VIP:80 S seq 5 options 020405b4 df",
    "udp SOURCE:5000 > VIP:53 data 01 class 184",
    "udp SOURCE:5001 > VIP:53",
];

/// The same, longer than a tunnel carries in one piece; over IPv6 it would be answered.
const LONG: &str = "udp SOURCE:5002 > VIP:53 bytes 1472";

const SIDES: [(&str, &str, &str); 2] = [
    ("198.18.0.10", "198.18.1.77", "198.18.1.11"),
    ("2001:db8:0:1::10", "2001:db8:0:2::77", "2001:db8:0:2::11"),
];

fn services(mode: [&str; 2], dscp: &str) -> String {
    let service = |((vip, _, server), mode): ((&str, &str, &str), &str)| {
        format!(
            "[[service]]\nname = \"s-{vip}\"\naddress = \"{vip}\"\nprotocol = \"any\"\nport = \"any\"\n{mode}\n\
             [[service.server]]\naddress = \"{server}\"\n{dscp}\n"
        )
    };
    SIDES.into_iter().zip(mode).map(service).collect()
}

fn packet(template: &str, (vip, host, _): (&str, &str, &str), scope: &Scope) -> Vec<u8> {
    let bracketed =
        |address: &str| if address.contains(':') { format!("[{address}]") } else { address.into() };
    let text = template.replace("SOURCE", &bracketed(host)).replace("VIP", &bracketed(vip));
    build(&format!("{text} from CLIENT to OUTSIDE"), scope).unwrap()
}

fn sent(world: &mut World) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| world.take(INSIDE)).collect()
}

fn injected(world: &World) -> u64 {
    world.manager.counters().map(|counters| counters.injected.get()).sum()
}

fn lost(world: &World) -> u64 {
    world.manager.counters().map(|counters| counters.carries_lost.get()).sum()
}

fn traffic(world: &World) -> u64 {
    let members = world.manager.counters().flat_map(|counters| counters.members.iter());
    members.map(|member| member.packets_in.get()).sum()
}

#[test]
fn a_carried_packet_is_what_a_clients_would_be() {
    for (name, mode) in MODES {
        let config = services(mode, if name == "dscp" { "dscp = 7" } else { "" });
        for side in SIDES {
            let long = Some(LONG).filter(|_| side.0.contains('.'));
            for template in PACKETS.into_iter().chain(long) {
                // Two worlds, so that none knows what the other did.
                let (mut by_client, scope) = world((&config, FACTS), 64, 64);
                let (mut by_control, _) = world((&config, FACTS), 64, 64);
                let frame = packet(template, side, &scope);
                assert!(by_client.push(0, 0, &frame));
                by_client.settle();
                let server = by_control.manager.server(&format!("s-{}/{}", side.0, side.2)).unwrap();
                assert!(by_control.manager.carry(&server, &frame[14..]));
                by_control.settle();
                let (expected, came) = (sent(&mut by_client), sent(&mut by_control));
                let shown = |frames: &[Vec<u8>]| -> Vec<String> {
                    frames.iter().map(|sent| print(sent, &scope)).collect()
                };
                assert!(!expected.is_empty(), "{name}: {template} comes to nothing");
                assert_eq!(came, expected, "{name}: {:?} {:?}", shown(&came), shown(&expected));
                assert_eq!((by_control.sessions(), injected(&by_control), lost(&by_control)), (0, 1, 0));
                assert_eq!(traffic(&by_control), 0, "it is no traffic of the server's");
                by_control.check_books().unwrap();
                by_control.check_buffers().unwrap();
            }
        }
    }
}

#[test]
fn what_cannot_be_carried_is_counted_and_told() {
    let config = services(MODES[0].1, "");
    let (mut world, scope) = world((&config, FACTS), 64, 64);
    let side = ("198.18.0.10", "198.18.1.77", "198.18.1.11");
    let frame = packet(PACKETS[2], side, &scope);
    let server = world.manager.server("s-198.18.0.10/198.18.1.11").unwrap();
    world.manager.change_facts(|facts| facts.neighbours.clear());
    assert!(world.manager.carry(&server, &frame[14..]));
    world.settle();
    assert_eq!((lost(&world), injected(&world), sent(&mut world).len()), (1, 0, 0));
    assert!(matches!(world.manager.shared().reports.pop(), Some(engine::Report::Unresolved { port: 1, .. })));
    world.check_books().unwrap();
}

#[test]
fn a_full_queue_takes_no_more_and_no_turn_takes_all_of_it() {
    let config = services(MODES[1].1, "");
    let (mut world, scope) = world((&config, FACTS), 64, 2_048);
    let frame = packet(PACKETS[2], ("198.18.0.10", "198.18.1.77", "198.18.1.11"), &scope);
    let server = world.manager.server("s-198.18.0.10/198.18.1.11").unwrap();
    let taken = (0..10_000).take_while(|_| world.manager.carry(&server, &frame[14..])).count();
    assert_eq!(taken, 512);
    let counted = measure(|| {
        world.turn();
    });
    assert_eq!((counted.count_total, counted.bytes_total), (0, 0), "carrying allocates");
    assert_eq!(injected(&world), 16, "a turn has a bound");
    (0..100).for_each(|_| {
        world.turn();
    });
    assert_eq!(injected(&world), 512);
    assert!(world.manager.orders(0).unwrap().is_empty());
}
