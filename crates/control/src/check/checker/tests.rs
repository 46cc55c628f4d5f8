//! The literal timelines, and the checker against a plainer oracle.

use proptest::prelude::*;

use super::*;

/// How a server treats one check; times in ticks of 100 ms.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Answers(u64),
    Refuses(u64),
    Silent,
}

const TICK: Duration = Duration::from_millis(100);

fn parameters() -> Parameters {
    Parameters {
        interval: Duration::from_secs(3),
        response_time: Duration::from_secs(1),
        retries: 2,
        timeout: None,
        dead_interval: Duration::from_secs(3),
        rise: 1,
    }
}

/// Runs a checker by its own deadlines; the n-th check meets `manner(n)`. Gives the times of starts and
/// turns, in ticks.
fn run(
    parameters: Parameters,
    ticks: u64,
    manner: impl Fn(usize) -> Manner,
) -> (Vec<u64>, Vec<(u64, Health)>) {
    let start = Instant::now();
    let mut checker = Checker::new(parameters, start);
    let (mut starts, mut turns) = (Vec::new(), Vec::new());
    let mut answer: Option<(Instant, Outcome)> = None;
    let mut now = start;
    let tick = |at: Instant| (at - start).as_millis() as u64 / 100;
    while tick(now) <= ticks {
        if let Some((_, outcome)) = answer.take_if(|(at, _)| *at <= now) {
            turns.extend(checker.conclude(now, outcome).map(|turn| (tick(now), turn.to)));
        }
        let expired = checker.expire(now, Silence::Fails("answer"));
        if expired.abandoned {
            answer = None;
        }
        turns.extend(expired.turn.map(|turn| (tick(now), turn.to)));
        if checker.due(now) {
            answer = match manner(starts.len()) {
                Manner::Answers(after) => Some((now + TICK * after as u32, Outcome::Success)),
                Manner::Refuses(after) => {
                    Some((now + TICK * after as u32, Outcome::Failure(Reason::Refused)))
                }
                Manner::Silent => None,
            };
            starts.push(tick(now));
            checker.start(now);
        }
        now = answer.as_ref().map_or(checker.next_deadline(), |(at, _)| checker.next_deadline().min(*at));
    }
    (starts, turns)
}

fn dies_after_the_first(dead: Manner) -> impl Fn(usize) -> Manner {
    move |check| if check == 0 { Manner::Answers(0) } else { dead }
}

#[test]
fn a_silent_server_is_down_ten_seconds_after_its_last_good_check() {
    let (starts, turns) = run(parameters(), 100, dies_after_the_first(Manner::Silent));
    assert_eq!(starts, [0, 30, 60, 90]);
    assert_eq!(turns, [(0, Health::Up), (100, Health::Down)]);
}

#[test]
fn a_timeout_of_ten_seconds_gives_the_same() {
    let only_timeout = Parameters { retries: 99, timeout: Some(Duration::from_secs(10)), ..parameters() };
    let (_, turns) = run(only_timeout, 100, dies_after_the_first(Manner::Silent));
    assert_eq!(turns, [(0, Health::Up), (100, Health::Down)]);
}

#[test]
fn the_earlier_of_retries_and_timeout_wins() {
    let timeout = |seconds| Parameters { timeout: Some(Duration::from_secs(seconds)), ..parameters() };
    let down_at = |parameters| run(parameters, 150, dies_after_the_first(Manner::Silent)).1[1];
    assert_eq!(down_at(timeout(8)), (80, Health::Down));
    assert_eq!(down_at(timeout(15)), (100, Health::Down));
}

#[test]
fn a_server_that_refuses_is_down_one_response_time_earlier() {
    let (_, turns) = run(parameters(), 100, dies_after_the_first(Manner::Refuses(0)));
    assert_eq!(turns, [(0, Health::Up), (90, Health::Down)]);
}

#[test]
fn one_success_resets_the_count() {
    let manner = |check| if check % 3 == 0 { Manner::Answers(0) } else { Manner::Refuses(0) };
    let (_, turns) = run(parameters(), 1_000, manner);
    assert_eq!(turns, [(0, Health::Up)]);
}

#[test]
fn a_dead_server_is_asked_at_its_own_interval_and_has_to_rise() {
    let slow = Parameters { retries: 0, dead_interval: Duration::from_secs(5), rise: 2, ..parameters() };
    let manner = |check| if check == 1 { Manner::Silent } else { Manner::Answers(0) };
    let (starts, turns) = run(slow, 160, manner);
    assert_eq!(starts, [0, 30, 80, 130, 160]);
    assert_eq!(turns, [(0, Health::Up), (40, Health::Down), (130, Health::Up)]);
}

