//! One HTTP/1.1 request and the judgement on its answer (RFC 9110, RFC 9112).
//!
//! The status is judged as soon as the head is whole; the body is only looked at where something is expected in
//! it. Both must please: a 500 with the right body is a failure, and so is a 200 with another body. Interim answers
//! (1xx) are skipped, but for 101, behind which no HTTP follows.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use config::{HttpRequest, StatusRange};
use httparse::{EMPTY_HEADER, Header, Response, Status};

use super::body::{Body, Framing};
use crate::check::{Outcome, Reason};

/// What the heads of an answer (interim ones included) may take in all, in bytes. Servers' own limits for what they
/// accept are about this large.
pub const HEAD_BYTES_MAX: usize = 8 << 10;

/// Header fields of one head at the most.
pub const HEADERS_MAX: usize = 64;

/// What every answer begins with that is one, whatever the minor version.
const BEGINNING: &[u8] = b"HTTP/1.";

/// What the records of TLS begin with: handshake or alert, of version 3.x (RFC 8446, 5.1).
const TLS_RECORDS: [[u8; 2]; 2] = [[0x15, 0x03], [0x16, 0x03]];

/// A request, and how far its answer has come.
pub(super) struct Exchange {
    request: Vec<u8>,
    expect_status: Vec<StatusRange>,
    expect_body: Option<String>,
    progress: Progress,
}

enum Progress {
    /// The head as far as it has come; bytes of interim heads that are gone.
    Head {
        head: Vec<u8>,
        gone_bytes: usize,
    },
    Body(Body),
}

/// What a head says of its answer.
struct Head {
    length: usize,
    status: u16,
    framing: Framing,
}

impl Exchange {
    pub(super) fn new(request: &HttpRequest, server: SocketAddr) -> Self {
        Self {
            request: words(request, server),
            expect_status: request.expect_status.clone(),
            expect_body: request.expect_body.clone(),
            progress: Progress::Head { head: Vec::new(), gone_bytes: 0 },
        }
    }

    /// The request as it goes over the wire.
    pub(super) fn request(&self) -> &[u8] {
        &self.request
    }

    pub(super) fn awaited(&self) -> &'static str {
        match self.progress {
            Progress::Head { .. } => "HTTP answer",
            Progress::Body(_) => "whole HTTP answer",
        }
    }

    pub(super) fn received(&mut self, bytes: &[u8]) -> Option<Outcome> {
        match &mut self.progress {
            Progress::Body(body) => body.received(bytes),
            Progress::Head { head, gone_bytes } => {
                let room = HEAD_BYTES_MAX - *gone_bytes - head.len();
                let (for_head, beyond) = bytes.split_at(bytes.len().min(room));
                let may_be_whole = for_head.contains(&b'\n');
                head.extend_from_slice(for_head);
                if let Some(refusal) = no_answer(head) {
                    return Some(Outcome::Failure(refusal));
                }
                if !may_be_whole {
                    return self.beyond_the_head(beyond);
                }
                self.heads(beyond)
            }
        }
    }

    /// The peer has closed: what needed its end has it now, all else is cut short.
    pub(super) fn closed(&mut self) -> Outcome {
        match &mut self.progress {
            Progress::Head { .. } => Outcome::Failure(Reason::ClosedEarly),
            Progress::Body(body) => body.closed(),
        }
    }

    /// Takes whole heads off the front until one is final.
    fn heads(&mut self, beyond: &[u8]) -> Option<Outcome> {
        loop {
            let Progress::Head { head, gone_bytes } = &mut self.progress else { return None };
            let parsed = match parse(head) {
                Ok(Some(parsed)) => parsed,
                Ok(None) => return self.beyond_the_head(beyond),
                Err(reason) => return Some(Outcome::Failure(reason)),
            };
            let interim = (100..200).contains(&parsed.status) && parsed.status != 101;
            if interim {
                *gone_bytes += parsed.length;
                head.drain(..parsed.length);
                if let Some(refusal) = no_answer(head) {
                    return Some(Outcome::Failure(refusal));
                }
                continue;
            }
            let rest = head.split_off(parsed.length);
            return self.judge(parsed, &rest, beyond);
        }
    }

    fn judge(&mut self, head: Head, rest: &[u8], beyond: &[u8]) -> Option<Outcome> {
        let pleases = |range: &StatusRange| (range.first..=range.last).contains(&head.status);
        if !self.expect_status.iter().any(pleases) {
            let expected = ranges(&self.expect_status);
            return Some(Outcome::Failure(Reason::Status { expected, got: head.status }));
        }
        let Some(expected) = self.expect_body.take() else { return Some(Outcome::Success) };
        let mut body = Body::new(head.framing, expected);
        let outcome = body.received(rest).or_else(|| body.received(beyond));
        self.progress = Progress::Body(body);
        outcome
    }

    /// The head is not whole: there must be room for more of it.
    fn beyond_the_head(&self, beyond: &[u8]) -> Option<Outcome> {
        let reason = Reason::HeadTooLong { bytes_max: HEAD_BYTES_MAX };
        (!beyond.is_empty()).then_some(Outcome::Failure(reason))
    }
}

