//! Sessions of the live table, found without touching them and copied for a rehearsal.

use engine::{AnyKey, Shared};
use flow::{Family, FlowHasher, FlowKey, V4, V6};
use plan::{FamilyPlan, Plan};
use rewrite::{Translation, Words};
use session::tcp::Observation;
use session::{Entry, Flags, Insert, Lookup, Opening, Session, Side, Table};

/// What each family has of its own: a table and a part of the plan. The constants are the table's.
pub(super) trait Kept<const KEY: usize, const PAYLOAD: usize, const LINES: usize>:
    Family<Key: FlowKey<Words = [u64; KEY]> + Into<AnyKey>>
{
    fn table(shared: &Shared) -> &Table<KEY, PAYLOAD, LINES>;
    fn view(plan: &Plan) -> &FamilyPlan<Self>;
    fn translation(words: &[u64; PAYLOAD]) -> Translation<Self>;
}

impl Kept<2, 3, 1> for V4 {
    fn table(shared: &Shared) -> &Table<2, 3, 1> {
        &shared.sessions_v4
    }

    fn view(plan: &Plan) -> &FamilyPlan<Self> {
        &plan.v4
    }

    fn translation(words: &[u64; 3]) -> Translation<Self> {
        Translation::from_words(words)
    }
}

impl Kept<5, 8, 2> for V6 {
    fn table(shared: &Shared) -> &Table<5, 8, 2> {
        &shared.sessions_v6
    }

    fn view(plan: &Plan) -> &FamilyPlan<Self> {
        &plan.v6
    }

    fn translation(words: &[u64; 8]) -> Translation<Self> {
        Translation::from_words(words)
    }
}

/// The session that packets with `key` belong to, and whether they are its replies.
pub(super) fn find<F, const KEY: usize, const PAYLOAD: usize, const LINES: usize>(
    shared: &Shared,
    key: &F::Key,
) -> Option<(Session<KEY, PAYLOAD>, bool)>
where
    F: Kept<KEY, PAYLOAD, LINES>,
{
    let table = F::table(shared);
    let Lookup::Hit(hit) = table.find(&table.probe(key.hash(&shared.hasher)), key.words()) else {
        return None;
    };
    Some((table.session(hit.client_slot(), hit.birth)?, !hit.is_client()))
}

/// Another live session that has the server-side key of `session`: a packet that would open `session` finds it taken.
pub(super) fn rival<F, const KEY: usize, const PAYLOAD: usize, const LINES: usize>(
    shared: &Shared,
    session: &Session<KEY, PAYLOAD>,
) -> Option<Session<KEY, PAYLOAD>>
where
    F: Kept<KEY, PAYLOAD, LINES>,
{
    let (other, _) = find::<F, KEY, PAYLOAD, LINES>(shared, &F::Key::from_words(session.server.key))?;
    (other.client.key != session.client.key).then_some(other)
}

/// Puts a copy of `session` into the tables of a rehearsal, as fresh as if a packet of it had come now. False when there
/// is no room.
pub(super) fn copy<F, const KEY: usize, const PAYLOAD: usize, const LINES: usize>(
    to: &Shared,
    session: &Session<KEY, PAYLOAD>,
    tick: u32,
) -> bool
where
    F: Kept<KEY, PAYLOAD, LINES>,
{
    let table = F::table(to);
    let entry = |side: &Side<KEY, PAYLOAD>| entry::<F, KEY, PAYLOAD>(side, &to.hasher);
    let seen = |side: &Side<KEY, PAYLOAD>| Observation {
        flags: side.direction.activity.flags(),
        sequence_end: side.direction.sequence_end(),
    };
    let flags = session.client.direction.activity.flags();
    let opening = Opening {
        tick,
        protocol: flags.protocol(),
        epoch: session.client.direction.activity.epoch(),
        seen: seen(&session.client),
        marks: if flags.contains(Flags::ONE_WAY) { Flags::ONE_WAY } else { Flags::NONE },
        now_us: 0,
    };
    let inserted = table.insert(&opening, &entry(&session.client), &entry(&session.server), |_| {});
    let Insert::Inserted { server, .. } = inserted else { return false };
    table.record(&server, tick, seen(&session.server));
    table.set_epoch(&server, session.server.direction.activity.epoch())
}

fn entry<F, const KEY: usize, const PAYLOAD: usize>(
    side: &Side<KEY, PAYLOAD>,
    hasher: &FlowHasher,
) -> Entry<KEY, PAYLOAD>
where
    F: Family<Key: FlowKey<Words = [u64; KEY]>>,
{
    Entry { hash: F::Key::from_words(side.key).hash(hasher), key: side.key, payload: side.payload }
}
