//! SIGTERM, SIGINT and SIGHUP as events of the control thread's loop.
//!
//! The handler itself sets a flag and writes a byte, both safe within a signal (signal-safety(7)). One value
//! per process; made on the control thread before any worker starts.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::event::Source;
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{SigId, flag, low_level};

/// What the process was asked for since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// SIGTERM or SIGINT: end in order.
    pub stop: bool,
    /// SIGHUP: read the configuration again.
    pub reload: bool,
}

/// Turns signals into readiness. Register it for reading, call [`Signals::drain`] when it is ready.
#[derive(Debug)]
pub struct Signals {
    wake: UnixStream,
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    registered: Vec<SigId>,
}

impl Signals {
    /// Takes the three signals over from their defaults.
    pub fn new() -> io::Result<Self> {
        let (wake, bell) = std::os::unix::net::UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let (stop, reload) = (Arc::default(), Arc::default());
        let wake = UnixStream::from_std(wake);
        let mut signals = Self { wake, stop, reload, registered: Vec::new() };
        for (signal, flag) in [(SIGTERM, &signals.stop), (SIGINT, &signals.stop), (SIGHUP, &signals.reload)] {
            // In this order: who is woken finds the flag set.
            signals.registered.push(flag::register(signal, Arc::clone(flag))?);
            signals.registered.push(low_level::pipe::register(signal, bell.try_clone()?)?);
        }
        Ok(signals)
    }

    /// What was asked for since the last call.
    pub fn drain(&mut self) -> Requests {
        let mut bytes = [0; 64];
        loop {
            match self.wake.read(&mut bytes) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let taken = |flag: &AtomicBool| flag.swap(false, Ordering::Relaxed);
        Requests { stop: taken(&self.stop), reload: taken(&self.reload) }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            low_level::unregister(id);
        }
    }
}

impl Source for Signals {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.wake.register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.wake.reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.wake.deregister(registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::time::Duration;

    #[test]
    fn signals_wake_the_loop_and_say_what_is_asked() {
        let mut signals = Signals::new().unwrap();
        let mut poll = Poll::new().unwrap();
        poll.registry().register(&mut signals, Token(1), Interest::READABLE).unwrap();
        assert_eq!(signals.drain(), Requests::default());
        for (signal, expected) in [
            (SIGHUP, Requests { reload: true, stop: false }),
            (SIGTERM, Requests { reload: false, stop: true }),
            (SIGINT, Requests { reload: false, stop: true }),
        ] {
            low_level::raise(signal).unwrap();
            let mut events = Events::with_capacity(1);
            poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
            assert!(events.iter().any(|event| event.token() == Token(1)));
            assert_eq!(signals.drain(), expected);
            assert_eq!(signals.drain(), Requests::default());
        }
    }
}
