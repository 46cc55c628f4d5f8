//! Scripts over ports of memory.

use super::Bench;
use crate::manager::Manager;
use crate::world::World;
use std::time::Duration;

/// Buffers of each worker: more than any script has frames.
const BUFFERS: usize = 256;

/// Longer than the workers take to walk over their tables.
const AGE_WALK: Duration = Duration::from_secs(3);

/// How long an idle worker sleeps here.
const STEP: Duration = Duration::from_millis(100);

/// Frames go to one worker after the other: where a frame lands is a matter of speed, never of correctness.
///
/// The world's books are checked whenever it has come to rest.
pub struct MemoryBench {
    world: World,
    next_worker: usize,
}

impl MemoryBench {
    /// So many workers over ports of memory, under `manager`.
    pub fn new(manager: Manager, workers: usize) -> Self {
        Self { world: World::new(manager, workers, BUFFERS), next_worker: 0 }
    }

    /// The world, when the script is over.
    pub fn world(&mut self) -> &mut World {
        &mut self.world
    }
}

impl Bench for MemoryBench {
    fn manager(&mut self) -> &mut Manager {
        &mut self.world.manager
    }

    fn send(&mut self, port: usize, frame: &[u8]) {
        let Self { world, next_worker } = self;
        assert!(world.push(*next_worker % world.workers(), port, frame), "the port has no room");
        *next_worker += 1;
        // Frames of one burst on several workers would come out in any order.
        if world.workers() > 1 {
            world.settle();
        }
    }

    fn settle(&mut self) {
        self.world.settle();
        self.world.check_books().unwrap_or_else(|wrong| panic!("the books are wrong: {wrong}"));
    }

    fn receive(&mut self, port: usize) -> Option<Vec<u8>> {
        self.world.take(port)
    }

    fn pass(&mut self, time: Duration) -> bool {
        // One leap, and then the pace at which an idle worker looks after its tables: they are walked within two seconds.
        let walk = time.min(AGE_WALK);
        self.world.pass(time - walk);
        let mut left = walk;
        while !left.is_zero() {
            let step = left.min(STEP);
            left -= step;
            self.world.turn();
            self.world.pass(step);
        }
        true
    }
}
