//! Which next hop holds which link row. Control thread only; the rows themselves are read by workers.

use flow::{Family, V4, V6};
use hashbrown::{HashMap, HashSet};
use plan::{Link, LinkTable, LinksByNextHop};
use rewrite::LinkIndex;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use wire::Mac;

/// A next hop: the index of its port, and its address.
pub type NextHop = (u16, IpAddr);

/// The registry.
#[derive(Debug)]
pub struct Links {
    by_next_hop: HashMap<NextHop, LinkIndex>,
    /// Rows that nobody holds, the longest free first: a worker that still works by an older plan may use a row for a
    /// moment longer.
    free: VecDeque<LinkIndex>,
    v4: Arc<LinksByNextHop<V4>>,
    v6: Arc<LinksByNextHop<V6>>,
    refused: u64,
}

/// What an update changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkChanges {
    /// A next hop has a row now that had none: the plan must name it.
    pub added: bool,
    /// A row was given up: sessions must not use it any more, so the route epoch changes.
    pub removed: bool,
}

impl Links {
    /// No next hop yet, and the rows of `table` to give out.
    pub fn new(table: &LinkTable) -> Self {
        // Row 0 means "unresolved" and is never given out.
        let free = (1..table.rows()).map(|row| LinkIndex(row as u16)).collect();
        Self { by_next_hop: HashMap::new(), free, v4: Arc::default(), v6: Arc::default(), refused: 0 }
    }

    /// Gives every next hop of `wanted` a row with its MAC, if it has one, and takes the rows of all others back.
    /// Next hops for which no row is left are counted; frames for them are dropped as unresolved.
    pub fn update(&mut self, table: &LinkTable, wanted: &HashMap<NextHop, Option<Mac>>) -> LinkChanges {
        let mut changes = LinkChanges::default();
        let gone: HashSet<NextHop> =
            self.by_next_hop.keys().filter(|next_hop| !wanted.contains_key(*next_hop)).copied().collect();
        for next_hop in gone {
            if let Some(link) = self.by_next_hop.remove(&next_hop) {
                table.set(link, None);
                self.free.push_back(link);
                changes.removed = true;
            }
        }
        for (&(port, address), &mac) in wanted {
            let link = match self.by_next_hop.get(&(port, address)) {
                Some(&link) => link,
                None => {
                    let Some(link) = self.free.pop_front() else {
                        self.refused += 1;
                        continue;
                    };
                    self.by_next_hop.insert((port, address), link);
                    changes.added = true;
                    link
                }
            };
            table.set(link, mac.map(|mac| Link { port, mac }));
        }
        if changes.added || changes.removed {
            self.v4 = Arc::new(self.of_family::<V4>());
            self.v6 = Arc::new(self.of_family::<V6>());
        }
        changes
    }

    fn of_family<F: Family>(&self) -> LinksByNextHop<F> {
        let known = self.by_next_hop.iter();
        known.filter_map(|(&(port, address), &link)| Some(((port, F::address(address)?), link))).collect()
    }

    /// Next hops of IPv4 with their rows.
    pub fn v4(&self) -> Arc<LinksByNextHop<V4>> {
        self.v4.clone()
    }

    /// Next hops of IPv6 with their rows.
    pub fn v6(&self) -> Arc<LinksByNextHop<V6>> {
        self.v6.clone()
    }

    /// How often a next hop found no free row.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(last: u8) -> NextHop {
        (0, IpAddr::from([198, 18, 0, last]))
    }

    #[test]
    fn a_next_hop_keeps_its_row_when_its_mac_changes() {
        let table = LinkTable::new(4);
        let mut links = Links::new(&table);
        let first = Mac([2, 0, 0, 0, 0, 1]);
        let changes = links.update(&table, &HashMap::from([(hop(1), Some(first))]));
        assert_eq!(changes, LinkChanges { added: true, removed: false });
        let link = *links.v4().get(&(0, [198, 18, 0, 1].into())).unwrap();
        assert_eq!(table.get(link), Some(Link { port: 0, mac: first }));
        let second = Mac([2, 0, 0, 0, 0, 2]);
        let changes = links.update(&table, &HashMap::from([(hop(1), Some(second))]));
        assert_eq!(changes, LinkChanges::default());
        assert_eq!(table.get(link), Some(Link { port: 0, mac: second }));
    }

    #[test]
    fn rows_are_bounded_taken_back_and_reused_last() {
        let table = LinkTable::new(3);
        let mut links = Links::new(&table);
        let wanted = |hops: &[u8]| hops.iter().map(|&last| (hop(last), None)).collect::<HashMap<_, _>>();
        links.update(&table, &wanted(&[1, 2, 3]));
        assert_eq!((links.v4().len(), links.refused()), (2, 1));
        let changes = links.update(&table, &wanted(&[]));
        assert_eq!(changes, LinkChanges { added: false, removed: true });
        assert!(links.v4().is_empty());
        assert_eq!(links.update(&table, &wanted(&[4, 5])), LinkChanges { added: true, removed: false });
        assert_eq!(links.v4().len(), 2);
    }
}
