//! UDP flows that go on while something else happens, and who lost what: every datagram that gets no answer is
//! seen. The server is any [`crate::UdpEcho`].

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::address::lab_address;
use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::peer::ECHOED_BYTES_MIN;

/// The longest answer: the server's name, an address, and the question.
const ANSWER_BYTES_MAX: usize = 512;

/// Whom to ask, over how many flows and how often.
#[derive(Clone, Debug)]
pub struct Datagrams {
    /// Who is asked, in turn; at least one.
    pub targets: Vec<SocketAddr>,
    /// The clients' addresses, in turn; none: the kernel chooses. Of the family of the target that they meet.
    pub sources: Vec<IpAddr>,
    /// How many flows there are, each with a socket of its own.
    pub count: usize,
    /// Between the starts of two rounds, in each of which every flow asks once. A round that takes longer is
    /// followed by the next at once.
    pub interval: Duration,
    /// How long the answers of a round are waited for, all in all.
    pub timeout: Duration,
    /// When it ends by itself.
    pub limit: Duration,
}

/// What came of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatagramFlow {
    /// Its own end.
    pub local: SocketAddr,
    /// Who was asked.
    pub target: SocketAddr,
    /// Who answered first, by name.
    pub server: Option<String>,
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams answered in time.
    pub answered: u64,
}

/// Flows at work; see the module. Dropped, they end.
#[derive(Debug)]
pub struct BusyDatagrams {
    ending: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: Option<JoinHandle<Vec<DatagramFlow>>>,
}

impl DatagramFlow {
    /// Datagrams that got no answer in time.
    pub fn lost(&self) -> u64 {
        self.sent - self.answered
    }
}

impl Datagrams {
    /// Begins to ask, from a namespace, on a thread of its own.
    pub fn start(&self, namespace: &Namespace) -> Result<BusyDatagrams> {
        let flows = (0..self.count).map(|index| self.open(namespace, index)).collect::<Result<Vec<_>>>()?;
        let (ending, rounds) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (flag, counter, plan) = (Arc::clone(&ending), Arc::clone(&rounds), self.clone());
        let thread = thread::spawn(move || plan.keep_asking(flows, &flag, &counter));
        Ok(BusyDatagrams { ending, rounds, thread: Some(thread) })
    }

    fn open(&self, namespace: &Namespace, index: usize) -> Result<(UdpSocket, DatagramFlow)> {
        let target = self.targets.get(index % self.targets.len().max(1)).copied();
        let target = target.ok_or_else(|| Error::unusable("the targets", "at least one is wanted"))?;
        lab_address(target.ip())?;
        let any = if target.is_ipv4() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        };
        let source = self.sources.get(index % self.sources.len().max(1)).copied().unwrap_or(any);
        let opening = || format!("asking {target} from {source}");
        let open = || -> io::Result<_> {
            let socket = UdpSocket::bind((source, 0))?;
            // Connected, it takes answers from `target` alone.
            socket.connect(target)?;
            let local = socket.local_addr()?;
            Ok((socket, DatagramFlow { local, target, server: None, sent: 0, answered: 0 }))
        };
        namespace.run(open)?.map_err(Error::system(opening()))
    }

    fn keep_asking(
        &self,
        mut flows: Vec<(UdpSocket, DatagramFlow)>,
        ending: &AtomicBool,
        rounds: &AtomicU64,
    ) -> Vec<DatagramFlow> {
        let start = Instant::now();
        while !ending.load(Ordering::Relaxed) && start.elapsed() < self.limit {
            let began = Instant::now();
            let question = format!("{:0width$}", rounds.load(Ordering::Relaxed), width = ECHOED_BYTES_MIN);
            for (socket, flow) in &mut flows {
                // The first may only tell of an ICMP error about an earlier datagram. What cannot be sent at all
                // is lost like any other.
                let _ = socket.send(question.as_bytes()).or_else(|_| socket.send(question.as_bytes()));
                flow.sent += 1;
            }
            for (socket, flow) in &mut flows {
                if let Some(server) = hear(socket, &question, began + self.timeout) {
                    flow.answered += 1;
                    flow.server.get_or_insert(server);
                }
            }
            rounds.fetch_add(1, Ordering::Relaxed);
            thread::sleep(self.interval.saturating_sub(began.elapsed()));
        }
        flows.into_iter().map(|(_socket, flow)| flow).collect()
    }
}

/// Who answers this question before the deadline; answers to earlier ones are passed over. Once the deadline is
/// over it still takes what has already come, since others used up the time.
fn hear(socket: &UdpSocket, question: &str, deadline: Instant) -> Option<String> {
    let mut answer = [0; ANSWER_BYTES_MAX];
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(left)).ok()?;
        match socket.recv(&mut answer) {
            Ok(length) => {
                let text = String::from_utf8_lossy(&answer[..length]);
                if let Some((head, _)) = text.split_once('\n').filter(|(_, echo)| *echo == question) {
                    return head.split(' ').next().map(str::to_owned);
                }
            }
            Err(_) if Instant::now() < deadline => {}
            Err(_) => return None,
        }
    }
}

impl BusyDatagrams {
    /// Rounds that were finished so far.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Ends it after the round under way; what came of each flow.
    pub fn stop(mut self) -> Vec<DatagramFlow> {
        self.ending.store(true, Ordering::Relaxed);
        let joined = self.thread.take().map(JoinHandle::join);
        joined.map_or_else(Vec::new, |joined| joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }
}

impl Drop for BusyDatagrams {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        // A panic of the thread has already been printed.
        drop(self.thread.take().map(JoinHandle::join));
    }
}
