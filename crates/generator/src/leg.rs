//! One port at work: what is due goes out, what comes in is counted or answered. One thread owns it.
//!
//! A turn never blocks. It sends at most a burst of each stream, wakes the kernel once, and receives until
//! nothing is left, or as much as keeps the next burst in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use metrics::Counter;
use port::Ports;
use rings::{PortStatistics, WorkerPorts};
use rustix::time::{ClockId, clock_gettime};

use crate::account::Account;
use crate::neighbours::Neighbours;
use crate::sender::{Budget, PORT, Sender};
use crate::sizes::FCS_BYTES;
use crate::stamp::Signature;
use crate::tcp::{Client, Counts, FRAMES_PER_CONNECTION, FRAMES_PER_EXCHANGE, Segment, Writer, answer};

/// Bursts that one turn receives at the most: more than one turn sends, or a thread that does both loses its
/// own frames.
const BURSTS_PER_TURN: usize = 32;

/// How long after the end what was due before it is still sent.
const LATE_NS: u64 = 2_000_000;

/// Nanoseconds of `CLOCK_MONOTONIC`, which is `bpf_ktime_get_ns`'s clock too.
#[inline]
pub fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What all legs of a run share.
#[derive(Debug)]
pub struct Terms {
    /// When the first frames are due.
    pub start_ns: u64,
    /// How long frames are sent.
    pub duration_ns: u64,
    /// Frames that may be sent.
    pub budget: Budget,
    /// Asked to end early.
    pub stop: AtomicBool,
}

/// What a leg has done so far; it writes, anyone reads.
#[derive(Debug, Default)]
pub struct Progress {
    /// Frames sent.
    pub transmitted: Counter,
    /// Different stamped frames received, and frames of connections.
    pub received: Counter,
    /// Frames missing among those up to the highest received.
    pub missing: Counter,
    /// Received frames that bear no stamp of ours and are of no connection.
    pub unknown: Counter,
    /// Connections, by how far they came.
    pub connections: ConnectionProgress,
    /// When the last frame was sent, in nanoseconds since the start; 0 as long as more are to be sent.
    pub over_ns: Counter,
}

/// [`Counts`] that anyone reads.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the counts say it")]
pub struct ConnectionProgress {
    pub begun: Counter,
    pub opened: Counter,
    pub failed: Counter,
    pub closed: Counter,
    pub held: Counter,
}

/// Everything that a leg works with.
pub struct Work {
    /// The number of its port in the profile.
    pub port: usize,
    /// The streams that it sends.
    pub senders: Vec<Sender>,
    /// The connections that it opens.
    pub clients: Vec<Client>,
    /// Whether it is the far end of connections.
    pub answers: bool,
    /// By stream, what came of it; `None` for those that are not expected here.
    pub accounts: Vec<Option<Account>>,
    /// What its stamps are known by.
    pub signature: Signature,
    /// Whose addresses it answers for.
    pub neighbours: Neighbours,
}

/// See the module.
pub struct Leg {
    ports: WorkerPorts,
    work: Work,
    progress: Arc<Progress>,
    is_over: bool,
    /// Why it stopped sending.
    failure: Option<rings::Error>,
    writer: Writer,
    /// Segments that a burst made necessary.
    outbox: Vec<Segment>,
}

/// What a burst was.
#[derive(Default)]
struct Tally {
    received: u64,
    unknown: u64,
}

impl Leg {
    /// A leg over the rings of one port.
    pub fn new(ports: WorkerPorts, work: Work) -> Self {
        let (writer, outbox) = (Writer::default(), Vec::new());
        Self { ports, work, progress: Arc::default(), is_over: false, failure: None, writer, outbox }
    }

    /// What it has done, for other threads.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// The number of its port in the profile.
    pub fn port(&self) -> usize {
        self.work.port
    }

    /// One turn; false when there was nothing to do.
    pub fn turn(&mut self, terms: &Terms) -> bool {
        let now_ns = now_ns();
        let sent = if self.is_over { 0 } else { self.transmit(terms, now_ns) };
        for client in &mut self.work.clients {
            client.expire(now_ns);
        }
        self.ports.flush();
        let received = self.receive();
        self.note_connections();
        sent + received > 0
    }

