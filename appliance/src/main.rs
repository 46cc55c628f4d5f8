//! The appliance binary: run it, check its file, ask and steer a running one, build a lab, measure.
//!
//! `run` is the appliance; every other command is a short-lived program beside it. Exit status: 0 done, 1
//! failed, 2 wrong input.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use arguments::{Arguments, Command, Fwlb};
use clap::Parser;

mod arguments;
mod bench;
mod check;
mod explain;
mod fwlb_verify;
mod labs;
mod logging;
mod machine;
mod operator;
mod real_server;
mod run;
mod show;
mod table;
mod units;

/// The command was understood and did not succeed.
const FAILED: u8 = 1;

/// What was given cannot be used: the command line, the file, or a service or server that does not exist.
const WRONG_INPUT: u8 = 2;

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { config, log_level } => {
            logging::start(log_level);
            run::run(&config)
        }
        Command::Check { file, offline, strict } => check::check(&file, offline, strict),
        Command::Reload { at } => operator::reload(&at.socket),
        Command::Show { what, sticky, json, at } => operator::show(&at.socket, what, sticky, json),
        Command::Explain { source, destination, port, json, at } => {
            operator::explain(&at.socket, (&source, &destination), port, json)
        }
        Command::Server { action, service, server, weight, at } => {
            operator::server(&at.socket, (action, weight), &service, server)
        }
        Command::Firewall { action, group, firewall, at } => {
            operator::firewall(&at.socket, action, group, firewall)
        }
        Command::RealServer { service, os, interface, loopback, undo, config, at } => {
            let (interface, loopback) = (interface.as_deref(), loopback.as_deref());
            let wanted = real_server::Wanted { service: &service, os, interface, loopback, undo };
            real_server::print(&wanted, config.as_deref(), &at.socket)
        }
        Command::Fwlb(Fwlb::Verify { outer, inner, flows, seed, json }) => {
            fwlb_verify::verify(&outer, &inner, (flows, seed), json)
        }
        Command::Lab(lab) => labs::run(lab),
        Command::Bench(wish) => bench::run(wish),
    }
}
