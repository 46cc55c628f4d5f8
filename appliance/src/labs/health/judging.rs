//! Expected against measured: when each server was down and up again, and why.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::super::Stopped;
use super::super::appliance::Running;
use super::super::report::Report;
use super::Times;
use super::cases::{CASES, Case, Kind, Sight};
use super::scene::{FAMILIES, Scene, Within, service_name};
use super::wire::Wire;
use crate::table::{Align, Table};

/// How late the appliance may be, all in all.
const LATE: Duration = Duration::from_millis(500);

/// How early it may seem to be: a check that was under way when the server broke was begun before.
const EARLY: Duration = Duration::from_millis(100);

/// A machine that is busy otherwise keeps the appliance and the servers waiting again and again; so often as the latest
/// of all was, that is no fault of a check's.
const DELAYS: u32 = 5;

const DAY: Duration = Duration::from_secs(86_400);

/// What became of one server.
struct Fate {
    /// Since it was broken.
    down: Option<Duration>,
    /// Since it was last heard before that.
    silent: Option<Duration>,
    /// Since it was repaired.
    up: Option<Duration>,
    reason: String,
}

/// Whether a row of `show servers` is as it should be while all is broken.
pub(super) fn is_as_broken(row: &Value) -> bool {
    let named = |(index, case): (usize, &'static Case)| {
        let is_it = FAMILIES.iter().any(|(family, _)| row["service"] == service_name(index, family));
        is_it.then_some(case)
    };
    let case = CASES.iter().enumerate().find_map(named);
    let is_broken = case.is_some_and(|case| case.sight != Sight::Nothing);
    row["state"] == if is_broken { "down" } else { "up" }
}

/// Prints all cases, and says of each kind of check whether it did as it should.
pub(super) fn judge(
    scene: &Scene<'_>,
    running: &Running,
    wire: &Wire,
    times: &Times,
    report: &mut Report,
) -> Result<(), Stopped> {
    let rows = running.rows("servers")?;
    let mut table = Table::new([
        ("CHECK", Align::Left),
        ("IP", Align::Left),
        ("BROKEN: IT", Align::Left),
        ("DOWN AT LEAST", Align::Right),
        ("AFTER BREAK", Align::Right),
        ("AFTER LAST GOOD", Align::Right),
        ("AT MOST", Align::Right),
        ("UP", Align::Right),
        ("AT MOST", Align::Right),
        ("REASON", Align::Left),
    ]);
    let mut wrong: BTreeMap<String, (usize, Vec<String>)> = BTreeMap::new();
    for (index, case) in CASES.iter().enumerate() {
        for (family, vip) in FAMILIES {
            let name = service_name(index, family);
            let row = rows.iter().find(|row| row["service"] == name).ok_or("a server is not shown")?;
            let port = (case.kind != Kind::Icmp).then(|| Case::port(index));
            let (broken, repaired) = (times.broken[index], times.repaired[index]);
            let moment = broken.end.duration_since(UNIX_EPOCH)?;
            let heard = match case.kind {
                // Where silence is good, all was well until the break.
                Kind::UdpSilent => Some(moment),
                _ => wire.last_heard(scene.address(case, vip), port, moment),
            };
            let fate = Fate::of(row, (broken, repaired), heard)?;
            let faults = fate.faults(case, times.lateness * DELAYS);
            let entry = wrong.entry(format!("{} ({})", case.kind, case.pace)).or_default();
            entry.0 += 1;
            entry.1.extend(faults.iter().map(|fault| format!("{name} {fault}")));
            table.row(fate.cells(case, family, !faults.is_empty()));
        }
    }
    report.table(&table);
    let Times { lateness, .. } = times;
    report.note(format!("by `history` of `jeoul show servers`; {LATE:?} late is in time"));
    report.note(format!(
        "this machine woke a sleeper {lateness:.1?} late at the most, {DELAYS} times which is allowed for"
    ));
    for (check, (count, faults)) in wrong {
        let what = format!("{check}: {count} servers are down and up in time and for the right reason");
        report.expect_or(faults.is_empty(), what, faults.join("; "));
    }
    Ok(())
}

