//! Many calls at once: connections to [`crate::TcpHold`] servers from several threads and, where it is wished, from
//! many addresses.
//!
//! Each call opens a connection, asks who is there, and either hangs up or stays on the line. The first question is
//! part of the call: a connection that is accepted by nobody is a failure, not a success. Blocks; any thread.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use super::held::{Held, HeldConnections, HeldState};
use super::report::Failure;
use crate::address::lab_address;
use crate::error::Result;
use crate::namespace::Namespace;

/// Whom to call, how often and how hard. It ends by itself: after `count` calls, or when the last one begun within `limit`
/// is over.
#[derive(Clone, Debug)]
pub struct Calls {
    /// Who is called.
    pub target: SocketAddr,
    /// Who is called after that, in turn.
    pub further_targets: Vec<SocketAddr>,
    /// Calls in all.
    pub count: usize,
    /// Threads that call at the same time, each one call after the other.
    pub concurrency: usize,
    /// The callers' addresses, in turn, of the family of the target that they meet; none: the kernel chooses.
    pub sources: Vec<IpAddr>,
    /// Whether a connection stays open once its server has answered.
    pub hold: bool,
    /// How long each thread rests after each call.
    pub pause: Duration,
    /// How long a call may take.
    pub timeout: Duration,
    /// After which time no call begins.
    pub limit: Duration,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The caller's address, where it was chosen.
    pub source: Option<IpAddr>,
    /// When the call began, since the start of all.
    pub at: Duration,
    /// The server that answered, by its name.
    pub answer: Result<String, Failure>,
}

/// What came of all calls, in the order in which they began.
#[derive(Debug)]
pub struct Called {
    /// Every call.
    pub calls: Vec<Call>,
    /// The connections that stayed open, in the order of their calls.
    pub held: HeldConnections,
}

impl Calls {
    /// 240 calls by eight threads from the client's own address, each hung up when it is answered.
    pub fn to(target: SocketAddr) -> Self {
        Self {
            target,
            further_targets: Vec::new(),
            count: 240,
            concurrency: 8,
            sources: Vec::new(),
            hold: false,
            pause: Duration::ZERO,
            timeout: Duration::from_secs(5),
            limit: Duration::from_secs(60),
        }
    }

    /// Makes the calls, from a namespace.
    pub fn make(&self, namespace: &Namespace) -> Result<Called> {
        let targets: Vec<SocketAddr> =
            std::iter::once(self.target).chain(self.further_targets.iter().copied()).collect();
        targets.iter().try_for_each(|target| lab_address(target.ip()).map(drop))?;
        let (start, taken) = (Instant::now(), AtomicUsize::new(0));
        let caller = || {
            namespace.enter()?;
            let mut made = Vec::new();
            loop {
                let index = taken.fetch_add(1, Ordering::Relaxed);
                if index >= self.count || start.elapsed() >= self.limit {
                    return Ok(made);
                }
                made.push((index, self.call(index, targets[index % targets.len()], start)));
                thread::sleep(self.pause);
            }
        };
        let mut made = thread::scope(|scope| {
            let callers: Vec<_> = (0..self.concurrency.max(1)).map(|_| scope.spawn(caller)).collect();
            let mut made = Vec::with_capacity(self.count);
            for caller in callers {
                made.append(&mut caller.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Result::Ok(made)
        })?;
        made.sort_by_key(|(index, _)| *index);
        let (calls, held): (Vec<_>, Vec<_>) = made.into_iter().map(|(_, call)| call).unzip();
        Ok(Called { calls, held: HeldConnections::of(held.into_iter().flatten().collect()) })
    }

    fn call(&self, index: usize, target: SocketAddr, start: Instant) -> (Call, Option<Held>) {
        let source = self.sources.get(index % self.sources.len().max(1)).copied();
        let (at, began) = (start.elapsed(), Instant::now());
        let mut line = None;
        let answer = connect_from(source, target, self.timeout).map_err(Failure::from).and_then(|stream| {
            match line.insert(Held::new(stream)).ask(0, 0, began + self.timeout) {
                HeldState::Alive(server) => Ok(server),
                HeldState::Silent => Err(Failure::TimedOut),
                HeldState::Closed => Err(Failure::Closed),
                HeldState::Reset => Err(Failure::Reset),
                HeldState::Failed(failure) => Err(failure),
            }
        });
        let line = line.filter(|_| self.hold && answer.is_ok());
        (Call { source, at, answer }, line)
    }
}

impl Called {
    /// How many calls each server has answered.
    pub fn per_server(&self) -> BTreeMap<&str, usize> {
        per_server(&self.calls)
    }

    /// How many calls were not answered, by kind.
    pub fn failures(&self) -> BTreeMap<&Failure, usize> {
        let mut kinds = BTreeMap::new();
        let failed = self.calls.iter().filter_map(|call| call.answer.as_ref().err());
        failed.for_each(|failure| *kinds.entry(failure).or_default() += 1);
        kinds
    }
}

/// How many of these calls each server has answered.
pub fn per_server(calls: &[Call]) -> BTreeMap<&str, usize> {
    let mut servers = BTreeMap::new();
    let answers = calls.iter().filter_map(|call| call.answer.as_deref().ok());
    answers.for_each(|server| *servers.entry(server).or_default() += 1);
    servers
}

/// A connection from an address of the own host.
fn connect_from(source: Option<IpAddr>, target: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    if let Some(source) = source {
        bind(&socket, &SocketAddr::new(source, 0))?;
    }
    // Linux bounds a connect by it too, and says so in its own way (socket(7)).
    set_socket_timeout(&socket, Timeout::Send, Some(timeout))?;
    match connect(&socket, &target) {
        Ok(()) => Ok(TcpStream::from(socket)),
        Err(Errno::INPROGRESS) => Err(io::ErrorKind::TimedOut.into()),
        Err(error) => Err(error.into()),
    }
}
