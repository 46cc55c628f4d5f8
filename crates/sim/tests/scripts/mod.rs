//! The golden scripts of the project.

use sim::golden::{Script, read};
use std::path::PathBuf;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

/// All of them, by file and place.
pub fn scripts() -> Vec<Script> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "golden"));
    files.sort();
    let of_file = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        read(&text, &directory()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    files.iter().flat_map(of_file).collect()
}
