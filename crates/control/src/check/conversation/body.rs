//! The body of an HTTP answer, searched as it comes.
//!
//! The word may straddle two reads and two chunks; the framing of chunks (RFC 9112, 7.1) is taken off before the
//! search. The search ends with the word, with the body, or with [`BODY_BYTES_SEARCHED`].

use httparse::Status;

use crate::check::reason::shown;
use crate::check::{Outcome, Reason};

/// How much of a body is searched for what is expected in it, in bytes of content. What tells that a server is well
/// belongs at the beginning of a page, or on a page of its own.
pub const BODY_BYTES_SEARCHED: usize = 4 << 10;

/// What the line before a chunk may take, in bytes, extensions included.
const CHUNK_LINE_BYTES_MAX: usize = 256;

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// Each chunk says its length.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// A body that something is expected in.
pub(super) struct Body {
    expected: String,
    /// What has been searched in vain.
    content: Vec<u8>,
    progress: Progress,
}

enum Progress {
    /// So many bytes of content are to come.
    Length(u64),
    /// The line before a chunk, as far as it has come.
    ChunkLine(Vec<u8>),
    /// So many bytes of a chunk are to come.
    Chunk(u64),
    /// The end of line behind a chunk, as far as it has come.
    ChunkEnd {
        carriage_return: bool,
    },
    UntilClose,
}

impl Body {
    pub(super) fn new(framing: Framing, expected: String) -> Self {
        let progress = match framing {
            Framing::Length(bytes) => Progress::Length(bytes),
            Framing::Chunked => Progress::ChunkLine(Vec::new()),
            Framing::UntilClose => Progress::UntilClose,
        };
        Self { expected, content: Vec::new(), progress }
    }

    /// Call it once even with nothing: a body of no bytes is whole at once.
    pub(super) fn received(&mut self, mut bytes: &[u8]) -> Option<Outcome> {
        loop {
            match &mut self.progress {
                Progress::UntilClose => return self.search(bytes),
                Progress::Length(left) => {
                    let content = take(&mut bytes, left);
                    let whole = *left == 0;
                    let outcome = self.search(content);
                    return outcome.or_else(|| whole.then(|| self.in_vain()));
                }
                Progress::Chunk(left) => {
                    let content = take(&mut bytes, left);
                    if *left == 0 {
                        self.progress = Progress::ChunkEnd { carriage_return: false };
                    }
                    if let Some(outcome) = self.search(content) {
                        return Some(outcome);
                    }
                }
                Progress::ChunkEnd { carriage_return } => match bytes.split_off_first() {
                    Some(b'\r') if !*carriage_return => *carriage_return = true,
                    Some(b'\n') if *carriage_return => self.progress = Progress::ChunkLine(Vec::new()),
                    Some(_) => return Some(not_http()),
                    None => return None,
                },
                Progress::ChunkLine(line) => {
                    let byte = bytes.split_off_first()?;
                    line.push(*byte);
                    if *byte == b'\n' {
                        match httparse::parse_chunk_size(line) {
                            Ok(Status::Complete((_, 0))) => return Some(self.in_vain()),
                            Ok(Status::Complete((_, length))) => self.progress = Progress::Chunk(length),
                            // A line feed within the line.
                            Ok(Status::Partial) | Err(_) => return Some(not_http()),
                        }
                    } else if line.len() == CHUNK_LINE_BYTES_MAX {
                        return Some(not_http());
                    }
                }
            }
            if bytes.is_empty() {
                return None;
            }
        }
    }

    pub(super) fn closed(&mut self) -> Outcome {
        match self.progress {
            Progress::UntilClose => self.in_vain(),
            _ => Outcome::Failure(Reason::ClosedEarly),
        }
    }

    fn search(&mut self, content: &[u8]) -> Option<Outcome> {
        let word = self.expected.as_bytes();
        let searched = self.content.len();
        let room = BODY_BYTES_SEARCHED - searched;
        self.content.extend_from_slice(&content[..content.len().min(room)]);
        // What has been searched may end in the middle of the word.
        let from = searched.saturating_sub(word.len().saturating_sub(1));
        let found = word.is_empty() || self.content[from..].windows(word.len()).any(|window| window == word);
        if found {
            return Some(Outcome::Success);
        }
        (self.content.len() == BODY_BYTES_SEARCHED).then(|| self.in_vain())
    }

    fn in_vain(&self) -> Outcome {
        let expected = shown(self.expected.as_bytes());
        Outcome::Failure(Reason::NotInBody { expected, searched_bytes: BODY_BYTES_SEARCHED })
    }
}

/// The front of `bytes`, as far as `left` allows, which becomes less by it.
fn take<'a>(bytes: &mut &'a [u8], left: &mut u64) -> &'a [u8] {
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    let (front, rest) = bytes.split_at(length);
    *bytes = rest;
    *left -= length as u64;
    front
}

fn not_http() -> Outcome {
    Outcome::Failure(Reason::NotHttp { speaks_tls: false })
}
