//! What is wrong with a profile, where, and what would be right.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str};

/// One finding about a profile. Every one of them stops the bench.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileError {
    /// The file, as the caller named it.
    pub file: String,
    /// From 1; 0: the finding has no place in the text.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
    /// The line it stands in, and where in it, in bytes.
    excerpt: Option<(String, Range<usize>)>,
}

impl ProfileError {
    /// A finding without a place.
    pub(super) fn nowhere(file: &str, message: String, help: &str) -> ProfileError {
        let (file, help) = (printable(file), help.to_owned());
        ProfileError { file, line: 0, column: 0, message, help, excerpt: None }
    }

    /// A finding about the bytes `at` of `text`, of which only the first line counts.
    pub(super) fn at(
        file: &str,
        text: &str,
        at: Range<usize>,
        message: String,
        help: String,
    ) -> ProfileError {
        let start = text.floor_char_boundary(at.start);
        let first = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_text = text[first..].lines().next().unwrap_or_default();
        let end = text.floor_char_boundary(at.end.clamp(start, (first + line_text.len()).max(start)));
        let span = (start - first).min(line_text.len())..(end - first).min(line_text.len());
        ProfileError {
            file: printable(file),
            line: text[..first].matches('\n').count() + 1,
            column: text[first..start].chars().count() + 1,
            message,
            help,
            excerpt: Some((line_text.to_owned(), span)),
        }
    }

    /// The finding with its line and a caret, as a compiler shows it; ends without a newline.
    pub fn render(&self) -> String {
        let mut group = Group::with_title(Level::ERROR.primary_title(printable(&self.message)));
        if let Some((text, span)) = &self.excerpt {
            let text: String = text.chars().map(|letter| if is_c1(letter) { '·' } else { letter }).collect();
            group = group.element(
                Snippet::source(text)
                    .path(self.file.as_str())
                    .line_start(self.line)
                    .annotation(AnnotationKind::Primary.span(span.clone())),
            );
        }
        group = group.element(Level::HELP.message(printable(&self.help)));
        Renderer::plain().render(&[group])
    }
}

/// One line: `file:line:column: error: message (help)`.
impl fmt::Display for ProfileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.file)?;
        if self.line != 0 {
            write!(formatter, ":{}:{}", self.line, self.column)?;
        }
        write!(formatter, ": error: {} ({})", printable(&self.message), printable(&self.help))
    }
}

impl std::error::Error for ProfileError {}

/// A control character of ISO 6429's upper half, which terminals obey. As long in UTF-8 as the "·" shown for it.
fn is_c1(letter: char) -> bool {
    ('\u{80}'..='\u{9f}').contains(&letter)
}

/// `text` with a visible sign for each control character.
fn printable(text: &str) -> String {
    normalize_untrusted_str(&text.replace(is_c1, "·"))
}
