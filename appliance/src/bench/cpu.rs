//! How busy a CPU or a process is, by the kernel's own books, in percent of one CPU.

use std::fs;
use std::time::Instant;

/// Ticks of the kernel's books a second (`USER_HZ`, the same on every machine that we run on).
const TICKS_PER_SECOND: f64 = 100.0;

/// Columns of a `cpu` line that are idle time: `idle`, `iowait` (proc_stat(5)).
const IDLE_COLUMNS: [usize; 2] = [3, 4];

/// A watch on some CPUs that has begun.
#[derive(Debug)]
pub(super) struct Watch {
    cpus: Vec<u16>,
    before: Vec<Option<Ticks>>,
}

/// Busy and all ticks of a CPU.
type Ticks = (u64, u64);

impl Watch {
    /// Begins to watch.
    pub(super) fn begin(cpus: &[u16]) -> Self {
        let before = ticks(cpus);
        Self { cpus: cpus.into(), before }
    }

    /// How busy each was since, in its order; none where the kernel keeps no books on it.
    pub(super) fn busy_percent(&self) -> Vec<Option<f64>> {
        let share = |(before, after): (&Option<Ticks>, Option<Ticks>)| {
            let ((busy_before, all_before), (busy, all)) = ((*before)?, after?);
            let elapsed = all.saturating_sub(all_before);
            (elapsed > 0).then(|| busy.saturating_sub(busy_before) as f64 * 100.0 / elapsed as f64)
        };
        self.before.iter().zip(ticks(&self.cpus)).map(share).collect()
    }
}

fn ticks(cpus: &[u16]) -> Vec<Option<Ticks>> {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    cpus.iter().map(|cpu| ticks_of(&text, *cpu)).collect()
}

fn ticks_of(text: &str, cpu: u16) -> Option<Ticks> {
    let name = format!("cpu{cpu} ");
    let columns: Vec<u64> = text
        .lines()
        .find_map(|line| line.strip_prefix(&name))?
        .split(' ')
        .map_while(|word| word.parse().ok())
        .collect();
    // Guests' time is in the columns of users already.
    let all: u64 = columns.iter().take(8).sum();
    let idle: u64 = IDLE_COLUMNS.iter().filter_map(|column| columns.get(*column)).sum();
    Some((all - idle, all))
}

/// A watch on a process that has begun.
#[derive(Debug)]
pub(super) struct ProcessWatch {
    id: u32,
    began: Instant,
    before: u64,
}

impl ProcessWatch {
    /// Begins to watch; none if there is no such process.
    pub(super) fn begin(id: u32) -> Option<Self> {
        Some(Self { id, began: Instant::now(), before: process_ticks(id)? })
    }

    /// How busy all its threads together were since.
    pub(super) fn busy_percent(&self) -> Option<f64> {
        let ticks = process_ticks(self.id)?.saturating_sub(self.before);
        Some(ticks as f64 * 100.0 / TICKS_PER_SECOND / self.began.elapsed().as_secs_f64())
    }
}

/// `utime` and `stime` of `/proc/PID/stat`, behind the name, which may hold anything.
fn process_ticks(id: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    times_of(&text)
}

fn times_of(text: &str) -> Option<u64> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut columns = rest.split_whitespace().skip(11);
    Some(columns.next()?.parse::<u64>().ok()? + columns.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_and_guests_are_told_apart() {
        let text = "cpu  9 9 9 9\ncpu1 10 0 20 60 5 1 4 0 7 0\ncpu10 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(ticks_of(text, 1), Some((35, 100)));
        assert_eq!(ticks_of(text, 2), None);
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_columns() {
        let text = "42 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0 20 0 1 0";
        assert_eq!(times_of(text), Some(42));
    }
}
