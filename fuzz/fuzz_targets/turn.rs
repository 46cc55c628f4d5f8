//! See `sim::hostile::turn`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sim::hostile::turn(bytes));
