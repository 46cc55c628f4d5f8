//! See `sim::hostile::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sim::hostile::config(bytes));
