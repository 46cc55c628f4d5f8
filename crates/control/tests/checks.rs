//! TCP checks against real peers, in namespaces of their own. The peers answer in real time; the clock of the
//! checks is simulated, so that each verdict falls at its literal time.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use config::Probe;
use control::check::{CheckId, Health, Parameters, Reason, Wanted};
use support::Wire;
use support::clockwork::{Clockwork, PATIENCE, SOCKETS, asking, open_descriptors, parameters};

const SERVER: &str = "198.18.1.2:8080";
const SERVER_V6: &str = "[2001:db8:1::2]:8080";

/// Tests that count descriptors of the process must run alone.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wanted(address: &str) -> Wanted {
    asking(Probe::Tcp, address)
}

fn down(at: u128, reason: &str) -> Vec<(u128, Health, Health, Option<String>)> {
    vec![(at, Health::Up, Health::Down, Some(reason.to_owned()))]
}

/// A listener in the other namespace; its kernel completes handshakes without anybody's help.
fn serve(wire: &Wire, address: &str) -> TcpListener {
    let address: SocketAddr = address.parse().unwrap();
    wire.beyond(|| TcpListener::bind(address).unwrap())
}

fn live_and_die(address: &str, unreachable: &str, reachable: &str) {
    let _alone = alone();
    let Some(wire) = Wire::new() else { return };
    wire.inside(|| {
        let mut clockwork = Clockwork::new();
        let descriptors = open_descriptors();
        let listener = serve(&wire, address);
        let id = clockwork.update(&[wanted(address)])[0];
        assert_eq!(clockwork.checks.status(id).unwrap().health, Health::Checking);
        clockwork.answered(id);
        assert_eq!(clockwork.take_turns(), [(0, Health::Checking, Health::Up, None)]);
        drop(listener);
        for second in [3_000, 6_000, 9_000] {
            assert_eq!(clockwork.take_turns(), []);
            clockwork.go_to(second);
            clockwork.answered(id);
        }
        assert_eq!(
            clockwork.take_turns(),
            down(9_000, "connection refused"),
            "at the third refusal in a row"
        );

        let listener = serve(&wire, address);
        clockwork.go_to(12_000);
        clockwork.answered(id);
        assert_eq!(clockwork.take_turns(), [(12_000, Health::Down, Health::Up, None)]);

        wire.ip(unreachable);
        clockwork.go_to(21_999);
        assert_eq!(clockwork.take_turns(), []);
        clockwork.go_to(22_000);
        assert_eq!(
            clockwork.take_turns(),
            down(22_000, "no SYN-ACK within 1 s"),
            "ten seconds after the last good one"
        );
        wire.ip(reachable);
        clockwork.go_to(24_000);
        clockwork.answered(id);
        assert_eq!(clockwork.take_turns(), [(24_000, Health::Down, Health::Up, None)]);

        clockwork.update(&[]);
        drop(listener);
        assert_eq!(open_descriptors(), descriptors, "every socket is given back");
        assert_eq!(clockwork.checks.next_deadline().filter(|_| clockwork.checks.load().0 > 0), None);
    });
}

#[test]
fn a_server_lives_refuses_falls_silent_and_returns() {
    let nobody = "neighbour replace 198.18.1.2 lladdr 02:00:00:00:00:99 nud permanent dev near";
    live_and_die(SERVER, nobody, "neighbour delete 198.18.1.2 dev near");
}

#[test]
fn so_does_one_with_an_ipv6_address() {
    let nobody = "neighbour replace 2001:db8:1::2 lladdr 02:00:00:00:00:99 nud permanent dev near";
    live_and_die(SERVER_V6, nobody, "neighbour delete 2001:db8:1::2 dev near");
}

