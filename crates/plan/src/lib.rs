//! The frozen decisions workers read, and how they are published.
