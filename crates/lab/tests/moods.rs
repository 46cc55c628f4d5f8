//! Servers in every mood, callers from many addresses, and the delay line, with a plain kernel router in the
//! appliance's place.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lab::topology::slb_routed::{HOLD_PORT, Plan, SlbRouted, VIP_V4, VIP_V6, slb_routed_as};
use lab::{
    Calls, Chatter, Discarded, Failure, HeldState, Mood, MoodServer, PacketFilter, READY, Speech, TcpHold,
    Testbed, http_get,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

const PORT: u16 = 8080;

/// Long enough for any machine, since nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long an answer is waited for where none can come.
const SILENCE: Duration = Duration::from_millis(300);

fn routed(label: &str, plan: &Plan) -> Option<(Testbed, SlbRouted)> {
    let programs = ["nft"].iter().try_for_each(|name| lab::find_program(name).map(|_path| ()));
    if let Err(why) = Testbed::check_machine().and(programs) {
        eprintln!("skipped: {why}");
        return None;
    }
    let testbed = Testbed::new(label).unwrap();
    let lab = slb_routed_as(&testbed, plan).unwrap();
    lab.outside.namespace().forward_packets().unwrap();
    Some((testbed, lab))
}

fn one_server() -> Plan {
    Plan { servers: 1, ..Plan::default() }
}

fn each_family(lab: &SlbRouted, port: u16) -> [SocketAddr; 2] {
    [VIP_V4, VIP_V6].map(|like| (lab.servers[0].address_like(like), port).into())
}

#[test]
fn a_web_server_fails_in_every_way_and_recovers() {
    let Some((_testbed, lab)) = routed("lab-moods", &one_server()) else { return };
    let mut server = MoodServer::start(lab.servers[0].namespace(), Speech::Http, PORT).unwrap();
    let no = |failure| Err::<&str, _>(failure);
    let moods = [
        (Mood::Answers { status: 503, body: READY }, no(Failure::Status(503)), PATIENCE),
        (Mood::Answers { status: 200, body: "out of order" }, Ok("out of order"), PATIENCE),
        (Mood::Hangs, no(Failure::TimedOut), SILENCE),
        (Mood::Drips, no(Failure::TimedOut), SILENCE),
        (Mood::Floods, no(Failure::Malformed), PATIENCE),
        (Mood::Resets, no(Failure::Reset), PATIENCE),
        (Mood::Closes, no(Failure::Closed), PATIENCE),
        (Mood::Refuses, no(Failure::Refused), PATIENCE),
    ];
    for (mood, expected, limit) in moods {
        for target in each_family(&lab, PORT) {
            for (mood, expected, limit) in
                [(mood, expected.clone(), limit), (Mood::Good, Ok(READY), PATIENCE)]
            {
                server.set(mood).unwrap();
                let got = lab.client.namespace().run(|| http_get(target, limit)).unwrap();
                assert_eq!(got.map(|answer| answer.server), expected.map(str::to_owned), "{mood:?}");
            }
        }
    }
    assert_eq!(server.accepted(), 2 * 8 + 2 * 7, "all but the refused ones");
    server.set(Mood::Garbles).unwrap();
    let got = lab.client.namespace().run(|| http_get(each_family(&lab, PORT)[0], SILENCE)).unwrap();
    assert!(got.is_err(), "{got:?}");
}

#[test]
fn a_datagram_server_is_good_silent_wrong_or_gone() {
    let Some((_testbed, lab)) = routed("lab-moods-udp", &one_server()) else { return };
    let mut server = MoodServer::start(lab.servers[0].namespace(), Speech::Udp, PORT).unwrap();
    let ask = |target: SocketAddr| -> Result<String, Failure> {
        let bind = || UdpSocket::bind(if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
        let socket = lab.client.namespace().run(bind).unwrap();
        socket.connect(target).unwrap();
        socket.set_read_timeout(Some(SILENCE)).unwrap();
        socket.send(b"PING").unwrap();
        let mut answer = [0; 100];
        let length = socket.recv(&mut answer)?;
        Ok(String::from_utf8(answer[..length].to_vec()).unwrap())
    };
    for target in each_family(&lab, PORT) {
        assert_eq!(ask(target), Ok(READY.into()));
        server.set(Mood::Hangs).unwrap();
        assert_eq!(ask(target), Err(Failure::TimedOut));
        server.set(Mood::Garbles).unwrap();
        assert_eq!(ask(target), Ok("out of order".into()));
        server.set(Mood::Refuses).unwrap();
        assert_eq!(ask(target), Err(Failure::Refused));
        server.set(Mood::Good).unwrap();
    }
    assert!(server.set(Mood::Drips).is_err());
    assert_eq!(server.accepted(), 6);
}

/// Takes any certificate, as a health check does.
#[derive(Debug)]
struct Trusting(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A request in TLS; all that came, or the failure.
fn https_get(target: SocketAddr) -> std::io::Result<String> {
    use std::io::{Read, Write};
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider));
    let config = config.with_safe_default_protocol_versions().unwrap().dangerous();
    let config = config.with_custom_certificate_verifier(Arc::new(Trusting(provider))).with_no_client_auth();
    let name = ServerName::try_from("server.example").unwrap();
    let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = std::net::TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_read_timeout(Some(SILENCE))?;
    let mut secured = rustls::StreamOwned::new(connection, stream);
    secured.write_all(b"GET / HTTP/1.1\r\nHost: server.example\r\n\r\n")?;
    let mut text = String::new();
    secured.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn a_server_with_tls_answers_inside_it_and_fails_before_it() {
    let Some((_testbed, lab)) = routed("lab-moods-tls", &one_server()) else { return };
    let mut server = MoodServer::start(lab.servers[0].namespace(), Speech::Https, PORT).unwrap();
    for target in each_family(&lab, PORT) {
        let mut ask = |mood| {
            server.set(mood).unwrap();
            lab.client.namespace().run(|| https_get(target)).unwrap()
        };
        let answer = ask(Mood::Good).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(READY), "{answer}");
        assert!(ask(Mood::Answers { status: 503, body: "" }).unwrap().starts_with("HTTP/1.1 503 "));
        assert_eq!(ask(Mood::Garbles).unwrap_err().kind(), std::io::ErrorKind::InvalidData);
        assert_eq!(ask(Mood::Hangs).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        assert_eq!(ask(Mood::Refuses).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    }
}

#[test]
fn a_packet_filter_makes_a_living_server_silent_and_its_end_lets_it_speak() {
    let Some((_testbed, lab)) = routed("lab-filter", &one_server()) else { return };
    let namespace = lab.servers[0].namespace();
    let server = MoodServer::start(namespace, Speech::Http, PORT).unwrap();
    let other = MoodServer::start(namespace, Speech::Http, PORT + 1).unwrap();
    let get = |target, limit| lab.client.namespace().run(|| http_get(target, limit)).unwrap().map(|_| ());
    let filters = [Discarded::Syns(PORT), Discarded::EchoRequests];
    let filters = filters.map(|discarded| PacketFilter::start(namespace, discarded).unwrap());
    for (target, beside) in each_family(&lab, PORT).into_iter().zip(each_family(&lab, PORT + 1)) {
        assert_eq!(get(target, SILENCE), Err(Failure::TimedOut));
        assert_eq!(get(beside, PATIENCE), Ok(()));
        assert!(!lab.client.namespace().ping(target.ip(), Duration::from_secs(1)).unwrap());
    }
    assert_eq!((server.accepted(), other.accepted()), (0, 2));
    drop(filters);
    for target in each_family(&lab, PORT) {
        assert_eq!(get(target, PATIENCE), Ok(()));
        assert!(lab.client.namespace().ping(target.ip(), PATIENCE).unwrap());
    }
}

fn hold(lab: &SlbRouted) -> Vec<TcpHold> {
    let start = |server: &lab::topology::slb_routed::Server| {
        TcpHold::start(server.namespace(), &server.name, HOLD_PORT).unwrap()
    };
    lab.servers.iter().map(start).collect()
}

#[test]
fn callers_come_from_the_addresses_that_were_chosen_over_several_queues() {
    let plan = Plan { servers: 2, queues: 2, callers: true, ..Plan::default() };
    let Some((_testbed, lab)) = routed("lab-callers", &plan) else { return };
    let servers = hold(&lab);
    for (index, like) in [VIP_V4, VIP_V6].into_iter().enumerate() {
        let sources: Vec<IpAddr> = (0..40).map(|caller| lab.caller(caller * 101, like)).collect();
        let target = (lab.servers[index].address_like(like), HOLD_PORT).into();
        let calls = Calls { sources: sources.clone(), count: 40, hold: true, ..Calls::to(target) };
        let called = calls.make(lab.client.namespace()).unwrap();
        assert_eq!(called.per_server(), BTreeMap::from([(&*lab.servers[index].name, 40)]));
        let seen: BTreeSet<IpAddr> = servers[index].clients().iter().map(SocketAddr::ip).collect();
        assert_eq!(seen, sources.into_iter().collect());
        assert!(called.failures().is_empty());
        let hung_up = Calls { count: 20, ..Calls::to(target) }.make(lab.client.namespace()).unwrap();
        assert_eq!((hung_up.calls.len(), hung_up.held.len()), (20, 0));

        let chatter =
            Chatter { padding_bytes: 10_000, interval: Duration::ZERO, timeout: PATIENCE, limit: PATIENCE };
        let before = lab.servers[index].end.counters().unwrap();
        let busy = called.held.keep_busy(chatter);
        while busy.rounds() < 3 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut rested = busy.stop();
        assert_eq!(rested.states, vec![HeldState::Alive(lab.servers[index].name.clone()); 40]);
        let after = lab.servers[index].end.counters().unwrap();
        assert!(after.sent_bytes - before.sent_bytes > 3 * 40 * 10_000);
        rested.held.close(|place| place < 30);
        assert_eq!(rested.held.probe(PATIENCE).len(), 10);
        servers[index].abort_all();
        let one_round = Chatter { timeout: SILENCE, ..chatter };
        let busy = rested.held.keep_busy(one_round);
        while busy.rounds() < 3 {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(busy.stop().states, vec![HeldState::Reset; 10], "the first that went wrong");
    }
    let nobody = Calls { count: 4, ..Calls::to((VIP_V4, HOLD_PORT).into()) };
    let nobody = Calls { timeout: SILENCE, ..nobody }.make(lab.client.namespace()).unwrap();
    assert_eq!(nobody.failures().values().sum::<usize>(), 4, "{:?}", nobody.calls);
}

#[test]
fn a_delay_line_holds_what_a_server_sends_and_loses_nothing() {
    let plan = Plan { servers: 2, delayed: vec![1], ..Plan::default() };
    let Some((_testbed, lab)) = routed("lab-delay", &plan) else { return };
    let _servers = hold(&lab);
    let fastest = |server: usize| {
        let once = |_| {
            let target = (lab.servers[server].v4, HOLD_PORT).into();
            let began = Instant::now();
            let calls = Calls { count: 1, concurrency: 1, ..Calls::to(target) };
            let called = calls.make(lab.client.namespace()).unwrap();
            assert!(called.failures().is_empty());
            began.elapsed()
        };
        (0..10).map(once).min().unwrap()
    };
    let line = lab.servers[1].delay.as_ref().unwrap();
    let delay = Duration::from_millis(40);
    assert!(fastest(1) < delay, "without a delay");
    line.set_delay(delay).unwrap();
    // The SYN-ACK and the answer wait.
    let slowed = fastest(1);
    assert!(slowed >= 2 * delay, "{slowed:?}");
    assert!(fastest(0) < delay, "the server beside it");
    // Many segments at once, in order and whole.
    let target = (lab.servers[1].v4, HOLD_PORT).into();
    let calls = Calls { count: 4, hold: true, ..Calls::to(target) };
    let mut held = calls.make(lab.client.namespace()).unwrap().held;
    let alive = vec![HeldState::Alive("server2".into()); 4];
    assert_eq!(held.probe_with(200_000, PATIENCE), alive);
    line.set_delay(Duration::ZERO).unwrap();
    assert_eq!(held.probe(PATIENCE), alive);
    assert!(fastest(1) < delay, "without a delay again");
    assert_eq!(line.dropped_frames(), 0);
    assert!(line.set_delay(Duration::from_secs(2)).is_err());
}
