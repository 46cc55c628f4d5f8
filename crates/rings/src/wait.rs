//! Sleeping until a ring has frames or another thread has work.
//!
//! The sleeper owns a [`Waiter`]; any thread may hold a [`Waker`] of it. Nothing is lost between looking at
//! the rings and sleeping: a wake that comes too early makes the next wait return at once.

use crate::Error;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// Descriptors that one wait watches at the most: a socket per port and queue of one worker.
pub const DESCRIPTORS_MAX: usize = 255;

/// Wakes the thread that sleeps in the [`Waiter`] of which it was made. Cheap to clone; outlives the waiter.
#[derive(Clone, Debug)]
pub struct Waker {
    event: Arc<OwnedFd>,
}

impl Waker {
    /// Ends the present wait, or the next one. Never blocks.
    pub fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the eight bytes outlive the call. The only failure is a counter that is full, which wakes
        // as well.
        unsafe { libc::write(self.event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
}

/// The sleeper's half. Allocates nothing after it was made.
#[derive(Debug)]
pub struct Waiter {
    event: Arc<OwnedFd>,
    watched: Vec<libc::pollfd>,
}

impl Waiter {
    /// A waiter that nothing has woken yet.
    pub fn new() -> Result<Self, Error> {
        // SAFETY: no pointer is passed.
        let raw = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if raw < 0 {
            return Err(Error::last("making an event descriptor"));
        }
        // SAFETY: a new descriptor that nobody else has.
        let event = Arc::new(unsafe { OwnedFd::from_raw_fd(raw) });
        Ok(Self { event, watched: Vec::with_capacity(DESCRIPTORS_MAX + 1) })
    }

    /// A waker of this waiter.
    pub fn waker(&self) -> Waker {
        Waker { event: Arc::clone(&self.event) }
    }

    /// The event descriptor, for a thread that polls by other means and then calls [`Waiter::acknowledge`].
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Forgets the wakes so far.
    pub fn acknowledge(&self) {
        let mut count = [0u8; 8];
        // SAFETY: the eight bytes outlive the call. It fails when there was no wake, which is as good.
        unsafe { libc::read(self.event.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }

    /// Sleeps until one of `descriptors` is readable, a waker wakes, a signal comes or `timeout` is over, and
    /// says whether it was woken by a waker. `None` has no timeout. Descriptors beyond [`DESCRIPTORS_MAX`]
    /// are not watched.
    ///
    /// A socket's kept error (its link went down) ends one wait and is cleared, so that it does not end all
    /// others.
    pub fn wait<'a>(
        &mut self,
        descriptors: impl IntoIterator<Item = BorrowedFd<'a>>,
        timeout: Option<Duration>,
    ) -> bool {
        self.watched.clear();
        let sockets = descriptors.into_iter().take(DESCRIPTORS_MAX);
        let watch =
            |fd: BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        self.watched.push(watch(self.event.as_fd()));
        self.watched.extend(sockets.map(watch));
        // Rounded up: a wait of less than a millisecond must not become a spin.
        let timeout_ms = match timeout {
            Some(timeout) => timeout.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32,
            None => -1,
        };
        // SAFETY: the entries are initialised and as many as is said.
        unsafe {
            libc::poll(self.watched.as_mut_ptr(), self.watched.len() as libc::nfds_t, timeout_ms);
        }
        for socket in self.watched[1..].iter().filter(|entry| entry.revents & libc::POLLERR != 0) {
            clear_error(socket.fd);
        }
        let woken = self.watched[0].revents != 0;
        if woken {
            self.acknowledge();
        }
        woken
    }
}

fn clear_error(socket: libc::c_int) {
    let mut error: libc::c_int = 0;
    let mut length = size_of_val(&error) as libc::socklen_t;
    // SAFETY: both pointers outlive the call and the true size is passed; what is no socket refuses.
    unsafe {
        libc::getsockopt(socket, libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut error).cast(), &raw mut length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_before_the_wait_is_not_lost_and_ends_one_wait_only() {
        let mut waiter = Waiter::new().unwrap();
        let waker = waiter.waker();
        waker.wake();
        waker.clone().wake();
        assert!(waiter.wait([], None));
        assert!(!waiter.wait([], Some(Duration::ZERO)));
    }

    #[test]
    fn another_thread_ends_a_wait_without_a_timeout() {
        let mut waiter = Waiter::new().unwrap();
        let waker = waiter.waker();
        let thread = std::thread::spawn(move || waker.wake());
        assert!(waiter.wait([], None));
        thread.join().unwrap();
    }

    #[test]
    fn a_readable_descriptor_ends_a_wait_and_is_no_wake() {
        let mut waiter = Waiter::new().unwrap();
        let other = Waiter::new().unwrap();
        other.waker().wake();
        assert!(!waiter.wait([other.fd()], None));
    }
}
