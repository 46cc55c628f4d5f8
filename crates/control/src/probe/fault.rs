//! Why a path does not bear, as far as this end can know.

use std::fmt;
use wire::Mac;

/// What is wrong with the path over one firewall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The firewall's name.
    pub firewall: String,
    /// What is wrong.
    pub kind: FaultKind,
}

/// What may be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// There is no link to the firewall now: nothing could be sent.
    NoLink,
    /// The answer came over another firewall.
    AnsweredOver(String),
    /// It came from a link that is no firewall's of the group.
    AnsweredBy(Mac),
    /// The far end reports that our probes reach it over another firewall; of no name if it is none that we know.
    HeardThereOver(Option<String>),
    /// The far end's probes of this path reach us over another firewall.
    HeardHereOver(String),
    /// The far end reports that it hears us; its answers do not arrive.
    AnswersLost,
    /// It reports that it does not hear us.
    ProbesLost {
        /// Its own probes arrive.
        hears_far: bool,
    },
    /// Its own probes arrive, and no answers to ours; what it hears is not known.
    Unanswered,
    /// Nothing is heard of it on any path.
    FarSilent,
    /// What comes from the far end bears the tag of another key.
    OtherKey,
}

impl Fault {
    /// Whether the two directions go different ways: not only is there no answer, traffic would be led astray.
    pub fn is_asymmetric(&self) -> bool {
        matches!(
            self.kind,
            FaultKind::AnsweredOver(_)
                | FaultKind::AnsweredBy(_)
                | FaultKind::HeardThereOver(_)
                | FaultKind::HeardHereOver(_)
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", self.firewall)?;
        match &self.kind {
            FaultKind::NoLink => out.write_str("its MAC address is not known"),
            FaultKind::AnsweredOver(other) => write!(out, "answers come back over {other}"),
            FaultKind::AnsweredBy(mac) => {
                write!(out, "answers come back from {mac}, which leads to no firewall of the group")
            }
            FaultKind::HeardThereOver(Some(other)) => write!(out, "the far end hears us over {other}"),
            FaultKind::HeardThereOver(None) => out.write_str("the far end hears us over another firewall"),
            FaultKind::HeardHereOver(other) => write!(out, "the far end's probes come over {other}"),
            FaultKind::AnswersLost => out.write_str("the far end hears us, its answers do not arrive"),
            FaultKind::ProbesLost { hears_far: false } => out.write_str("nothing arrives at the far end"),
            FaultKind::ProbesLost { hears_far: true } => {
                out.write_str("nothing arrives at the far end, though its own probes arrive here")
            }
            FaultKind::Unanswered => out.write_str("the far end's probes arrive here, but no answer to ours"),
            FaultKind::FarSilent => out.write_str("no answer, and the far end is silent on every path"),
            FaultKind::OtherKey => out.write_str("no answer that bears our key's tag: is hash_key the same?"),
        }
    }
}
