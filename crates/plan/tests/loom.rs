//! Publishing under every interleaving that loom can find.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p plan --test loom --release`.
#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use plan::Publisher;

/// A plan that counts, per thread, who freed it.
struct Tracked {
    value: usize,
    dropped_by_publisher: Arc<AtomicUsize>,
}

loom::thread_local! {
    static IS_WORKER: std::cell::Cell<bool> = std::cell::Cell::new(false);
}

impl Drop for Tracked {
    fn drop(&mut self) {
        IS_WORKER.with(|worker| assert!(!worker.get(), "plan {} was freed by a worker", self.value));
        self.dropped_by_publisher.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_worker_sees_whole_plans_in_order_and_frees_none() {
    loom::model(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let tracked = |value| Tracked { value, dropped_by_publisher: dropped.clone() };
        let mut publisher = Publisher::new(tracked(1));
        let mut subscriber = publisher.subscribe();
        let worker = loom::thread::spawn(move || {
            IS_WORKER.with(|worker| worker.set(true));
            let mut last = subscriber.value;
            for _ in 0..2 {
                subscriber.refresh();
                assert!(subscriber.value >= last);
                last = subscriber.value;
            }
            subscriber
        });
        publisher.publish(tracked(2));
        publisher.publish(tracked(3));
        let mut subscriber = worker.join().unwrap();
        subscriber.refresh();
        assert_eq!(subscriber.value, 3);
        assert_eq!(publisher.collect(), 0);
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    });
}
