//! "Did you mean": the known word that a misspelt one is nearest to.

/// Longest word that is compared at all: the cost grows with the product of both lengths, and no known word
/// is longer.
const WORD_CHARS_MAX: usize = 32;

/// The word of `known` nearest to `word`, if it is near: at most a third of its letters differ.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    if word.chars().count() > WORD_CHARS_MAX {
        return None;
    }
    let (steps, candidate) = known.iter().map(|candidate| (distance(word, candidate), *candidate)).min()?;
    (steps <= candidate.len() / 3).then_some(candidate)
}

/// Letters to insert, delete, replace or swap with their neighbour (optimal string alignment). Case, and
/// which of `-` and `_` is written, cost nothing.
fn distance(from: &str, to: &str) -> usize {
    let letters = |word: &str| -> Vec<char> {
        word.chars().map(|letter| if letter == '-' { '_' } else { letter.to_ascii_lowercase() }).collect()
    };
    let (from, to) = (letters(from), letters(to));
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for i in 0..from.len() {
        let mut row = vec![i + 1];
        for j in 0..to.len() {
            let replaced = last[j] + usize::from(from[i] != to[j]);
            let mut steps = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && from[i] == to[j - 1] && from[i - 1] == to[j] {
                steps = steps.min(before_last[j - 1] + 1);
            }
            row.push(steps);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_kind_of_slip_once() {
        for (from, to, steps) in [
            ("port", "port", 0),
            ("prot", "port", 1),
            ("por", "port", 1),
            ("ports", "port", 1),
            ("pork", "port", 1),
            ("round_robin", "Round-Robin", 0),
            ("", "port", 4),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(from, to), steps, "{from} {to}");
            assert_eq!(distance(to, from), steps, "{to} {from}");
        }
    }

    #[test]
    fn suggests_only_what_is_near() {
        let known = ["port", "protocol", "address"];
        assert_eq!(nearest("adress", &known), Some("address"));
        assert_eq!(nearest("portocol", &known), Some("protocol"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest(&"port".repeat(10_000), &known), None);
        assert_eq!(nearest("port", &[]), None);
    }
}
