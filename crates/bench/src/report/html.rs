//! Markup, in which whatever comes from a result is escaped.

use std::fmt::{Display, Write};

/// A growing piece of HTML. What others wrote goes in by [`Html::text`] and [`Html::attribute`] alone.
#[derive(Default)]
pub(super) struct Html(String);

impl Html {
    pub(super) fn into_string(self) -> String {
        self.0
    }

    /// Markup of our own, word by word.
    pub(super) fn markup(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    /// A number in markup.
    pub(super) fn number(&mut self, number: f64) {
        // Whole parts of a thousandth are enough for any screen. A `String` takes all that is written to it.
        let _ = write!(self.0, "{}", (number * 1e3).round() / 1e3);
    }

    /// Text, escaped.
    pub(super) fn text(&mut self, text: impl Display) {
        for letter in text.to_string().chars() {
            match letter {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                '\n' | '\t' => self.0.push(letter),
                letter if misleads(letter) => self.0.push('·'),
                letter => self.0.push(letter),
            }
        }
    }

    /// `<tag class="class">`; no class where it is empty.
    pub(super) fn open(&mut self, tag: &'static str, class: &'static str) {
        let _ = match class {
            "" => write!(self.0, "<{tag}>"),
            class => write!(self.0, "<{tag} class=\"{class}\">"),
        };
    }

    pub(super) fn close(&mut self, tag: &'static str) {
        let _ = writeln!(self.0, "</{tag}>");
    }

    /// An element that holds text alone.
    pub(super) fn leaf(&mut self, tag: &'static str, class: &'static str, text: impl Display) {
        self.open(tag, class);
        self.text(text);
        self.close(tag);
    }

    /// ` name="value"`, escaped.
    pub(super) fn attribute(&mut self, name: &'static str, value: impl Display) {
        let _ = write!(self.0, " {name}=\"");
        self.text(value);
        self.0.push('"');
    }
}

/// Control characters, and those that turn the direction of what follows them.
fn misleads(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_wherever_it_stands() {
        let mut html = Html::default();
        html.leaf("p", "", "<script>alert('a' & \"b\")</script>\u{1b}[31m\u{202e}");
        html.markup("<a");
        html.attribute("title", "\"><img src=x>");
        assert_eq!(
            html.into_string(),
            "<p>&lt;script&gt;alert(&#39;a&#39; &amp; &quot;b&quot;)&lt;/script&gt;·[31m·</p>\n\
             <a title=\"&quot;&gt;&lt;img src=x&gt;\""
        );
    }
}
