//! What TCP checks cost beside a bare loop that does nothing else: the same connections to the same servers at the same
//! rate, by epoll and system calls alone.
//!
//! Two network namespaces and a veth pair. In one, listening sockets and a thread that accepts, waits for the FIN and
//! closes; in the other, in turns on one thread, the bare loop and [`Checks`]. Each connection is what a check is: the
//! whole handshake, then our FIN, then the server's. Only the thread's own CPU time counts, which holds what the kernel
//! does for it, the server's half of the handshake over veth included, alike for both.
//!
//! `cargo bench -p control --bench checks -- [--checks N] [--seconds S] [--rounds R] [--kind KIND]`. With `--seconds 300
//! --rounds 1` it shows that memory and descriptors are steady over five minutes. KIND is `tcp` (the one that the bar is
//! for), `tcp-half-open`, `icmp` or `http`: the bare loop makes the same connections beside each.
#![allow(clippy::unwrap_used, reason = "a bench that panics has failed")]
#![allow(missing_docs, reason = "a bench has no users")]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use config::{HttpRequest, Probe, StatusRange};
use control::check::{Checks, Health, Parameters, Target, Wanted};
use lab::Testbed;
use mio::{Events, Poll, Token};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, connect, shutdown, socket_with};
use rustix::time::{ClockId, clock_gettime};

/// Every server is asked so often.
const INTERVAL: Duration = Duration::from_secs(1);

/// As checks are spread.
const GRAIN: Duration = Duration::from_millis(5);

/// Servers that share an address.
const PORTS: u16 = 100;
const FIRST_PORT: u16 = 10_000;

/// The second from which figures count: the first round of checks is spread by another step.
const WARM_UP: Duration = Duration::from_secs(2);

struct Options {
    checks: usize,
    seconds: u64,
    rounds: usize,
    probe: Probe,
}

/// What a stretch of one of the two cost.
struct Stretch {
    cpu: Duration,
    real: Duration,
    connections: u64,
}

impl Stretch {
    fn microseconds_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.connections as f64
    }

    fn percent_of_a_cpu(&self) -> f64 {
        self.cpu.as_secs_f64() / self.real.as_secs_f64() * 100.0
    }
}

fn main() {
    let Some(options) = options() else { return };
    if let Err(why) = Testbed::check_machine() {
        println!("skipped: {why}");
        return;
    }
    let testbed = Testbed::new("bench-checks").unwrap();
    let (near, far) = (testbed.namespace("near").unwrap(), testbed.namespace("far").unwrap());
    let link = testbed.link((&near, "near"), (&far, "far")).unwrap();
    link.first.add_address("198.18.0.1/16").unwrap();
    for server in 0..options.checks.div_ceil(usize::from(PORTS)) {
        link.second.add_address(&format!("{}/16", server_address(server * usize::from(PORTS)))).unwrap();
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| far.run(|| serve(options.checks, &stop)).unwrap());
        let _stopped_whatever_happens = Stop(&stop);
        // Listening before anybody calls.
        near.run(|| wait_for_servers(&options)).unwrap();
        near.run(|| compare(&options)).unwrap();
    });
}

/// Ends the servers' thread.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn options() -> Option<Options> {
    let mut options = Options { checks: 2_000, seconds: 8, rounds: 5, probe: Probe::Tcp };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|word| word.parse::<usize>().ok());
        match &*word {
            "--kind" => options.probe = probe(&words.next()?)?,
            "--checks" => options.checks = number()?.clamp(1, 20_000),
            "--seconds" => options.seconds = number()?.clamp(1, 600) as u64,
            "--rounds" => options.rounds = number()?.clamp(1, 100),
            // What cargo says to every bench.
            "--bench" => {}
            other => {
                println!("unknown: {other}; there are --checks N, --seconds S, --rounds R and --kind KIND");
                return None;
            }
        }
    }
    Some(options)
}

fn probe(kind: &str) -> Option<Probe> {
    Some(match kind {
        "tcp" => Probe::Tcp,
        "tcp-half-open" => Probe::TcpHalfOpen,
        "icmp" => Probe::Icmp,
        "http" => Probe::Http(HttpRequest {
            path: "/".into(),
            host: None,
            tls: false,
            expect_status: vec![StatusRange { first: 200, last: 200 }],
            expect_body: Some("OK".into()),
        }),
        _ => return None,
    })
}

