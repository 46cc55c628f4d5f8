//! Preference rows beside plain Maglev, and what making and changing them costs the control thread.
//!
//! Prints three tables and ends; memory only, one thread. Times are medians. Maglev is written after its description
//! (D. E. Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4), with the
//! smallest prime of rows that is not below ours. It knows no weights, and a dead member is left out of the list.

use flow::FlowHasher;
use plan::{PreferenceRows, RowMember};
use std::hint::black_box;
use std::time::Instant;

/// Times that each step is measured. The longest takes some tenths of a second.
const RUNS: usize = 5;
/// Members that are lost one after the other, for the median of what moves.
const LOSSES: usize = 5;

const PURPOSE_OFFSET: u64 = 1;
const PURPOSE_SKIP: u64 = 2;
const PURPOSE_DRAW: u64 = 3;

fn hasher() -> FlowHasher {
    FlowHasher::new([7; 16])
}

fn draw(number: usize) -> usize {
    hasher().dispatch(PURPOSE_DRAW, &number.to_le_bytes()) as usize
}

fn members(weights: impl IntoIterator<Item = u32>) -> Vec<RowMember> {
    let identity = |number: u32| (0xc612_0000 + number).to_be_bytes().to_vec();
    (0..)
        .zip(weights)
        .map(|(number, weight)| RowMember { identity: identity(number), weight, is_backup: false })
        .collect()
}