/// Why these bytes cannot become an answer, if it shows at once.
fn no_answer(head: &[u8]) -> Option<Reason> {
    // Empty lines before an answer are nothing (httparse skips them as servers do, RFC 9112, 2.2).
    let begins = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let head = &head[begins..];
    let length = head.len().min(BEGINNING.len());
    if head[..length] == BEGINNING[..length] {
        return None;
    }
    let speaks_tls = match head {
        [first] => TLS_RECORDS.iter().any(|record| record[0] == *first),
        [first, second, ..] => TLS_RECORDS.contains(&[*first, *second]),
        [] => false,
    };
    // Of one byte nobody can tell yet.
    (!speaks_tls || head.len() > 1).then_some(Reason::NotHttp { speaks_tls })
}

/// The head at the front of `bytes`, if it is whole. Only whole lines are read, so that the verdict does not hang on
/// how far into a line a read came.
fn parse(bytes: &[u8]) -> Result<Option<Head>, Reason> {
    let lines = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = Response::new(&mut headers);
    let not_http = Reason::NotHttp { speaks_tls: false };
    match response.parse(&bytes[..lines]) {
        Ok(Status::Complete(length)) => {
            let status = response.code.unwrap_or_default();
            let framing = framing(status, response.headers).ok_or(not_http)?;
            Ok(Some(Head { length, status, framing }))
        }
        Ok(Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err(Reason::TooManyHeaders { max: HEADERS_MAX }),
        Err(_) => Err(not_http),
    }
}

/// How the body's end is known (RFC 9112, 6.3); `None`: its lengths contradict each other.
fn framing(status: u16, headers: &[Header<'_>]) -> Option<Framing> {
    let values = |name: &'static str| {
        let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.flat_map(|header| header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii))
    };
    if matches!(status, 100..=199 | 204 | 304) {
        return Some(Framing::Length(0));
    }
    if let Some(last) = values("transfer-encoding").last() {
        let chunked = last.eq_ignore_ascii_case(b"chunked");
        return Some(if chunked { Framing::Chunked } else { Framing::UntilClose });
    }
    let mut lengths = values("content-length").map(|value| {
        let digits =
            std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse::<u64>().ok()
    });
    match lengths.next() {
        None => Some(Framing::UntilClose),
        Some(first) => {
            let first = first?;
            lengths.all(|other| other == Some(first)).then_some(Framing::Length(first))
        }
    }
}

fn words(request: &HttpRequest, server: SocketAddr) -> Vec<u8> {
    let host = request.host.clone().unwrap_or_else(|| {
        let default_port = if request.tls { 443 } else { 80 };
        match server {
            SocketAddr::V6(server) if server.port() == default_port => format!("[{}]", server.ip()),
            _ if server.port() == default_port => server.ip().to_string(),
            _ => server.to_string(),
        }
    });
    // Coded bodies cannot be searched.
    format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: jeoul\r\nAccept: */*\r\nAccept-Encoding: identity\r\n\
         Connection: close\r\n\r\n",
        request.path
    )
    .into_bytes()
}

/// As the configuration writes them: `200-299, 304`.
fn ranges(ranges: &[StatusRange]) -> String {
    let mut text = String::new();
    for (place, range) in ranges.iter().enumerate() {
        let comma = if place > 0 { ", " } else { "" };
        let written = if range.first == range.last {
            write!(text, "{comma}{}", range.first)
        } else {
            write!(text, "{comma}{}-{}", range.first, range.last)
        };
        // Writing into a String cannot fail.
        debug_assert!(written.is_ok());
    }
    text
}

/// The name in `host`, without a port.
pub(super) fn name_of(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inside, _)) => inside,
        None if host.parse::<IpAddr>().is_ok() => host,
        None => host.split(':').next().unwrap_or_default(),
    }
}