fn server_address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 1, 1).to_bits() + (number / usize::from(PORTS)) as u32)
}

fn server(number: usize) -> SocketAddr {
    (server_address(number), FIRST_PORT + (number % usize::from(PORTS)) as u16).into()
}

fn wait_for_servers(options: &Options) {
    let end = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(server(options.checks - 1)).is_err() {
        assert!(Instant::now() < end, "the servers do not listen");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Accepts on all of them, answers who asks, closes.
fn serve(count: usize, stop: &AtomicBool) {
    let listeners: Vec<TcpListener> =
        (0..count).map(|number| TcpListener::bind(server(number)).unwrap()).collect();
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    for (number, listener) in listeners.iter().enumerate() {
        listener.set_nonblocking(true).unwrap();
        epoll::add(&epoll, listener, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)
            .unwrap();
    }
    let mut streams: Vec<Option<TcpStream>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut events = Vec::with_capacity(256);
    while !stop.load(Ordering::Relaxed) {
        wait(&epoll, &mut events, Duration::from_millis(100));
        for event in &events {
            let number = event.data.u64() as usize;
            if let Some(listener) = listeners.get(number) {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true).unwrap();
                    let place = free.pop().unwrap_or_else(|| {
                        streams.push(None);
                        streams.len() - 1
                    });
                    let data = epoll::EventData::new_u64((count + place) as u64);
                    epoll::add(&epoll, &stream, data, epoll::EventFlags::IN).unwrap();
                    streams[place] = Some(stream);
                }
            } else if let Some(stream) = streams[number - count].as_mut() {
                // A request, or the end.
                if stream.read(&mut [0; 512]).is_ok_and(|length| length > 0) {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK").unwrap();
                }
                streams[number - count] = None;
                free.push(number - count);
            }
        }
    }
}

/// As `mio` does it: whole milliseconds, rounded up.
fn wait(epoll: &OwnedFd, events: &mut Vec<epoll::Event>, timeout: Duration) {
    let milliseconds = timeout.as_nanos().div_ceil(1_000_000) as i64;
    let timeout = Timespec { tv_sec: milliseconds / 1_000, tv_nsec: milliseconds % 1_000 * 1_000_000 };
    events.clear();
    match epoll::wait(epoll, rustix::buffer::spare_capacity(events), Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => panic!("epoll: {error}"),
    }
}

fn compare(options: &Options) {
    let length = Duration::from_secs(options.seconds);
    println!("{} servers, each asked once a second, {} s a stretch", options.checks, options.seconds);
    let mut ratios = Vec::new();
    let (mut bare, mut checked) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        let one = bare_loop(options.checks, length);
        let other = checks(options, length);
        let ratio = other.microseconds_each() / one.microseconds_each();
        println!(
            "round {}: bare {:.1} us a connection ({:.1} % of a CPU), checks {:.1} us ({:.1} %), ratio {ratio:.2}",
            round + 1,
            one.microseconds_each(),
            one.percent_of_a_cpu(),
            other.microseconds_each(),
            other.percent_of_a_cpu()
        );
        ratios.push(ratio);
        bare.push(one.microseconds_each());
        checked.push(other.microseconds_each());
    }
    let (bare, checked, ratio) = (median(&mut bare), median(&mut checked), median(&mut ratios));
    println!("median: bare {bare:.1} us, checks {checked:.1} us, ratio {ratio:.2} (bar: 1.5)");
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// When the bare loop makes its next connection: in groups of 5 ms, as the checks begin. Evenly spread it would wake
/// more often, and cost more.
fn due(start: Instant, begun: u64, count: usize) -> Instant {
    let evenly = INTERVAL.as_nanos() as u64 * begun / count as u64;
    start + Duration::from_nanos(evenly - evenly % GRAIN.as_nanos() as u64)
}

