//! The operator's socket, both ends: who may connect, what is said, and what a bad client costs.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use control::operator::{Action, AskError, CLIENTS_MAX, Place, Request, Response, Server, What, ask};
use mio::{Events, Poll, Token};
use serde_json::{Value, json};

/// A directory of a test's own; vanishes with the value.
struct Room(PathBuf);

impl Room {
    fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("jeoul-control-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _gone_already = fs::remove_dir_all(&self.0);
    }
}

/// The appliance's end in a loop of its own.
struct Appliance {
    poll: Poll,
    server: Server,
    now: Instant,
}

impl Appliance {
    fn new(room: &Room) -> std::io::Result<Self> {
        let poll = Poll::new().unwrap();
        let server =
            Server::new(Place::take(&room.socket())?, poll.registry().try_clone().unwrap(), Token(7))?;
        Ok(Self { poll, server, now: Instant::now() })
    }

    /// One turn of the loop, at a clock that goes only when told.
    fn turn(&mut self, handler: &mut dyn FnMut(Request) -> Response) {
        let mut events = Events::with_capacity(64);
        self.poll.poll(&mut events, Some(Duration::from_millis(5))).unwrap();
        let mut handler = |request| handler(request);
        for event in &events {
            assert!(self.server.owns(event.token()));
            self.server.handle(self.now, event.token(), &mut handler);
        }
        if self.server.next_deadline(self.now).is_some_and(|at| at <= self.now) {
            self.server.advance(self.now, &mut handler);
        }
    }

    fn turn_until(&mut self, what: &str, done: impl Fn(&Server) -> bool) {
        let end = Instant::now() + Duration::from_secs(15);
        while !done(&self.server) {
            assert!(Instant::now() < end, "never came: {what}");
            self.turn(&mut echo);
        }
    }

    /// Serves until the client's thread has ended.
    fn serve<T: Send + 'static>(
        &mut self,
        client: impl FnOnce() -> T + Send + 'static,
        handler: &mut dyn FnMut(Request) -> Response,
    ) -> T {
        let client = thread::spawn(client);
        while !client.is_finished() {
            self.turn(handler);
        }
        client.join().unwrap()
    }
}

fn echo(request: Request) -> Response {
    match request {
        Request::Reload {} => Response::wrong_input("line 3: no such thing"),
        request => Response::Done(json!(format!("{request:?}"))),
    }
}

/// Sends bytes as they are and reads the lines that come back.
fn raw(room: &Room, bytes: Vec<u8>) -> impl FnOnce() -> Vec<String> + Send + 'static {
    let path = room.socket();
    move || {
        let mut stream = UnixStream::connect(path).unwrap();
        let _cut_off_or_sent = stream.write_all(&bytes);
        let _closed_or_shut = stream.shutdown(std::net::Shutdown::Write);
        BufReader::new(stream).lines().map_while(Result::ok).collect()
    }
}

#[test]
fn what_is_asked_is_answered() {
    let room = Room::new();
    let mut appliance = Appliance::new(&room).unwrap();
    let path = room.socket();
    let drain =
        Request::Server { action: Action::Drain, service: "web".into(), server: "[2001:db8::1]:80".into() };
    let weight = |weight| Request::Weight { service: "web".into(), server: "198.18.1.11".into(), weight };
    let (heavy, given_back) = (weight(Some(65_535)), weight(None));
    for request in [Request::Ping {}, Request::Show { what: What::Services }, drain, heavy, given_back] {
        let (path, question) = (path.clone(), request.clone());
        let answer = appliance.serve(move || ask(&path, &question), &mut echo).unwrap();
        assert_eq!(answer, json!(format!("{request:?}")));
    }
    let refusal = appliance.serve(move || ask(&path, &Request::Reload {}), &mut echo).unwrap_err();
    assert_eq!((refusal.exit(), refusal.to_string().as_str()), (2, "line 3: no such thing"));
    appliance.turn_until("the clients' end", |server| server.clients() == 0);
}

