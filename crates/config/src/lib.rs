//! The configuration file as types; every refusal names file, line and column.
