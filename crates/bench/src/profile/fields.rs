//! The tables of a profile, read key by key so that every finding has its place.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use config::nearest;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Word;
use super::error::ProfileError;
use crate::units;

/// What was found wrong so far.
pub(super) struct Findings<'a> {
    file: &'a str,
    text: &'a str,
    found: RefCell<Vec<ProfileError>>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Findings<'a> {
        Findings { file, text, found: RefCell::default() }
    }

    pub(super) fn add(&self, at: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        let error = ProfileError::at(self.file, self.text, at, message.into(), help.into());
        self.found.borrow_mut().push(error);
    }

    pub(super) fn into_sorted(self) -> Vec<ProfileError> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|error| (error.line, error.column));
        found
    }
}

/// One table.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    table: &'a DeTable<'a>,
    name: &'a str,
    at: &'a Range<usize>,
    findings: &'a Findings<'a>,
}

/// One value of a table.
#[derive(Clone)]
pub(super) struct Value<'a> {
    key: &'a str,
    value: &'a DeValue<'a>,
    pub(super) at: Range<usize>,
    findings: &'a Findings<'a>,
}

impl<'a> Fields<'a> {
    /// `name` is what messages call the table, `at` where those about the whole of it point.
    pub(super) fn new(
        table: &'a DeTable<'a>,
        name: &'a str,
        at: &'a Range<usize>,
        findings: &'a Findings<'a>,
    ) -> Fields<'a> {
        Fields { table, name, at, findings }
    }

    /// Refuses every key that is not in `known`.
    pub(super) fn refuse_unknown(&self, known: &[&str]) {
        for (key, _) in self.table.iter().filter(|(key, _)| !known.contains(&key.get_ref().as_ref())) {
            let word = key.get_ref().as_ref();
            let help = match nearest(word, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            self.findings.add(key.span(), format!("unknown key {word:?} in {}", self.name), help);
        }
    }

    pub(super) fn get(&self, key: &'a str) -> Option<Value<'a>> {
        let value = self.table.get(key)?;
        Some(Value::new(key, value, self.findings))
    }

    /// The value of `key`; its absence is a finding.
    pub(super) fn required(&self, key: &'a str, example: &str) -> Option<Value<'a>> {
        let value = self.get(key);
        if value.is_none() {
            let message = format!("{} lacks `{key}`", self.name);
            self.findings.add(self.at.clone(), message, format!("for instance `{key} = {example}`"));
        }
        value
    }

    /// What is wrong with the table as a whole.
    pub(super) fn refuse(&self, message: impl Into<String>, help: impl Into<String>) {
        self.findings.add(self.at.clone(), message, help);
    }

    /// A duration of at least `min`, or `default`.
    pub(super) fn duration(&self, key: &'a str, min: Duration, default: Duration) -> Duration {
        self.get(key).and_then(|value| value.duration(min)).unwrap_or(default)
    }

    /// A share within `range`, or `default`.
    pub(super) fn share(&self, key: &'a str, range: RangeInclusive<f64>, default: f64) -> f64 {
        self.get(key).and_then(|value| value.share(range)).unwrap_or(default)
    }

    /// A whole number within `range`, or `default`.
    pub(super) fn integer(&self, key: &'a str, range: RangeInclusive<u64>, default: u64) -> u64 {
        self.get(key).and_then(|value| value.integer(range)).unwrap_or(default)
    }

    /// One of a few words, or `default`.
    pub(super) fn word<W: Word>(&self, key: &'a str, default: W) -> W {
        self.get(key).and_then(|value| value.word()).unwrap_or(default)
    }

    /// A packet rate, if there is one.
    pub(super) fn packet_rate(&self, key: &'a str) -> Option<f64> {
        self.get(key).and_then(|value| value.packet_rate())
    }
}

impl<'a> Value<'a> {
    fn new(key: &'a str, value: &'a Spanned<DeValue<'a>>, findings: &'a Findings<'a>) -> Value<'a> {
        Value { key, value: value.get_ref(), at: value.span(), findings }
    }

    pub(super) fn refuse(&self, message: impl Into<String>, help: impl Into<String>) {
        self.findings.add(self.at.clone(), message, help);
    }

    fn malformed<T>(&self, wanted: &str, example: &str) -> Option<T> {
        self.refuse(format!("`{}` is not {wanted}", self.key), format!("for instance {example}"));
        None
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        match self.value {
            DeValue::String(text) => Some(text.as_ref()),
            _ => self.malformed("a text", "\"…\", in quotes"),
        }
    }

    /// The items of a list; a value that is none stands for a list of one.
    pub(super) fn items(&self) -> Vec<Value<'a>> {
        match self.value {
            DeValue::Array(items) => {
                items.iter().map(|item| Value::new(self.key, item, self.findings)).collect()
            }
            _ => vec![self.clone()],
        }
    }

    /// The tables of `[[name]]`.
    pub(super) fn tables(&self) -> Vec<(&'a DeTable<'a>, Range<usize>)> {
        let items = match self.value {
            DeValue::Array(items) => items.iter().collect(),
            _ => Vec::new(),
        };
        let tables: Vec<_> =
            items.iter().filter_map(|item| Some((item.get_ref().as_table()?, item.span()))).collect();
        if tables.is_empty() || tables.len() != items.len() {
            let help = format!("write `[[{}]]`, with two pairs of brackets, before each", self.key);
            self.refuse(format!("`{}` is not a list of tables", self.key), help);
        }
        tables
    }

    pub(super) fn word<W: Word>(&self) -> Option<W> {
        let text = self.text()?;
        let found = W::WORDS.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<&str> = W::WORDS.iter().map(|(word, _)| *word).collect();
            let help = match nearest(text, &words) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("one of {}", words.join(", ")),
            };
            self.refuse(format!("`{}` cannot be {text:?}", self.key), help);
        }
        found
    }

    pub(super) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let read = match self.value {
            DeValue::Integer(digits) => u64::from_str_radix(digits.as_str(), digits.radix()).ok(),
            _ => return self.malformed("a whole number", &format!("{} to {}", range.start(), range.end())),
        };
        let inside = read.filter(|number| range.contains(number));
        if inside.is_none() {
            let help = format!("from {} to {}", units::grouped(*range.start()), units::grouped(*range.end()));
            self.refuse(format!("`{}` is out of range", self.key), help);
        }
        inside
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.value, DeValue::String(_))
    }

    pub(super) fn duration(&self, min: Duration) -> Option<Duration> {
        let Some(duration) = self.text().map(units::duration)? else {
            return self.malformed("a duration", "\"500ms\", \"2s\" or \"10m\"");
        };
        if duration < min || duration > DURATION_MAX {
            let bounds = format!("from {} ms to {} hours", min.as_millis(), DURATION_MAX.as_secs() / 3_600);
            self.refuse(format!("`{}` is out of range", self.key), bounds);
            return None;
        }
        Some(duration)
    }

    pub(super) fn share(&self, range: RangeInclusive<f64>) -> Option<f64> {
        let Some(share) = self.text().map(units::share)? else {
            return self.malformed("a percentage", "\"0.5%\"");
        };
        if !range.contains(&share) {
            let help = format!("from {}% to {}%", range.start() * 100.0, range.end() * 100.0);
            self.refuse(format!("`{}` is out of range", self.key), help);
            return None;
        }
        Some(share)
    }

    pub(super) fn packet_rate(&self) -> Option<f64> {
        let rate = self.text().map(units::packet_rate)?;
        match rate.filter(|rate| (1.0..=PACKET_RATE_MAX).contains(rate)) {
            Some(rate) => Some(rate),
            None => self.malformed("a packet rate", "\"100kpps\" or \"1.5Mpps\""),
        }
    }

    pub(super) fn volume_bytes(&self) -> Option<u64> {
        match self.text().map(units::volume_bytes)?.filter(|bytes| *bytes > 0) {
            Some(bytes) => Some(bytes),
            None => self.malformed("a volume", "\"10GiB\""),
        }
    }
}

/// Longest of any duration: a bench that runs longer is a mistake.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Highest rate that can be asked for, in packets a second: more than any link of 800 Gbit/s carries.
const PACKET_RATE_MAX: f64 = 2e9;
