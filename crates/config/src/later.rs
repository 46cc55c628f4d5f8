//! What the format knows and this version does not do yet.
//!
//! Each is refused by its own name, so that nobody takes it for a typing error, and so that nothing parses
//! that then does nothing. Whoever builds one removes its line.

/// One line: the table (empty: the top of the file), the key, the words that are refused (empty: the whole
/// key), what it is.
type Later = (&'static str, &'static str, &'static [&'static str], &'static str);

const NOT_BUILT: &[Later] = &[
    ("", "firewall_group", &[], "firewall load balancing"),
    ("", "probe_responder", &[], "firewall load balancing"),
    ("appliance", "metrics_listen", &[], "the Prometheus listener"),
    ("service", "persistence", &[], "persistence"),
    ("service", "scheduler", &["weighted-round-robin"], "this scheduler"),
    ("service", "scheduler", &["least-connections", "weighted-least-connections"], "this scheduler"),
    ("service", "scheduler", &["response-time", "bandwidth"], "this scheduler"),
    ("service", "hash_fields", &["source-mac"], "hashing MAC addresses"),
    ("health_check", "kind", &["icmp", "tcp-half-open", "http"], "this kind of check"),
    ("health_check", "path", &[], "HTTP checks"),
    ("health_check", "host", &[], "HTTP checks"),
    ("health_check", "expect_status", &[], "HTTP checks"),
    ("health_check", "expect_body", &[], "HTTP checks"),
];

/// What the whole key stands for, if it is one of a later version.
pub(crate) fn key(table: &str, key: &str) -> Option<&'static str> {
    NOT_BUILT
        .iter()
        .find(|(in_table, name, words, _)| *in_table == table && *name == key && words.is_empty())
        .map(|(.., what)| *what)
}

/// What the word stands for, if it is one of a later version.
pub(crate) fn word(table: &str, key: &str, word: &str) -> Option<&'static str> {
    NOT_BUILT
        .iter()
        .find(|(in_table, name, words, _)| *in_table == table && *name == key && words.contains(&word))
        .map(|(.., what)| *what)
}
