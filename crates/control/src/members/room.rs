//! Whether there are rows for a configuration.

use super::Members;
use super::wanted::rows;
use config::Config;
use plan::MEMBERS_MAX;
use rewrite::Birth;

/// Rows that a firewall may have: a session that comes from one has this many bits for the number of its row.
pub(super) const FIREWALL_ROWS_MAX: usize = 1 << Birth::BITS;

/// More servers than rows.
#[derive(Debug, PartialEq, Eq)]
pub enum TooManyServers {
    /// Of all kinds.
    All {
        /// Servers that would need a row, removed ones that still have sessions among them.
        wanted: usize,
    },
    /// So many servers have a row that none is left for new firewalls, which need small numbers.
    Firewalls,
}

impl std::fmt::Display for TooManyServers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All { wanted } => {
                write!(f, "{wanted} servers, removed ones that still drain among them; at most {MEMBERS_MAX}")
            }
            Self::Firewalls => write!(
                f,
                "more than {FIREWALL_ROWS_MAX} servers have left no room for new firewalls; restart the appliance"
            ),
        }
    }
}

impl std::error::Error for TooManyServers {}

impl Members {
    /// Whether there are rows for all servers of a new configuration.
    pub(super) fn has_room(&self, config: &Config) -> Result<(), TooManyServers> {
        let fresh = || rows(config).filter(|wanted| !self.by_key.contains_key(&wanted.key));
        let wanted = self.by_key.len() + fresh().count();
        let low_rows = FIREWALL_ROWS_MAX.saturating_sub(self.rows.len())
            + self.free.iter().filter(|&&row| usize::from(row) < FIREWALL_ROWS_MAX).count();
        if wanted > MEMBERS_MAX {
            Err(TooManyServers::All { wanted })
        } else if fresh().filter(|wanted| wanted.path.is_some()).count() > low_rows {
            Err(TooManyServers::Firewalls)
        } else {
            Ok(())
        }
    }
}