/// Connections by system calls alone. The next one is due by its number, so there is not even a timer.
fn bare_loop(count: usize, length: Duration) -> Stretch {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let mut sockets: Vec<Option<OwnedFd>> = (0..count).map(|_| None).collect();
    let mut shut: Vec<bool> = vec![false; count];
    let mut events = Vec::with_capacity(256);
    let (mut begun, mut done) = (0_u64, 0_u64);
    let start = Instant::now();
    let mut from: Option<(Duration, Instant, u64)> = None;
    loop {
        let now = Instant::now();
        if from.is_none() && now >= start + WARM_UP {
            from = Some((cpu_time(), now, done));
        }
        if now >= start + WARM_UP + length {
            break;
        }
        while due(start, begun, count) <= now {
            let number = (begun % count as u64) as usize;
            begun += 1;
            if sockets[number].is_some() {
                // On a machine that does something else too; it is not made up for.
                continue;
            }
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
            match connect(&socket, &server(number)) {
                Ok(()) | Err(Errno::INPROGRESS) => {}
                Err(error) => panic!("connect: {error}"),
            }
            let interest = epoll::EventFlags::IN
                | epoll::EventFlags::OUT
                | epoll::EventFlags::RDHUP
                | epoll::EventFlags::ET;
            epoll::add(&epoll, socket.as_fd(), epoll::EventData::new_u64(number as u64), interest).unwrap();
            sockets[number] = Some(socket);
            shut[number] = false;
        }
        let pause = due(start, begun, count).saturating_duration_since(Instant::now());
        wait(&epoll, &mut events, pause);
        for event in &events {
            let (number, flags) = (event.data.u64() as usize, event.flags);
            assert!(!flags.contains(epoll::EventFlags::ERR), "a connection failed");
            let Some(socket) = &sockets[number] else { continue };
            if !shut[number] {
                shutdown(socket, Shutdown::Write).unwrap();
                shut[number] = true;
            }
            if flags.contains(epoll::EventFlags::RDHUP) {
                sockets[number] = None;
                done += 1;
            }
        }
    }
    let (cpu, real, before) = from.unwrap();
    stretch(cpu, real, done - before)
}

fn stretch(cpu_before: Duration, from: Instant, connections: u64) -> Stretch {
    Stretch { cpu: cpu_time() - cpu_before, real: from.elapsed(), connections }
}

/// The checks in a loop as the control thread's, with nothing else in it.
fn checks(options: &Options, length: Duration) -> Stretch {
    let count = options.checks;
    let mut poll = Poll::new().unwrap();
    let mut checks = Checks::new(poll.registry(), Token(0), count).unwrap();
    let parameters = Parameters {
        interval: INTERVAL,
        response_time: INTERVAL,
        retries: 2,
        timeout: None,
        dead_interval: INTERVAL,
        rise: 1,
    };
    let probe = Arc::new(options.probe.clone());
    let wanted: Vec<Wanted> = (0..count)
        .map(|number| {
            let server = server(number);
            let target = Target::by_kernel(server.ip(), Some(server.port()));
            Wanted { target, probe: probe.clone(), parameters }
        })
        .collect();
    let start = Instant::now();
    let ids = checks.update(start, &wanted);
    let mut events = Events::with_capacity(1_024);
    let mut out = Vec::new();
    let mut from: Option<(Duration, Instant, u64, Facts)> = None;
    loop {
        let now = Instant::now();
        if from.is_none() && now >= start + WARM_UP {
            out.clear();
            from = Some((cpu_time(), now, checks.asked(), Facts::now()));
        }
        if now >= start + WARM_UP + length {
            break;
        }
        let timeout = checks.next_deadline().map_or(INTERVAL, |at| at.saturating_duration_since(now));
        poll.poll(&mut events, Some(timeout)).unwrap();
        let now = Instant::now();
        for event in &events {
            checks.handle(now, event, &mut out);
        }
        checks.advance(now, &mut out);
    }
    let (cpu, real, before, facts) = from.unwrap();
    let stretch = stretch(cpu, real, checks.asked() - before);
    assert!(out.is_empty(), "a server was not up for a while: {out:?}");
    let up = ids.iter().filter(|id| checks.status(**id).unwrap().health == Health::Up).count();
    assert_eq!((up, checks.own_errors()), (count, 0));
    println!("         memory and descriptors: {facts} before, {} after", Facts::now());
    stretch
}

/// What the process holds.
struct Facts {
    resident_kib: u64,
    descriptors: usize,
}

impl Facts {
    fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let resident_kib = line.split_whitespace().next().unwrap().parse().unwrap();
        Self { resident_kib, descriptors: fs::read_dir("/proc/self/fd").unwrap().count() }
    }
}

impl std::fmt::Display for Facts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} KiB, {}", self.resident_kib, self.descriptors)
    }
}
