//! Sessions of which the client's half alone is seen: their servers answer directly.
#![cfg(not(loom))]

mod fixture;

use fixture::Connection;
use session::{
    Entry, Flags, Insert, Protocol, State,
    tcp::{
        self,
        header_flags::{ACK, FIN, RST, SYN},
    },
};

#[test]
fn a_client_that_goes_on_behind_its_syn_has_established() {
    let connection = Connection::opened_one_way(100);
    assert_eq!(connection.state(), State::TcpTransitory);
    connection.client((ACK, 101, 501, 0));
    assert_eq!(connection.state(), State::TcpEstablished);
    connection.client((ACK, 101, 501, 400));
    assert_eq!(connection.ends().0, Some(501));
}

#[test]
fn a_guess_beside_the_clients_numbers_establishes_nothing_and_ends_nothing() {
    let connection = Connection::opened_one_way(100);
    connection.client((ACK, 100, 501, 0));
    connection.client((ACK, 101 + tcp::ONE_WAY_STEP_BYTES_MAX + 1, 501, 0));
    assert_eq!(connection.state(), State::TcpTransitory);
    connection.client((ACK, 101, 501, 0));
    connection.client((RST, 100, 0, 0));
    connection.client((FIN | ACK, 101 + (1 << 20), 501, 0));
    connection.client((SYN, 7_000, 0, 0));
    assert_eq!(connection.state(), State::TcpEstablished);
    assert_eq!(connection.ends().0, Some(101));
}

#[test]
fn a_gap_of_lost_segments_is_bridged() {
    let connection = Connection::opened_one_way(100);
    connection.client((ACK, 101, 501, 0));
    connection.client((ACK, 2_000, 501, 1_000));
    assert_eq!(connection.ends().0, Some(3_000));
    connection.client((FIN | ACK, 3_000, 501, 0));
    assert_eq!(connection.state(), State::TcpClosing);
}

#[test]
fn a_clients_fin_or_reset_closes_for_both() {
    let closed = Connection::opened_one_way(100);
    closed.client((ACK, 101, 501, 0));
    closed.client((FIN | ACK, 101, 501, 0));
    assert_eq!(closed.state(), State::TcpClosing);
    let reset = Connection::opened_one_way(100);
    reset.client((ACK, 101, 501, 0));
    reset.client((RST, 101, 0, 0));
    assert_eq!(reset.state(), State::TcpClosing);
}

#[test]
fn a_full_table_keeps_the_established_and_gives_up_the_half_open() {
    const CAPACITY: usize = 64;
    let table = session::TableV4::with_capacity(CAPACITY);
    let entry = |side: u64, number: u64| {
        let hash = (number << 8 | side).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Entry { hash, key: [side, number], payload: [0; 3] }
    };
    let open = |number: u64| {
        let seen = tcp::open(&fixture::segment((SYN, 100, 0, 0)));
        let opening = session::Opening { seen, marks: Flags::ONE_WAY, ..fixture::opening(0, Protocol::Tcp) };
        table.insert(&opening, &entry(1, number), &entry(2, number), |_| ())
    };
    let mut established = Vec::new();
    for number in 0..CAPACITY as u64 / 2 {
        let Insert::Inserted { client, .. } = open(number) else { panic!("there is room") };
        let hit = table.session(client.slot, client.birth).unwrap().client_hit();
        let seen = tcp::observe(hit.direction, || None, &fixture::segment((ACK, 101, 501, 0)));
        table.record(&hit, 0, seen);
        established.push((client.slot, client.birth));
    }
    for number in 0..10 * CAPACITY as u64 {
        open(1_000 + number);
    }
    for (slot, birth) in established {
        let session = table.session(slot, birth).expect("an established session is never evicted");
        assert_eq!(session.state(), State::TcpEstablished);
    }
}