#[test]
fn an_answer_after_the_response_time_does_not_count() {
    let start = Instant::now();
    let mut checker = Checker::new(Parameters { retries: 0, ..parameters() }, start);
    checker.start(start);
    let late = start + Duration::from_secs(1);
    assert!(checker.expire(late, Silence::Fails("SYN-ACK")).abandoned);
    assert_eq!(checker.conclude(late, Outcome::Success), None);
    assert_eq!(checker.health(), Health::Down);
    assert_eq!(checker.reason().unwrap().to_string(), "no SYN-ACK within 1 s");
}

#[test]
fn a_checker_that_was_held_up_does_not_catch_up() {
    let start = Instant::now();
    let mut checker = Checker::new(parameters(), start);
    let late = start + Duration::from_secs(10);
    checker.start(late);
    checker.conclude(late, Outcome::Success);
    assert_eq!(checker.next_deadline(), start + Duration::from_secs(12), "and keeps its rhythm");
}

#[test]
fn silence_may_be_good_but_is_no_measure() {
    let start = Instant::now();
    let mut checker = Checker::new(parameters(), start);
    checker.start(start);
    checker.conclude(start + TICK, Outcome::Success);
    assert_eq!(checker.response_time(), Some(TICK));
    let second = start + Duration::from_secs(3);
    checker.start(second);
    let expired = checker.expire(second + Duration::from_secs(1), Silence::Succeeds);
    assert!(expired.abandoned && checker.health() == Health::Up && checker.reason().is_none());
    assert_eq!(checker.last_check(), Some(second + Duration::from_secs(1)));
    assert_eq!(checker.response_time(), Some(TICK));
    let third = start + Duration::from_secs(6);
    checker.start(third);
    checker.conclude(third + TICK * 2, Outcome::Failure(Reason::Refused));
    assert_eq!(checker.response_time(), Some(TICK), "of the last good one");
}

fn condemned(parameters: Parameters, at: Instant) -> (Checker, Option<Turn>) {
    let mut checker = Checker::new(parameters, at);
    checker.start(at);
    checker.conclude(at, Outcome::Success);
    let turn = checker.condemn(at + TICK, Reason::Traffic { failed: 5, within: Duration::from_secs(10) });
    (checker, turn)
}

#[test]
fn a_condemned_server_is_down_at_once_and_has_to_rise_by_checks() {
    let start = Instant::now();
    let slow = Parameters { dead_interval: Duration::from_secs(5), rise: 2, ..parameters() };
    let (mut checker, turn) = condemned(slow, start);
    let turn = turn.unwrap();
    assert_eq!((turn.from, turn.to), (Health::Up, Health::Down));
    assert_eq!(turn.reason.unwrap().to_string(), "5 of its new connections failed within 10 s");
    assert_eq!(checker.condemn(start + TICK, Reason::Reset), None, "it is down already");
    for (tick, turn) in [(51, None), (101, Some(Health::Up))] {
        let due = start + TICK * tick;
        assert_eq!(checker.next_deadline(), due);
        assert!(checker.due(due) && !checker.due(due - TICK));
        checker.start(due);
        assert_eq!(checker.conclude(due, Outcome::Success).map(|turn| turn.to), turn);
    }
    assert_eq!(checker.next_deadline(), start + TICK * 131, "the rhythm of a server that is up");
}

#[test]
fn a_check_that_began_before_the_condemnation_acquits_nobody() {
    let start = Instant::now();
    let (mut checker, _) = condemned(parameters(), start);
    checker.start(start + TICK * 31);
    assert!(checker.conclude(start + TICK * 31, Outcome::Success).is_some());
    checker.start(start + TICK * 61);
    assert!(checker.condemn(start + TICK * 62, Reason::Reset).is_some());
    assert_eq!(checker.conclude(start + TICK * 63, Outcome::Success), None);
    assert_eq!((checker.health(), checker.next_deadline()), (Health::Down, start + TICK * 92));
    assert!(!checker.expire(start + TICK * 91, Silence::Fails("SYN-ACK")).abandoned, "nothing is waited for");
}

#[test]
fn a_server_that_was_condemned_before_its_first_check_is_down() {
    let start = Instant::now();
    let mut checker = Checker::new(parameters(), start + TICK * 5);
    let turn = checker.condemn(start, Reason::Reset).unwrap();
    assert_eq!((turn.from, turn.to), (Health::Checking, Health::Down));
    assert_eq!(checker.next_deadline(), start + TICK * 30);
}