#[test]
fn a_server_without_route_says_so_at_once() {
    let _alone = alone();
    let Some(wire) = Wire::new() else { return };
    wire.inside(|| {
        let mut clockwork = Clockwork::new();
        wire.ip("route add prohibit 198.18.60.0/24");
        let ids = clockwork.update(&[wanted("198.18.50.1:80"), wanted("198.18.60.1:80")]);
        clockwork.go_to(6_020);
        let reason = |id| clockwork.checks.status(id).unwrap().reason.cloned();
        assert_eq!(reason(ids[0]), Some(Reason::NetworkUnreachable));
        assert_eq!(reason(ids[1]), Some(Reason::Prohibited));
        assert!(ids.iter().all(|id| clockwork.checks.status(*id).unwrap().health == Health::Down));
        assert_eq!(clockwork.checks.load(), (2, 0, 0));
    });
}

#[test]
fn a_check_ends_with_a_fin_even_if_the_server_greets_and_is_cut_off_if_it_never_stops() {
    let _alone = alone();
    let Some(wire) = Wire::new() else { return };
    let (polite, greedy) = (serve(&wire, SERVER), serve(&wire, "198.18.1.2:8081"));
    let (greeted, wait_for_greeting) = channel();
    let (closed, wait_for_close) = channel();
    let greet = thread::spawn(move || {
        let (mut stream, _) = polite.accept().unwrap();
        stream.write_all(b"220 mail.example ESMTP\r\n").unwrap();
        greeted.send(()).unwrap();
        wait_for_close.recv().unwrap();
        assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0, "an end, not a reset");
        // After a reset this would fail.
        stream.write_all(b"221 bye\r\n").unwrap();
    });
    let pour = thread::spawn(move || {
        let (mut stream, _) = greedy.accept().unwrap();
        (0..10_000).find_map(|_| stream.write_all(&[0; 4_096]).err())
    });
    wire.inside(move || {
        let mut clockwork = Clockwork::new();
        let ids = clockwork.update(&[wanted(SERVER), wanted("198.18.1.2:8081")]);
        // The greeting lies there unread when the check looks at its socket for the first time.
        wait_for_greeting.recv_timeout(PATIENCE).unwrap();
        clockwork.answered(ids[0]);
        clockwork.go_to(10);
        clockwork.answered(ids[1]);
        assert_eq!(clockwork.take_turns().len(), 2, "both are up");
        // The polite one closes when it is told to; until then its socket is the only one left.
        let end = Instant::now() + PATIENCE;
        while clockwork.checks.load().1 > 1 {
            assert!(Instant::now() < end, "who never stops is cut off");
            clockwork.listen(Duration::from_millis(10));
        }
        closed.send(()).unwrap();
        clockwork.closed();
    });
    greet.join().unwrap();
    assert!(pour.join().unwrap().is_some(), "cut off");
}

#[test]
fn silent_servers_are_bounded_in_sockets_and_do_not_hold_up_the_living() {
    let _alone = alone();
    let Some(wire) = Wire::new() else { return };
    wire.ip("neighbour replace 198.18.1.9 lladdr 02:00:00:00:00:99 nud permanent dev near");
    wire.inside(|| {
        let mut clockwork = Clockwork::new();
        let descriptors = open_descriptors();
        let _listener = serve(&wire, SERVER);
        let slow = Parameters { response_time: Duration::from_secs(3), ..parameters() };
        let silent = |port: u16| Wanted { parameters: slow, ..wanted(&format!("198.18.1.9:{port}")) };
        let mut list: Vec<Wanted> = (1..=600).map(silent).collect();
        list.push(Wanted { parameters: slow, ..wanted(SERVER) });
        let ids = clockwork.update(&list);
        let mut most = (0, 0);
        for step in 1..=400 {
            clockwork.go_to(step * 100);
            clockwork.listen(Duration::from_millis(1));
            let (_, sockets, waiting) = clockwork.checks.load();
            most = (most.0.max(sockets), most.1.max(waiting));
        }
        assert_eq!(most.0, SOCKETS);
        assert!(most.1 > 0, "the test is to exhaust the sockets");
        let health = |id: &CheckId| clockwork.checks.status(*id).unwrap().health;
        assert!(ids[..600].iter().all(|id| health(id) == Health::Down));
        assert_eq!(health(&ids[600]), Health::Up);
        clockwork.update(&[]);
        assert_eq!(open_descriptors(), descriptors + 1, "only the listener is left");
    });
}

