//! The paths of one group, and what they know together.

use super::far::Report;
use super::path::{Around, Path};
use super::payload::Heard;
use super::wanted::Asking;
use plan::Link;
use rewrite::MemberId;
use std::time::{Duration, Instant};

/// A group under watch.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) fingerprint: u64,
    pub(super) asking: Asking,
    /// How long a probe takes one way: half of what an answer is given.
    pub(super) slack: Duration,
    pub(super) paths: Vec<Path>,
    /// The paths by id.
    pub(super) names: Vec<(u64, String)>,
    /// What the far end last said.
    pub(super) report: Option<Report>,
}

impl Group {
    /// One path, and what the others know.
    pub(super) fn split(&mut self, now: Instant, place: usize) -> Option<(&mut Path, Around<'_>)> {
        let hears_far = self.paths.iter().any(|path| path.hears_far(now));
        let Self { paths, names, report, .. } = self;
        Some((paths.get_mut(place)?, Around { report: report.as_ref(), hears_far, names }))
    }

    /// The path whose link a packet came by: the one at `place` before others that have the same link.
    pub(super) fn over(
        &self,
        place: usize,
        link: Link,
        links: &dyn Fn(MemberId) -> Option<Link>,
    ) -> Option<usize> {
        let leads = |other: &usize| {
            self.paths.get(*other).is_some_and(|path| links(path.wanted.member) == Some(link))
        };
        std::iter::once(place).chain(0..self.paths.len()).find(leads)
    }

    /// What is reported of each path, and whose probes that tells of.
    pub(super) fn report(&self, now: Instant) -> (u64, Vec<Heard>) {
        let newest = self.paths.iter().filter_map(|path| path.hearing).max_by_key(|hearing| hearing.at);
        let instance = newest.map_or(0, |hearing| hearing.instance);
        let place_of =
            |id: u64| self.names.iter().position(|(other, _)| *other == id).map(|place| place as u8);
        let heard = |path: &Path| {
            let hearing = path.hearing.filter(|hearing| hearing.instance == instance);
            let age = hearing.map(|hearing| now.saturating_duration_since(hearing.at).as_millis());
            Heard {
                path: path.id,
                age_ms: age.and_then(|age_ms| u32::try_from(age_ms).ok()),
                sequence: hearing.map_or(0, |hearing| hearing.sequence),
                over: hearing.and_then(|hearing| hearing.over).and_then(place_of),
                health: path.health(),
            }
        };
        (instance, self.paths.iter().map(heard).collect())
    }
}
