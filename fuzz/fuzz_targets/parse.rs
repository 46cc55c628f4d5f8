//! See `sim::hostile::parse`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sim::hostile::parse(bytes));
