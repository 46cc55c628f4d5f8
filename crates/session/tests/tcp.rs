//! TCP tracking: what moves a session and what does not, spoken segment by segment through a real table.
#![cfg(not(loom))]

mod fixture;

use fixture::{Connection, segment};
use session::{
    State, Visit,
    tcp::{
        self,
        header_flags::{ACK, FIN, RST, SYN},
    },
};

#[test]
fn a_handshake_establishes() {
    let connection = Connection::opened(100);
    assert_eq!(connection.state(), State::TcpTransitory);
    connection.server((SYN | ACK, 500, 101, 0));
    assert_eq!(connection.state(), State::TcpTransitory);
    connection.client((ACK, 101, 501, 0));
    assert_eq!(connection.state(), State::TcpEstablished);
    assert_eq!(connection.ends(), (Some(101), Some(501)));
}

#[test]
fn a_simultaneous_open_establishes() {
    let connection = Connection::opened(100);
    connection.server((SYN, 500, 0, 0));
    connection.client((SYN | ACK, 100, 501, 0));
    assert_eq!(connection.state(), State::TcpTransitory);
    connection.server((SYN | ACK, 500, 101, 0));
    assert_eq!(connection.state(), State::TcpEstablished);
}

#[test]
fn the_data_that_completes_a_handshake_may_come_instead_of_its_ack() {
    let connection = Connection::opened(100);
    connection.server((SYN | ACK, 500, 101, 0));
    connection.client((ACK, 101, 501, 700));
    assert_eq!(connection.state(), State::TcpEstablished);
    assert_eq!(connection.ends().0, Some(801));
}

#[test]
fn an_ack_flood_without_the_servers_number_establishes_nothing() {
    let connection = Connection::opened(100);
    connection.server((SYN | ACK, 500, 101, 0));
    for guess in [502, 101 + (1 << 20), 501u32.wrapping_sub(tcp::HANDSHAKE_LAG_BYTES_MAX + 1), 1 << 31] {
        connection.client((ACK, 101, guess, 0));
        assert_eq!(connection.state(), State::TcpTransitory, "acknowledged {guess}");
    }
}

#[test]
fn a_syn_ack_that_acknowledges_something_else_is_not_the_answer() {
    let connection = Connection::opened(100);
    connection.server((SYN | ACK, 500, 777, 0));
    assert_eq!(connection.ends().1, None);
    connection.server((SYN | ACK, 900, 101, 0));
    assert_eq!(connection.ends().1, Some(901));
}

#[test]
fn until_it_is_acknowledged_a_new_syn_replaces_the_old_one() {
    let connection = Connection::opened(100);
    connection.client((SYN, 7_000, 0, 0));
    assert_eq!(connection.ends().0, Some(7_001));
    // A server with SYN cookies answers a repeated SYN with another number.
    connection.server((SYN | ACK, 500, 7_001, 0));
    connection.server((SYN | ACK, 600, 7_001, 0));
    connection.client((ACK, 7_001, 601, 0));
    assert_eq!(connection.state(), State::TcpEstablished);
}

#[test]
fn a_syn_on_an_established_session_changes_nothing() {
    let connection = Connection::established();
    connection.client((SYN, 9_000, 0, 0));
    connection.server((SYN | ACK, 9_000, 101, 0));
    assert_eq!(connection.ends(), (Some(101), Some(501)));
    assert_eq!(connection.state(), State::TcpEstablished);
    let syn = segment((SYN, 9_000, 0, 0));
    assert!(!tcp::syn_reuses(connection.state(), connection.session().client.direction, &syn));
}

#[test]
fn the_sequence_end_wraps() {
    let connection = Connection::opened(u32::MAX - 10);
    connection.server((SYN | ACK, u32::MAX, u32::MAX - 9, 0));
    connection.client((ACK, u32::MAX - 9, 0, 100));
    assert_eq!(connection.ends(), (Some(90), Some(0)));
    assert_eq!(connection.state(), State::TcpEstablished);
}

#[test]
fn retransmissions_and_keepalives_do_not_step_back() {
    let connection = Connection::established();
    connection.client((ACK, 101, 501, 1_000));
    connection.client((ACK, 101, 501, 500));
    connection.client((ACK, 1_100, 501, 0));
    assert_eq!(connection.ends().0, Some(1_101));
}