    fn transmit(&mut self, terms: &Terms, now_ns: u64) -> u64 {
        let Some(since_start_ns) = now_ns.checked_sub(terms.start_ns) else { return 0 };
        let elapsed_ns = since_start_ns.min(terms.duration_ns);
        let mut sent = 0;
        for sender in &mut self.work.senders {
            match sender.transmit(&mut self.ports, &terms.budget, elapsed_ns, now_ns) {
                Ok(more) => sent += more,
                Err(error) => self.failure = Some(error),
            }
        }
        self.progress.transmitted.add(sent);
        for client in &mut self.work.clients {
            // What is held goes first: it is older.
            sent += tend(client, &mut self.ports, &mut self.writer, &terms.budget, now_ns);
            sent += open(client, &mut self.ports, &mut self.writer, &terms.budget, elapsed_ns, now_ns);
        }
        let Work { senders, clients, .. } = &mut self.work;
        let is_late = since_start_ns > terms.duration_ns + LATE_NS;
        let is_due = since_start_ns >= terms.duration_ns;
        let no_more = senders.iter().all(|sender| sender.is_over(elapsed_ns))
            && clients.iter().all(|client| client.is_over(elapsed_ns));
        let mut is_settled = || {
            senders.iter_mut().all(|sender| sender.is_settled(elapsed_ns))
                && clients.iter_mut().all(|client| client.is_settled(elapsed_ns))
        };
        self.is_over = terms.stop.load(Relaxed)
            || self.failure.is_some()
            || terms.budget.is_spent()
            || no_more
            || is_due && (is_late || is_settled());
        if self.is_over {
            self.progress.over_ns.set(elapsed_ns.max(1));
        }
        sent
    }

    fn receive(&mut self) -> u64 {
        let mut total = 0;
        for _ in 0..BURSTS_PER_TURN {
            let received = self.receive_burst();
            if received == 0 {
                break;
            }
            total += received;
        }
        if total > 0 {
            self.progress.missing.set(self.work.accounts.iter().flatten().map(Account::missing).sum());
        }
        total
    }

    fn receive_burst(&mut self) -> u64 {
        let Self { ports, work, outbox, .. } = self;
        let burst = ports.receive(PORT);
        if burst.is_empty() {
            return 0;
        }
        let (now_ns, count) = (now_ns(), burst.len() as u64);
        let (mut tally, mut rare) = (Tally::default(), Vec::new());
        for frame in &burst {
            if !work.count(frame.bytes(), now_ns, &mut tally) && !work.converse(frame.bytes(), now_ns, outbox)
            {
                match work.neighbours.answer(frame.bytes()) {
                    Some(answer) => rare.push(answer),
                    None => tally.unknown += 1,
                }
            }
        }
        drop(burst);
        ports.settle(PORT, &[]);
        for segment in outbox.drain(..) {
            // Without room it is lost, as on a wire that is full: its connection fails.
            ports.inject(PORT, self.writer.write(&segment));
        }
        for answer in rare {
            ports.inject(PORT, &answer);
        }
        self.progress.received.add(tally.received);
        self.progress.unknown.add(tally.unknown);
        count
    }

    /// Frames of connections are counted by their clients.
    fn note_connections(&mut self) {
        if self.work.clients.is_empty() {
            return;
        }
        let frames = self.work.clients.iter().map(Client::frames);
        let (transmitted, received) = frames.fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        let senders: u64 = self.work.senders.iter().map(|sender| sender.sent().packets).sum();
        let accounts: u64 = self.work.accounts.iter().flatten().map(|account| account.received).sum();
        self.progress.transmitted.set(senders + transmitted);
        self.progress.received.set(accounts + received);
        let mut counts = Counts::default();
        self.work.clients.iter().for_each(|client| counts += client.counts());
        let progress = &self.progress.connections;
        progress.begun.set(counts.begun);
        progress.opened.set(counts.opened);
        progress.failed.set(counts.failures.total());
        progress.closed.set(counts.closed);
        progress.held.set(counts.held);
    }

    /// Frames that came and were not taken out of the ring in time, or not by the kernel.
    pub fn receive_dropped(&mut self) -> u64 {
        let statistics = self.ports.statistics(PORT);
        let losses = statistics.iter().flat_map(PortStatistics::losses);
        // Each time that the fill ring is empty, a frame is dropped and counted as that too.
        let of_receiving = |name: &str| name.starts_with("rx_") && name != "rx_fill_ring_empty";
        losses.filter(|(name, _)| of_receiving(name)).map(|(_, count)| count).sum()
    }

    /// What came of it all.
    pub fn into_work(self) -> Result<Work, rings::Error> {
        match self.failure {
            Some(error) => Err(error),
            None => Ok(self.work),
        }
    }
}

impl Work {
    /// Counts a stamped frame; false when it is none of ours.
    #[inline]
    fn count(&mut self, frame: &[u8], now_ns: u64, tally: &mut Tally) -> bool {
        let Some(stamp) = self.signature.find(frame) else { return false };
        let Some(Some(account)) = self.accounts.get_mut(usize::from(stamp.stream)) else { return false };
        let before = account.received;
        let latency_ns = stamp.time_ns.map(|sent_ns| now_ns.saturating_sub(sent_ns));
        account.note(stamp.sequence, (frame.len() + FCS_BYTES) as u64, latency_ns);
        tally.received += account.received - before;
        true
    }

