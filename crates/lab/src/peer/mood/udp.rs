//! The door of a mood server that speaks UDP.

use std::net::{Ipv6Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Mood, READY, Shared};
use crate::error::{Error, Result};
use crate::namespace::Namespace;

/// How long a receive sleeps before it looks whether it shall end: the most that a drop waits.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The longest question that is read.
const QUESTION_BYTES_MAX: usize = 2048;

/// An answer that nobody expects.
const WRONG_ANSWER: &str = "out of order";

/// A bound socket and the thread that answers.
#[derive(Debug)]
pub(super) struct UdpDoor {
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpDoor {
    pub(super) fn open(namespace: &Namespace, port: u16, shared: Arc<Shared>) -> Result<Self> {
        let binding = || format!("binding UDP port {port} in {}", namespace.name());
        let bind = || UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port));
        let socket = namespace.run(bind)?.map_err(Error::system(binding()))?;
        socket.set_read_timeout(Some(LOOK_INTERVAL)).map_err(Error::system(binding()))?;
        let ending = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ending);
        let thread = thread::spawn(move || answer_until(&flag, &socket, &shared));
        Ok(Self { ending, thread: Some(thread) })
    }
}

impl Drop for UdpDoor {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer_until(ending: &AtomicBool, socket: &UdpSocket, shared: &Shared) {
    let mut question = [0; QUESTION_BYTES_MAX];
    while !ending.load(Ordering::Relaxed) {
        // A receive ends with a time-out, or with an ICMP error about an earlier answer; both mean: go on.
        let Ok((_length, client)) = socket.recv_from(&mut question) else { continue };
        shared.count();
        let answer = match shared.mood() {
            Mood::Good => READY,
            Mood::Garbles => WRONG_ANSWER,
            _ => continue,
        };
        let _ = socket.send_to(answer.as_bytes(), client);
    }
}