#[test]
fn a_gap_is_crossed_by_who_follows_the_other_side() {
    let connection = Connection::established();
    connection.client((ACK, 5_000, 501, 100));
    assert_eq!(connection.ends().0, Some(5_100), "segments were lost before the appliance");
    connection.client((ACK, 5_050, 501, 100));
    assert_eq!(connection.ends().0, Some(5_150), "a retransmission may bring new bytes");
}

#[test]
fn blind_data_does_not_move_the_sequence_end() {
    let connection = Connection::established();
    connection.client((ACK, 5_000, 502, 100));
    connection.client((ACK, 5_000, 501u32.wrapping_sub(tcp::ACKNOWLEDGEMENT_LAG_BYTES_MAX + 1), 100));
    connection.client((ACK, 101 + tcp::SEQUENCE_STEP_BYTES_MAX, 501, 1));
    connection.client((0, 5_000, 501, 100));
    assert_eq!(connection.ends().0, Some(101));
}

#[test]
fn fin_both_ways_closes_and_one_way_does_not() {
    let connection = Connection::established();
    connection.client((FIN | ACK, 101, 501, 0));
    assert_eq!(connection.state(), State::TcpEstablished);
    connection.server((ACK, 501, 102, 4_000));
    connection.server((FIN | ACK, 4_501, 102, 0));
    assert_eq!(connection.state(), State::TcpClosing);
    assert_eq!(connection.ends(), (Some(102), Some(4_502)));
}

#[test]
fn a_forged_fin_closes_nothing() {
    let connection = Connection::established();
    connection.client((FIN | ACK, 101, 501, 0));
    connection.server((FIN | ACK, 90_000, 1 << 31, 0));
    connection.server((FIN | ACK, 400, 102, 0));
    assert_eq!(connection.state(), State::TcpEstablished);
}

#[test]
fn only_a_rst_in_sequence_closes() {
    let connection = Connection::established();
    for blind in [0, 100, 102, 101 + 30_000, 1 << 31] {
        connection.client((RST, blind, 0, 0));
        connection.client((RST | ACK, blind, 501, 0));
        assert_eq!(connection.state(), State::TcpEstablished, "RST at {blind}");
    }
    connection.client((RST, 101, 0, 0));
    assert_eq!(connection.state(), State::TcpClosing);
}

#[test]
fn a_refused_syn_closes_by_its_acknowledgement() {
    let connection = Connection::opened(100);
    connection.server((RST | ACK, 0, 100, 0));
    connection.server((RST, 0, 101, 0));
    assert_eq!(connection.state(), State::TcpTransitory);
    connection.server((RST | ACK, 0, 101, 0));
    assert_eq!(connection.state(), State::TcpClosing);
}

#[test]
fn a_larger_syn_reuses_a_closing_session() {
    let connection = Connection::established();
    connection.client((FIN | ACK, 101, 501, 0));
    connection.server((FIN | ACK, 501, 102, 0));
    let client = connection.session().client.direction;
    let reuses = |spoken| tcp::syn_reuses(connection.state(), client, &segment(spoken));
    assert!(reuses((SYN, 103, 0, 0)));
    assert!(reuses((SYN, 102 + (1 << 30), 0, 0)));
    assert!(!reuses((SYN, 102, 0, 0)), "not larger");
    assert!(!reuses((SYN, 100, 0, 0)), "an old duplicate");
    assert!(!reuses((SYN | ACK, 1_000, 0, 0)));
    assert!(!reuses((SYN | FIN, 1_000, 0, 0)));
}

#[test]
fn a_session_that_the_appliance_reset_says_so_on_both_sides() {
    let connection = Connection::established();
    let all = 0..connection.table.set_count();
    connection.table.visit(all, 7, |_| Visit::MarkReset, |_| panic!("nothing ends"));
    assert_eq!(connection.state(), State::Reset);
    assert!(connection.server_flags().contains(session::Flags::RESET));
    assert_eq!(connection.session().idle_ticks(7), 0, "its time starts anew");
    assert_eq!(connection.ends(), (Some(101), Some(501)));
}
