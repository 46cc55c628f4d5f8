//! Tables and values of a parsed text, read one by one so that a wrong one does not hide the next.
//!
//! Every reader reports what is wrong with its value and then returns `None`; the caller goes on with a
//! default, since a file with an error yields no configuration anyway.

use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::de::value::StrDeserializer;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::findings::Findings;
use crate::nearest::nearest;
use crate::source::Position;
use crate::{code, duration, later};

/// Longest name in bytes. Names become labels of tables and metrics.
pub(crate) const NAME_BYTES_MAX: usize = 64;

/// One table of the file.
#[derive(Clone, Copy)]
pub(crate) struct Section<'a> {
    /// As in the headers of the file, without brackets: "service.server".
    name: &'static str,
    table: &'a DeTable<'a>,
    findings: &'a Findings,
    pub(crate) at: Position,
}

/// One value of the file.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    key: &'static str,
    value: &'a DeValue<'a>,
    findings: &'a Findings,
    pub(crate) at: Position,
}

impl<'a> Section<'a> {
    /// The top of the file.
    pub(crate) fn top(table: &'a DeTable<'a>, known: &[&'static str], findings: &'a Findings) -> Section<'a> {
        let section = Section { name: "", table, findings, at: findings.source().position(0..0) };
        section.refuse_unknown_keys(known);
        section
    }

    /// The table `key`, if it is there; `name` is its name from the top of the file.
    pub(crate) fn table(
        &self,
        key: &'static str,
        name: &'static str,
        known: &[&'static str],
    ) -> Option<Section<'a>> {
        let value = self.optional(key)?;
        let section = value.fields(name, known);
        if section.is_none() {
            let help = format!("write `[{name}]`, with one pair of brackets, and its keys below");
            value.wrong_type("a table", help);
        }
        section
    }

    /// As [`Section::table`], of a table that stands in braces behind its key.
    pub(crate) fn inline_table(
        &self,
        key: &'static str,
        name: &'static str,
        known: &[&'static str],
        example: &str,
    ) -> Option<Section<'a>> {
        let value = self.optional(key)?;
        let section = value.fields(name, known);
        if section.is_none() {
            value.wrong_type("a table", format!("for example `{key} = {example}`"));
        }
        section
    }

