//! HTTP and TLS checks, and what all conversations have in common, against real peers that behave in every way, both
//! families, in namespaces of their own. The peers answer in real time; the clock of the checks is simulated.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use std::io::{Read, Write};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use config::{HttpRequest, Probe, StatusRange, TlsRequest};
use control::check::{CheckId, Health, Wanted};
use support::bed::{FAMILIES, answering, answering_in_tls, at, hear_request};
use support::clockwork::{Clockwork, PATIENCE};
use support::verdict::{UP, ask, in_namespace, nobody, said, verdict, verdict_of_silence};

fn http() -> HttpRequest {
    HttpRequest {
        path: "/".into(),
        host: None,
        tls: false,
        expect_status: vec![StatusRange { first: 200, last: 299 }],
        expect_body: Some("READY".into()),
    }
}

fn https() -> HttpRequest {
    HttpRequest { tls: true, host: Some("www.example".into()), ..http() }
}

fn tls() -> Probe {
    Probe::Tls(TlsRequest { server_name: Some("www.example".into()) })
}

/// Answers of HTTP servers, and what a check makes of them.
const ANSWERS: [(&str, &str); 7] = [
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nREADY", UP),
    ("HTTP/1.0 200 OK\r\n\r\nis READY", UP),
    ("HTTP/1.1 503 Service Unavailable\r\n\r\nREADY", "expected 200-299, got 503"),
    ("HTTP/1.1 500 No\r\nContent-Length: 5\r\n\r\nREADY", "expected 200-299, got 500"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsleeping", "READY not in the first 4 KiB"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 80\r\n\r\nsleeping", "closed before the whole answer"),
    ("220 mail.example ESMTP\r\n", "not HTTP"),
];

#[test]
fn http_is_judged_by_status_and_body() {
    in_namespace("kinds-http", |bed| {
        for family in FAMILIES {
            let server = at(family, 8_080);
            let check = ask(Probe::Http(http()), server);
            for (answer, expected) in ANSWERS {
                let _server = bed.serve(server, answering(answer));
                assert_eq!(verdict(&check), expected, "{answer}");
            }
            assert_eq!(verdict(&check), "connection refused");
            let silent = at(&nobody(bed, family), 8_080);
            assert_eq!(verdict_of_silence(&ask(Probe::Http(http()), silent)), "no SYN-ACK within 1 s");
        }
    });
}

#[test]
fn http_in_tls_and_tls_alone() {
    in_namespace("kinds-tls", |bed| {
        for family in FAMILIES {
            let server = at(family, 8_443);
            let check = ask(Probe::Http(https()), server);
            for (answer, expected) in ANSWERS {
                let _server = bed.serve(server, answering_in_tls(answer));
                assert_eq!(verdict(&check), expected, "{answer}");
            }
            {
                let _server = bed.serve(server, answering_in_tls(""));
                assert_eq!(verdict(&ask(tls(), server)), UP);
                let plain = verdict(&ask(Probe::Http(http()), server));
                assert_eq!(plain, "not HTTP: TLS is spoken on this port");
            }
            {
                let _server = bed.serve(server, answering("HTTP/1.1 400 Bad Request\r\n\r\n"));
                // What this server hears is no request; so it does not wait for the end of one.
                let _hasty = bed.serve(at(family, 8_444), |mut stream| {
                    stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
                });
                assert_eq!(verdict(&ask(tls(), at(family, 8_444))), "not TLS");
                assert_eq!(verdict(&ask(Probe::Http(https()), at(family, 8_444))), "not TLS");
            }
            {
                let _server = bed.serve(server, |mut stream| {
                    let _hello = stream.read(&mut [0; 4_096]);
                });
                assert_eq!(verdict(&ask(tls(), server)), "closed during the TLS handshake");
            }
            assert_eq!(verdict(&ask(tls(), server)), "connection refused");
            let hangs = bed.listener(server);
            assert_eq!(verdict_of_silence(&ask(tls(), server)), "no TLS handshake within 1 s");
            drop(hangs);
        }
    });
}

#[test]
fn who_hangs_drips_pours_or_resets_costs_nothing_but_his_own_check() {
    in_namespace("kinds-bad", |bed| {
        let family = FAMILIES[0];
        let good = bed.serve(at(family, 8_080), answering(ANSWERS[0].0));
        let hangs = bed.listener(at(family, 8_081));
        let drips = bed.serve(at(family, 8_082), |mut stream| {
            hear_request(&mut stream);
            for byte in ANSWERS[0].0.bytes() {
                // The check has long gone.
                if stream.write_all(&[byte]).is_err() {
                    break;
                }
                thread::sleep(Duration::from_millis(500));
            }
        });
        let (poured, how_much) = channel();
        let pours = bed.serve(at(family, 8_083), move |mut stream| {
            hear_request(&mut stream);
            let head = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            let body = (0..10_000).take_while(|_| stream.write_all(&[b'x'; 65_536]).is_ok()).count();
            poured.send(head.map(|()| body)).unwrap();
        });
        let banner = bed.serve(at(family, 8_084), |mut stream| {
            let _cut_off = stream.write_all("HTTP/1.1 200 OK\r\nA: ".repeat(100_000).as_bytes());
        });
        let resets = bed.serve(at(family, 8_085), |stream| {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        });
        let mut clockwork = Clockwork::new();
        let servers: Vec<Wanted> =
            (8_080..8_086).map(|port| ask(Probe::Http(http()), at(family, port))).collect();
        let ids = clockwork.update(&servers);
        let end = Instant::now() + PATIENCE;
        clockwork.go_to(60);
        let expected = [
            UP,
            "checking",
            "checking",
            "READY not in the first 4 KiB",
            "HTTP head of more than 64 fields",
            "connection reset",
        ];
        let verdicts = |clockwork: &Clockwork| ids.iter().map(|id| said(clockwork, *id)).collect::<Vec<_>>();
        while verdicts(&clockwork) != expected {
            assert!(Instant::now() < end, "{:?}", verdicts(&clockwork));
            clockwork.listen(Duration::from_millis(10));
        }
        // Who pours is cut off, without waiting for the time.
        assert!(how_much.recv_timeout(PATIENCE).unwrap().unwrap() < 10_000);
        clockwork.go_to(1_100);
        let silent = "no HTTP answer within 1 s";
        assert_eq!(verdicts(&clockwork)[..3], [UP, silent, silent]);
        clockwork.go_to(9_000 + 1_100);
        assert_eq!(clockwork.checks.load().1, 0, "nobody keeps a socket beyond his time");
        clockwork.update(&[]);
        drop((good, hangs, drips, pours, banner, resets));
    });
}

