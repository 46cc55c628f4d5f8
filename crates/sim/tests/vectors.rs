//! Odd frames out of other people's captures: what is malformed reaches no server and makes no session, and a frame may
//! end anywhere.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use sim::{World, hostile};

const OUTSIDE: usize = 0;
const INSIDE: usize = 1;

struct Vector {
    id: u64,
    verdict: String,
    frame: Vec<u8>,
}

/// The vectors, addressed to the port outside; `None` when they are not there.
fn vectors() -> Option<Vec<Vector>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/frames/frames.jsonl");
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("skipped: no vectors");
        return None;
    };
    let of_line = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let digits = value["hex"].as_str().unwrap();
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        let mut frame: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
        frame.iter_mut().zip([2, 0, 0, 0, 1, 1]).for_each(|(byte, own)| *byte = own);
        Vector { id: value["id"].as_u64().unwrap(), verdict: value["v"].as_str().unwrap().to_owned(), frame }
    };
    Some(text.lines().map(of_line).filter(|vector| vector.frame.len() <= port::FRAME_BYTES_MAX).collect())
}

fn dropped(world: &World) -> u64 {
    world.manager.counters().map(engine::WorkerCounters::dropped).sum()
}

#[test]
fn a_malformed_frame_reaches_no_server_and_is_counted() {
    let Some(vectors) = vectors() else { return };
    let mut world = hostile::world();
    for Vector { id, frame, .. } in vectors.iter().filter(|vector| vector.verdict == "drop") {
        let before = dropped(&world);
        assert!(world.push(0, OUTSIDE, frame));
        world.settle();
        world.check_books().unwrap();
        let answered = world.take(OUTSIDE).is_some();
        assert_eq!(world.take(INSIDE), None, "vector {id} reached the servers");
        assert_eq!(world.sessions(), 0, "vector {id} made a session");
        assert!(dropped(&world) > before || answered, "vector {id} was neither dropped nor answered");
    }
}

#[test]
fn a_frame_may_end_anywhere() {
    let Some(vectors) = vectors() else { return };
    let mut world = hostile::world();
    for Vector { id, frame, .. } in &vectors {
        for length in 0..frame.len() {
            assert!(world.push(0, OUTSIDE, &frame[..length]));
            if length % 32 == 31 {
                world.settle();
                world.discard_sent();
            }
        }
        world.settle();
        world.discard_sent();
        world.check_books().unwrap_or_else(|wrong| panic!("vector {id}: {wrong}"));
        world.check_buffers().unwrap_or_else(|wrong| panic!("vector {id}: {wrong}"));
    }
}
