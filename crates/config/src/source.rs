//! The text of a file, and places in it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::normalize_untrusted_str;

use crate::diagnostic::{Diagnostic, Severity};

/// A run of hexadecimal digits this long is taken for a key, wherever it stands, and never shown.
const SECRET_DIGITS_MIN: usize = 16;

/// Where a value stands in its file.
///
/// All positions are equal: a service that only moved to another line is still the same service when an old
/// and a new configuration are compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Position {
    /// Byte offsets in the text.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// From 1; 0 in a `Position::default()`, which is nowhere.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl PartialEq for Position {
    fn eq(&self, _: &Position) -> bool {
        true
    }
}

impl Eq for Position {}

/// A file's name and text; cheap to clone. Like [`Position`]s, all sources are equal: they say where, not
/// what.
#[derive(Clone)]
pub struct Source(Arc<Text>);

struct Text {
    name: String,
    /// As it may be shown: secrets are starred out, byte for byte.
    shown: String,
    /// Byte offset of each line's first byte.
    lines: Vec<usize>,
}

impl Source {
    /// `secrets` are byte ranges that no message may ever show.
    pub(crate) fn new(name: &str, text: &str, secrets: &[Range<usize>]) -> Source {
        let newlines = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        Source(Arc::new(Text {
            name: printable(name),
            shown: without_secrets(text, secrets).replace(is_c1, "·"),
            lines: std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect(),
        }))
    }

    /// The file's name as the operator gave it, control characters made visible.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// A refusal of what stands at `at`, for checks that compare the file with a machine. Codes from `E0500`
    /// on are theirs.
    pub fn error(&self, code: &'static str, at: Position, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.clone(), Severity::Error, code, at, message.into())
    }

    /// A warning about what stands at `at`.
    pub fn warning(&self, code: &'static str, at: Position, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.clone(), Severity::Warning, code, at, message.into())
    }

    /// The place of a byte range, of which only the first line counts, without its line break.
    pub(crate) fn position(&self, span: Range<usize>) -> Position {
        let text = &self.0.shown;
        let line = self.0.lines.partition_point(|&first| first <= span.start);
        // The first line starts at 0, so that `line` is never 0.
        let first = self.0.lines[line - 1];
        let last = first + self.rest_of_line(first).len();
        let start = text.floor_char_boundary(span.start.min(last));
        let end = text.floor_char_boundary(span.end.clamp(start, last));
        Position { start, end, line, column: text[first..start].chars().count() + 1 }
    }

    /// The line that `at` lies in, its number, and where in it `at` lies.
    pub(crate) fn excerpt(&self, at: Position) -> (&str, usize, Range<usize>) {
        let first = self.0.lines[at.line - 1];
        (self.rest_of_line(first), at.line, at.start - first..at.end - first)
    }

    fn rest_of_line(&self, start: usize) -> &str {
        self.0.shown[start..].lines().next().unwrap_or_default()
    }
}

impl PartialEq for Source {
    fn eq(&self, _: &Source) -> bool {
        true
    }
}

impl Eq for Source {}

impl fmt::Debug for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Source({:?})", self.0.name)
    }
}

/// A control character of ISO 6429's upper half, which terminals obey as they do ESC; the renderer knows only
/// the lower half. As long in UTF-8 as the "·" that is shown for it.
fn is_c1(letter: char) -> bool {
    ('\u{80}'..='\u{9f}').contains(&letter)
}

/// `text` with a visible sign for each control character.
pub(crate) fn printable(text: &str) -> String {
    normalize_untrusted_str(&text.replace(is_c1, "·"))
}

/// A copy of `text`, of the same bytes and characters in length, in which every secret is a row of stars: the
/// given ranges, what follows `hash_key` on its line, and every long run of hexadecimal digits (a key under a
/// misspelt name).
fn without_secrets(text: &str, secrets: &[Range<usize>]) -> String {
    let mut shown = text.as_bytes().to_vec();
    let mut star_out = |range: Range<usize>| {
        let stars: String = text[range.clone()].chars().map(star).collect();
        shown[range].copy_from_slice(stars.as_bytes());
    };
    secrets.iter().cloned().for_each(&mut star_out);
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        end += line.len();
        if let Some((_, after)) = line.split_once("hash_key") {
            let value = after.split_once('=').map_or(after, |(_, value)| value);
            star_out(end - value.len()..end);
        }
    }
    end = 0;
    for run in text.split(|letter: char| !letter.is_ascii_hexdigit()) {
        let start = end;
        end += run.len();
        if run.len() >= SECRET_DIGITS_MIN {
            star_out(start..end);
        }
        end += text[end..].chars().next().map_or(0, char::len_utf8);
    }
    // Characters were replaced by characters of the same length.
    String::from_utf8(shown).unwrap_or_default()
}

/// What is shown for a character of a secret; quotes and white space stay.
fn star(letter: char) -> char {
    match letter.len_utf8() {
        1 if matches!(letter, '"' | '\'' | ' ' | '\t' | '\r' | '\n') => letter,
        1 => '*',
        2 => '·',
        3 => '•',
        _ => '🞄',
    }
}
