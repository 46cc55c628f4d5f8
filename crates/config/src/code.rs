//! The codes of all findings about a file alone. They are stable: a number is never given to another finding.
//! Checks that compare the file with a machine number their own from `E0500` and `W0500` on.

/// The text is not TOML.
pub const SYNTAX: &str = "E0100";
/// No such key here.
pub const UNKNOWN_KEY: &str = "E0101";
/// A value of another type is needed.
pub const WRONG_TYPE: &str = "E0102";
/// A key without a default is absent.
pub const MISSING_KEY: &str = "E0103";
/// Not one of the words that the key takes.
pub const UNKNOWN_WORD: &str = "E0104";
/// An address, duration, key, name or port that cannot be read as one.
pub const MALFORMED: &str = "E0105";
/// A number or duration outside its bounds.
pub const OUT_OF_RANGE: &str = "E0106";
/// More of something than the appliance holds.
pub const TOO_MANY: &str = "E0107";
/// A key of a later version.
pub const NOT_BUILT: &str = "E0108";
/// The file cannot be read.
pub const UNREADABLE: &str = "E0109";
/// Two things of a kind have one name.
pub const DUPLICATE_NAME: &str = "E0201";
/// Two ports have one interface and VLAN.
pub const DUPLICATE_INTERFACE: &str = "E0202";
/// Some packet belongs to two services.
pub const OVERLAPPING_SERVICES: &str = "E0203";
/// A value stands twice in a list, or a server twice in a service.
pub const DUPLICATE_VALUE: &str = "E0204";
/// A name that nothing has.
pub const UNKNOWN_REFERENCE: &str = "E0205";
/// IPv4 and IPv6 in one service.
pub const MIXED_FAMILIES: &str = "E0206";
/// An address that no host can have, or not across a router.
pub const UNUSABLE_ADDRESS: &str = "E0207";
/// One address in two roles.
pub const ADDRESS_CONFLICT: &str = "E0208";
/// A key that has no meaning beside the others.
pub const MEANINGLESS_KEY: &str = "E0209";
/// Values that contradict each other.
pub const CONTRADICTION: &str = "E0210";
/// A host leg has the name of a port's interface.
pub const HOST_LEG_NAME: &str = "E0211";
/// Some address belongs to two outbounds.
pub const OVERLAPPING_NETWORKS: &str = "E0212";
/// A service without servers.
pub const NO_SERVERS: &str = "W0301";
/// A weight that the scheduler does not look at.
pub const WEIGHT_IGNORED: &str = "W0302";
/// A worker on the CPU of the control thread.
pub const SHARED_CPU: &str = "W0303";
/// A health check that no service uses.
pub const UNUSED_CHECK: &str = "W0304";
/// A check by TCP of a port of UDP, or the other way round.
pub const CHECK_PROTOCOL: &str = "W0305";
/// Source NAT where no reply needs it.
pub const CLIENTS_HIDDEN: &str = "W0306";
/// Replies of two services look alike.
pub const AMBIGUOUS_REPLIES: &str = "W0307";
/// Replies that never get the VIP's address.
pub const REPLIES_LOST: &str = "W0308";
/// An ICMP check of a service that has a port to ask.
pub const HOST_CHECKED_ALONE: &str = "W0309";
/// A body that is looked for in error pages too.
pub const ERRORS_TAKEN: &str = "W0310";
/// A UDP check to which silence is success.
pub const SILENCE_TAKEN: &str = "W0311";
/// Persistence that adds next to nothing to the scheduler.
pub const PERSISTENCE_IDLE: &str = "W0312";
/// A bandwidth of which only the requests are seen.
pub const REQUESTS_COUNTED_ALONE: &str = "W0313";
/// Backups with nothing to back up.
pub const ONLY_BACKUPS: &str = "W0314";
/// A firewall group whose dead firewalls nobody notices.
pub const FIREWALLS_UNCHECKED: &str = "W0315";
/// A far address, or a responder, of paths that are not probed.
pub const PATH_NOT_PROBED: &str = "W0316";
/// A firewall group of one firewall.
pub const LONE_FIREWALL: &str = "W0317";
/// Firewalls that all have weight 0.
pub const NO_WEIGHT: &str = "W0318";
