//! What a server got and gave, over all workers, since its row became its own.

use super::world::WorkerHandle;
use hashbrown::HashMap;
use plan::Loads;
use rewrite::MemberId;
use std::iter::Sum;

/// Sums over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberTotals {
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Sessions made.
    pub sessions_created: u64,
    /// Sessions ended.
    pub sessions_ended: u64,
    /// Sessions in the table that neither close nor were reset, now.
    pub sessions_active: u64,
    /// TCP sessions that the server answered.
    pub connects_made: u64,
    /// TCP sessions that it refused or did not answer.
    pub connects_failed: u64,
    /// Of a firewall: flows that were seen over another one while both counted as up here. Whether both lived is for
    /// `drift` to say.
    pub drifted_flows: u64,
}

impl MemberTotals {
    /// Sessions in the table. Two counters of two workers are read one after the other, so it may be off for a moment, and
    /// never below zero.
    pub fn sessions_held(&self) -> u64 {
        self.sessions_created.saturating_sub(self.sessions_ended)
    }

    /// Sessions in the table that close or were reset.
    pub fn sessions_closing(&self) -> u64 {
        self.sessions_held().saturating_sub(self.sessions_active)
    }

    fn since(self, start: MemberTotals) -> Self {
        Self {
            packets_in: self.packets_in.wrapping_sub(start.packets_in),
            bytes_in: self.bytes_in.wrapping_sub(start.bytes_in),
            packets_out: self.packets_out.wrapping_sub(start.packets_out),
            bytes_out: self.bytes_out.wrapping_sub(start.bytes_out),
            sessions_created: self.sessions_created.wrapping_sub(start.sessions_created),
            sessions_ended: self.sessions_ended.wrapping_sub(start.sessions_ended),
            sessions_active: self.sessions_active,
            connects_made: self.connects_made.wrapping_sub(start.connects_made),
            connects_failed: self.connects_failed.wrapping_sub(start.connects_failed),
            drifted_flows: self.drifted_flows.wrapping_sub(start.drifted_flows),
        }
    }
}

impl Sum for MemberTotals {
    fn sum<I: Iterator<Item = Self>>(totals: I) -> Self {
        totals.fold(Self::default(), |sum, one| Self {
            packets_in: sum.packets_in + one.packets_in,
            bytes_in: sum.bytes_in + one.bytes_in,
            packets_out: sum.packets_out + one.packets_out,
            bytes_out: sum.bytes_out + one.bytes_out,
            sessions_created: sum.sessions_created + one.sessions_created,
            sessions_ended: sum.sessions_ended + one.sessions_ended,
            sessions_active: sum.sessions_active + one.sessions_active,
            connects_made: sum.connects_made + one.connects_made,
            connects_failed: sum.connects_failed + one.connects_failed,
            drifted_flows: sum.drifted_flows + one.drifted_flows,
        })
    }
}

/// Where the counters of each row stood when its present holder got it.
#[derive(Debug, Default)]
pub(super) struct Totals {
    starts: HashMap<u16, (u16, MemberTotals)>,
}

impl Totals {
    /// Notes where the counters of `members` stand, for rows that have a new holder, of whom nothing is known yet.
    pub fn note(&mut self, workers: &[WorkerHandle], loads: &Loads, members: impl Iterator<Item = MemberId>) {
        for member in members {
            let is_known = self
                .starts
                .get(&member.index)
                .is_some_and(|(generation, _)| *generation == member.generation);
            if !is_known {
                loads.forget(member);
                self.starts.insert(member.index, (member.generation, raw(workers, member.index)));
            }
        }
    }

    /// The totals of a member.
    pub fn of(&self, workers: &[WorkerHandle], loads: &Loads, member: MemberId) -> MemberTotals {
        let start = self.starts.get(&member.index).map(|(_, start)| *start).unwrap_or_default();
        MemberTotals { sessions_active: loads.sessions(member), ..raw(workers, member.index).since(start) }
    }
}

fn raw(workers: &[WorkerHandle], index: u16) -> MemberTotals {
    let counted = workers.iter().filter_map(|worker| worker.counters.members.get(usize::from(index)));
    counted
        .map(|counters| {
            // Ended before created: read the other way round, a session made and ended in between would count as -1.
            let sessions_ended = counters.sessions_ended.get();
            MemberTotals {
                packets_in: counters.packets_in.get(),
                bytes_in: counters.bytes_in.get(),
                packets_out: counters.packets_out.get(),
                bytes_out: counters.bytes_out.get(),
                sessions_created: counters.sessions_created.get(),
                sessions_ended,
                sessions_active: 0,
                connects_made: counters.connects_made.get(),
                connects_failed: counters.connects_failed.get(),
                drifted_flows: counters.drifted_flows.get(),
            }
        })
        .sum()
}
