//! Listens, and gives each client its turn.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};

use super::connection::{Condition, Connection};
use super::listener::{Claim, Place};
use super::message::Handler;

/// Clients at once. One operator, some scripts and a collector of figures fit; more hear that it is busy.
pub const CLIENTS_MAX: usize = 16;

/// When a client is let in that this process had no descriptor for.
const ADMISSION_PAUSE: Duration = Duration::from_secs(1);

/// The operator's socket in the control thread's loop. Lend it one token for the listener and, right after
/// it, [`CLIENTS_MAX`] for clients; give it events of these and the time of its deadline.
pub struct Server {
    claim: Claim,
    registry: Registry,
    first_token: usize,
    clients: [Option<Connection>; CLIENTS_MAX],
    /// Clients that could go on at once.
    busy: bool,
    accept_at: Option<Instant>,
}

impl Server {
    /// Listens at `place`.
    pub fn new(place: Place, registry: Registry, first_token: Token) -> io::Result<Self> {
        let mut claim = Claim::new(place)?;
        registry.register(&mut claim.listener, first_token, Interest::READABLE)?;
        let clients = std::array::from_fn(|_| None);
        Ok(Self { claim, registry, first_token: first_token.0, clients, busy: false, accept_at: None })
    }

    /// Whether an event with this token is for the socket.
    pub fn owns(&self, token: Token) -> bool {
        (self.first_token..=self.first_token + CLIENTS_MAX).contains(&token.0)
    }

    /// Takes an event.
    pub fn handle(&mut self, now: Instant, token: Token, handler: &mut dyn Handler) {
        match token.0.checked_sub(self.first_token + 1) {
            None => self.accept(now, handler),
            Some(slot) => self.proceed(slot, now, handler),
        }
    }

    /// Goes on with clients whose turn was over, and lets those go that were waited for too long.
    pub fn advance(&mut self, now: Instant, handler: &mut dyn Handler) {
        self.busy = false;
        if self.accept_at.take_if(|at| *at <= now).is_some() {
            self.accept(now, handler);
        }
        for slot in 0..CLIENTS_MAX {
            self.proceed(slot, now, handler);
            if let Some(mut client) = self.clients[slot].take_if(|client| client.deadline() <= now) {
                client.time_out(now, handler);
                self.forget(client);
            }
        }
    }

    /// When [`Server::advance`] has something to do.
    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let deadlines = self.clients.iter().flatten().map(Connection::deadline);
        deadlines.chain(self.busy.then_some(now)).chain(self.accept_at).min()
    }

    /// How many clients there are.
    pub fn clients(&self) -> usize {
        self.clients.iter().flatten().count()
    }

    fn accept(&mut self, now: Instant, handler: &mut dyn Handler) {
        loop {
            match self.claim.listener.accept() {
                Ok((stream, _)) => self.admit(stream, now, handler),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(error) => {
                    // The client stays in the kernel's queue.
                    tracing::warn!(%error, "an operator has to wait");
                    self.accept_at = Some(now + ADMISSION_PAUSE);
                    return;
                }
            }
        }
    }

    fn admit(&mut self, stream: UnixStream, now: Instant, handler: &mut dyn Handler) {
        let mut client = Connection::new(stream, now);
        let Some(slot) = self.clients.iter().position(Option::is_none) else {
            client.turn_away(1, &format!("busy: {CLIENTS_MAX} operators are connected"));
            // A new socket has room for one line.
            client.proceed(now, handler);
            return;
        };
        let token = Token(self.first_token + 1 + slot);
        if let Err(error) =
            self.registry.register(client.stream(), token, Interest::READABLE | Interest::WRITABLE)
        {
            tracing::warn!(%error, "an operator could not be let in");
            return;
        }
        self.clients[slot] = Some(client);
        self.proceed(slot, now, handler);
    }

    fn proceed(&mut self, slot: usize, now: Instant, handler: &mut dyn Handler) {
        let Some(client) = self.clients.get_mut(slot).and_then(Option::as_mut) else { return };
        match client.proceed(now, handler) {
            Condition::Waiting => {}
            Condition::Busy => self.busy = true,
            Condition::Over => {
                if let Some(client) = self.clients[slot].take() {
                    self.forget(client);
                }
            }
        }
    }

    fn forget(&self, mut client: Connection) {
        // Dropping it takes it out of the poll as well.
        let _was_registered = self.registry.deregister(client.stream());
    }
}
