//! The one place that atomics come from, so that loom can stand in for them.

#[cfg(loom)]
pub(crate) use loom::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A cell that is set once and read by clone.
#[derive(Debug)]
#[cfg(not(loom))]
pub(crate) struct Once<T>(std::sync::OnceLock<T>);

#[cfg(not(loom))]
impl<T: Clone> Once<T> {
    pub(crate) fn new() -> Self {
        Self(std::sync::OnceLock::new())
    }

    pub(crate) fn set(&self, value: T) -> bool {
        self.0.set(value).is_ok()
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<T> {
        self.0.get().cloned()
    }
}

/// The same cell as loom can follow it: it has no `OnceLock` of its own.
#[derive(Debug)]
#[cfg(loom)]
pub(crate) struct Once<T> {
    full: loom::sync::atomic::AtomicBool,
    value: loom::sync::Mutex<Option<T>>,
}

#[cfg(loom)]
impl<T: Clone> Once<T> {
    pub(crate) fn new() -> Self {
        Self { full: loom::sync::atomic::AtomicBool::new(false), value: loom::sync::Mutex::new(None) }
    }

    pub(crate) fn set(&self, value: T) -> bool {
        let mut cell = self.value.lock().unwrap();
        if cell.is_some() {
            return false;
        }
        *cell = Some(value);
        self.full.store(true, Ordering::Release);
        true
    }

    pub(crate) fn get(&self) -> Option<T> {
        if !self.full.load(Ordering::Acquire) {
            return None;
        }
        self.value.lock().unwrap().clone()
    }
}
