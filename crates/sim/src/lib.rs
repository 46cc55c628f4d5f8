//! A deterministic, seeded world around the engine.
