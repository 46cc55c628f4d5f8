//! A deterministic world around the engine: real workers, real plans, no clock, no kernel, no thread.
//!
//! - [`frame`]: frames as lines of text, both ways.
//! - [`Manager`]: what the control thread does to its workers, done when a test says so.
//! - [`World`]: workers over ports of memory, turned by hand; time is a number. It checks the books after every turn.
//! - [`golden`]: scripts of frames in and frames expected, run over any [`golden::Bench`]: memory, or rings in namespaces.
//! - [`hostile`]: what any input must leave true; the bodies of the fuzz targets.
//! - [`Random`]: the only source of chance; the same seed gives the same world.
//!
//! For tests, fuzz targets and benches; any one thread. It refuses texts that it does not understand by saying where.
#![forbid(unsafe_code)]

mod facts;
pub mod frame;
pub mod golden;
pub mod hostile;
mod manager;
mod random;
mod world;

pub use facts::apply as apply_fact;
pub use manager::{Manager, Sizes};
pub use random::Random;
pub use world::World;