#[test]
fn a_hastened_check_is_due_at_once_and_the_rhythm_goes_on_from_it() {
    let start = Instant::now();
    let mut checker = Checker::new(parameters(), start);
    checker.start(start);
    checker.hasten(start + TICK);
    assert!(!checker.due(start + TICK), "it is being asked");
    checker.conclude(start + TICK, Outcome::Success);
    let out_of_turn = start + TICK * 12;
    assert!(!checker.due(out_of_turn));
    checker.hasten(out_of_turn);
    assert!(checker.due(out_of_turn));
    checker.start(out_of_turn);
    checker.conclude(out_of_turn, Outcome::Success);
    assert_eq!(checker.next_deadline(), out_of_turn + Duration::from_secs(3));
}

/// The rules of the specification, read tick by tick over the whole history.
fn oracle(
    parameters: Parameters,
    ticks: u64,
    manner: impl Fn(usize) -> Manner,
) -> (Vec<u64>, Vec<(u64, Health)>) {
    let in_ticks = |duration: Duration| duration.as_millis() as u64 / 100;
    let mut starts: Vec<u64> = Vec::new();
    let mut ends: Vec<(u64, bool)> = Vec::new();
    let mut turns: Vec<(u64, Health)> = Vec::new();
    for now in 0..=ticks {
        let judge = |ends: &[(u64, bool)], was: Health| {
            let in_a_row = |good| ends.iter().rev().take_while(|(_, ok)| *ok == good).count();
            let last_good = ends.iter().rev().find(|(_, ok)| *ok).map_or(0, |(at, _)| *at);
            let overdue = parameters.timeout.is_some_and(|timeout| now - last_good >= in_ticks(timeout));
            match was {
                Health::Down if in_a_row(true) >= parameters.rise as usize => Health::Up,
                Health::Down => Health::Down,
                _ if overdue || in_a_row(false) > parameters.retries as usize => Health::Down,
                _ if in_a_row(true) > 0 => Health::Up,
                was => was,
            }
        };
        let health = |turns: &[(u64, Health)]| turns.last().map_or(Health::Checking, |(_, health)| *health);
        let mut ended = false;
        if starts.len() > ends.len() {
            let (begun, limit) = (starts[starts.len() - 1], in_ticks(parameters.response_time));
            let end = match manner(ends.len()) {
                Manner::Answers(after) if after <= limit => (begun + after, true),
                Manner::Refuses(after) if after <= limit => (begun + after, false),
                _ => (begun + limit, false),
            };
            if end.0 == now {
                ends.push(end);
                ended = true;
            }
        }
        let was = health(&turns);
        // A dead server rises by an answer, not by the clock.
        let is = if was == Health::Down && !ended { was } else { judge(&ends, was) };
        if is != was {
            turns.push((now, is));
        }
        let dead = health(&turns) == Health::Down;
        let interval = in_ticks(if dead { parameters.dead_interval } else { parameters.interval });
        if starts.len() == ends.len() && starts.last().is_none_or(|last| last + interval <= now) {
            starts.push(now);
        }
    }
    (starts, turns)
}

fn manners() -> impl Strategy<Value = Vec<Manner>> {
    let manner = prop_oneof![
        3 => (1_u64..15).prop_map(Manner::Answers),
        2 => (1_u64..15).prop_map(Manner::Refuses),
        2 => Just(Manner::Silent),
    ];
    prop::collection::vec(manner, 1..40)
}

fn any_parameters() -> impl Strategy<Value = Parameters> {
    let ticks = |range: std::ops::Range<u32>| range.prop_map(|ticks| TICK * ticks);
    (1_u32..11, 0_u32..4, prop::option::of(ticks(20..150)), ticks(0..60), ticks(0..60), 1_u32..4).prop_map(
        |(response, retries, timeout, more, dead_more, rise)| {
            let response_time = TICK * response;
            let (interval, dead_interval) = (response_time + more + TICK, response_time + dead_more + TICK);
            Parameters { interval, response_time, retries, timeout, dead_interval, rise }
        },
    )
}

proptest! {
    #[test]
    fn the_checker_decides_as_the_rules_say(parameters in any_parameters(), manners in manners()) {
        let manner = |check: usize| manners[check % manners.len()];
        prop_assert_eq!(run(parameters, 1_500, manner), oracle(parameters, 1_500, manner));
    }
}
