//! `jeoul explain`: what becomes of a packet, and why.
//!
//! Nothing is guessed: the packet is drawn as it would come in, and a worker beside the live ones takes it
//! ([`engine::Rehearsal`]), over a copy of the plan and of what the tables know. What comes out is compared with what went
//! in, and the reasons are read off the same plan by the same functions. Then the answer is drawn, and takes the way back.
//! A session that the live table has already is copied first, so that its packets are explained by it.
//!
//! For the control thread. Nothing live is written: no session, no counter, no scheduler, no question to the network.

mod account;
mod entrance;
mod firewalls;
mod picture;
mod question;
mod recall;
mod scene;
mod words;

pub use question::{Protocol, Question};

use engine::Shared;
use flow::{V4, V6};
use plan::Plan;
use rewrite::MemberId;
use scene::Scene;
use serde_json::Value;

/// What the answer is read off.
pub struct Surroundings<'a> {
    /// The plan in force.
    pub plan: &'a Plan,
    /// What the workers share. It is read only.
    pub shared: &'a Shared,
    /// The workers' clock, in nanoseconds.
    pub now_ns: u64,
    /// The word for how a member fares, where more is known than the plan says.
    pub state_of: &'a dyn Fn(MemberId) -> Option<&'static str>,
}

/// What becomes of the packet that `question` asks about, coming in by the port of that name, or by the way back to its
/// source when there is none. An error says what is wrong with the question.
pub fn explain(around: &Surroundings<'_>, question: &Question, port: Option<&str>) -> Result<Value, String> {
    if question.source.is_ipv4() {
        Scene::<V4, 2, 3, 1>::new(around, *question, port)?.explain()
    } else {
        Scene::<V6, 5, 8, 2>::new(around, *question, port)?.explain()
    }
}
