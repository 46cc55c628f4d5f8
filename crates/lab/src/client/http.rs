//! A minimal HTTP client: one new connection per request, every wait bounded.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::report::{Answer, Failure, Report};
use crate::address::lab_address;
use crate::error::Result;
use crate::namespace::Namespace;

/// The longest answer that is read; nginx's here is a few hundred bytes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// How much load, and how fast. It ends by itself: after `count` requests of at most `timeout` each.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Requests in all.
    pub count: usize,
    /// Clients that ask at the same time.
    pub concurrency: usize,
    /// How long each client rests after each request.
    pub pause: Duration,
    /// How long one request may take in all.
    pub timeout: Duration,
}

impl Default for Load {
    /// 300 requests, one after the other.
    fn default() -> Self {
        Self { count: 300, concurrency: 1, pause: Duration::ZERO, timeout: Duration::from_secs(3) }
    }
}

/// `GET /` over a new connection from the namespace of the calling thread, which sees a [`Namespace::run`]
/// closure's.
pub fn http_get(target: SocketAddr, timeout: Duration) -> Result<Answer, Failure> {
    let start = Instant::now();
    let mut stream = TcpStream::connect_timeout(&target, timeout)?;
    let request = format!("GET / HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut text = Vec::new();
    // Read to the end of the connection: only then has the server logged the request and the session closed
    // in order.
    loop {
        let left = timeout.checked_sub(start.elapsed()).filter(|left| !left.is_zero());
        stream.set_read_timeout(Some(left.ok_or(Failure::TimedOut)?))?;
        let mut piece = [0; 4096];
        match stream.read(&mut piece)? {
            0 => break,
            length => text.extend_from_slice(&piece[..length]),
        }
        if text.len() as u64 > ANSWER_BYTES_MAX {
            return Err(Failure::Malformed);
        }
    }
    let latency = start.elapsed();
    if text.is_empty() {
        return Err(Failure::Closed);
    }
    parse_answer(&String::from_utf8_lossy(&text), latency)
}

fn parse_answer(text: &str, latency: Duration) -> Result<Answer, Failure> {
    let (head, body) = text.split_once("\r\n\r\n").ok_or(Failure::Closed)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|word| word.parse().ok());
    match status.ok_or(Failure::Malformed)? {
        200 => {}
        refusal => return Err(Failure::Status(refusal)),
    }
    let mut length = None;
    let mut client_seen = None;
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse::<usize>().ok(),
            "x-client-address" => client_seen = value.parse().ok(),
            _ => {}
        }
    }
    if length.is_some_and(|length| body.len() < length) {
        return Err(Failure::Closed);
    }
    Ok(Answer { server: body.into(), client_seen, latency })
}

/// Puts a load of HTTP requests on `target`, from a namespace.
pub fn run_requests(namespace: &Namespace, target: SocketAddr, load: Load) -> Result<Report> {
    run_load(namespace, target, load, http_get)
}

/// Runs `ask` as often and as concurrently as the load says, on threads inside the namespace.
pub(super) fn run_load(
    namespace: &Namespace,
    target: SocketAddr,
    load: Load,
    ask: impl Fn(SocketAddr, Duration) -> Result<Answer, Failure> + Sync,
) -> Result<Report> {
    lab_address(target.ip())?;
    let (start, taken) = (Instant::now(), AtomicUsize::new(0));
    let client = || {
        namespace.enter()?;
        let mut results = Vec::new();
        while taken.fetch_add(1, Ordering::Relaxed) < load.count {
            let result = ask(target, load.timeout);
            results.push((start.elapsed(), result));
            thread::sleep(load.pause);
        }
        Ok(results)
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..load.concurrency.max(1)).map(|_| scope.spawn(client)).collect();
        let mut results = Vec::with_capacity(load.count);
        for client in clients {
            results.append(&mut client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(Report::of(results))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nX-Client-Address: 2001:db8::50\r\n\r\nserver1";
        let answer = parse_answer(text, Duration::ZERO).unwrap();
        assert_eq!(answer.server, "server1");
        assert_eq!(answer.client_seen, Some("2001:db8::50".parse().unwrap()));
    }

    #[test]
    fn a_half_answer_is_a_closed_connection() {
        for text in ["HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nserv"] {
            assert_eq!(parse_answer(text, Duration::ZERO), Err(Failure::Closed), "{text}");
        }
        assert_eq!(parse_answer("HTTP/1.1 503 No\r\n\r\n", Duration::ZERO), Err(Failure::Status(503)));
        assert_eq!(parse_answer("what\r\n\r\n", Duration::ZERO), Err(Failure::Malformed));
    }
}
