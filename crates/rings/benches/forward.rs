//! What bare forwarding over real rings costs a frame: 64-byte frames from one veth to another, nothing decided
//! on the way, by driver. Makes its own network namespaces, as root.
//!
//! One thread does all: it fills a ring, then turns until the ring is empty; only the turns are measured. They
//! hold what the kernel does inside our system calls (on a veth that is the other end's receive path too), and
//! user time stands apart from it. For the instructions of the user's part alone, which are steady:
//!
//! ```text
//! valgrind --tool=callgrind --collect-atstart=no --toggle-collect='forward::turns*' \
//!     target/release/deps/forward-* af_xdp 8
//! ```
//!
//! Arguments: a driver (all of them), and how many rings full to send (400).
#![allow(clippy::unwrap_used, reason = "a bench that cannot run has failed")]

#[path = "../tests/packet_lab/mod.rs"]
mod packet_lab;
#[path = "../tests/worker_lab/mod.rs"]
mod worker_lab;

use packet_lab::Wire;
use port::{BURST_FRAMES_MAX, Ports, Verdict};
use rings::WorkerPorts;
use rings::steering::{Attach, Driver};
use std::time::{Duration, Instant};
use worker_lab::{LEFT, Lab, RIGHT, open_both, udp};

const VIP: [u8; 4] = [198, 18, 0, 10];
/// Frames that lie in the ring before the turns begin.
const FILL: u32 = 1_024;
const ROUNDS_DEFAULT: u32 = 400;
/// Frames that do not come within this time are lost, and the bench says so.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let rounds = words.iter().find_map(|word| word.parse().ok()).unwrap_or(ROUNDS_DEFAULT);
    let kinds = [("af_xdp", Driver::AfXdp, Attach::Native), ("af_packet", Driver::AfPacket, Attach::Auto)];
    let named = words.iter().any(|word| kinds.iter().any(|kind| kind.0 == word));
    for (name, driver, attach) in kinds {
        if !named || words.iter().any(|word| word == name) {
            Lab::run(1, |lab| forward(lab, name, (driver, attach), rounds));
        }
    }
}

fn forward(lab: &Lab, name: &str, kind: (Driver, Attach), rounds: u32) {
    let (_steering, mut opened) = open_both([kind, kind], 1);
    let ports = &mut opened.workers[0];
    let left = lab.inside(&lab.left, || Wire::open("left0"));
    let frame = udp(1, VIP, 60);
    let (mut frames, mut sent_turns) = (0, 0);
    let mut spent = Spent::default();
    for _ in 0..rounds {
        (0..FILL).for_each(|_| left.send(&frame));
        let before = Spent::now();
        let (count, turn_count) = turns(ports, FILL);
        spent.add(&before, &Spent::now());
        frames += count;
        sent_turns += turn_count;
    }
    let per_frame = |time: Duration| time.as_nanos() as f64 / f64::from(frames.max(1));
    println!(
        "{name}: {:.0} ns CPU per frame (user {:.0}, system {:.0}), {frames} frames, {:.1} a turn, {} missing",
        per_frame(spent.thread),
        per_frame(spent.user),
        per_frame(spent.system),
        f64::from(frames) / f64::from(sent_turns.max(1)),
        u64::from(rounds) * u64::from(FILL) - u64::from(frames)
    );
    for port in [LEFT, RIGHT] {
        ports.statistics(port).unwrap().losses().filter(|loss| loss.1 > 0).for_each(|(what, count)| {
            println!("  port {}: {what} {count}", port.0);
        });
    }
}

/// Turns until `wanted` frames were sent on; how many there were, and how many turns.
#[inline(never)]
fn turns(ports: &mut WorkerPorts, wanted: u32) -> (u32, u32) {
    let (mut frames, mut turns) = (0, 0);
    let started = Instant::now();
    while frames < wanted && started.elapsed() < PATIENCE {
        for (from, to) in [(LEFT, RIGHT), (RIGHT, LEFT)] {
            let mut verdicts = [Verdict::Drop; BURST_FRAMES_MAX];
            let mut count = 0;
            for frame in &ports.receive(from) {
                verdicts[count] =
                    Verdict::Transmit { port: to, start: frame.start(), length: frame.length() };
                count += 1;
            }
            if count > 0 {
                ports.settle(from, &verdicts[..count]);
                frames += if from == LEFT { count as u32 } else { 0 };
            }
        }
        ports.flush();
        turns += 1;
    }
    (frames, turns)
}

/// CPU time.
#[derive(Default)]
struct Spent {
    thread: Duration,
    user: Duration,
    system: Duration,
}

impl Spent {
    /// Of this thread until now.
    fn now() -> Self {
        let mut thread = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: all zeroes is a valid value, and both pointers outlive their calls.
        let usage = unsafe {
            libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut thread);
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
            usage
        };
        let of = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1_000);
        Self {
            thread: Duration::new(thread.tv_sec as u64, thread.tv_nsec as u32),
            user: of(usage.ru_utime),
            system: of(usage.ru_stime),
        }
    }

    fn add(&mut self, before: &Self, after: &Self) {
        self.thread += after.thread - before.thread;
        self.user += after.user.saturating_sub(before.user);
        self.system += after.system.saturating_sub(before.system);
    }
}
