//! What is wrong with a file, where, and what would be right.

use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::source::{Position, Source, printable};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Works, but hardly as meant.
    Warning,
    /// Starts nothing.
    Error,
}

/// One finding about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it stops the appliance from starting.
    pub severity: Severity,
    /// Stable, to be searched for: one of [`code`](crate::code), or of the checks that know the machine.
    pub code: &'static str,
    /// From 1; 0: the finding has no place in the text.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    source: Source,
    at: Position,
}

impl Diagnostic {
    pub(crate) fn new(
        source: Source,
        severity: Severity,
        code: &'static str,
        at: Position,
        message: String,
    ) -> Diagnostic {
        let (line, column) = (at.line, at.column);
        Diagnostic { severity, code, line, column, message, help: None, source, at }
    }

    /// Adds what would be right.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    /// The file it is about.
    pub fn file(&self) -> &str {
        self.source.name()
    }

    /// Whether it stops the appliance from starting.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The finding with its line and a caret, as a compiler shows it; ends without a newline.
    pub fn render(&self) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let message = printable(&self.message);
        let mut group = Group::with_title(level.primary_title(message).id(self.code));
        if self.at.line != 0 {
            let (lines, number, span) = self.source.excerpt(self.at);
            group = group.element(
                Snippet::source(lines)
                    .path(self.source.name())
                    .line_start(number)
                    .annotation(AnnotationKind::Primary.span(span)),
            );
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(printable(help)));
        }
        Renderer::plain().render(&[group])
    }
}

/// One line: `file:line:column: error[E0101]: message (help)`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.source.name())?;
        if self.line != 0 {
            write!(formatter, ":{}:{}", self.line, self.column)?;
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(formatter, ": {severity}[{}]: {}", self.code, printable(&self.message))?;
        match &self.help {
            Some(help) => write!(formatter, " ({})", printable(help)),
            None => Ok(()),
        }
    }
}
