//! What a mood server says to one client, over whatever carries it.

use std::io::{self, Read, Write};
use std::time::Duration;

use super::{Mood, READY};

/// The longest request that is read.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// Between two bytes of an answer that drips.
pub(super) const DRIP_INTERVAL: Duration = Duration::from_secs(1);

/// Where a header without an end does end: longer than anybody should read.
const FLOOD_BYTES_MAX: usize = 16 << 20;

/// How much of it is sent at a time.
const FLOOD_PIECE_BYTES: usize = 16 * 1024;

/// Serves one request. `client` reads with a time-out of [`DRIP_INTERVAL`] where the mood is to drip, else without.
/// An error is the client's: it has gone away.
pub(super) fn serve(client: &mut (impl Read + Write), mood: Mood) -> io::Result<()> {
    if read_request(client)? == 0 {
        return Ok(());
    }
    match mood {
        Mood::Answers { status, body } => client.write_all(answer(status, body).as_bytes()),
        Mood::Drips => drip(client, answer(200, READY).as_bytes()),
        Mood::Floods => flood(client),
        _ => client.write_all(answer(200, READY).as_bytes()),
    }
}

/// Reads to the empty line that ends a request without a body, or to the client's end; how many bytes came.
fn read_request(client: &mut impl Read) -> io::Result<usize> {
    let mut request = Vec::new();
    while request.len() < REQUEST_BYTES_MAX && !request.ends_with(b"\r\n\r\n") {
        let mut piece = [0; 1024];
        match client.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => request.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(request.len())
}

fn answer(status: u16, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} As It Is\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

fn drip(client: &mut (impl Read + Write), answer: &[u8]) -> io::Result<()> {
    for byte in answer {
        client.write_all(std::slice::from_ref(byte))?;
        client.flush()?;
        match client.read(&mut [0; 256]) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn flood(client: &mut impl Write) -> io::Result<()> {
    client.write_all(b"HTTP/1.1 200 As It Is\r\nX-Banner: ")?;
    let piece = [b'a'; FLOOD_PIECE_BYTES];
    (0..FLOOD_BYTES_MAX / FLOOD_PIECE_BYTES).try_for_each(|_| client.write_all(&piece))
}