#[test]
fn several_requests_on_one_connection_are_answered_in_order() {
    let room = Room::new();
    let mut appliance = Appliance::new(&room).unwrap();
    let two = b"{\"command\":\"ping\"}\n{\"command\":\"show\",\"what\":\"drops\"}\n".to_vec();
    let answers = appliance.serve(raw(&room, two), &mut echo);
    assert_eq!(answers, [r#"{"ok":true,"result":"Ping"}"#, r#"{"ok":true,"result":"Show { what: Drops }"}"#]);
}

#[test]
fn nonsense_is_named_and_ends_the_conversation() {
    let room = Room::new();
    let mut appliance = Appliance::new(&room).unwrap();
    let cases: [(&[u8], &str); 11] = [
        (b"hello\n", "not a request"),
        (b"\xff\xfe\n", "not a request"),
        (b"{\"command\":\"dance\"}\n", "unknown variant `dance`"),
        (b"{\"command\":\"ping\",\"loud\":true}\n", "unknown field `loud`"),
        (b"{\"command\":\"show\",\"what\":\"moon\"}\n", "unknown variant `moon`, expected one of `status`"),
        (b"{\"command\":\"show\"}\n", "missing field `what`"),
        (b"{\"command\":\"weight\",\"service\":\"a\",\"server\":\"b\"}\n", "missing field `weight`"),
        (b"{\"command\":\"weight\",\"service\":\"a\",\"server\":\"b\",\"weight\":65536}\n", "expected u16"),
        (b"{\"command\":\"weight\",\"service\":\"a\",\"server\":\"b\",\"weight\":-1}\n", "expected u16"),
        (b"{\"command\":\"ping\"}", "ends with a newline"),
        (&[b'['; 50_000], "ends with a newline"),
    ];
    for (bytes, words) in cases {
        let mut bytes = bytes.to_vec();
        let follow_up = b"{\"command\":\"ping\"}\n";
        if bytes.ends_with(b"\n") {
            bytes.extend_from_slice(follow_up);
        }
        let answers = appliance.serve(raw(&room, bytes), &mut echo);
        assert_eq!(answers.len(), 1, "{answers:?}");
        let answer: Value = serde_json::from_str(&answers[0]).unwrap();
        assert_eq!((&answer["ok"], &answer["exit"]), (&json!(false), &json!(2)));
        assert!(answer["error"].as_str().unwrap().contains(words), "{answer}");
    }
    let deep = [vec![b'['; 60_000], b"\n".to_vec()].concat();
    assert!(appliance.serve(raw(&room, deep), &mut echo)[0].contains("not a request"));
    for too_long in [vec![b' '; 70_000], [vec![b' '; 70_000], b"\n".to_vec()].concat()] {
        assert!(appliance.serve(raw(&room, too_long), &mut echo)[0].contains("at most 65536 bytes"));
    }
}

#[test]
fn a_slow_client_is_let_go_and_one_too_many_hears_why() {
    let room = Room::new();
    let mut appliance = Appliance::new(&room).unwrap();
    let mut slow: Vec<UnixStream> =
        (0..CLIENTS_MAX).map(|_| UnixStream::connect(room.socket()).unwrap()).collect();
    slow[0].write_all(b"{\"comm").unwrap();
    appliance.turn_until("all of them", |server| server.clients() == CLIENTS_MAX);
    let path = room.socket();
    let busy = appliance.serve(move || ask(&path, &Request::Ping {}), &mut echo).unwrap_err();
    assert_eq!((busy.exit(), busy.to_string().as_str()), (1, "busy: 16 operators are connected"));

    appliance.now += Duration::from_secs(9);
    slow[0].write_all(b"and").unwrap();
    appliance.turn(&mut echo);
    assert_eq!(appliance.server.clients(), CLIENTS_MAX);
    appliance.now += Duration::from_secs(1);
    appliance.turn(&mut echo);
    assert_eq!(appliance.server.clients(), 0, "a byte now and then buys no time");
    for client in &mut slow {
        let mut word = String::new();
        client.read_to_string(&mut word).unwrap();
        assert!(word.contains("no whole request within 10 s"), "{word}");
    }
}

#[test]
fn a_long_listing_is_made_as_it_is_taken() {
    const ROWS: u64 = 200_000;
    let room = Room::new();
    let mut appliance = Appliance::new(&room).unwrap();
    let made = Rc::new(Cell::new(0));
    let counter = Rc::clone(&made);
    let mut handler = move |_| {
        let counter = Rc::clone(&counter);
        let row = move |n: u64| {
            counter.set(n + 1);
            json!({ "client": format!("198.18.0.1:{n}"), "age_s": n })
        };
        Response::Rows(Box::new((0..ROWS).map(row)))
    };
    let mut client = UnixStream::connect(room.socket()).unwrap();
    client.write_all(b"{\"command\":\"show\",\"what\":\"sessions\"}\n").unwrap();
    while made.get() == 0 {
        appliance.turn(&mut handler);
    }
    for _ in 0..20 {
        appliance.turn(&mut handler);
    }
    assert!(made.get() < ROWS / 10, "{} rows were made for a client that takes none", made.get());
    let taken = appliance.serve(
        move || {
            let mut line = String::new();
            BufReader::new(client).read_line(&mut line).unwrap();
            serde_json::from_str::<Value>(&line).unwrap()
        },
        &mut handler,
    );
    let rows = taken["result"].as_array().unwrap();
    assert_eq!(rows.len() as u64, ROWS);
    assert_eq!(rows[777], json!({ "client": "198.18.0.1:777", "age_s": 777 }));

    let empty = appliance.serve(raw(&room, b"{\"command\":\"ping\"}\n".to_vec()), &mut |_| {
        Response::Rows(Box::new(std::iter::empty()))
    });
    assert_eq!(empty, [r#"{"ok":true,"result":[]}"#]);
}

#[test]
fn a_client_that_stops_taking_its_answer_is_let_go() {
    let room = Room::new();
    let mut appliance = Appliance::new(&room).unwrap();
    let mut client = UnixStream::connect(room.socket()).unwrap();
    client.write_all(b"{\"command\":\"ping\"}\n").unwrap();
    let mut endless = |_| Response::Rows(Box::new(std::iter::repeat(json!("row"))));
    for _ in 0..20 {
        appliance.turn(&mut endless);
    }
    assert_eq!(appliance.server.clients(), 1);
    appliance.now += Duration::from_secs(10);
    appliance.turn(&mut endless);
    assert_eq!(appliance.server.clients(), 0);
}

#[test]
fn the_socket_is_its_owners_alone_and_goes_with_the_appliance() {
    let room = Room::new();
    let appliance = Appliance::new(&room).unwrap();
    let there = fs::symlink_metadata(room.socket()).unwrap();
    assert!(there.file_type().is_socket());
    assert_eq!(there.permissions().mode() & 0o777, 0o600);
    let names = |room: &Room| {
        let entries =
            fs::read_dir(&room.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = entries.collect();
        names.sort();
        names
    };
    assert_eq!(names(&room), ["control.sock", "control.sock.lock"]);
    drop(appliance);
    assert_eq!(names(&room), ["control.sock.lock"]);
}

#[test]
fn one_appliance_only_serves_a_path() {
    let room = Room::new();
    let first = Appliance::new(&room).unwrap();
    let refusal = |room: &Room| Appliance::new(room).err().unwrap().to_string();
    assert_eq!(refusal(&room), "another appliance is running");
    drop(first);
    let dead = UnixListener::bind(room.socket()).unwrap();
    assert_eq!(refusal(&room), "another program listens there");
    drop(dead);
    assert!(room.socket().exists(), "what a dead process leaves behind");
    drop(Appliance::new(&room).unwrap());
    fs::write(room.socket(), "a file").unwrap();
    assert_eq!(refusal(&room), "there is a file of another kind");
    assert_eq!(fs::read(room.socket()).unwrap(), b"a file");
}

#[test]
fn a_command_without_appliance_says_so() {
    let room = Room::new();
    let words = |outcome: Result<Value, AskError>| {
        let error = outcome.unwrap_err();
        assert_eq!(error.exit(), 1);
        error.to_string()
    };
    assert!(words(ask(&room.socket(), &Request::Ping {})).starts_with("no appliance is running at "));
    drop(UnixListener::bind(room.socket()).unwrap());
    assert!(words(ask(&room.socket(), &Request::Ping {})).starts_with("no appliance is running at "));
    let listener = {
        fs::remove_file(room.socket()).unwrap();
        UnixListener::bind(room.socket()).unwrap()
    };
    let hang_up = thread::spawn(move || drop(listener.accept().unwrap()));
    assert!(words(ask(&room.socket(), &Request::Ping {})).starts_with("the appliance broke off"));
    hang_up.join().unwrap();
}
