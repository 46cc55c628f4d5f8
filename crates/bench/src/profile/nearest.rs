//! "Did you mean": the known word that a misspelt one is nearest to.

/// Longest word that is compared at all: the cost grows with the product of both lengths.
const WORD_CHARS_MAX: usize = 32;

/// The word of `known` nearest to `word`, if at most a third of its letters differ.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    if word.chars().count() > WORD_CHARS_MAX {
        return None;
    }
    let (steps, candidate) = known.iter().map(|candidate| (distance(word, candidate), *candidate)).min()?;
    (steps <= candidate.len() / 3).then_some(candidate)
}

/// Letters to insert, delete, replace or swap with their neighbour (optimal string alignment). Case, and which of `-` and
/// `_` is written, cost nothing.
fn distance(from: &str, to: &str) -> usize {
    let letters = |word: &str| -> Vec<char> {
        word.chars().map(|letter| if letter == '-' { '_' } else { letter.to_ascii_lowercase() }).collect()
    };
    let (from, to) = (letters(from), letters(to));
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut steps = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                steps = steps.min(rows[i - 2][j - 2] + 1);
            }
            row.push(steps);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_what_is_near() {
        let known = ["frame_bytes", "flows", "resolution"];
        assert_eq!(nearest("frame-byte", &known), Some("frame_bytes"));
        assert_eq!(nearest("resolutoin", &known), Some("resolution"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest(&"flows".repeat(1_000), &known), None);
        assert_eq!(nearest("flows", &[]), None);
    }

    #[test]
    fn counts_each_slip_once() {
        for (from, to, steps) in [
            ("flow", "flows", 1),
            ("folws", "flows", 1),
            ("flaws", "flows", 1),
            ("", "flows", 5),
            ("a", "a", 0),
        ] {
            assert_eq!(distance(from, to), steps, "{from} {to}");
        }
    }
}
