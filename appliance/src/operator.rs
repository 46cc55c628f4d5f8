//! Commands to a running appliance, through its control socket.
//!
//! Results go to standard output, refusals to standard error. Exit status: 0 done, 1 failed (no appliance, or
//! it could not), 2 wrong input.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use control::explain::Question;
use control::operator::{self, Request, ask};
use serde_json::Value;

use crate::arguments::{Action, Destination, FirewallAction, ServerAddress, ServerWeight, What};
use crate::{FAILED, WRONG_INPUT, explain, show};

/// `jeoul reload`.
pub(crate) fn reload(socket: &Path) -> ExitCode {
    finish(socket, &Request::Reload {}, |changes| format!("In force: {}.\n", show::plain(changes)))
}

/// `jeoul show`.
pub(crate) fn show(socket: &Path, what: What, sticky: bool, json: bool) -> ExitCode {
    if sticky && what != What::Sessions {
        eprintln!("jeoul: `--sticky` goes with `show sessions` alone");
        return ExitCode::from(WRONG_INPUT);
    }
    if sticky {
        let request = Request::Show { what: operator::What::Sticky };
        return finish(socket, &request, |result| match json {
            true => format!("{result:#}\n"),
            false => show::render_sticky(result),
        });
    }
    finish(socket, &Request::Show { what: asked(what) }, |result| match json {
        true => format!("{result:#}\n"),
        false => show::render(what, result),
    })
}

/// `jeoul explain`.
pub(crate) fn explain(
    socket: &Path,
    (source, destination): (&str, &Destination),
    port: Option<String>,
    json: bool,
) -> ExitCode {
    let Destination { end, protocol } = destination;
    // Refused here as the appliance would refuse it, whether one runs or not.
    if let Err(reason) = Question::new(source, end, protocol) {
        eprintln!("jeoul: {reason}");
        return ExitCode::from(WRONG_INPUT);
    }
    let request = Request::Explain {
        source: source.to_owned(),
        destination: end.clone(),
        protocol: protocol.clone(),
        port,
    };
    finish(socket, &request, |account| match json {
        true => format!("{account:#}\n"),
        false => explain::render(account),
    })
}

/// `jeoul server`.
pub(crate) fn server(
    socket: &Path,
    order: (Action, Option<ServerWeight>),
    service: &str,
    server: ServerAddress,
) -> ExitCode {
    let (service, server) = (service.to_owned(), server.to_string());
    let request = match order {
        (Action::Enable, None) => Request::Server { action: operator::Action::Enable, service, server },
        (Action::Disable, None) => Request::Server { action: operator::Action::Disable, service, server },
        (Action::Drain, None) => Request::Server { action: operator::Action::Drain, service, server },
        (Action::Weight, Some(ServerWeight::Number(number))) => {
            Request::Weight { service, server, weight: Some(number) }
        }
        (Action::Weight, Some(ServerWeight::File)) => Request::Weight { service, server, weight: None },
        (Action::Weight, None) | (_, Some(_)) => {
            eprintln!("jeoul: a weight goes with `server weight`, and with no other");
            return ExitCode::from(WRONG_INPUT);
        }
    };
    finish(socket, &request, |done| format!("{}.\n", show::plain(done)))
}

/// `jeoul firewall`.
pub(crate) fn firewall(socket: &Path, action: FirewallAction, group: String, firewall: String) -> ExitCode {
    let action = match action {
        FirewallAction::Enable => operator::Action::Enable,
        FirewallAction::Disable => operator::Action::Disable,
        FirewallAction::Drain => operator::Action::Drain,
    };
    let request = Request::Firewall { action, group, firewall };
    finish(socket, &request, |done| format!("{}.\n", show::plain(done)))
}

fn asked(what: What) -> operator::What {
    match what {
        What::Status => operator::What::Status,
        What::Services => operator::What::Services,
        What::Servers => operator::What::Servers,
        What::Sessions => operator::What::Sessions,
        What::Ports => operator::What::Ports,
        What::Workers => operator::What::Workers,
        What::Drops => operator::What::Drops,
        What::Neighbours => operator::What::Neighbours,
        What::Latency => operator::What::Latency,
        What::Bridge => operator::What::Bridge,
        What::Firewalls => operator::What::Firewalls,
    }
}

/// Asks, prints what came of it and gives the exit status.
fn finish(socket: &Path, request: &Request, text: impl FnOnce(&Value) -> String) -> ExitCode {
    match ask(socket, request) {
        // A reader that has gone away (`| head`) is no failure of the appliance.
        Ok(result) => match std::io::stdout().write_all(text(&result).as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(FAILED),
        },
        Err(error) => {
            eprintln!("jeoul: {error}");
            ExitCode::from(error.exit())
        }
    }
}