    /// All tables of the list `key`, at most `limit`.
    pub(crate) fn tables(
        &self,
        key: &'static str,
        name: &'static str,
        known: &[&'static str],
        limit: usize,
    ) -> Vec<Section<'a>> {
        let Some(list) = self.optional(key) else { return Vec::new() };
        let brackets = || format!("write `[[{name}]]`, with two pairs of brackets, before each {key}");
        let DeValue::Array(items) = list.value else {
            list.wrong_type("a list of tables", brackets());
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in items.iter() {
            let value = list.item(item);
            if sections.len() == limit && value.is_table() {
                let message = format!("more than {limit} tables `{name}`");
                self.findings.error(code::TOO_MANY, value.at, message, "use several appliances");
                break;
            }
            match value.fields(name, known) {
                Some(section) => sections.push(section),
                None => value.wrong_type("a table", brackets()),
            }
        }
        sections
    }

    fn refuse_unknown_keys(&self, known: &[&'static str]) {
        for (key, _) in self.table.iter() {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            let at = self.findings.source().position(key.span());
            if let Some(what) = later::key(self.name, name) {
                let message = format!("not built yet in this version: {what}");
                self.findings.error(code::NOT_BUILT, at, message, format!("remove `{name}`"));
                continue;
            }
            let place = match self.name {
                "" => "at the top of the file".to_owned(),
                table => format!("in `{table}`"),
            };
            let help = match nearest(name, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            let message = format!("unknown key {name:?} {place}");
            self.findings.error(code::UNKNOWN_KEY, at, message, help);
        }
    }

    /// The value of `key`, if there is one that could be read.
    pub(crate) fn optional(&self, key: &'static str) -> Option<Value<'a>> {
        let value = self.table.get(key)?;
        // What the parser puts where a syntax error swallowed the value; that error has been reported.
        let swallowed = value.span().is_empty() && matches!(value.get_ref(), DeValue::Integer(_));
        (!swallowed).then(|| Value {
            key,
            value: value.get_ref(),
            findings: self.findings,
            at: self.findings.source().position(value.span()),
        })
    }

    /// The value of `key`; its absence is an error.
    pub(crate) fn required(&self, key: &'static str, example: &str) -> Option<Value<'a>> {
        if !self.table.contains_key(key) {
            let message = format!("`{}` without `{key}`", self.name);
            self.findings.error(code::MISSING_KEY, self.at, message, format!("add `{key} = {example}`"));
        }
        self.optional(key)
    }

    /// Reports that `key` does not go with the other values, even where it has its default.
    pub(crate) fn contradiction(&self, key: &'static str, message: &str, help: &str) {
        self.findings.error(code::CONTRADICTION, self.at(key), message.to_owned(), help);
    }

    /// Reports `key`, if it is there, as one that has no meaning beside the others.
    pub(crate) fn meaningless(&self, key: &'static str, why: &str, remedy: &str) {
        if let Some(value) = self.optional(key) {
            let help = format!("{remedy}, or remove `{key}`");
            value.error(code::MEANINGLESS_KEY, format!("`{key}` {why}"), help);
        }
    }

    /// Whether `key` stands in the table `table` of this one, whatever it is.
    pub(crate) fn has(&self, table: &'static str, key: &'static str) -> bool {
        self.optional(table)
            .is_some_and(|value| matches!(value.value, DeValue::Table(fields) if fields.contains_key(key)))
    }

    /// Where `key` stands, or else the table.
    pub(crate) fn at(&self, key: &'static str) -> Position {
        self.optional(key).map_or(self.at, |value| value.at)
    }
}

impl<'a> Value<'a> {
    fn item(&self, item: &'a Spanned<DeValue<'a>>) -> Value<'a> {
        Value { value: item.get_ref(), at: self.findings.source().position(item.span()), ..*self }
    }

    /// Reports what is wrong with this value.
    pub(crate) fn error(&self, code: &'static str, message: String, help: impl Into<String>) {
        self.findings.error(code, self.at, message, help);
    }

    /// Reports that the value is of another type; never says the value.
    pub(crate) fn wrong_type(&self, wanted: &str, help: impl Into<String>) {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.error(code::WRONG_TYPE, format!("`{}` must be {wanted}, this is {found}", self.key), help);
    }

    /// The table that this is, if it is one; `name` is its name from the top of the file.
    pub(crate) fn fields(&self, name: &'static str, known: &[&'static str]) -> Option<Section<'a>> {
        let DeValue::Table(table) = self.value else { return None };
        let section = Section { name, table, findings: self.findings, at: self.at };
        section.refuse_unknown_keys(known);
        Some(section)
    }

    fn is_table(&self) -> bool {
        matches!(self.value, DeValue::Table(_))
    }

    /// Whether this is a list.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self.value, DeValue::Array(_))
    }

    /// Whether this is a list of nothing.
    pub(crate) fn is_empty_list(&self) -> bool {
        matches!(self.value, DeValue::Array(items) if items.is_empty())
    }

    /// Whether this is an integer, in or out of any bounds.
    pub(crate) fn is_integer(&self) -> bool {
        matches!(self.value, DeValue::Integer(_))
    }

    /// The text of a string.
    pub(crate) fn as_text(&self) -> Option<&'a str> {
        match self.value {
            DeValue::String(text) => Some(text.as_ref()),
            _ => None,
        }
    }

