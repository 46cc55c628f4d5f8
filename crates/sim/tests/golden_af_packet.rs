//! Every golden script that needs no time of its own, over AF_PACKET rings in network namespaces.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod rings_bench;
mod scripts;

use rings::steering::{Attach, Driver};

#[test]
fn the_scripts_hold_with_tcx() {
    rings_bench::run_all("golden-packet-tcx", scripts::scripts(), Driver::AfPacket, Attach::Auto);
}

#[test]
fn the_scripts_hold_with_nftables() {
    rings_bench::run_all("golden-packet-nftables", scripts::scripts(), Driver::AfPacket, Attach::Nftables);
}