#[test]
fn a_tcp_check_is_content_with_a_server_that_resets_at_once() {
    in_namespace("kinds-reset", |bed| {
        let server = at(FAMILIES[0], 8_080);
        let _resets = bed.serve(server, |stream| {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        });
        let mut clockwork = Clockwork::new();
        let id = clockwork.update(&[ask(Probe::Tcp, server)])[0];
        // The reset is there before the check looks for the first time: handshake and reset come as one event.
        thread::sleep(Duration::from_millis(100));
        clockwork.answered(id);
        assert_eq!(said(&clockwork, id), UP);
        assert_eq!(clockwork.checks.load().1, 0, "and the socket has gone");
        clockwork.update(&[]);
    });
}

#[test]
fn a_reset_that_only_the_request_finds_is_called_a_reset() {
    in_namespace("kinds-found", |bed| {
        let server = at(FAMILIES[0], 8_080);
        let mut clockwork = Clockwork::new();
        let listener = bed.listener(server);
        let id = clockwork.update(&[ask(Probe::Http(http()), server)])[0];
        let (stream, _) = listener.accept().unwrap();
        // The check hears of the handshake alone; by the time it says its request, the reset has come.
        let mut events = mio::Events::with_capacity(8);
        clockwork.poll.poll(&mut events, Some(PATIENCE)).unwrap();
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(stream);
        thread::sleep(Duration::from_millis(50));
        for event in &events {
            clockwork.checks.handle(clockwork.now, event, &mut clockwork.out);
        }
        clockwork.answered(id);
        assert_eq!(said(&clockwork, id), "connection reset");
        clockwork.update(&[]);
    });
}

#[test]
fn the_response_time_is_that_of_the_last_good_answer() {
    in_namespace("kinds-time", |bed| {
        let server = at(FAMILIES[0], 8_080);
        let (go, wait) = channel::<()>();
        let serving = bed.serve(server, move |mut stream| {
            hear_request(&mut stream);
            if wait.recv().is_ok() {
                stream.write_all(ANSWERS[0].0.as_bytes()).unwrap();
            } else {
                thread::sleep(Duration::from_millis(300));
            }
        });
        let mut clockwork = Clockwork::new();
        let id = clockwork.update(&[ask(Probe::Http(http()), server)])[0];
        clockwork.listen(Duration::from_millis(50));
        clockwork.go_to(250);
        go.send(()).unwrap();
        clockwork.answered(id);
        let time = |clockwork: &Clockwork| clockwork.checks.status(id).unwrap().response_time;
        assert_eq!(time(&clockwork), Some(Duration::from_millis(250)));
        clockwork.closed();
        drop(go);
        clockwork.go_to(3_000);
        clockwork.listen(Duration::from_millis(50));
        clockwork.go_to(4_000);
        assert_eq!(said(&clockwork, id), "no HTTP answer within 1 s");
        assert_eq!(time(&clockwork), Some(Duration::from_millis(250)));
        clockwork.update(&[]);
        drop(serving);
    });
}

#[test]
fn one_probe_asked_twice_is_one_check_and_a_changed_one_keeps_the_verdict() {
    in_namespace("kinds-shared", |bed| {
        let server = at(FAMILIES[0], 8_080);
        let serving = bed.serve(server, answering(ANSWERS[0].0));
        let mut clockwork = Clockwork::new();
        let same = || ask(Probe::Http(http()), server);
        let other = ask(Probe::Http(HttpRequest { path: "/other".into(), ..http() }), server);
        let ids = clockwork.update(&[same(), same(), other.clone()]);
        assert_eq!(ids[0], ids[1]);
        assert_ne!(ids[0], ids[2]);
        clockwork.answered(ids[0]);
        clockwork.take_turns();
        let beside = clockwork.update(&[same(), other.clone(), ask(Probe::TcpHalfOpen, server)])[2];
        assert_eq!(
            clockwork.checks.status(beside).unwrap().health,
            Health::Checking,
            "it asks something else, beside what is still asked"
        );
        let ids = clockwork.update(&[other, ask(Probe::Tcp, server), ask(tls(), at(FAMILIES[0], 8_081))]);
        let health = |id: CheckId| clockwork.checks.status(id).unwrap().health;
        assert_eq!(health(ids[1]), Health::Up, "TCP took the place of HTTP");
        assert_eq!(health(ids[0]), Health::Checking, "this one had no verdict of its own");
        assert_eq!(health(ids[2]), Health::Checking, "and this is another target");
        clockwork.update(&[]);
        drop(serving);
    });
}
