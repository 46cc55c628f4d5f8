//! What a lab tells: numbered sections, tables, and one line for each thing that was to be seen.

use std::fmt::Display;
use std::io::Write;

use crate::table::Table;

/// Writes to standard output as things happen, and remembers what was not as expected.
#[derive(Debug, Default)]
pub(super) struct Report {
    sections: usize,
    expected: usize,
    failed: Vec<String>,
}

impl Report {
    /// Begins a section.
    pub(super) fn section(&mut self, title: impl Display) {
        self.sections += 1;
        self.text(format!("\n{}. {title}\n", self.sections));
    }

    /// Text as it is, ended by a newline.
    pub(super) fn text(&mut self, text: impl Display) {
        let mut output = std::io::stdout().lock();
        // A reader that has gone away (`| head`) must not keep the lab from being removed in order.
        let _ = writeln!(output, "{text}").and_then(|()| output.flush());
    }

    /// A line about what is being done or was seen.
    pub(super) fn note(&mut self, text: impl Display) {
        self.text(format!("   {text}"));
    }

    /// A table.
    pub(super) fn table(&mut self, table: &Table) {
        self.text(table.render(3).trim_end());
    }

    /// Text of several lines, set in.
    pub(super) fn quote(&mut self, text: &str) {
        text.trim_end().lines().for_each(|line| self.note(format!("| {line}")));
    }

    /// Says what was to be seen, and whether it was.
    pub(super) fn expect(&mut self, seen: bool, what: impl Display) {
        self.expected += 1;
        self.text(format!("   {} {what}", if seen { "ok  " } else { "NOT " }));
        if !seen {
            self.failed.push(format!("{}. {what}", self.sections));
        }
    }

    /// As [`Report::expect`], with what was seen instead.
    pub(super) fn expect_or(&mut self, seen: bool, what: impl Display, instead: impl Display) {
        match seen {
            true => self.expect(true, what),
            false => self.expect(false, format!("{what}: {instead}")),
        }
    }

    /// Whether all was as expected so far.
    pub(super) fn is_good(&self) -> bool {
        self.failed.is_empty()
    }

    /// The last line.
    pub(super) fn verdict(&mut self) -> bool {
        if self.failed.is_empty() {
            self.text(format!("\nall as expected ({} of {})", self.expected, self.expected));
            return true;
        }
        let failed = std::mem::take(&mut self.failed);
        self.text(format!("\nnot as expected ({} of {}):", failed.len(), self.expected));
        failed.iter().for_each(|line| self.text(format!("  {line}")));
        false
    }
}
