//! Literal conversations, and the same bytes cut in any way.

use std::io::{Read, Write};
use std::sync::Arc;

use config::{HttpRequest, StatusRange, TlsRequest};
use proptest::prelude::*;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ALL_VERSIONS, ServerConfig, ServerConnection};

use super::*;

const SERVER: &str = "198.18.1.2:8080";
const OK: &str = "success";

fn request() -> HttpRequest {
    HttpRequest {
        path: "/health".into(),
        host: None,
        tls: false,
        expect_status: vec![StatusRange { first: 200, last: 299 }],
        expect_body: None,
    }
}

fn ready() -> HttpRequest {
    HttpRequest { expect_body: Some("READY".into()), ..request() }
}

fn open(probe: &Probe, server: &str) -> Conversation {
    let mut conversation = Conversation::new(probe, server.parse().unwrap()).unwrap();
    assert!(conversation.unsent().is_empty(), "nothing is said before the handshake");
    assert_eq!(conversation.awaited(), "SYN-ACK");
    assert_eq!(conversation.opened(), None);
    conversation
}

fn asked(request: &HttpRequest, server: &str) -> String {
    let mut conversation = open(&Probe::Http(request.clone()), server);
    let text = String::from_utf8(conversation.unsent().to_vec()).unwrap();
    conversation.sent(text.len());
    assert!(conversation.unsent().is_empty());
    text
}

fn words(outcome: Option<Outcome>) -> Option<String> {
    Some(match outcome? {
        Outcome::Success => OK.to_owned(),
        Outcome::Failure(reason) => reason.to_string(),
    })
}

/// What is thought of these pieces, and of the end behind them if they were not enough.
fn verdict<'a>(request: &HttpRequest, pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut conversation = open(&Probe::Http(request.clone()), SERVER);
    let mut given = None;
    for piece in pieces {
        let outcome = conversation.received(piece);
        assert!(given.is_none() || outcome.is_none(), "one verdict");
        given = given.or(outcome);
        assert_eq!(conversation.is_over(), given.is_some());
    }
    words(given.or_else(|| conversation.closed())).expect("the end is a verdict")
}

fn of(request: &HttpRequest, answer: &str) -> String {
    verdict(request, [answer.as_bytes()])
}

/// Whether the verdict falls without an end of the connection.
fn at_once(request: &HttpRequest, answer: &str) -> Option<String> {
    words(open(&Probe::Http(request.clone()), SERVER).received(answer.as_bytes()))
}

#[test]
fn tcp_has_its_verdict_with_the_handshake_and_says_nothing() {
    let mut conversation = Conversation::new(&Probe::Tcp, SERVER.parse().unwrap()).unwrap();
    assert_eq!(conversation.awaited(), "SYN-ACK");
    assert_eq!(conversation.received(b"early"), None);
    assert_eq!(conversation.opened(), Some(Outcome::Success));
    assert!(conversation.is_over() && conversation.unsent().is_empty());
    assert_eq!(conversation.received(b"220 mail.example"), None);
    assert_eq!(conversation.closed(), None);
}

#[test]
fn what_has_no_stream_has_no_conversation() {
    for probe in [Probe::Icmp, Probe::TcpHalfOpen] {
        assert!(Conversation::new(&probe, SERVER.parse().unwrap()).is_none());
    }
}

#[test]
fn the_request_is_the_literal_one() {
    assert_eq!(
        asked(&request(), SERVER),
        "GET /health HTTP/1.1\r\nHost: 198.18.1.2:8080\r\nUser-Agent: jeoul\r\nAccept: */*\r\n\
         Accept-Encoding: identity\r\nConnection: close\r\n\r\n"
    );
    let host_of = |request: &HttpRequest, server: &str| {
        let text = asked(request, server);
        text.lines().find_map(|line| line.strip_prefix("Host: ")).unwrap().to_owned()
    };
    assert_eq!(host_of(&request(), "198.18.1.2:80"), "198.18.1.2");
    assert_eq!(host_of(&request(), "198.18.1.2:443"), "198.18.1.2:443");
    assert_eq!(host_of(&request(), "[2001:db8::2]:80"), "[2001:db8::2]");
    assert_eq!(host_of(&request(), "[2001:db8::2]:8080"), "[2001:db8::2]:8080");
    let named = HttpRequest { host: Some("www.example".into()), ..request() };
    assert_eq!(host_of(&named, SERVER), "www.example");
}

