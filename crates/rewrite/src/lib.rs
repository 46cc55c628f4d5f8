//! Translations: compile a mode into one, apply it.