/// What it gives at the last run, and the median of the milliseconds.
fn timed<T>(mut run: impl FnMut() -> T) -> (T, f64) {
    let mut once = || {
        let begin = Instant::now();
        let made = black_box(run());
        (made, begin.elapsed().as_secs_f64() * 1e3)
    };
    let (mut made, first) = once();
    let mut times = vec![first];
    for _ in 1..RUNS {
        let (next, time) = once();
        made = next;
        times.push(time);
    }
    (made, median(times))
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// The member of each row, as the list of all members counts them.
type Table = Vec<usize>;

/// Maglev's table over those members that live.
fn maglev(members: &[RowMember], living: &[bool], count: usize) -> Table {
    let backends: Vec<usize> = (0..members.len()).filter(|&member| living[member]).collect();
    let (mut next, skip): (Vec<usize>, Vec<usize>) = backends
        .iter()
        .map(|&member| {
            let hash = |purpose| hasher().dispatch(purpose, &members[member].identity) as usize;
            (hash(PURPOSE_OFFSET) % count, hash(PURPOSE_SKIP) % (count - 1) + 1)
        })
        .unzip();
    let mut table = vec![usize::MAX; count];
    let mut filled = 0;
    loop {
        for (backend, &member) in backends.iter().enumerate() {
            while table[next[backend]] != usize::MAX {
                next[backend] = (next[backend] + skip[backend]) % count;
            }
            table[next[backend]] = member;
            filled += 1;
            if filled == count {
                return table;
            }
        }
    }
}

fn prime_from(least: usize) -> usize {
    let is_prime = |number: &usize| (2..).take_while(|d| d * d <= *number).all(|d| !number.is_multiple_of(d));
    (least..).find(is_prime).unwrap_or(least)
}

fn served(rows: &PreferenceRows) -> Table {
    (0..rows.rows()).map(|row| rows.in_force(row).unwrap_or(usize::MAX)).collect()
}

/// Rows of each member.
fn shares(table: &Table, members: usize) -> Vec<usize> {
    let mut shares = vec![0; members];
    table.iter().filter(|&&member| member != usize::MAX).for_each(|&member| shares[member] += 1);
    shares
}

/// How far, in percent of what is due by weight, the member is off that is off most.
fn error_percent(table: &Table, members: &[RowMember], living: &[bool]) -> f64 {
    let alive = |member: &usize| living[*member] && members[*member].weight > 0;
    let total: f64 = (0..members.len()).filter(alive).map(|member| f64::from(members[member].weight)).sum();
    let shares = shares(table, members.len());
    let off = |member: usize| {
        let due = table.len() as f64 * f64::from(members[member].weight) / total;
        (shares[member] as f64 - due).abs() / due * 100.0
    };
    (0..members.len()).filter(alive).map(off).fold(0.0, f64::max)
}

/// Percent of all rows that changed hands though the member that they had is not `lost`.
fn moved_percent(before: &Table, after: &Table, lost: usize) -> f64 {
    let moved = before.iter().zip(after).filter(|&(&was, &is)| was != is && was != lost && is != lost);
    moved.count() as f64 / before.len() as f64 * 100.0
}

/// What happens to a table when each of some members is lost alone and returns.
struct Losses {
    moved_percent: f64,
    not_back: usize,
    change_ms: f64,
}

fn losses(whole: &Table, count: usize, mut change: impl FnMut(&[bool]) -> (Table, Table, f64)) -> Losses {
    let (mut moved, mut times, mut not_back) = (Vec::new(), Vec::new(), 0);
    for loss in 0..LOSSES {
        let lost = draw(loss) % count;
        let living: Vec<bool> = (0..count).map(|member| member != lost).collect();
        let (without, again, time) = change(&living);
        moved.push(moved_percent(whole, &without, lost));
        not_back += whole.iter().zip(&again).filter(|(was, is)| was != is).count();
        times.push(time);
    }
    Losses { moved_percent: median(moved), not_back, change_ms: median(times) }
}

fn against_maglev() {
    println!("Beside plain Maglev; all weights alike, one member is lost and returns\n");
    println!("| members | table | rows | worst share | moved besides its own | not back | build | change |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for count in [10, 100, 1_000, 10_000] {
        let members = members(std::iter::repeat_n(1, count));
        let all = vec![true; count];
        let (rows, build_ms) = timed(|| PreferenceRows::build(&members, &all, &hasher()));
        let whole = served(&rows);
        let ours = losses(&whole, count, |living| {
            let (without, time) = timed(|| rows.with(living));
            (served(&without), served(&without.with(&all)), time)
        });
        print_row(count, "preference rows", &whole, error_percent(&whole, &members, &all), build_ms, &ours);
        // The fill alone: what a configuration without that member moves.
        let configured = losses(&whole, count, |living| {
            let fewer: Vec<RowMember> = members
                .iter()
                .zip(living)
                .map(|(member, &lives)| weighing(member, u32::from(lives)))
                .collect();
            let (without, time) = timed(|| PreferenceRows::build(&fewer, &all, &hasher()));
            (served(&without), whole.clone(), time)
        });
        let error = error_percent(&whole, &members, &all);
        print_row(count, "the same, by configuration", &whole, error, build_ms, &configured);
        let size = prime_from(rows.rows());
        let (whole, build_ms) = timed(|| maglev(&members, &all, size));
        let theirs = losses(&whole, count, |living| {
            let (without, time) = timed(|| maglev(&members, living, size));
            (without, maglev(&members, &all, size), time)
        });
        print_row(count, "Maglev", &whole, error_percent(&whole, &members, &all), build_ms, &theirs);
    }
}

fn weighing(member: &RowMember, weight: u32) -> RowMember {
    RowMember { weight, ..member.clone() }
}

fn print_row(count: usize, name: &str, table: &Table, error: f64, build_ms: f64, losses: &Losses) {
    let Losses { moved_percent, not_back, change_ms } = losses;
    println!(
        "| {count} | {name} | {} | {error:.2} % | {moved_percent:.3} % | {not_back} | {build_ms:.2} ms | {change_ms:.2} ms |",
        table.len()
    );
}

/// What happened to the rows of the dead, and what it took.
fn when_some_are_dead() {
    println!("\nWhen some are dead; all weights alike\n");
    println!(
        "| members | dead | all at once, from the fill | one more is lost | it returns | survivors' standard deviation | by the formula | worst survivor |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for count in [100, 10_000] {
        let members = members(std::iter::repeat_n(1, count));
        let whole = PreferenceRows::build(&members, &vec![true; count], &hasher());
        let mut deaths = vec![0, 1, count / 2, count * 9 / 10, count * 99 / 100, count - 2];
        deaths.retain(|&dead| dead + 2 <= count);
        deaths.dedup();
        for dead in deaths {
            let mut by_draw: Vec<usize> = (0..count).collect();
            by_draw.sort_by_key(|&member| draw(member));
            let mut living = vec![true; count];
            by_draw[..dead].iter().for_each(|&member| living[member] = false);
            let (rows, at_once_ms) = timed(|| whole.with(&living));
            let mut fewer = living.clone();
            fewer[by_draw[dead]] = false;
            let (without, loss_ms) = timed(|| rows.with(&fewer));
            let (again, return_ms) = timed(|| without.with(&living));
            let table = served(&rows);
            assert!(served(&again) == table, "a row did not come back");
            let (deviation, formula) = deviation_percent(&served(&whole), &table, &living);
            let worst = error_percent(&table, &members, &living);
            println!(
                "| {count} | {dead} | {at_once_ms:.2} ms | {loss_ms:.2} ms | {return_ms:.2} ms | {deviation:.2} % | {formula:.2} % | {worst:.1} % |"
            );
        }
    }
}

/// The standard deviation of survivors' rows from what is due to their own rows, measured and expected.
fn deviation_percent(whole: &Table, table: &Table, living: &[bool]) -> (f64, f64) {
    let (own, now) = (shares(whole, living.len()), shares(table, living.len()));
    let alive: Vec<usize> = (0..living.len()).filter(|&member| living[member]).collect();
    let part = alive.iter().map(|&member| own[member]).sum::<usize>() as f64 / whole.len() as f64;
    let dead = 1.0 - part;
    let squares = alive.iter().map(|&member| (now[member] as f64 * part / own[member] as f64 - 1.0).powi(2));
    let mean_own = own.iter().sum::<usize>() as f64 / own.len() as f64;
    let formula = (dead * part / ((1.0 + dead) * mean_own)).sqrt();
    ((squares.sum::<f64>() / alive.len() as f64).sqrt() * 100.0, formula * 100.0)
}

fn with_uneven_weights() {
    println!("\nWith uneven weights: making the table, all alive\n");
    println!("| members | weights | rows | build | members without a row |");
    println!("| --- | --- | --- | --- | --- |");
    let one_heavy = |number: usize| if number == 77 { 65_535 } else { 1 };
    let drawn = |number: usize| 1 + (draw(number) % 65_535) as u32;
    let steep = |number: usize| 1 << (draw(number) % 17).min(15);
    let half_heavy = |number: usize| if draw(number).is_multiple_of(2) { 65_535 } else { 1 };
    let kinds: [(&str, &dyn Fn(usize) -> u32); 4] = [
        ("one 65,535, the others 1", &one_heavy),
        ("drawn from 1 to 65,535", &drawn),
        ("powers of two up to 32,768", &steep),
        ("half 65,535, half 1", &half_heavy),
    ];
    for count in [100, 10_000] {
        for (name, weight) in kinds {
            let members = members((0..count).map(weight));
            let (rows, time) = timed(|| PreferenceRows::build(&members, &vec![true; count], &hasher()));
            let without = shares(&served(&rows), count).iter().filter(|&&share| share == 0).count();
            println!("| {count} | {name} | {} | {time:.1} ms | {without} |", rows.rows());
        }
    }
}

fn main() {
    against_maglev();
    when_some_are_dead();
    with_uneven_weights();
}
