//! Reads `[[outbound]]`.

use crate::model::Outbound;
use crate::section::Section;
use crate::service::SOURCE_ADDRESSES_MAX;

/// Outbounds at the most.
const OUTBOUNDS_MAX: usize = 64;
/// Networks of one outbound at the most.
const NETWORKS_MAX: usize = 64;

pub(crate) const KEYS: &[&str] = &["name", "networks", "source_addresses"];

/// Reads every `[[outbound]]`.
pub(crate) fn outbounds(top: Section<'_>) -> Vec<Outbound> {
    let sections = top.tables("outbound", "outbound", KEYS, OUTBOUNDS_MAX);
    sections
        .into_iter()
        .map(|section| Outbound {
            name: section.required("name", "\"servers\"").and_then(|value| value.name()).unwrap_or_default(),
            networks: section
                .required("networks", "[\"198.18.1.0/24\"]")
                .and_then(|value| value.distinct(NETWORKS_MAX, "[\"198.18.1.0/24\"]", |item| item.network()))
                .unwrap_or_default(),
            source_addresses: section
                .required("source_addresses", "[\"198.18.0.250\"]")
                .and_then(|value| {
                    value.distinct(SOURCE_ADDRESSES_MAX, "[\"198.18.0.250\"]", |item| item.address())
                })
                .unwrap_or_default(),
            at: section.at("name"),
            networks_at: section.at("networks"),
            source_addresses_at: section.at("source_addresses"),
        })
        .collect()
}
