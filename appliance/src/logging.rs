//! Logs of `run`: to standard error, for a person or for the journal. Workers never log.

use std::fmt;
use std::io;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// How a line begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// The time and the level in words.
    Person,
    /// `<n>`, the priority of sd-daemon(3); the journal knows the time.
    Journal,
}

/// Logs from here on, once per process.
pub(crate) fn start(level: LevelFilter) {
    // systemd sets it where standard error leads to the journal (systemd.exec(5)).
    let style = match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => Style::Journal,
        None => Style::Person,
    };
    tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr).event_format(style).init();
}

impl<S, N> FormatEvent<S, N> for Style
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        match self {
            Style::Journal => write!(line, "<{}>", priority(level))?,
            Style::Person => {
                SystemTime.format_time(&mut line)?;
                write!(line, " {level:>5} ")?;
            }
        }
        context.field_format().format_fields(line.by_ref(), event)?;
        writeln!(line)
    }
}

/// syslog(3)'s number.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(style: Style) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::INFO)
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .event_format(style)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(port = "outside", "no native attach");
            tracing::debug!("left out");
        });
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn the_journal_gets_a_priority_and_no_time() {
        assert_eq!(logged(Style::Journal), "<4>no native attach port=\"outside\"\n");
    }

    #[test]
    fn a_person_gets_the_time_and_the_level() {
        let line = logged(Style::Person);
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.ends_with('Z') && time.starts_with("20"), "{time}");
        assert_eq!(rest, " WARN no native attach port=\"outside\"\n");
    }
}
