//! Frames as a line of text: built from it for a test's input and its expectations, and printed back when they differ.
//!
//! ```text
//!   tcp 198.18.0.50:40000 > 198.18.0.10:80 S seq 1000 ttl 64 from CLIENT to OUTSIDE
//!   udp [2001:db8:0:1::50]:5000 > [2001:db8:0:1::10]:53 data 68656c6c6f from CLIENT to OUTSIDE
//!   echo-request 198.18.0.50 > 198.18.0.10 id 7 seq 1 from CLIENT to OUTSIDE
//!   icmp 198.18.0.10 > 198.18.0.50 port-unreachable quoting ( udp … ) from OUTSIDE to CLIENT
//!   arp who-has 198.18.0.10 tell 198.18.0.50 from CLIENT to BROADCAST
//!   arp who-has 198.18.0.10 tell 198.18.0.50 vlan 10 priority 5 from CLIENT to BROADCAST       `service-vlan` for 802.1ad
//!   arp 198.18.0.10 is-at OUTSIDE told 198.18.0.50 from OUTSIDE to CLIENT
//!   ns 2001:db8:0:1::50 > ff02::1:ff00:10 who-has 2001:db8:0:1::10 from CLIENT to SOLICITED
//!   na 2001:db8:0:1::10 > 2001:db8:0:1::50 2001:db8:0:1::10 is-at OUTSIDE solicited override from OUTSIDE to CLIENT
//!   raw 0200…
//! ```
//!
//! Everything that is not said is as a plain host would send it: TTL 64 (255 for neighbour discovery), window 65535, no
//! options, right checksums. A frame is always compared whole, byte for byte; [`print()`] is for people.

mod build;
mod print;
mod words;

pub use build::{LanguageError, build};
pub use print::print;

use hashbrown::HashMap;
use wire::Mac;

/// What names mean: stations on the links, and what a script has learned from frames so far.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    stations: HashMap<String, Mac>,
    variables: HashMap<String, u32>,
}

impl Scope {
    /// Gives a station its name.
    pub fn name(&mut self, name: &str, mac: Mac) {
        self.stations.insert(name.to_owned(), mac);
    }

    /// The station of that name; a MAC address names itself.
    pub fn station(&self, name: &str) -> Option<Mac> {
        match name {
            "BROADCAST" => Some(Mac::BROADCAST),
            _ => self.stations.get(name).copied().or_else(|| name.parse().ok()),
        }
    }

    /// What people call that station.
    pub fn name_of(&self, mac: Mac) -> String {
        if mac.is_broadcast() {
            return "BROADCAST".to_owned();
        }
        let known =
            self.stations.iter().filter(|(_, station)| **station == mac).map(|(name, _)| name.as_str());
        known.min().map_or_else(|| mac.to_string(), str::to_owned)
    }

    /// Learns the ports, or the identifier of an echo or an IPv6 fragment, that `expected` leaves open (`$name`) from the frame that came in
    /// its place.
    pub fn learn(&mut self, expected: &str, came: &[u8]) {
        let identifier = expected.split_once(" id $").and_then(|(_, rest)| rest.split_whitespace().next());
        if let (Some(name), Some(identifier)) = (identifier, build::identifier_of(came)) {
            self.variables.entry(name.to_owned()).or_insert(identifier);
        }
        let Some(ports) = build::ports_of(came) else { return };
        for (end, port) in expected.split_whitespace().filter(|word| *word != ">").skip(1).zip(ports) {
            if let Some((_, name)) = end.rsplit_once(":$") {
                self.variables.entry(name.to_owned()).or_insert(port.into());
            }
        }
    }

    /// The value of a number or of a variable.
    fn number(&self, word: &str) -> Option<u32> {
        match word.strip_prefix('$') {
            Some(name) => self.variables.get(name).copied(),
            None => word.parse().ok(),
        }
    }
}
