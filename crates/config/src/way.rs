//! Reads what a `[[service]]` says of the way to its servers and back, as far as its mode lets it.

use std::net::IpAddr;

use crate::model::{Encapsulation, Mode, ReturnPath, SOURCE_NAT_DEFAULT, SourceNat};
use crate::section::{Section, Value};
use crate::service::SOURCE_ADDRESSES_MAX;

/// UDP port of generic UDP encapsulation, as IANA registered it.
const GUE_PORT_DEFAULT: u16 = 6_080;

/// What was read, with every default filled in.
pub(crate) struct Way {
    pub(crate) encapsulation: Option<Encapsulation>,
    pub(crate) encapsulation_source: Option<IpAddr>,
    pub(crate) gue_port: u16,
    pub(crate) source_nat: SourceNat,
    pub(crate) source_addresses: Vec<IpAddr>,
    pub(crate) return_path: ReturnPath,
    /// Whether requests carry a DSCP; `None`: what would say so could not be read.
    pub(crate) marks: Option<bool>,
}

/// Reads the keys that depend on `mode`; `None`: it could not be read, and nothing is held against it.
pub(crate) fn read(section: Section<'_>, mode: Option<Mode>) -> Way {
    let encapsulation = encapsulation(section, mode);
    let marks = match (mode, encapsulation) {
        (None, _) | (Some(Mode::L3Dsr), None) => None,
        (_, encapsulation) => Some(encapsulation == Some(Encapsulation::Dscp)),
    };
    let mut way = Way {
        encapsulation,
        encapsulation_source: None,
        gue_port: section
            .optional("gue_port")
            .and_then(|value| value.integer(1..=u16::MAX))
            .unwrap_or(GUE_PORT_DEFAULT),
        source_nat: SOURCE_NAT_DEFAULT,
        source_addresses: section.optional("source_addresses").and_then(pool).unwrap_or_default(),
        return_path: section
            .optional("return_path")
            .and_then(|value| value.word())
            .unwrap_or(ReturnPath::Any),
        marks,
    };
    way.encapsulation_source = encapsulation_source(section, &way);
    way.source_nat = source_nat(section, mode);
    if marks.is_some() && encapsulation != Some(Encapsulation::Gue) {
        section.meaningless("gue_port", "without generic UDP encapsulation", "add `encapsulation = \"gue\"`");
    }
    way
}

fn encapsulation(section: Section<'_>, mode: Option<Mode>) -> Option<Encapsulation> {
    match mode {
        Some(Mode::L3Dsr) => section.required("encapsulation", "\"ipip\"").and_then(|value| value.word()),
        Some(mode) => {
            let why = format!("in mode \"{mode}\", which wraps nothing");
            section.meaningless("encapsulation", &why, "use `mode = \"l3-dsr\"`");
            None
        }
        None => None,
    }
}

fn encapsulation_source(section: Section<'_>, way: &Way) -> Option<IpAddr> {
    match way.encapsulation {
        Some(Encapsulation::Ipip | Encapsulation::Gue) => {
            section.required("encapsulation_source", "\"198.18.1.251\"").and_then(|value| value.address())
        }
        Some(Encapsulation::Dscp) | None => {
            if way.marks.is_some() {
                let remedy = "add `encapsulation = \"ipip\"` or \"gue\"";
                section.meaningless("encapsulation_source", "without an outer header", remedy);
            }
            None
        }
    }
}

/// Source NAT, and what means nothing without it.
fn source_nat(section: Section<'_>, mode: Option<Mode>) -> SourceNat {
    let value = section.optional("source_nat");
    let said = value.and_then(|value| value.word());
    if let Some(mode) = mode.filter(|mode| mode.is_dsr()) {
        let why = format!("in mode \"{mode}\": the reply never comes back to be translated");
        if said.is_some_and(|said| said != SourceNat::Never) {
            section.meaningless("source_nat", &why, "use `mode = \"routed\"`");
        }
        section.meaningless("source_addresses", &why, "use `mode = \"routed\"`");
        section.meaningless("return_path", &why, "use `mode = \"routed\"`");
        return SourceNat::Never;
    }
    if said == Some(SourceNat::Never) {
        let remedy = "write `source_nat = \"auto\"` or \"always\"";
        section.meaningless("source_addresses", "without source NAT", remedy);
    }
    said.unwrap_or(SOURCE_NAT_DEFAULT)
}

fn pool(value: Value<'_>) -> Option<Vec<IpAddr>> {
    value.distinct(SOURCE_ADDRESSES_MAX, "[\"198.18.1.250\"]", |item| item.address())
}