impl Fate {
    fn of(
        row: &Value,
        (broken, repaired): (Within, Within),
        heard: Option<Duration>,
    ) -> Result<Self, Stopped> {
        let history = row["history"].as_array().ok_or("a server without a history")?;
        let change = |to: &str, after: SystemTime| -> Result<Option<(Duration, String)>, Stopped> {
            for change in history.iter().filter(|change| change["to"] == to) {
                let since = since(after, change["at"].as_str().unwrap_or_default())?;
                if since < DAY / 2 {
                    return Ok(Some((since, change["reason"].as_str().unwrap_or_default().to_owned())));
                }
            }
            Ok(None)
        };
        let (down, up) = (change("down", broken.begin)?, change("up", repaired.end)?);
        let silent = heard.map(|heard| change("down", UNIX_EPOCH + heard)).transpose()?.flatten();
        Ok(Self {
            down: down.as_ref().map(|(since, _)| *since),
            silent: silent.map(|(since, _)| since),
            up: up.map(|(since, _)| since),
            reason: down.map(|(_, reason)| reason).unwrap_or_default(),
        })
    }

    /// What is not as it should be, with so much allowed for a machine that is busy otherwise.
    fn faults(&self, case: &Case, allowed: Duration) -> Vec<String> {
        let Some((least, most)) = case.down_within() else {
            let word = self.down.map(|at| format!("is down {at:.2?} after the break"));
            return word.into_iter().collect();
        };
        let (early, late) = (EARLY + allowed, LATE + allowed);
        let mut faults = Vec::new();
        let (up_least, up_most) = case.up_within();
        match (self.down, self.silent) {
            (Some(at), _) if at + early < least => faults.push("is down too early".to_owned()),
            (_, Some(at)) if at > most + late => faults.push("is down too late".to_owned()),
            (Some(_), Some(_)) => {}
            _ => faults.push("is never down".to_owned()),
        }
        match self.up {
            Some(at) if at + early < up_least => faults.push("is up too early".to_owned()),
            Some(at) if at > up_most + late => faults.push("is up too late".to_owned()),
            Some(_) => {}
            None => faults.push("is never up again".to_owned()),
        }
        let words = match case.sight {
            Sight::AtOnce(words) | Sight::Silence(words) => words,
            Sight::Nothing => "",
        };
        if !self.reason.contains(words) {
            faults.push(format!("is down because of {:?} instead of {words:?}", self.reason));
        }
        faults
    }

    fn cells(&self, case: &Case, family: &str, is_wrong: bool) -> [String; 10] {
        let words = |duration: Option<Duration>| {
            duration.map_or("-".to_owned(), |duration| format!("{:.2} s", duration.as_secs_f64()))
        };
        let window = case.down_within();
        let up = window.map(|_| case.up_within().1);
        let reason = match (window, is_wrong) {
            (None, false) => "stays up: the check does not look so far".to_owned(),
            (_, true) => format!("{} (not as expected)", self.reason),
            _ => self.reason.clone(),
        };
        [
            format!("{} ({})", case.kind, case.pace),
            family.to_owned(),
            case.words(),
            words(window.map(|(least, _)| least)),
            words(self.down),
            words(self.silent),
            words(window.map(|(_, most)| most)),
            words(self.up),
            words(up),
            reason,
        ]
    }
}

/// From a moment to the time of day that an RFC 3339 text tells, in UTC; up to a day.
fn since(moment: SystemTime, text: &str) -> Result<Duration, Stopped> {
    let wrong = || format!("{text:?} is no time");
    let (_, time) = text.split_once('T').ok_or_else(wrong)?;
    let mut words = time.trim_end_matches('Z').split(':');
    let mut number = || words.next().and_then(|word| word.parse::<f64>().ok());
    let (Some(hours), Some(minutes), Some(seconds)) = (number(), number(), number()) else {
        return Err(wrong().into());
    };
    let of_day = Duration::from_secs_f64((hours * 60.0 + minutes) * 60.0 + seconds);
    let moment = moment.duration_since(UNIX_EPOCH)?;
    let moment_of_day = Duration::new(moment.as_secs() % DAY.as_secs(), moment.subsec_nanos());
    Ok(if of_day >= moment_of_day { of_day - moment_of_day } else { of_day + DAY - moment_of_day })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_is_measured_from_a_moment_over_midnight_too() {
        let moment = UNIX_EPOCH + DAY * 20_000 + Duration::from_millis(86_399_500);
        assert_eq!(since(moment, "2024-10-04T23:59:59.750Z").unwrap(), Duration::from_millis(250));
        assert_eq!(since(moment, "2024-10-05T00:00:01.000Z").unwrap(), Duration::from_millis(1_500));
        assert!(since(moment, "never").is_err());
    }
}
