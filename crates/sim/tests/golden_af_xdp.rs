//! Every golden script that needs no time of its own, over AF_XDP rings in network namespaces.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod rings_bench;
mod scripts;

use rings::steering::{Attach, Driver};

#[test]
fn the_scripts_hold_in_the_driver() {
    rings_bench::run_all("golden-xdp-native", scripts::scripts(), Driver::AfXdp, Attach::Native);
}

#[test]
fn the_scripts_hold_in_the_kernels_emulation() {
    rings_bench::run_all("golden-xdp-generic", scripts::scripts(), Driver::AfXdp, Attach::Generic);
}
