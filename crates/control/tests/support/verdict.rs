//! One check of one server, and what it comes to.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use config::Probe;
use control::check::{CheckId, Wanted};

use super::bed::Bed;
use super::clockwork::{Clockwork, asking, open_descriptors};

/// How long, in real time, a peer is given to break a silence that is expected.
pub const SILENCE: Duration = Duration::from_millis(150);

pub const UP: &str = "up";

/// Tests that count descriptors of the process must run alone.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs in `near`, and expects the descriptors of before afterwards.
pub fn in_namespace(label: &str, test: impl FnOnce(&Bed) + Send) {
    let _alone = alone();
    let Some(bed) = Bed::new(label) else { return };
    bed.near
        .run(|| {
            let descriptors = open_descriptors();
            test(&bed);
            assert_eq!(open_descriptors(), descriptors, "every descriptor is given back");
        })
        .unwrap();
}

/// What one check of a server comes to.
pub fn verdict(wanted: &Wanted) -> String {
    let mut clockwork = Clockwork::new();
    let id = clockwork.update(std::slice::from_ref(wanted))[0];
    clockwork.answered(id);
    let verdict = said(&clockwork, id);
    clockwork.update(&[]);
    verdict
}

/// What one check comes to that nobody answers: nothing, until the response time has passed.
pub fn verdict_of_silence(wanted: &Wanted) -> String {
    let mut clockwork = Clockwork::new();
    let id = clockwork.update(std::slice::from_ref(wanted))[0];
    let end = Instant::now() + SILENCE;
    while Instant::now() < end {
        clockwork.listen(Duration::from_millis(10));
    }
    clockwork.go_to(999);
    assert_eq!(clockwork.checks.status(id).unwrap().last_check, None, "{:?}", said(&clockwork, id));
    clockwork.go_to(1_000);
    let verdict = said(&clockwork, id);
    clockwork.update(&[]);
    verdict
}

pub fn said(clockwork: &Clockwork, id: CheckId) -> String {
    let status = clockwork.checks.status(id).unwrap();
    status.reason.map_or_else(|| status.health.word().to_owned(), ToString::to_string)
}

pub fn ask(probe: Probe, server: SocketAddr) -> Wanted {
    asking(probe, &server.to_string())
}

/// An address on the link that nobody answers for.
pub fn nobody(bed: &Bed, family: &str) -> String {
    let address = if family.contains(':') { "2001:db8:1::99" } else { "198.18.1.99" };
    bed.ip_near(&format!("neighbour replace {address} lladdr 02:00:00:00:00:99 nud permanent dev near"));
    address.to_owned()
}
