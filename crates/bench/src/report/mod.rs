//! One self-contained HTML file.

use crate::results::Results;

/// The report of `results`, as one HTML file.
pub fn html(results: &Results) -> String {
    results.title.clone()
}
