//! Long transfers to and from a [`crate::TransferServer`].

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::report::{Answer, Failure};
use crate::address::lab_address;
use crate::error::Result;
use crate::namespace::Namespace;
use crate::peer::{count_right, write_pattern};

/// How long one read or write may stand still before the time that is left is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the server.
    Download,
    /// To the server.
    Upload,
}

/// What came of a transfer: who answered, and how many bytes arrived as they were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// The server and the time that it took.
    pub answer: Answer,
    /// Bytes that were right, before the first that was not.
    pub right_bytes: u64,
}

/// One transfer over a new connection, from a namespace, within `timeout` in all.
pub fn transfer(
    namespace: &Namespace,
    target: SocketAddr,
    way: Way,
    length_bytes: u64,
    timeout: Duration,
) -> Result<Result<Transferred, Failure>> {
    lab_address(target.ip())?;
    namespace.run(|| run(target, way, length_bytes, timeout))
}

fn run(target: SocketAddr, way: Way, length: u64, timeout: Duration) -> Result<Transferred, Failure> {
    let start = Instant::now();
    let stream = TcpStream::connect_timeout(&target, timeout)?;
    stream.set_read_timeout(Some(LOOK_INTERVAL))?;
    stream.set_write_timeout(Some(LOOK_INTERVAL))?;
    let patient = Patient { stream: &stream, deadline: start + timeout };
    let look = || if Instant::now() < start + timeout { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) };
    let (mut reader, mut writer) = (BufReader::new(&patient), &patient);
    let verb = if way == Way::Download { "get" } else { "put" };
    writer.write_all(format!("{verb} {length}\n").as_bytes())?;
    if way == Way::Upload {
        write_pattern(&patient, length, look)?;
    }
    let mut line = String::new();
    (&mut reader).take(256).read_line(&mut line)?;
    let (server, client_seen, said) = parse_line(&line).ok_or(Failure::Closed)?;
    let right_bytes = if way == Way::Download { count_right(&mut reader, length, look)? } else { said };
    let answer = Answer { server, client_seen: Some(client_seen.ip()), latency: start.elapsed() };
    Ok(Transferred { answer, right_bytes })
}

fn parse_line(line: &str) -> Option<(String, SocketAddr, u64)> {
    let mut words = line.trim_end().split(' ');
    Some((words.next()?.into(), words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// A stream that stands still as long as its deadline lets it.
struct Patient<'a> {
    stream: &'a TcpStream,
    deadline: Instant,
}

impl Patient<'_> {
    fn retry<T>(&self, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match attempt() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < self.deadline => {
                }
                ended => return ended,
            }
        }
    }
}

impl Read for &Patient<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut stream = self.stream;
        self.retry(|| stream.read(bytes))
    }
}

impl Write for &Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stream = self.stream;
        self.retry(|| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
