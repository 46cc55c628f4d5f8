//! What the format knows and this version does not do yet.
//!
//! Each is refused by its own name, so that nobody takes it for a typing error, and so that nothing parses
//! that then does nothing. Whoever builds one removes its line.

/// One line: the table (empty: the top of the file), the key, what it is.
type Later = (&'static str, &'static str, &'static str);

const NOT_BUILT: &[Later] = &[("appliance", "metrics_listen", "the Prometheus listener")];

/// What the key stands for, if it is one of a later version.
pub(crate) fn key(table: &str, key: &str) -> Option<&'static str> {
    NOT_BUILT.iter().find(|(in_table, name, _)| *in_table == table && *name == key).map(|(.., what)| *what)
}
