//! A TCP server for long transfers, in both directions, every byte checked.
//!
//! The bytes of a transfer follow from their place alone ([`pattern`]), so the receiver finds each one that
//! is wrong, missing, doubled or out of order, and says where. A request is a line, `get LENGTH` or `put
//! LENGTH`; the answer begins with a line, the server's name and the client as it saw it, and for `put` how
//! many bytes were right.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::program::POLL_INTERVAL;

/// How long the server waits for a client that says nothing, or takes nothing.
const CLIENT_LIMIT: Duration = Duration::from_secs(10);

/// The longest transfer that is served.
pub(crate) const TRANSFER_BYTES_MAX: u64 = 1 << 30;

/// How many bytes are made, sent and compared at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// A running server on one port, IPv4 and IPv6; see the module.
#[derive(Debug)]
pub struct TransferServer {
    ending: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl TransferServer {
    /// Starts it; it accepts from here on.
    pub fn start(namespace: &Namespace, name: &str, port: u16) -> Result<Self> {
        let binding = || format!("binding TCP port {port} in {}", namespace.name());
        let bind = || TcpListener::bind((Ipv6Addr::UNSPECIFIED, port));
        let listener = namespace.run(bind)?.map_err(Error::system(binding()))?;
        listener.set_nonblocking(true).map_err(Error::system(binding()))?;
        let ending = Arc::new(AtomicBool::new(false));
        let (flag, name) = (Arc::clone(&ending), name.to_string());
        let listener = thread::spawn(move || accept_until(&flag, &listener, &name));
        Ok(Self { ending, listener: Some(listener) })
    }
}

impl Drop for TransferServer {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

fn accept_until(ending: &AtomicBool, listener: &TcpListener, name: &str) {
    while !ending.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, client)) => {
                let name = name.to_string();
                // It ends with its client, or when that falls silent.
                thread::spawn(move || serve(&stream, &name, client));
            }
            // Nobody is waiting, or a client gave up while it waited.
            Err(_) => thread::sleep(POLL_INTERVAL),
        }
    }
}

/// An error is the client's: it sees its connection end early.
fn serve(stream: &TcpStream, name: &str, client: SocketAddr) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(CLIENT_LIMIT))?;
    stream.set_write_timeout(Some(CLIENT_LIMIT))?;
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    let mut request = String::new();
    (&mut reader).take(64).read_line(&mut request)?;
    let words = request.trim_end().split_once(' ').and_then(|(verb, word)| Some((verb, word.parse().ok()?)));
    let seen = SocketAddr::new(client.ip().to_canonical(), client.port());
    match words {
        Some(("get", length)) if length <= TRANSFER_BYTES_MAX => {
            writer.write_all(format!("{name} {seen} {length}\n").as_bytes())?;
            write_pattern(writer, length, || Ok(()))
        }
        Some(("put", length)) if length <= TRANSFER_BYTES_MAX => {
            let right = count_right(&mut reader, length, || Ok(()))?;
            writer.write_all(format!("{name} {seen} {right}\n").as_bytes())
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Bytes `from` and following of every transfer. No two pieces of it are alike at distances that segments
/// have.
fn pattern(from: u64, piece: &mut [u8]) {
    let mut at = from;
    for chunk in piece.chunks_mut(8) {
        // The finaliser of splitmix64 over the number of the word; chunks are whole words but for the last.
        let mut word = (at / 8).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        chunk.copy_from_slice(&word.to_be_bytes()[..chunk.len()]);
        at += chunk.len() as u64;
    }
}

/// Sends the pattern; `look` may end it before each piece.
pub(crate) fn write_pattern(
    mut writer: impl Write,
    length: u64,
    mut look: impl FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    while at < length {
        look()?;
        let size = PIECE_BYTES.min(usize::try_from(length - at).unwrap_or(PIECE_BYTES));
        pattern(at, &mut piece[..size]);
        writer.write_all(&piece[..size])?;
        at += size as u64;
    }
    writer.flush()
}

/// Reads `length` bytes of the pattern; how many were right before the first that was wrong or missing.
pub(crate) fn count_right(
    mut reader: impl Read,
    length: u64,
    mut look: impl FnMut() -> io::Result<()>,
) -> io::Result<u64> {
    let (mut piece, mut expected) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    let mut at = 0;
    while at < length {
        look()?;
        let size = PIECE_BYTES.min(usize::try_from(length - at).unwrap_or(PIECE_BYTES));
        pattern(at, &mut expected[..size]);
        let mut filled = 0;
        while filled < size {
            match reader.read(&mut piece[filled..size])? {
                0 => return Ok(at + same(&piece[..filled], &expected)),
                read => filled += read,
            }
        }
        let right = same(&piece[..size], &expected);
        at += right;
        if right < size as u64 {
            return Ok(at);
        }
    }
    Ok(at)
}

fn same(piece: &[u8], expected: &[u8]) -> u64 {
    piece.iter().zip(expected).take_while(|(is, should)| is == should).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wrong_byte_is_named() {
        let length = 3 * PIECE_BYTES as u64 + 5;
        let mut sent = Vec::new();
        write_pattern(&mut sent, length, || Ok(())).unwrap();
        let right = |bytes: &[u8]| count_right(bytes, length, || Ok(())).unwrap();
        assert_eq!(right(&sent), length);
        assert_eq!(right(&sent[..70_000]), 70_000, "cut off");
        let (mut wrong, mut swapped) = (sent.clone(), sent.clone());
        wrong[100_003] ^= 0x20;
        assert_eq!(right(&wrong), 100_003);
        swapped[80_000..82_896].rotate_left(1448);
        assert!((80_000..80_008).contains(&right(&swapped)), "two segments out of order");
    }
}
