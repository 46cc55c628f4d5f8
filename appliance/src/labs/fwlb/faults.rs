//! Paths that fail in every way that one can: what both ends say of them, and when.

use std::time::{Duration, Instant};

use lab::topology::fwlb::Side;
use serde_json::Value;

use super::super::Stopped;
use super::super::report::Report;
use super::BOTH;
use super::scene::{DOWN_WITHIN, LATE, Scene};

/// The firewall whose path fails, by its place, and another one.
const FAILS: usize = 2;
const OTHER: usize = 0;

/// Legs, the near one first.
const NEAR: usize = 0;
const FAR: usize = 1;

/// Every way.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Inwards,
    Outwards,
    NearLeg,
    FarLeg,
    WrongWayBack,
}

impl Fault {
    const ALL: [Self; 5] = [Self::Inwards, Self::Outwards, Self::NearLeg, Self::FarLeg, Self::WrongWayBack];

    fn words(self) -> &'static str {
        match self {
            Self::Inwards => "it is deaf towards the outside: nothing passes inwards",
            Self::Outwards => "it is deaf towards the inside: nothing passes outwards",
            Self::NearLeg => "its near leg is dead",
            Self::FarLeg => "its far leg is dead",
            Self::WrongWayBack => "what the inner end sends to it comes to another firewall",
        }
    }

    /// What both ends are to say.
    fn state(self) -> &'static str {
        match self {
            Self::WrongWayBack => "asymmetric",
            _ => "down",
        }
    }
}

/// Each fault in turn, and its end.
pub(super) fn each_is_seen_at_both_ends(scene: &mut Scene, report: &mut Report) -> Result<(), Stopped> {
    report.section("Every way in which a path fails: what both ends say, and when");
    for fault in Fault::ALL {
        one(scene, fault, report)?;
    }
    Ok(())
}

fn one(scene: &mut Scene, fault: Fault, report: &mut Report) -> Result<(), Stopped> {
    let name = scene.site.firewalls[FAILS].name().to_owned();
    let since = Instant::now();
    // What mends the fault when it is dropped.
    let mut deafness = None;
    let mut misrouting = None;
    match fault {
        Fault::Inwards => deafness = Some(scene.site.firewalls[FAILS].make_deaf(NEAR)?),
        Fault::Outwards => deafness = Some(scene.site.firewalls[FAILS].make_deaf(FAR)?),
        Fault::NearLeg => scene.site.firewalls[FAILS].cut(NEAR)?,
        Fault::FarLeg => scene.site.firewalls[FAILS].cut(FAR)?,
        Fault::WrongWayBack => misrouting = Some(scene.site.misroute(Side::Inner, FAILS, OTHER)?),
    }
    for side in BOTH {
        let took = scene.wait_for_state(side, &name, (since, |row: &Value| row["state"] == fault.state()))?;
        let (what, within) = (
            format!("{}: {name} is {} at the {} end", fault.words(), fault.state(), side.name()),
            DOWN_WITHIN + LATE,
        );
        report.expect_or(took.is_some_and(|took| took <= within), what, format!("{took:?}"));
        let rows = scene.firewalls(side)?;
        let row = rows.iter().find(|row| row["name"] == name.as_str());
        let reason = row.map_or(Value::Null, |row| row["reason"].clone());
        report.note(format!("     after {:.0?}: {reason}", took.unwrap_or_default()));
        let others_are_up = rows.iter().all(|row| row["name"] == name.as_str() || row["state"] == "up");
        let is_mixed = matches!(fault, Fault::WrongWayBack);
        report.expect(others_are_up || is_mixed, format!("and no other is, at the {} end", side.name()));
    }
    drop((deafness, misrouting));
    match fault {
        Fault::NearLeg => scene.site.firewalls[FAILS].mend(NEAR)?,
        Fault::FarLeg => scene.site.firewalls[FAILS].mend(FAR)?,
        _ => {}
    }
    for side in BOTH {
        let is_up = scene.wait_for(side, |row| row["state"] == "up")?;
        report.expect(is_up, format!("and up again at the {} end", side.name()));
    }
    Ok(())
}

/// A leg to the third zone is cut: who goes there is concerned, and nobody else.
pub(super) fn a_third_leg_dies_for_its_zone_alone(
    scene: &mut Scene,
    report: &mut Report,
) -> Result<(), Stopped> {
    report.section("A firewall's leg into the third zone dies");
    let name = scene.site.firewalls[FAILS].name().to_owned();
    let since = Instant::now();
    scene.site.firewalls[FAILS].cut(2)?;
    let is_down = |row: &Value| {
        let leads_there = row["group"].as_str().is_some_and(|group| group.contains("dmz"));
        row["name"] != name.as_str() || (row["state"] == "down") == leads_there
    };
    for side in BOTH {
        let done = scene.wait_for(side, is_down)?;
        report.expect_or(
            done && since.elapsed() <= DOWN_WITHIN + LATE + LATE,
            format!("at the {} end {name} is down on the way there, and up on the other", side.name()),
            format!("{:?}", since.elapsed()),
        );
    }
    scene.site.firewalls[FAILS].mend(2)?;
    std::thread::sleep(Duration::from_millis(100));
    for side in BOTH {
        let is_up = scene.wait_for(side, |row| row["state"] == "up")?;
        report.expect(is_up, format!("and up again at the {} end", side.name()));
    }
    Ok(())
}
