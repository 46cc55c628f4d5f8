//! The lock-free session table and its ageing.
