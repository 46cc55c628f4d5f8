//! One client: its bytes in, its answer out, and its patience.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use mio::net::UnixStream;
use serde_json::{Value, json};

use super::message::{Handler, Request, Response};

/// The longest request in bytes, its newline included. Requests are names and addresses; more is a mistake.
const REQUEST_BYTES_MAX: usize = 64 << 10;

/// What is made of an answer before the client has taken what came before.
const ANSWER_AHEAD_BYTES: usize = 64 << 10;

/// What one client may take in one turn of the loop, so that a long listing leaves time for everything else.
const BYTES_PER_TURN_MAX: usize = 1 << 20;

/// How long a client may take for a whole request, or for the next byte of an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// It waits for the client.
    Waiting,
    /// It could go on, but others are to have their turn.
    Busy,
    /// It is over.
    Over,
}

/// One client.
pub(super) struct Connection {
    stream: UnixStream,
    request: Vec<u8>,
    answer: Vec<u8>,
    written: usize,
    rows: Option<Rows>,
    /// Nothing more is read; over when the answer is out.
    last: bool,
    ended: bool,
    deadline: Instant,
}

/// What is left of a long answer.
struct Rows {
    rows: Box<dyn Iterator<Item = Value>>,
    first: bool,
}

impl Connection {
    pub(super) fn new(stream: UnixStream, now: Instant) -> Self {
        Self {
            stream,
            request: Vec::new(),
            answer: Vec::new(),
            written: 0,
            rows: None,
            last: false,
            ended: false,
            deadline: now + PATIENCE,
        }
    }

    pub(super) fn stream(&mut self) -> &mut UnixStream {
        &mut self.stream
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Tells the client why it is not served.
    pub(super) fn turn_away(&mut self, exit: u8, error: &str) {
        self.refuse_and_end(exit, error.to_owned());
    }

    /// Goes on as far as the client lets it.
    pub(super) fn proceed(&mut self, now: Instant, handler: &mut dyn Handler) -> Condition {
        let mut budget = BYTES_PER_TURN_MAX;
        loop {
            match self.write(now, &mut budget) {
                Ok(true) => {}
                Ok(false) if budget == 0 => return Condition::Busy,
                Ok(false) => return Condition::Waiting,
                Err(_) => return Condition::Over,
            }
            if self.last {
                return Condition::Over;
            }
            if self.take_request(now, handler) {
                continue;
            }
            match self.read() {
                Ok(true) => {}
                Ok(false) => return Condition::Waiting,
                Err(_) => return Condition::Over,
            }
        }
    }

    /// The client has been waited for long enough: a last word, if it takes one, and the end.
    pub(super) fn time_out(&mut self, now: Instant, handler: &mut dyn Handler) {
        if self.answer.is_empty() && self.rows.is_none() {
            self.refuse_and_end(2, format!("no whole request within {} s", PATIENCE.as_secs()));
            self.proceed(now, handler);
        }
    }

    /// Writes what there is; whether all of it is out.
    fn write(&mut self, now: Instant, budget: &mut usize) -> std::io::Result<bool> {
        loop {
            if self.written == self.answer.len() {
                self.answer.clear();
                self.written = 0;
                if !self.make_rows() {
                    return Ok(true);
                }
            }
            if *budget == 0 {
                return Ok(false);
            }
            let end = self.answer.len().min(self.written + *budget);
            match self.stream.write(&self.answer[self.written..end]) {
                Ok(length) => {
                    self.written += length;
                    *budget -= length;
                    self.deadline = now + PATIENCE;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes the next piece of a long answer; whether there was one.
    fn make_rows(&mut self) -> bool {
        let Some(mut rest) = self.rows.take() else { return false };
        while self.answer.len() < ANSWER_AHEAD_BYTES {
            let Some(row) = rest.rows.next() else {
                self.answer.extend_from_slice(b"]}\n");
                return true;
            };
            if !std::mem::take(&mut rest.first) {
                self.answer.push(b',');
            }
            self.answer.extend_from_slice(row.to_string().as_bytes());
        }
        self.rows = Some(rest);
        true
    }

    /// Answers a request if a whole one, or too much of one, is there.
    fn take_request(&mut self, now: Instant, handler: &mut dyn Handler) -> bool {
        let line = self.request.iter().position(|byte| *byte == b'\n');
        match line {
            Some(end) if end < REQUEST_BYTES_MAX => {
                let rest = self.request.split_off(end + 1);
                let line = std::mem::replace(&mut self.request, rest);
                match serde_json::from_slice::<Request>(&line) {
                    Ok(request) => self.answer_with(handler.handle(request)),
                    Err(error) => self.refuse_and_end(2, format!("not a request: {error}")),
                }
            }
            None if self.request.len() < REQUEST_BYTES_MAX && !self.ended => return false,
            None if self.ended && self.request.is_empty() => self.last = true,
            None if self.ended => self.refuse_and_end(2, "a request ends with a newline".to_owned()),
            _ => self.refuse_and_end(2, format!("a request has at most {REQUEST_BYTES_MAX} bytes")),
        }
        self.deadline = now + PATIENCE;
        true
    }

    /// Reads some more; whether there was any, or the end.
    fn read(&mut self) -> std::io::Result<bool> {
        let mut bytes = [0; 4_096];
        match self.stream.read(&mut bytes) {
            Ok(0) => {
                self.ended = true;
                Ok(true)
            }
            Ok(length) => {
                self.request.extend_from_slice(&bytes[..length]);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn answer_with(&mut self, response: Response) {
        match response {
            Response::Done(result) => self.say(&json!({ "ok": true, "result": result })),
            Response::Refused { exit, error } => {
                self.say(&json!({ "ok": false, "exit": exit, "error": error }))
            }
            Response::Rows(rows) => {
                self.answer.extend_from_slice(br#"{"ok":true,"result":["#);
                self.rows = Some(Rows { rows, first: true });
            }
        }
    }

    fn refuse_and_end(&mut self, exit: u8, error: String) {
        self.answer_with(Response::Refused { exit, error });
        self.last = true;
    }

    fn say(&mut self, answer: &Value) {
        self.answer.extend_from_slice(answer.to_string().as_bytes());
        self.answer.push(b'\n');
    }
}
