//! From the text of a golden file to its scripts.

use super::{Script, Step};
use control::members::{Health, Wish};
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// What is wrong with a golden file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ScriptError {}

/// The scripts in `text`; worlds are files in `directory`.
pub fn read(text: &str, directory: &Path) -> Result<Vec<Script>, ScriptError> {
    let mut lines = Lines { lines: text.lines().collect(), next: 0 };
    let mut shared = Draft::default();
    let mut scripts = Vec::new();
    shared.lines(&mut lines, directory)?;
    while let Some(title) = lines.take_title() {
        let mut draft = shared.clone();
        draft.lines(&mut lines, directory)?;
        scripts.push(draft.finish(title));
    }
    Ok(scripts)
}

struct Lines<'a> {
    lines: Vec<&'a str>,
    next: usize,
}

impl<'a> Lines<'a> {
    fn take_title(&mut self) -> Option<String> {
        let title = self.lines.get(self.next)?.strip_prefix("# ")?;
        self.next += 1;
        Some(title.trim().to_owned())
    }

    /// The next line before the next title that says something, without what follows ` #`.
    fn take(&mut self) -> Option<(usize, &'a str)> {
        loop {
            let line = *self.lines.get(self.next)?;
            if line.starts_with("# ") {
                return None;
            }
            self.next += 1;
            let said = line.split(" #").next().unwrap_or_default().trim();
            if !said.is_empty() && !said.starts_with("//") {
                return Some((self.next, said));
            }
        }
    }

    /// The indented lines that follow, without their indentation.
    fn take_block(&mut self) -> String {
        let is_indented = |line: &&&str| line.starts_with("    ") || line.trim().is_empty();
        let block: Vec<&str> = self.lines[self.next..].iter().take_while(is_indented).copied().collect();
        self.next += block.len();
        block.iter().map(|line| format!("{}\n", line.trim_start())).collect()
    }

    /// The lines up to the `end` of a loop.
    fn take_loop(&mut self) -> Vec<(usize, &'a str)> {
        std::iter::from_fn(|| self.take()).take_while(|(_, line)| *line != "end").collect()
    }
}

#[derive(Clone, Default)]
struct Draft {
    stations: Vec<(String, wire::Mac)>,
    facts: Vec<String>,
    world_config: String,
    config: String,
    sessions_max: Option<usize>,
    one_worker: bool,
    memory_only: bool,
    steps: Vec<(usize, Step)>,
}

impl Draft {
    fn finish(self, title: String) -> Script {
        let Self { stations, facts, world_config, config, sessions_max, one_worker, memory_only, steps } =
            self;
        let config = format!("{world_config}\n{config}");
        Script { title, stations, facts, config, sessions_max, one_worker, memory_only, steps }
    }

    fn lines(&mut self, lines: &mut Lines<'_>, directory: &Path) -> Result<(), ScriptError> {
        while let Some((number, line)) = lines.take() {
            let failed = |message: String| ScriptError { line: number, message };
            if let Some(world) = line.strip_prefix("use ") {
                let path = directory.join(format!("{world}.world"));
                let text =
                    std::fs::read_to_string(path).map_err(|error| failed(format!("{world}: {error}")))?;
                self.world(&text).map_err(failed)?;
            } else if line == "config:" {
                self.config = lines.take_block();
            } else if line == "reload:" {
                let config = format!("{}\n{}", self.world_config, lines.take_block());
                self.steps.push((number, Step::Reload(config)));
            } else if let Some(range) = line.strip_prefix("for ") {
                let (name, values) =
                    parse_range(range).ok_or_else(|| failed(format!("{range:?} is no range")))?;
                let body = lines.take_loop();
                for value in values {
                    for (number, line) in &body {
                        self.line(*number, &line.replace(&name, &value.to_string()))?;
                    }
                }
            } else {
                self.line(number, line)?;
            }
        }
        Ok(())
    }

    /// Stations and facts, then `config:` and TOML to the end.
    fn world(&mut self, text: &str) -> Result<(), String> {
        let (head, config) = text.split_once("config:\n").ok_or("the world lacks `config:`")?;
        self.world_config = config.to_owned();
        for line in head.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")) {
            match *line.split_whitespace().collect::<Vec<_>>() {
                ["station", name, mac] => {
                    let mac = mac.parse().map_err(|_| format!("{mac:?} is no MAC address"))?;
                    self.stations.push((name.to_owned(), mac));
                }
                ["memory-only"] => self.memory_only = true,
                _ => self.facts.push(line.to_owned()),
            }
        }
        Ok(())
    }

    fn line(&mut self, number: usize, line: &str) -> Result<(), ScriptError> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "sessions-max" {
            self.sessions_max = rest.parse().ok();
            return Ok(());
        }
        if word == "one-worker" {
            self.one_worker = true;
            return Ok(());
        }
        if word == "memory-only" {
            self.memory_only = true;
            return Ok(());
        }
        let has_begun = self.steps.iter().any(|(_, step)| matches!(step, Step::In(..) | Step::Carry(..)));
        if word == "fact" && !has_begun {
            self.facts.push(rest.to_owned());
            return Ok(());
        }
        let step = step(word, rest)
            .ok_or_else(|| ScriptError { line: number, message: format!("{line:?} means nothing") })?;
        self.steps.push((number, step));
        Ok(())
    }
}

