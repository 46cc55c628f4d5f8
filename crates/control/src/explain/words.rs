//! The words of an account that depend on one value alone.

use engine::ReplyWay;
use flow::Family;
use plan::{DRAWS, EXACT_MEMBERS_MAX, HashFields, Mode, Scheduler};

/// How a reply finds its client, as the end of a sentence.
pub(super) fn way_words(way: ReplyWay) -> &'static str {
    match way {
        ReplyWay::Gateway => "the appliance is the servers' gateway, so that the reply crosses it",
        ReplyWay::OtherPort => {
            "the server is at another port than the client, so that the reply crosses the appliance"
        }
        ReplyWay::OtherMember => {
            "client and server are behind different ports of the bridge, so that the reply crosses it"
        }
        ReplyWay::Unresolved => "the server's MAC address is not known yet",
        ReplyWay::Elsewhere => "return_path says that replies bypass the appliance",
        ReplyWay::SameNetwork => {
            "client and server are in one network, so that the reply would bypass the appliance"
        }
        ReplyWay::SamePort => {
            "the server is at the client's own port, so that the reply would bypass the appliance"
        }
        ReplyWay::SameMember => {
            "client and server are behind one port of the bridge, so that the reply would bypass it"
        }
    }
}

/// A mode as the file spells it, with its encapsulation.
pub(super) fn mode_name<F: Family>(mode: Mode<F>) -> &'static str {
    match mode {
        Mode::Transparent => "transparent",
        Mode::Routed => "routed",
        Mode::L2Direct => "l2-dsr",
        Mode::IpInIp { .. } => "l3-dsr ipip",
        Mode::Gue { .. } => "l3-dsr gue",
        Mode::Marked => "l3-dsr dscp",
    }
}

/// A scheduler as the file spells it.
pub(super) fn scheduler_name(scheduler: &Scheduler) -> &'static str {
    match scheduler {
        Scheduler::RoundRobin => "round-robin",
        Scheduler::WeightedRoundRobin => "weighted-round-robin",
        Scheduler::LeastConnections => "least-connections",
        Scheduler::WeightedLeastConnections => "weighted-least-connections",
        Scheduler::Hash { .. } => "hash",
        Scheduler::ResponseTime => "response-time",
        Scheduler::Bandwidth => "bandwidth",
    }
}

/// Why a scheduler has chosen a server of `available` that take sessions.
pub(super) fn choice_words(scheduler: &Scheduler, available: usize) -> String {
    let of_all = match available {
        0..=EXACT_MEMBERS_MAX => format!("of {available} that take sessions"),
        _ => format!("of {DRAWS} drawn from {available} that take sessions"),
    };
    match scheduler {
        Scheduler::RoundRobin => format!("its turn, of {available} that take sessions"),
        Scheduler::WeightedRoundRobin => format!("its turn by weight, of {available} that take sessions"),
        Scheduler::LeastConnections => format!("it has the fewest sessions {of_all}"),
        Scheduler::WeightedLeastConnections => format!("it has the fewest sessions for its weight {of_all}"),
        Scheduler::Hash { fields, .. } => format!("the hash of {} chooses it", field_names(*fields)),
        Scheduler::ResponseTime => format!("its turn by weight and response time, {of_all}"),
        Scheduler::Bandwidth => format!("it moves the fewest bytes a second for its weight {of_all}"),
    }
}

/// The fields of a hash as the file spells them.
pub(super) fn field_names(fields: HashFields) -> String {
    let named = [
        (fields.source_address, "source-address"),
        (fields.destination_address, "destination-address"),
        (fields.source_port, "source-port"),
        (fields.destination_port, "destination-port"),
        (fields.source_mac, "source-mac"),
    ];
    named.iter().filter(|(is_used, _)| *is_used).map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
}
