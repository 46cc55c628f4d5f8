//! Tables for people: a line of titles, aligned columns two spaces apart, nothing at the end of a line.

/// On which side the cells of a column stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under titles. A row has as many cells as there are columns.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new<T: Into<String>>(columns: impl IntoIterator<Item = (T, Align)>) -> Self {
        Self {
            columns: columns.into_iter().map(|(title, align)| (title.into(), align)).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. Control characters in it are shown as dots, so that no name can steer a terminal.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }

    /// The text, each line ended by a newline and begun by `indent` spaces.
    pub(crate) fn render(&self, indent: usize) -> String {
        let titles: Vec<String> = self.columns.iter().map(|(title, _)| title.clone()).collect();
        let lines: Vec<&Vec<String>> = std::iter::once(&titles).chain(&self.rows).collect();
        let width = |index: usize| {
            lines
                .iter()
                .filter_map(|cells| cells.get(index))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for cells in lines {
            let mut line = " ".repeat(indent);
            for ((cell, width), (_, align)) in cells.iter().zip(&widths).zip(&self.columns) {
                match align {
                    Align::Left => line.push_str(&format!("{cell:<width$}  ")),
                    Align::Right => line.push_str(&format!("{cell:>width$}  ")),
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// `text` with a dot for each control character.
pub(crate) fn printable(text: &str) -> String {
    text.replace(char::is_control, "·")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new([("NAME", Align::Left), ("N", Align::Right), ("STATE", Align::Left)]);
        table.row(["web".into(), "100".into(), "up".into()]);
        table.row(["a-long-name µ".into(), "7".into(), "".into()]);
        let expected = "
  NAME             N  STATE
  web            100  up
  a-long-name µ    7
";
        assert_eq!(format!("\n{}", table.render(2)), expected);
    }

    #[test]
    fn no_cell_steers_the_terminal() {
        let mut table = Table::new([("NAME", Align::Left)]);
        table.row(["a\u{1b}[2J\n\u{9b}b".into()]);
        assert_eq!(table.render(0), "NAME\na·[2J··b\n");
    }
}
