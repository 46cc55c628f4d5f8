//! Both ends, each with its worker and its prober, and the firewalls as wires between their legs.

use crate::stage::{end, firewall, hasher, own, punts, responder, sent};
use control::check::Parameters;
use control::members::{Health, ServerKey};
use control::probe::{Asking, Prober, WantedGroup, WantedPath};
use engine::{Bearer, Carry};
use plan::Link;
use rewrite::MemberId;
use sim::World;
use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(5);

const PARAMETERS: Parameters = Parameters {
    interval: Duration::from_millis(200),
    response_time: Duration::from_millis(100),
    retries: 2,
    timeout: None,
    dead_interval: Duration::from_millis(200),
    rise: 1,
};

struct End {
    side: u8,
    world: World,
    prober: Prober,
}

impl End {
    fn new(side: u8, has_vlan: bool, asking: Asking, start: Instant) -> Self {
        let kind = match asking {
            Asking::Echo => "kind = \"icmp\"",
            Asking::Datagram(_) => "kind = \"udp\"\nport = 7",
            Asking::Syn(_) => "kind = \"tcp-half-open\"\nport = 7",
        };
        let world = end(side, has_vlan, kind);
        let mut prober = Prober::new(side.into(), hasher(), start);
        let groups = ["fw", "fw6"].map(|name| Self::group(&world, (side, name), asking));
        prober.update(start, &groups);
        Self { side, world, prober }
    }

    fn group(world: &World, (side, name): (u8, &str), asking: Asking) -> WantedGroup {
        let v6 = name == "fw6";
        let path = |number: u8| {
            let text = match v6 {
                false => format!("198.18.{side}.{number}"),
                true => format!("2001:db8:0:{side}::{number}"),
            };
            let key = ServerKey { service: name.to_owned(), address: text.parse().unwrap(), port: None };
            let member = world.manager.members().find(|(known, _)| **known == key).unwrap().1.id;
            let (own, far) = (responder(side, number, v6), responder(3 - side, number, v6));
            WantedPath { firewall: format!("fw{number}"), member, own, far }
        };
        let name = name.to_owned();
        WantedGroup { name, fingerprint: 1, asking, parameters: PARAMETERS, paths: [1, 2].map(path).into() }
    }

    /// A round of the control thread, and what its worker then sends.
    fn turn(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let Self { world, prober, .. } = self;
        let taken = punts(world);
        let manager = &world.manager;
        let links = |member: MemberId| -> Option<Link> {
            manager.shared().links.get(manager.plan().members.get(usize::from(member.index))?.link)
        };
        for punt in taken {
            prober.take(now, (punt.leg, punt.mac), punt.packet(), &links);
        }
        prober.advance(now, &links);
        for sending in prober.sendings() {
            let carry = Carry::new(sending.member, Bearer::Firewall, &sending.packet).unwrap();
            assert!(manager.orders(0).unwrap().carries.push(carry).is_ok());
        }
        sent(world)
    }
}

/// Lets `duration` pass. `passes` says whether the firewall of that number lets pass what comes from that side.
fn run(ends: &mut [End; 2], now: &mut Instant, duration: Duration, passes: impl Fn(u8, u8) -> bool) {
    let until = *now + duration;
    while *now < until {
        for place in 0..2 {
            for mut frame in ends[place].turn(*now) {
                let side = ends[place].side;
                let number = frame[5];
                assert_eq!((&frame[..6], &frame[6..12]), (&firewall(side, number).0[..], &own(side).0[..]));
                if passes(side, number) {
                    let far = 3 - side;
                    frame[..6].copy_from_slice(&own(far).0);
                    frame[6..12].copy_from_slice(&firewall(far, number).0);
                    assert!(ends[1 - place].world.push(0, 0, &frame));
                }
            }
        }
        *now += STEP;
        ends.iter_mut().for_each(|end| end.world.pass(STEP));
    }
}

fn states(ends: &[End; 2], now: Instant, number: u8) -> Vec<(Health, String)> {
    let of = |end: &End, group: &str| {
        let status = end.prober.status(now, group, &format!("fw{number}")).unwrap();
        assert_eq!(status.alarm, None);
        (status.health, status.reason.map(ToString::to_string).unwrap_or_default())
    };
    ends.iter().flat_map(|end| ["fw", "fw6"].map(|group| of(end, group))).collect()
}

#[test]
fn both_ends_know_which_path_bears_and_which_direction_does_not() {
    for (asking, has_vlan) in [
        (Asking::Echo, false),
        (Asking::Echo, true),
        (Asking::Datagram(7), false),
        (Asking::Datagram(7), true),
        (Asking::Syn(7), false),
    ] {
        let start = Instant::now();
        let mut now = start;
        let mut ends = [1, 2].map(|side| End::new(side, has_vlan, asking, start));
        run(&mut ends, &mut now, Duration::from_secs(1), |_, _| true);
        let well = vec![(Health::Up, String::new()); 4];
        assert_eq!(
            [1, 2].map(|number| states(&ends, now, number)),
            [well.clone(), well.clone()],
            "{asking:?}"
        );
        // What side 1 sends by the first firewall is lost.
        let lossy = |side, number| (side, number) != (1, 1);
        run(&mut ends, &mut now, Duration::from_millis(200 * 3 + 100 + 10), lossy);
        let near = match asking {
            Asking::Syn(_) => "no SYN-ACK or RST within 100 ms",
            _ => "fw1: nothing arrives at the far end, though its own probes arrive here",
        };
        let far = match asking {
            Asking::Syn(_) => "no SYN-ACK or RST within 100 ms",
            _ => "fw1: the far end hears us, its answers do not arrive",
        };
        let expected: Vec<_> = [near, near, far, far].map(|reason| (Health::Down, reason.to_owned())).into();
        assert_eq!(states(&ends, now, 1), expected, "{asking:?}");
        assert_eq!(states(&ends, now, 2), well);
        run(&mut ends, &mut now, Duration::from_millis(700), |_, _| true);
        assert_eq!(states(&ends, now, 1), well, "{asking:?}");
        for end in &mut ends {
            end.world.check_books().unwrap();
            end.world.check_buffers().unwrap();
            let lost: u64 =
                end.world.manager.counters().map(|one| one.carries_lost.get() + one.punts_lost.get()).sum();
            assert_eq!((lost, end.world.sessions()), (0, 0));
        }
    }
}