#[test]
fn the_status_is_judged_as_soon_as_the_head_is_whole() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
    assert_eq!(at_once(&request(), head).as_deref(), Some(OK));
    assert_eq!(at_once(&request(), &head[..head.len() - 1]), None);
    assert_eq!(of(&request(), &head[..head.len() - 1]), "closed before the whole answer");
    let unavailable = "HTTP/1.1 503 Service Unavailable\r\n\r\n";
    assert_eq!(at_once(&request(), unavailable).as_deref(), Some("expected 200-299, got 503"));
    assert_eq!(of(&request(), "HTTP/1.0 204 No Content\r\n\r\n"), OK, "an older version is fine");
    assert_eq!(of(&request(), "HTTP/1.1 200\r\n\r\n"), OK, "and so is one without a word");
    let picky = HttpRequest {
        expect_status: vec![StatusRange { first: 301, last: 302 }, StatusRange { first: 401, last: 401 }],
        ..request()
    };
    assert_eq!(of(&picky, "HTTP/1.1 401 Who\r\n\r\n"), OK);
    assert_eq!(of(&picky, "HTTP/1.1 200 OK\r\n\r\n"), "expected 301-302, 401, got 200");
}

#[test]
fn status_and_body_must_both_please() {
    assert_eq!(
        of(&ready(), "HTTP/1.1 500 No\r\nContent-Length: 5\r\n\r\nREADY"),
        "expected 200-299, got 500"
    );
    let wrong = "READY not in the first 4 KiB";
    assert_eq!(of(&ready(), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready"), wrong);
    assert_eq!(of(&ready(), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nREADY"), OK);
}

#[test]
fn a_body_ends_with_its_length_its_last_chunk_or_the_connection() {
    let wrong = "READY not in the first 4 KiB";
    let at_once = |answer: &str| at_once(&ready(), answer);
    assert_eq!(at_once("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nREADY").as_deref(), Some(wrong));
    assert_eq!(at_once("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").as_deref(), Some(wrong));
    assert_eq!(at_once("HTTP/1.1 204 No Content\r\n\r\n").as_deref(), Some(wrong));
    assert_eq!(at_once("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nREAD"), None);
    assert_eq!(
        of(&ready(), "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nREAD"),
        "closed before the whole answer"
    );
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n";
    assert_eq!(at_once(&format!("{chunked}3;name=value\r\nREA\r\n2 \r\nDY\r\n")).as_deref(), Some(OK));
    assert_eq!(at_once(&format!("{chunked}5\r\nready\r\n0\r\n")).as_deref(), Some(wrong));
    assert_eq!(of(&ready(), &format!("{chunked}5\r\nready\r\n")), "closed before the whole answer");
    assert_eq!(at_once(&format!("{chunked}5\r\nready5\r\n")).as_deref(), Some("not HTTP"));
    assert_eq!(at_once(&format!("{chunked}READY\r\n")).as_deref(), Some("not HTTP"));
    let endless_line = format!("{chunked}5;{}", "x".repeat(300));
    assert_eq!(at_once(&endless_line).as_deref(), Some("not HTTP"));
    let until_close = "HTTP/1.1 200 OK\r\n\r\n";
    assert_eq!(at_once(&format!("{until_close}not rea")), None);
    assert_eq!(of(&ready(), &format!("{until_close}not rea")), wrong);
    assert_eq!(at_once(&format!("{until_close}is READY")).as_deref(), Some(OK));
}

#[test]
fn contradictory_lengths_are_no_http() {
    let lengths = |text: &str| of(&ready(), &format!("HTTP/1.1 200 OK\r\n{text}\r\n\r\nREADY"));
    assert_eq!(lengths("Content-Length: 5\r\nContent-Length: 5"), OK);
    assert_eq!(lengths("Content-Length: 5, 5"), OK);
    assert_eq!(lengths("Content-Length: 5\r\nContent-Length: 6"), "not HTTP");
    assert_eq!(lengths("Content-Length: +5"), "not HTTP");
    assert_eq!(lengths("Content-Length: 99999999999999999999"), "not HTTP");
}

#[test]
fn the_word_is_searched_in_the_first_4_kib_and_not_beyond() {
    let filled = |before: usize| format!("HTTP/1.1 200 OK\r\n\r\n{}READY and more", "x".repeat(before));
    assert_eq!(at_once(&ready(), &filled(BODY_BYTES_SEARCHED - 5)).as_deref(), Some(OK));
    assert_eq!(
        at_once(&ready(), &filled(BODY_BYTES_SEARCHED - 4)).as_deref(),
        Some("READY not in the first 4 KiB")
    );
    let odd = HttpRequest { expect_body: Some("\u{1b}[2J\n".repeat(40)), ..request() };
    let reason = of(&odd, "HTTP/1.1 200 OK\r\n\r\n");
    assert!(reason.starts_with("\\u{1b}[2J\\n") && reason.ends_with("… not in the first 4 KiB"), "{reason}");
    assert!(!reason.contains(char::is_control));
}

#[test]
fn interim_answers_are_skipped_but_for_a_change_of_protocol() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    assert_eq!(of(&ready(), &format!("{interim}HTTP/1.1 200 OK\r\n\r\nREADY")), OK);
    assert_eq!(at_once(&request(), interim), None);
    assert_eq!(of(&request(), "HTTP/1.1 101 Switching\r\n\r\n"), "expected 200-299, got 101");
    let endless = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000);
    assert_eq!(at_once(&request(), &endless).as_deref(), Some("HTTP head of more than 8 KiB"));
}

#[test]
fn a_head_is_bounded_in_bytes_and_fields() {
    let filled = |bytes: usize| format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(bytes - 24));
    assert_eq!(filled(HEAD_BYTES_MAX).len(), HEAD_BYTES_MAX);
    assert_eq!(of(&request(), &filled(HEAD_BYTES_MAX)), OK);
    assert_eq!(of(&request(), &filled(HEAD_BYTES_MAX + 1)), "HTTP head of more than 8 KiB");
    let fields = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(count));
    assert_eq!(of(&request(), &fields(HEADERS_MAX)), OK);
    assert_eq!(of(&request(), &fields(HEADERS_MAX + 1)), "HTTP head of more than 64 fields");
}

