//! The law of firewall load balancing, on two appliances with firewalls between them: both directions of a flow cross the same
//! firewall, whatever fails and returns in whatever order, and whenever each end hears of it. Ten thousand seeds.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod bank;
mod flows;

use bank::{Bank, Kind};
use flows::Flow;
use sim::Random;

const SEEDS: u64 = 10_000;
/// Flows of one seed.
const FLOWS: usize = 10;
/// Failures and returns of one seed.
const EVENTS: usize = 4;

/// One seed: flows from both ends, and firewalls that come and go under them.
struct Run<'b> {
    bank: &'b mut Bank,
    random: Random,
    flows: Vec<Flow>,
    /// Each end hears of everything at once, and nothing is under way then.
    is_calm: bool,
}

impl Run<'_> {
    /// Everybody speaks for a while.
    fn chat(&mut self, rounds: usize) {
        for _ in 0..rounds {
            for flow in &mut self.flows {
                if self.random.once_in(2) {
                    self.bank.send(flow, flow.opener(), &mut self.random);
                }
                if (flow.is_heard() || flow.is_mutual) && self.random.once_in(2) {
                    self.bank.send(flow, 1 - flow.opener(), &mut self.random);
                }
            }
            self.bank.carry(&mut self.flows, &mut self.random);
        }
    }

    /// A firewall fails, or returns. The two ends hear of it one after the other.
    fn change(&mut self) {
        let firewall = self.random.below(self.bank.firewalls());
        let lives = !self.bank.lives(firewall);
        if !lives && self.bank.living() == 1 {
            return;
        }
        self.bank.set_alive(firewall, lives);
        for flow in self.flows.iter_mut().filter(|flow| flow.now() == Some(firewall)) {
            flow.has_lost |= !lives;
        }
        let first = self.random.below(2);
        self.bank.tell(first, firewall, lives);
        if !self.is_calm {
            self.chat(2);
        }
        self.bank.tell(1 - first, firewall, lives);
    }

    /// Now that both ends think alike: everybody speaks, and is heard over one firewall both ways.
    fn agree(&mut self) {
        for round in 0..2 {
            let before: Vec<[usize; 2]> = self.flows.iter().map(|flow| flow.heard).collect();
            self.all_speak(|flow| Some(flow.opener()));
            let stays_with_dead: Vec<bool> =
                self.flows.iter().map(|flow| self.stays_with_dead(flow)).collect();
            for ((flow, before), &stays) in self.flows.iter().zip(&before).zip(&stays_with_dead) {
                let is_heard = flow.heard[1 - flow.opener()] > before[1 - flow.opener()];
                assert!(is_heard || stays, "{flow:?} is not heard");
            }
            self.all_speak(|flow| flow.is_heard().then_some(1 - flow.opener()));
            for ((flow, before), &stays) in self.flows.iter().zip(&before).zip(&stays_with_dead) {
                if !flow.is_heard() || stays {
                    continue;
                }
                assert!(flow.heard[flow.opener()] > before[flow.opener()], "{flow:?} is not answered");
                // Where both ends have opened it at once, one of them hears of the other's firewall with its next packet.
                if round > 0 || !flow.is_mutual {
                    assert_eq!(flow.crossed[0], flow.crossed[1], "{flow:?} crosses two firewalls");
                }
            }
        }
    }

    /// Each flow's end that `who` names sends a packet.
    fn all_speak(&mut self, who: impl Fn(&Flow) -> Option<usize>) {
        for flow in &self.flows {
            if let Some(end) = who(flow) {
                self.bank.send(flow, end, &mut self.random);
            }
        }
        self.bank.carry(&mut self.flows, &mut self.random);
    }

    fn stays_with_dead(&self, flow: &Flow) -> bool {
        self.bank.kind.keeps && flow.now().is_some_and(|now| !self.bank.lives(now))
    }
}

fn run(bank: &mut Bank, seed: u64) {
    let mut random = Random::new(seed);
    let is_calm = random.once_in(2);
    let flows = (0..FLOWS).map(|number| Flow::random(number, &mut random)).collect();
    let mut run = Run { bank, random, flows, is_calm };
    run.chat(3);
    run.agree();
    let homes: Vec<Option<usize>> = run.flows.iter().map(Flow::now).collect();
    for _ in 0..EVENTS {
        run.change();
        run.chat(1);
        run.agree();
        for (flow, home) in run.flows.iter().zip(&homes) {
            let may_move = flow.has_lost || flow.is_mutual && !is_calm;
            assert!(may_move || flow.now() == *home, "{flow:?} has left {home:?}, which never failed it");
        }
    }
    let before: Vec<Option<usize>> = run.flows.iter().map(Flow::now).collect();
    for firewall in 0..run.bank.firewalls() {
        if !run.bank.lives(firewall) {
            run.bank.set_alive(firewall, true);
            run.bank.tell(0, firewall, true);
            run.bank.tell(1, firewall, true);
        }
    }
    run.agree();
    let Kind { returns, keeps, .. } = run.bank.kind;
    for ((flow, home), before) in run.flows.iter().zip(&homes).zip(&before) {
        if flow.is_mutual && !is_calm {
            continue;
        }
        match returns || keeps {
            true => assert_eq!(flow.now(), *home, "{flow:?} is not back"),
            false => assert_eq!(flow.now(), *before, "{flow:?} has moved though nothing failed"),
        }
    }
    let (drifted, invalid) = (run.bank.take_drifted(), run.bank.take_invalid());
    if is_calm {
        assert_eq!(drifted, 0, "flows drifted");
    }
    let has_moved = run.flows.iter().any(|flow| flow.has_lost);
    assert!(invalid == 0 || has_moved, "a firewall saw {invalid} packets that it knows nothing of");
    run.bank.forget();
}

/// The kinds of banks, and which part of the seeds each gets.
fn each_bank(part: usize, parts: usize) {
    let kinds: Vec<Kind> = Kind::all().collect();
    for (place, kind) in kinds.iter().enumerate().filter(|(place, _)| place % parts == part) {
        let mut bank = Bank::new(*kind);
        for seed in (place as u64..SEEDS).step_by(kinds.len()) {
            let _named = Named(*kind, seed);
            run(&mut bank, seed);
        }
    }
}

/// Says which seed it was, when it fails.
struct Named(Kind, u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{:?}, seed {}", self.0, self.1);
        }
    }
}

#[test]
fn both_directions_cross_the_same_firewall_first_part() {
    each_bank(0, 2);
}

#[test]
fn both_directions_cross_the_same_firewall_second_part() {
    each_bank(1, 2);
}
