//! Every interleaving of the fragment map's races, in a model of two sets of one datagram each.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p flow --test loom --profile loom`.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "a test may")]

use flow::DatagramKey;
use flow::fragments::{Found, FragmentTable, Noted};
use loom::thread;
use std::sync::Arc;
use wire::Fragment;

const PAYLOAD: [u64; 2] = [7, 8];

fn key(number: u64) -> DatagramKey {
    DatagramKey([number, !number, number, !number, number])
}

fn piece(unit: u16, more: bool) -> Fragment {
    Fragment { offset_bytes: unit * 8, length_bytes: 8, more, identification: 0 }
}

fn note(table: &FragmentTable, number: u64) -> Noted {
    table.note_first(0, &key(number), PAYLOAD, piece(0, true), 0)
}

fn find(table: &FragmentTable, unit: u16, more: bool) -> Found {
    table.find(0, &key(1), piece(unit, more), 0)
}

fn check(model: impl Fn(&Arc<FragmentTable>) + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || model(&Arc::new(FragmentTable::with_capacity(2))));
}

fn spawn<T: 'static>(
    table: &Arc<FragmentTable>,
    run: impl FnOnce(&FragmentTable) -> T + 'static,
) -> thread::JoinHandle<T> {
    let table = Arc::clone(table);
    thread::spawn(move || run(&table))
}

#[test]
fn a_first_piece_appears_whole() {
    check(|table| {
        let later = spawn(table, |table| find(table, 1, false));
        let noted = note(table, 1);
        let found = later.join().unwrap();
        assert!([Noted::Fresh, Noted::Busy].contains(&noted), "{noted:?}");
        assert!([Found::Payload(PAYLOAD), Found::Unknown, Found::Busy].contains(&found), "{found:?}");
        // Whole when both came through in this order, else waiting for what did not.
        let waiting = noted == Noted::Fresh && found != Found::Payload(PAYLOAD);
        assert_eq!(table.count(0), usize::from(waiting));
    });
}

#[test]
fn two_later_pieces_lose_no_mark_of_each_other() {
    check(|table| {
        assert_eq!(note(table, 1), Noted::Fresh);
        let other = spawn(table, |table| find(table, 1, true));
        let outcomes = [find(table, 2, false), other.join().unwrap()];
        let marked = outcomes.iter().filter(|outcome| **outcome == Found::Payload(PAYLOAD)).count();
        let busy = outcomes.iter().filter(|outcome| **outcome == Found::Busy).count();
        assert_eq!(marked + busy, 2, "{outcomes:?}");
        assert_eq!(table.count(0), usize::from(marked < 2), "whole exactly when both are marked");
    });
}

#[test]
fn one_datagram_has_one_entry() {
    check(|table| {
        let other = spawn(table, |table| note(table, 1));
        let outcomes = [note(table, 1), other.join().unwrap()];
        let fresh = outcomes.iter().filter(|outcome| **outcome == Noted::Fresh).count();
        assert!(fresh <= 1 && !outcomes.contains(&Noted::Overlaps), "{outcomes:?}");
        assert_eq!(table.count(0), fresh);
        assert!(fresh == 1 || outcomes.contains(&Noted::Busy), "{outcomes:?}");
    });
}

#[test]
fn of_two_datagrams_of_one_source_both_stay() {
    check(|table| {
        let other = spawn(table, |table| note(table, 2));
        let outcomes = [note(table, 1), other.join().unwrap()];
        assert!(outcomes.iter().all(|outcome| [Noted::Fresh, Noted::Busy].contains(outcome)), "{outcomes:?}");
        let fresh = outcomes.iter().filter(|outcome| **outcome == Noted::Fresh).count();
        assert_eq!(table.count(0), fresh);
    });
}
