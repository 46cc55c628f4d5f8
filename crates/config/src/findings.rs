//! All findings of one pass over one file.

use std::cell::RefCell;
use std::collections::HashSet;

use crate::code;
use crate::diagnostic::Diagnostic;
use crate::source::{Position, Source};

/// Findings that are kept. A person fixes a handful at a time; a file of noise must not cost memory without
/// bound.
const FINDINGS_MAX: usize = 1_000;

/// Shared by all readers of a file, which only ever add to it.
pub(crate) struct Findings {
    source: Source,
    list: RefCell<Vec<Diagnostic>>,
}

impl Findings {
    pub(crate) fn new(source: Source) -> Findings {
        Findings { source, list: RefCell::default() }
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// What is not TOML at `at`, in the parser's words, which mostly say what it expected.
    pub(crate) fn syntax_error(&self, at: Position, message: &str) {
        let unquoted = message.starts_with("string values must be quoted");
        let (message, help) = match unquoted {
            true if at.start == at.end => ("a value is missing", Some("write one after the `=`")),
            true => ("a string without quotes", Some("put it in double quotes")),
            false => (message, None),
        };
        let mut diagnostic = self.source.error(code::SYNTAX, at, format!("not TOML: {message}"));
        diagnostic.help = help.map(str::to_owned);
        self.add(diagnostic);
    }

    /// What is wrong at `at`, and what would be right.
    pub(crate) fn error(&self, code: &'static str, at: Position, message: String, help: impl Into<String>) {
        self.add(self.source.error(code, at, message).with_help(help));
    }

    /// What works at `at`, but hardly as meant.
    pub(crate) fn warning(&self, code: &'static str, at: Position, message: String, help: impl Into<String>) {
        self.add(self.source.warning(code, at, message).with_help(help));
    }

    /// Whether anything has been found at `at`.
    pub(crate) fn has_at(&self, at: Position) -> bool {
        self.list.borrow().iter().any(|found| (found.line, found.column) == (at.line, at.column))
    }

    fn add(&self, diagnostic: Diagnostic) {
        let mut list = self.list.borrow_mut();
        if list.len() < FINDINGS_MAX {
            list.push(diagnostic);
        } else if list.len() == FINDINGS_MAX {
            let more = format!("more than {FINDINGS_MAX} findings; the others are not shown");
            list.push(self.source.error(code::TOO_MANY, Position::default(), more));
        }
    }

    /// All findings in the order of the text; those without a place come last.
    ///
    /// Where the text was not TOML, what was read around the gaps still shows values that are wrong in
    /// themselves, but not what is missing or how things fit together; nor is a line with a gap complained
    /// about twice.
    pub(crate) fn into_sorted(self) -> Vec<Diagnostic> {
        let mut list = self.list.into_inner();
        let gaps: HashSet<usize> =
            list.iter().filter(|found| found.code == code::SYNTAX).map(|found| found.line).collect();
        if !gaps.is_empty() {
            list.retain(|found| match found.code {
                code::SYNTAX | code::TOO_MANY => true,
                code::MISSING_KEY => false,
                other => other < "E0200" && !gaps.contains(&found.line),
            });
        }
        list.sort_by_key(|found| (found.line == 0, found.line, found.column));
        list
    }
}