#[test]
fn what_is_no_http_is_known_by_its_first_bytes() {
    let at_once = |bytes: &[u8]| words(open(&Probe::Http(request()), SERVER).received(bytes));
    assert_eq!(at_once(b"SSH-2.0-x").as_deref(), Some("not HTTP"));
    assert_eq!(at_once(b"HTTP/2").as_deref(), Some("not HTTP"));
    assert_eq!(at_once(b"\r\n\r\nHTT"), None);
    let alert = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x46];
    assert_eq!(at_once(&alert).as_deref(), Some("not HTTP: TLS is spoken on this port"));
    assert_eq!(at_once(&alert[..1]), None, "one byte may be either");
    assert_eq!(of(&request(), ""), "closed before the whole answer");
}

#[test]
fn what_is_awaited_moves_on() {
    let mut conversation = open(&Probe::Http(ready()), SERVER);
    assert_eq!(conversation.awaited(), "HTTP answer");
    assert_eq!(conversation.received(b"HTTP/1.1 200 OK\r\n\r\nREA"), None);
    assert_eq!(conversation.awaited(), "whole HTTP answer");
}

/// A TLS server without a network.
fn tls_server(versions: &[&'static rustls::SupportedProtocolVersion]) -> ServerConnection {
    let certificate = include_bytes!("../../../tests/support/tls_certificate.der").as_slice();
    let key = include_bytes!("../../../tests/support/tls_key.der").as_slice();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let settings = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(certificate)], PrivateKeyDer::try_from(key).unwrap())
        .unwrap();
    ServerConnection::new(Arc::new(settings)).unwrap()
}

/// Carries bytes between the two until the verdict, in pieces; `answer` is what the server says to a request.
fn talk(
    conversation: &mut Conversation,
    server: &mut ServerConnection,
    answer: &str,
    piece: usize,
) -> String {
    let mut plain = String::new();
    let mut given = None;
    for _ in 0..20 {
        let mut unsent = conversation.unsent().to_vec();
        conversation.sent(unsent.len());
        let mut rest = unsent.as_mut_slice() as &[u8];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().unwrap();
            // Nothing to read is the normal case.
            let _nothing = server.reader().read_to_string(&mut plain);
        }
        if let Some(given) = given {
            return given;
        }
        if plain.ends_with("\r\n\r\n") {
            plain.clear();
            server.writer().write_all(answer.as_bytes()).unwrap();
            server.send_close_notify();
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        for piece in bytes.chunks(piece) {
            given = given.or_else(|| words(conversation.received(piece)));
        }
    }
    panic!("no verdict; {:?} is awaited", conversation.awaited());
}

fn tls() -> Probe {
    Probe::Tls(TlsRequest { server_name: Some("www.example".into()) })
}

fn https() -> HttpRequest {
    HttpRequest { tls: true, host: Some("www.example:8443".into()), ..ready() }
}

#[test]
fn a_tls_check_ends_with_the_handshake_and_says_goodbye() {
    for version in ALL_VERSIONS {
        let mut server = tls_server(&[version]);
        let mut conversation = open(&tls(), SERVER);
        assert_eq!(conversation.awaited(), "TLS handshake");
        assert_eq!(talk(&mut conversation, &mut server, "", 100), OK, "{version:?}");
        assert_eq!(server.server_name(), Some("www.example"));
        assert!(!server.is_handshaking(), "the client's part of the handshake is whole");
        let state = server.process_new_packets().unwrap();
        assert!(state.peer_has_closed(), "close_notify was sent");
    }
}