fn step(word: &str, rest: &str) -> Option<Step> {
    let two = || rest.split_once(' ').map(|(first, second)| (first.to_owned(), second.trim().to_owned()));
    Some(match word {
        "in" | "out" => {
            let (port, frame) = rest.split_once(':')?;
            let (port, frame) = (port.to_owned(), frame.trim().to_owned());
            if word == "in" { Step::In(port, frame) } else { Step::Out(port, frame) }
        }
        "carry" => {
            let (server, packet) = rest.split_once(": ")?;
            Step::Carry(server.to_owned(), packet.trim().to_owned())
        }
        "nothing" => Step::Nothing,
        "advance" => Step::Advance(parse_duration(rest)?),
        "health" => match two()? {
            (server, state) if state == "up" => Step::Health(server, Health::Up),
            (server, state) if state == "down" => Step::Health(server, Health::Down),
            _ => return None,
        },
        "server" => match two()? {
            (server, wish) if wish == "enable" => Step::Wish(server, Wish::Enabled),
            (server, wish) if wish == "drain" => Step::Wish(server, Wish::Draining),
            (server, wish) if wish == "disable" => Step::Wish(server, Wish::Disabled),
            _ => return None,
        },
        "fact" => Step::Fact(rest.to_owned()),
        "drops" => two().and_then(|(reason, count)| Some(Step::Drops(reason, count.parse().ok()?)))?,
        "sessions" => Step::Sessions(rest.parse().ok()?),
        "active" => two().and_then(|(member, count)| Some(Step::Active(member, count.parse().ok()?)))?,
        "drifted" => {
            two().and_then(|(firewall, count)| Some(Step::Drifted(firewall, count.parse().ok()?)))?
        }
        "asks" => two().and_then(|(port, address)| Some(Step::Asks(port, address.parse().ok()?)))?,
        _ => return None,
    })
}

fn parse_range(text: &str) -> Option<(String, std::ops::RangeInclusive<u32>)> {
    let (name, range) = text.split_once(' ')?;
    let (first, last) = range.split_once('-')?;
    Some((name.to_owned(), first.parse().ok()?..=last.parse().ok()?))
}

/// `300ms`, `5s`, `2h4m`, …
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len() - digits);
        sum += match &rest[digits..digits + unit] {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number * 60),
            "h" => Duration::from_secs(number * 3_600),
            _ => return None,
        };
        rest = &rest[digits + unit..];
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_add_up() {
        assert_eq!(parse_duration("2h4m"), Some(Duration::from_secs(7_440)));
        assert_eq!(parse_duration("300ms"), Some(Duration::from_millis(300)));
        assert_eq!(parse_duration("5"), None);
        assert_eq!(parse_duration("5x"), None);
    }

    #[test]
    fn scripts_share_what_stands_before_the_first_title() {
        let text = "fact route 0.0.0.0/0 via 198.18.0.1\nconfig:\n    a = 1\n\n    b = 2\n# One.\nnothing\n\
                    # Two.\nconfig:\n    c = 3\nfor $x 1-2\n  sessions $x\nend\nadvance 1s # comment\n";
        let scripts = read(text, Path::new(".")).unwrap();
        assert_eq!(scripts.iter().map(|script| script.title.as_str()).collect::<Vec<_>>(), ["One.", "Two."]);
        assert_eq!(scripts[0].config.trim(), "a = 1\n\nb = 2");
        assert_eq!(scripts[1].config.trim(), "c = 3");
        assert_eq!(scripts[0].facts, scripts[1].facts);
        assert!(!scripts[0].is_memory_only() && scripts[1].is_memory_only());
        let steps: Vec<Step> = scripts[1].steps.iter().map(|(_, step)| step.clone()).collect();
        assert_eq!(steps, [Step::Sessions(1), Step::Sessions(2), Step::Advance(Duration::from_secs(1))]);
    }

    #[test]
    fn a_line_that_means_nothing_is_named() {
        let error = read("# One.\n\nhealth web/198.18.1.11 sideways\n", Path::new(".")).unwrap_err();
        assert_eq!(error.to_string(), "line 3: \"health web/198.18.1.11 sideways\" means nothing");
    }
}