    /// A string.
    pub(crate) fn text(&self, example: &str) -> Option<&'a str> {
        let text = self.as_text();
        if text.is_none() {
            self.wrong_type("a string", format!("for example `{} = {example}`", self.key));
        }
        text
    }

    /// A string that people and programs are shown as it is: not empty, not long, no control characters.
    pub(crate) fn name(&self) -> Option<String> {
        self.line(NAME_BYTES_MAX, "web")
    }

    /// A string of 1 to `bytes_max` bytes without control characters.
    pub(crate) fn line(&self, bytes_max: usize, example: &str) -> Option<String> {
        let example = format!("\"{example}\"");
        let text = self.text(&example)?;
        let key = self.key;
        if text.is_empty() {
            let help = format!("for example `{key} = {example}`");
            self.error(code::MALFORMED, format!("`{key}` is empty"), help);
        } else if let Some(control) = text.chars().find(|letter| letter.is_control()) {
            let message = format!("`{key}` holds the control character {control:?}");
            self.error(code::MALFORMED, message, "use printable characters");
        } else if text.len() > bytes_max {
            let message = format!("`{key}` is {} bytes long", text.len());
            self.error(code::OUT_OF_RANGE, message, format!("at most {bytes_max} bytes"));
        } else {
            return Some(text.to_owned());
        }
        None
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self) -> Option<bool> {
        if let DeValue::Boolean(value) = self.value {
            return Some(*value);
        }
        self.wrong_type("true or false", "write it without quotes");
        None
    }

    /// An integer within `bounds`.
    pub(crate) fn integer<T>(&self, bounds: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        let (least, most) = (bounds.start(), bounds.end());
        let DeValue::Integer(integer) = self.value else {
            self.wrong_type("an integer", format!("write a number from {least} to {most}, without quotes"));
            return None;
        };
        let value = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
        let within = value.and_then(|value| T::try_from(value).ok()).filter(|value| bounds.contains(value));
        if within.is_none() {
            let message = format!("`{}` is out of range: {integer}", self.key);
            self.error(code::OUT_OF_RANGE, message, format!("from {least} to {most}"));
        }
        within
    }

    /// A duration within `bounds`.
    pub(crate) fn duration(&self, bounds: RangeInclusive<Duration>) -> Option<Duration> {
        const FORM: &str = "write a duration as \"300ms\", \"3s\", \"5m\" or \"2h4m\"";
        let Some(text) = self.as_text() else {
            self.wrong_type("a duration", FORM);
            return None;
        };
        let Some(value) = duration::read(text) else {
            self.error(code::MALFORMED, format!("{text:?} is not a duration"), FORM);
            return None;
        };
        if !bounds.contains(&value) {
            let (least, most) = (duration::write(*bounds.start()), duration::write(*bounds.end()));
            let message = format!("`{}` is out of range: {}", self.key, duration::write(value));
            self.error(code::OUT_OF_RANGE, message, format!("from \"{least}\" to \"{most}\""));
            return None;
        }
        Some(value)
    }

    /// One of the words that `T` is spelt with.
    pub(crate) fn word<T: DeserializeOwned>(&self) -> Option<T> {
        // No word is empty, so that no text at all gets the same refusal: the words that there are.
        let text = self.as_text();
        match T::deserialize(StrDeserializer::<NoSuchWord>::new(text.unwrap_or_default())) {
            Ok(word) => return Some(word),
            Err(NoSuchWord(words)) => match text {
                Some(text) => self.refuse_word(text, words),
                None => self.wrong_type("a string", format!("known here: {}", quoted(words))),
            },
        }
        None
    }

    /// Reports that `text` is none of `words`.
    pub(crate) fn refuse_word(&self, text: &str, words: &[&'static str]) {
        let help = match nearest(text, words) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("known here: {}", quoted(words)),
        };
        self.error(code::UNKNOWN_WORD, format!("unknown {} {text:?}", self.key), help);
    }

    /// The items of a list of 1 to `limit`.
    pub(crate) fn items(&self, limit: usize, example: &str) -> Option<Vec<Value<'a>>> {
        let DeValue::Array(items) = self.value else {
            self.wrong_type("a list", format!("for example `{} = {example}`", self.key));
            return None;
        };
        if items.is_empty() || items.len() > limit {
            let message = format!("`{}` has {} items", self.key, items.len());
            self.error(code::OUT_OF_RANGE, message, format!("from 1 to {limit} items"));
            return None;
        }
        Some(items.iter().map(|item| self.item(item)).collect())
    }

    /// What `read` makes of each item of a list; an item that is there twice is an error.
    pub(crate) fn distinct<T: PartialEq>(
        &self,
        limit: usize,
        example: &str,
        read: impl Fn(&Value<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut distinct = Vec::new();
        for item in self.items(limit, example)? {
            let Some(value) = read(&item) else { continue };
            if distinct.contains(&value) {
                let message = format!("this is in `{}` already", self.key);
                item.error(code::DUPLICATE_VALUE, message, "remove one of the two");
            } else {
                distinct.push(value);
            }
        }
        Some(distinct)
    }
}

pub(crate) fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

/// What serde says of a word that an enum does not have: the words that it has.
#[derive(Debug)]
struct NoSuchWord(&'static [&'static str]);

impl serde::de::Error for NoSuchWord {
    fn custom<T: Display>(_: T) -> Self {
        NoSuchWord(&[])
    }

    fn unknown_variant(_: &str, words: &'static [&'static str]) -> Self {
        NoSuchWord(words)
    }
}

impl std::error::Error for NoSuchWord {}

impl Display for NoSuchWord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "none of {:?}", self.0)
    }
}
