//! Whether two configurations are the two ends of one sandwich: which groups stand for the same firewalls, whether both
//! place every flow alike, and what the failure of each firewall moves.
//!
//! Both are looked at as files, on no machine in particular, and by the very tables that the workers go by. What the
//! kernel's routes say is not known here. Pure; any thread may call it. No finding shows a secret.

mod pairs;
mod proof;
mod random;
mod settings;

use config::{Config, FirewallGroup};
use flow::{FlowHasher, V4, V6};
use proof::Proof;
use serde::Serialize;
use settings::{compare, compare_whole};

/// One of the two appliances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Of the first file.
    Outer,
    /// Of the second.
    Inner,
}

impl End {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Outer => "outer",
            Self::Inner => "inner",
        }
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The ends do not agree.
    Error,
    /// They agree, and yet it may not be meant.
    Warning,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `hash_key`.
    Key,
    /// `hash`.
    Hash,
    /// A firewall that one end alone knows by this name.
    Name,
    /// `weight`.
    Weight,
    /// `far_address` and the other end's `[[probe_responder]]`.
    FarAddress,
    /// `health_check`.
    HealthCheck,
    /// `on_failure`.
    OnFailure,
    /// `on_recovery`.
    OnRecovery,
    /// `networks`.
    Networks,
    /// Groups and their partners.
    Partner,
    /// Random flows on different firewalls.
    Flows,
    /// What the failure of a firewall moves.
    Failure,
}

/// Something that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub kind: Kind,
    /// The outer end's group, if it is about one.
    pub outer: Option<String>,
    /// The inner end's group, if it is about one.
    pub inner: Option<String>,
    /// In a sentence, without a full stop.
    pub text: String,
}

/// A group whose firewalls no group of the other end stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alone {
    /// Whose it is.
    pub end: End,
    /// Its name.
    pub group: String,
}

/// Two groups that stand for the same firewalls.
#[derive(Clone, Debug, Serialize)]
pub struct Pair {
    /// The outer end's group.
    pub outer: String,
    /// The inner end's group.
    pub inner: String,
    /// Names of firewalls that both have.
    pub names_in_common: usize,
    /// Far addresses of either that the other answers at for this pair.
    pub far_addresses_in_common: usize,
    /// [`plan::fingerprint`] of the outer group in 16 hex digits; `None` without a key.
    pub outer_fingerprint: Option<String>,
    /// The same of the inner group.
    pub inner_fingerprint: Option<String>,
    /// What random flows have shown.
    #[serde(flatten)]
    pub proof: Proof,
}

/// What came of comparing two configurations.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether there is a pair, and no error.
    pub agree: bool,
    /// The seed of the random flows.
    pub seed: u64,
    /// Groups that stand for the same firewalls.
    pub pairs: Vec<Pair>,
    /// Groups that are no part of a pair.
    pub without_partner: Vec<Alone>,
    /// All that does not fit, by pair.
    pub findings: Vec<Finding>,
}

pub use proof::{Failure, FirewallShare, Misplaced, Taker};

/// A finding that is about no group yet.
fn finding(severity: Severity, kind: Kind, text: String) -> Finding {
    Finding { severity, kind, outer: None, inner: None, text }
}

fn error(kind: Kind, text: String) -> Finding {
    finding(Severity::Error, kind, text)
}

fn warning(kind: Kind, text: String) -> Finding {
    finding(Severity::Warning, kind, text)
}

/// Compares the two ends, and places `flows` random flows of each pair of groups, drawn from `seed`, on both.
pub fn verify(outer: &Config, inner: &Config, flows: u64, seed: u64) -> Report {
    let found = pairs::find(outer, inner);
    let mut findings = compare_whole(outer, inner);
    let mut pairs = Vec::new();
    for pair in &found {
        let (mine, theirs) = (&outer.firewall_groups[pair.outer], &inner.firewall_groups[pair.inner]);
        let hashers = [hasher(outer, End::Outer), hasher(inner, End::Inner)];
        let both = Both { configs: [outer, inner], groups: [mine, theirs], hashers };
        let proof = match mine.firewalls.iter().any(|firewall| firewall.address.is_ipv4()) {
            true => proof::prove::<V4>(&both, flows, seed),
            false => proof::prove::<V6>(&both, flows, seed),
        };
        let own = pair.findings.iter().cloned().chain(compare(&both)).chain(proof.findings());
        let (outer, inner) = (mine.name.clone(), theirs.name.clone());
        findings.extend(own.map(|finding| Finding {
            outer: Some(outer.clone()),
            inner: Some(inner.clone()),
            ..finding
        }));
        let [outer_fingerprint, inner_fingerprint] = both.fingerprints();
        pairs.push(Pair {
            outer,
            inner,
            names_in_common: pair.names,
            far_addresses_in_common: pair.far_addresses,
            outer_fingerprint,
            inner_fingerprint,
            proof,
        });
    }
    let without_partner = alone(outer, inner, &found);
    if pairs.is_empty() {
        let text = "no group of the outer end and group of the inner end stand for the same firewalls: they share neither \
                    names of firewalls nor far addresses";
        findings.push(error(Kind::Partner, text.into()));
    }
    let agree = findings.iter().all(|finding| finding.severity != Severity::Error);
    Report { agree, seed, pairs, without_partner, findings }
}

fn alone(outer: &Config, inner: &Config, found: &[pairs::Found]) -> Vec<Alone> {
    let of = |end: End, config: &Config| {
        let is_paired = |place: usize| {
            found.iter().any(|pair| place == if end == End::Outer { pair.outer } else { pair.inner })
        };
        let groups = config.firewall_groups.iter().enumerate().filter(|(place, _)| !is_paired(*place));
        groups.map(|(_, group)| Alone { end, group: group.name.clone() }).collect::<Vec<_>>()
    };
    [of(End::Outer, outer), of(End::Inner, inner)].concat()
}

/// Without a key in the file an appliance makes its own, which no other has: so have the two ends here.
fn hasher(config: &Config, end: End) -> FlowHasher {
    FlowHasher::new(config.appliance.hash_key.map_or([end as u8; 16], |key| *key.bytes()))
}

/// Two groups that stand for the same firewalls, the outer end's first.
struct Both<'a> {
    configs: [&'a Config; 2],
    groups: [&'a FirewallGroup; 2],
    hashers: [FlowHasher; 2],
}

impl Both<'_> {
    fn fingerprints(&self) -> [Option<String>; 2] {
        [0, 1].map(|end| {
            self.configs[end].appliance.hash_key?;
            let print = crate::compile::fingerprint_by_file(self.groups[end], &self.hashers[end]);
            Some(format!("{print:016x}"))
        })
    }
}

#[cfg(test)]
mod tests;
