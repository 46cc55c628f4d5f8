//! The worker's turn.