    /// Goes on with a connection; false when the frame is of none.
    fn converse(&mut self, frame: &[u8], now_ns: u64, outbox: &mut Vec<Segment>) -> bool {
        if self.clients.is_empty() && !self.answers {
            return false;
        }
        let Some(segment) = Segment::read(frame) else { return false };
        for client in &mut self.clients {
            if client.take(&segment, frame.len(), now_ns, |answer| outbox.push(*answer)) {
                return true;
            }
        }
        if self.answers {
            outbox.extend(answer(&segment));
        }
        self.answers
    }
}

/// Ends the connections that were held long enough, and asks on those that are held; how many frames.
fn tend(
    client: &mut Client,
    ports: &mut WorkerPorts,
    writer: &mut Writer,
    budget: &Budget,
    now_ns: u64,
) -> u64 {
    client.tend(now_ns, |segment| {
        let needed = if segment.data_bytes > 0 { FRAMES_PER_EXCHANGE } else { 0 };
        let granted = budget.take(needed);
        // A rest that is no question's is spent: the bound is reached.
        let is_sent = granted == needed && ports.inject(PORT, writer.write(segment));
        if !is_sent && granted == needed {
            budget.give_back(granted);
        }
        is_sent
    })
}

/// Begins the connections that are due; how many.
fn open(
    client: &mut Client,
    ports: &mut WorkerPorts,
    writer: &mut Writer,
    budget: &Budget,
    elapsed_ns: u64,
    now_ns: u64,
) -> u64 {
    let wanted = client.wanted(elapsed_ns);
    for opened in 0..wanted {
        let granted = budget.take(FRAMES_PER_CONNECTION);
        let syn = if granted < FRAMES_PER_CONNECTION { None } else { client.begin(now_ns) };
        let Some(syn) = syn else {
            // A rest that is no connection's is spent: the bound is reached.
            budget.give_back(if granted < FRAMES_PER_CONNECTION { 0 } else { granted });
            return opened;
        };
        if !ports.inject(PORT, writer.write(&syn)) {
            client.withdraw(&syn);
            budget.give_back(granted);
            return opened;
        }
        client.confirm();
    }
    wanted
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;
    use wire::{Mac, build};

    const SIGNATURE: u32 = 0xdead_beef;

    fn work() -> Work {
        Work {
            port: 0,
            senders: Vec::new(),
            clients: Vec::new(),
            answers: false,
            accounts: vec![None, Some(Account::new(true))],
            signature: Signature::from_bits(SIGNATURE),
            neighbours: Neighbours { mac: Mac([2; 6]), networks: Vec::new() },
        }
    }

    /// A datagram as it comes from a balancer: other addresses and ports than were sent, behind a tag, and over
    /// IPv6 when the number is odd.
    fn frame(signature: u32, stream: u8, sequence: u32) -> Vec<u8> {
        let stamp = Signature::from_bits(signature).encode(stream, sequence, 1_000);
        let frame = build::ethernet(Mac([6; 6]), Mac([4; 6])).vlan(7);
        let ip = match sequence % 2 {
            0 => frame.ipv4([198, 19, 0, 9].into(), [198, 19, 0, 8].into()),
            _ => frame.ipv6("2001:db8::9".parse().unwrap(), "2001:db8::8".parse().unwrap()),
        };
        ip.udp(7, 8).payload(&stamp).finish()
    }

    #[test]
    fn frames_are_counted_by_their_stamps_alone() {
        let (mut work, mut tally) = (work(), Tally::default());
        for sequence in [0, 1, 4, 2, 2, 5] {
            assert!(work.count(&frame(SIGNATURE, 1, sequence), 3_000, &mut tally));
        }
        // Another run's, a stream of another port, a stream of no port, and no frame at all.
        for (signature, stream) in [(1, 1), (SIGNATURE, 0), (SIGNATURE, 2)] {
            assert!(!work.count(&frame(signature, stream, 3), 3_000, &mut tally));
        }
        assert!(!work.count(&[], 3_000, &mut tally));
        let account = work.accounts[1].as_ref().unwrap();
        assert_eq!((account.received, account.reordered, account.duplicated), (5, 1, 1));
        assert_eq!((account.missing(), tally.received), (1, 5));
        let latency = account.latency.as_ref().unwrap();
        assert_eq!((latency.len(), latency.min(), latency.max()), (6, 2_000, 2_000));
    }
}
