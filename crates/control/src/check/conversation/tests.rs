//! Literal conversations.