#[test]
fn an_update_shares_equal_checks_and_keeps_what_is_known() {
    let _alone = alone();
    let Some(wire) = Wire::new() else { return };
    wire.inside(|| {
        let mut clockwork = Clockwork::new();
        let _listener = serve(&wire, SERVER);
        let ids = clockwork.update(&[wanted(SERVER), wanted("198.18.1.2:9"), wanted(SERVER)]);
        assert_eq!(ids[0], ids[2]);
        assert_ne!(ids[0], ids[1]);
        clockwork.answered(ids[0]);
        clockwork.take_turns();

        assert_eq!(clockwork.update(&[wanted(SERVER)]), [ids[0]]);
        assert_eq!(clockwork.checks.status(ids[0]).unwrap().health, Health::Up);
        assert!(clockwork.checks.status(ids[1]).is_none());

        let patient = Parameters { retries: 7, ..parameters() };
        let other = clockwork.update(&[Wanted { parameters: patient, ..wanted(SERVER) }])[0];
        assert_ne!(other, ids[0]);
        assert_eq!(
            clockwork.checks.status(other).unwrap().health,
            Health::Up,
            "no flap for a change of judgement"
        );
        assert_eq!(clockwork.take_turns(), []);
    });
}

#[test]
fn a_condemned_server_gives_up_its_socket_and_its_turn_and_returns_by_a_later_check() {
    let _alone = alone();
    let Some(wire) = Wire::new() else { return };
    wire.ip("neighbour replace 198.18.1.9 lladdr 02:00:00:00:00:99 nud permanent dev near");
    wire.inside(|| {
        let mut clockwork = Clockwork::new();
        let _listener = serve(&wire, SERVER);
        let failed = || Reason::Traffic { failed: 5, within: Duration::from_secs(10) };
        let words = "5 of its new connections failed within 10 s";
        let id = clockwork.update(&[wanted(SERVER)])[0];
        clockwork.answered(id);
        clockwork.take_turns();
        for _ in 0..2 {
            clockwork.checks.condemn(clockwork.now, id, failed(), &mut clockwork.out);
        }
        assert_eq!(clockwork.take_turns(), down(0, words), "once");
        assert_eq!(clockwork.checks.load(), (1, 0, 0), "no socket is left to it");
        clockwork.go_to(2_999);
        assert_eq!(clockwork.checks.load(), (1, 0, 0), "it is left alone");
        clockwork.go_to(3_000);
        clockwork.answered(id);
        assert_eq!(clockwork.take_turns(), [(3_000, Health::Down, Health::Up, None)]);

        // All sockets wait for silent servers, and one more check for a socket.
        let slow = Parameters { response_time: Duration::from_secs(3), ..parameters() };
        let silent = |port: u16| Wanted { parameters: slow, ..wanted(&format!("198.18.1.9:{port}")) };
        let silent = (1..=SOCKETS as u16).map(silent);
        clockwork.update(&silent.chain([wanted(SERVER)]).collect::<Vec<_>>());
        clockwork.go_to(5_996);
        assert_eq!(clockwork.checks.load(), (SOCKETS + 1, SOCKETS, 0));
        clockwork.checks.hasten(clockwork.now, id);
        clockwork.go_to(5_997);
        assert_eq!(clockwork.checks.load().2, 1, "it waits");
        clockwork.checks.condemn(clockwork.now, id, failed(), &mut clockwork.out);
        assert_eq!(clockwork.take_turns(), down(5_997, words));
        assert_eq!(clockwork.checks.load().2, 0);
        clockwork.update(&[wanted(SERVER)]);
        clockwork.go_to(8_996);
        assert_eq!(clockwork.checks.load(), (1, 0, 0), "its turn in the queue was void");
        clockwork.go_to(8_997);
        clockwork.answered(id);
        assert_eq!(clockwork.take_turns(), [(8_997, Health::Down, Health::Up, None)]);
    });
}
