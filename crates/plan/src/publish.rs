//! How a new plan reaches the workers, and how an old one dies.
//!
//! ```text
//!   publisher.retired          tail
//!     │      │                  │
//!     ▼      ▼                  ▼
//!   plan 7 ─next▶ plan 8 ─next▶ plan 9 ─next▶ (empty)
//!     ▲             ▲
//!   worker 0     worker 1          each holds the plan that it works by
//! ```
//!
//! Published plans form a chain. A worker holds the link that it works by; at the start of a turn it asks whether that
//! link has a successor, one acquiring load of a line that changes only at a publication, and follows it. Nobody locks.
//!
//! Who drops what: the publisher keeps every plan until it alone holds it, and frees from the oldest on, so a worker's
//! release is never the last one and a plan always dies on the control thread. The order is load-bearing: a newer plan is
//! held by its elder's `next`, so it can never look unused while a worker could still walk to it.

use crate::sync::{Arc, Once};
use std::collections::VecDeque;
use std::ops::Deref;

#[derive(Debug)]
struct Node<T> {
    value: T,
    next: Once<Arc<Node<T>>>,
}

/// The control thread's end.
#[derive(Debug)]
pub struct Publisher<T> {
    retired: VecDeque<Arc<Node<T>>>,
    tail: Arc<Node<T>>,
}

/// A worker's end. Dereferences to the value that the worker works by.
#[derive(Debug)]
pub struct Subscriber<T> {
    node: Arc<Node<T>>,
}

impl<T> Publisher<T> {
    /// Publishes the first value.
    pub fn new(value: T) -> Self {
        Self { retired: VecDeque::new(), tail: Arc::new(Node { value, next: Once::new() }) }
    }

    /// A new reader, which begins with the value in force.
    pub fn subscribe(&self) -> Subscriber<T> {
        Subscriber { node: self.tail.clone() }
    }

    /// The value in force.
    pub fn current(&self) -> &T {
        &self.tail.value
    }

    /// Publishes `value`; readers see it at their next refresh. Frees what nobody reads any more.
    pub fn publish(&mut self, value: T) {
        let node = Arc::new(Node { value, next: Once::new() });
        // Only the publisher sets a successor, and only the tail's, which has none: this cannot be refused.
        let _first = self.tail.next.set(node.clone());
        self.retired.push_back(std::mem::replace(&mut self.tail, node));
        self.collect();
    }

    /// Frees old values that no reader holds; gives back how many are still held.
    pub fn collect(&mut self) -> usize {
        while self.retired.front().is_some_and(|oldest| Arc::strong_count(oldest) == 1) {
            self.retired.pop_front();
        }
        self.retired.len()
    }
}

impl<T> Subscriber<T> {
    /// Moves on to the newest value; true when there was a newer one. Call it only between turns.
    #[inline]
    pub fn refresh(&mut self) -> bool {
        let mut moved = false;
        while let Some(next) = self.node.next.get() {
            self.node = next;
            moved = true;
        }
        moved
    }
}

impl<T> Deref for Subscriber<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.node.value
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc as Shared;

    #[test]
    fn a_reader_sees_the_newest_value_and_no_other() {
        let mut publisher = Publisher::new(1);
        let mut subscriber = publisher.subscribe();
        assert!(!subscriber.refresh());
        publisher.publish(2);
        publisher.publish(3);
        assert_eq!(*subscriber, 1);
        assert!(subscriber.refresh());
        assert_eq!(*subscriber, 3);
        assert_eq!(*publisher.subscribe(), 3);
    }

    #[test]
    fn an_old_value_dies_by_the_publisher_once_nobody_reads_it() {
        let (first, second) = (Shared::new(()), Shared::new(()));
        let mut publisher = Publisher::new(first.clone());
        let mut subscriber = publisher.subscribe();
        publisher.publish(second.clone());
        assert_eq!(publisher.collect(), 1);
        assert_eq!(Shared::strong_count(&first), 2, "the reader still works by it");
        subscriber.refresh();
        assert_eq!(Shared::strong_count(&first), 2, "a reader never frees");
        assert_eq!(publisher.collect(), 0);
        assert_eq!(Shared::strong_count(&first), 1);
    }
}