#[test]
fn without_a_name_none_is_sent() {
    let mut server = tls_server(ALL_VERSIONS);
    let mut conversation = open(&Probe::Tls(TlsRequest { server_name: None }), SERVER);
    assert_eq!(talk(&mut conversation, &mut server, "", 1_000), OK);
    assert_eq!(server.server_name(), None);
}

#[test]
fn http_in_tls_is_judged_as_http_is() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nREADY", OK),
        ("HTTP/1.1 200 OK\r\n\r\nREADY", OK),
        ("HTTP/1.1 500 No\r\n\r\nREADY", "expected 200-299, got 500"),
        ("HTTP/1.1 200 OK\r\n\r\nwrong", "READY not in the first 4 KiB"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nwrong", "closed before the whole answer"),
        ("SSH-2.0", "not HTTP"),
    ] {
        for piece in [1, 1_000] {
            let mut server = tls_server(ALL_VERSIONS);
            let mut conversation = open(&Probe::Http(https()), SERVER);
            assert_eq!(talk(&mut conversation, &mut server, answer, piece), expected, "{answer}");
            assert_eq!(server.server_name(), Some("www.example"), "without the port");
        }
    }
}

#[test]
fn what_is_no_tls_says_so() {
    for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", "220 mail.example ESMTP\r\n"] {
        let mut conversation = open(&tls(), SERVER);
        assert_eq!(words(conversation.received(answer.as_bytes())).as_deref(), Some("not TLS"));
    }
    let mut conversation = open(&tls(), SERVER);
    let refused = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x28];
    let reason = words(conversation.received(&refused)).unwrap();
    assert_eq!(reason, "TLS: received fatal alert: HandshakeFailure");
    let mut conversation = open(&tls(), SERVER);
    assert_eq!(words(conversation.closed()).as_deref(), Some("closed during the TLS handshake"));
}

#[test]
fn who_talks_without_end_is_cut_off() {
    let mut conversation = open(&tls(), SERVER);
    // Warnings of TLS 1.2 that end nothing, if the library lets them pass; else it is an error before that.
    let dribble = [0x16, 0x03, 0x03, 0x00, 0x00].repeat(1 << 20);
    assert!(matches!(conversation.received(&dribble), Some(Outcome::Failure(_))));
    assert!(conversation.received_bytes <= ANSWER_BYTES_MAX);
}

/// Answers, right and broken, as scraps put together.
fn answers() -> impl Strategy<Value = Vec<u8>> {
    let scrap = prop_oneof![
        Just("HTTP/1.1 200 OK\r\n".to_owned()),
        Just("HTTP/1.1 100 Continue\r\n\r\n".to_owned()),
        Just("HTTP/1.0 500 No\r\n".to_owned()),
        Just("Transfer-Encoding: chunked\r\n".to_owned()),
        (0_u32..12).prop_map(|length| format!("Content-Length: {length}\r\n")),
        Just("\r\n".to_owned()),
        Just("\n".to_owned()),
        Just("READY".to_owned()),
        Just("READ".to_owned()),
        Just("Y".to_owned()),
        (0_usize..7).prop_map(|length| format!("{length:x}\r\n{}\r\n", &"READYY"[..length.min(6)])),
        (1_usize..5_000).prop_map(|length| "x".repeat(length)),
        "[ -~]{0,8}",
        "\\PC{0,4}",
    ];
    let scraps = prop::collection::vec(scrap, 0..8).prop_map(|scraps| scraps.concat().into_bytes());
    let head = Just(b"HTTP/1.1 200 OK\r\n\r\n".to_vec());
    let chunked = Just(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec());
    let front = prop_oneof![2 => Just(Vec::new()), 1 => head, 1 => chunked];
    let noise = prop::collection::vec(any::<u8>(), 0..40);
    (front, prop_oneof![4 => scraps, 1 => noise]).prop_map(|(front, rest)| [front, rest].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn the_verdict_does_not_depend_on_the_cuts(
        answer in answers(),
        cuts in prop::collection::vec(0_usize..200, 0..40),
        body in any::<bool>(),
    ) {
        let request = if body { ready() } else { request() };
        let whole = verdict(&request, [&*answer]);
        let single = verdict(&request, answer.chunks(1));
        let mut rest = &*answer;
        let mut pieces: Vec<&[u8]> = cuts
            .iter()
            .map(|cut| {
                let (piece, behind) = rest.split_at((*cut).min(rest.len()));
                rest = behind;
                piece
            })
            .collect();
        pieces.push(rest);
        prop_assert_eq!(&verdict(&request, pieces), &whole);
        prop_assert_eq!(&single, &whole);
    }
}
