//! Odd frames out of other people's captures, for the tests of whole frames. Every crate that has such tests takes this
//! file in as a module; the frames lie beside the repository, not in it.

#![allow(dead_code, clippy::unwrap_used, reason = "every binary of tests takes what it needs; a test")]

use std::path::Path;

/// Where the frames are, seen from one of the directories above a crate.
const FILE: &str = "shared/vectors/frames/frames.jsonl";

/// One of them.
pub struct Vector {
    pub id: u64,
    /// What a right implementation does with it: "drop" where it is malformed.
    pub verdict: String,
    /// From the Ethernet header on.
    pub frame: Vec<u8>,
}

impl Vector {
    pub fn is_malformed(&self) -> bool {
        self.verdict == "drop"
    }
}

/// The vectors as they were captured; `None`, with a word, when they are not there.
pub fn vectors() -> Option<Vec<Vector>> {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let text =
        above.map(|directory| directory.join(FILE)).find_map(|path| std::fs::read_to_string(path).ok());
    let Some(text) = text else {
        println!("skipped: no vectors");
        return None;
    };
    let of_line = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let digits = value["hex"].as_str().unwrap();
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        let frame = (0..digits.len()).step_by(2).map(byte).collect();
        Vector { id: value["id"].as_u64().unwrap(), verdict: value["v"].as_str().unwrap().to_owned(), frame }
    };
    Some(text.lines().map(of_line).collect())
}
