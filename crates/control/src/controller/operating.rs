//! What an operator asks for: show, explain, reload, servers in and out and how much each gets.

use super::publishing::Dirty;
use super::{Controller, Rings};
use crate::explain::{Question, Surroundings, explain};
use crate::members::{Member, Moment, ServerKey, Wish};
use crate::operator::{Action, RealServerFacts, Request, Response, What};
use config::Config;
use hashbrown::HashMap;
use mio::Token;
use rewrite::MemberId;
use serde_json::Value;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;
use tracing::{info, warn};

impl<R: Rings> Controller<R> {
    /// Takes an event of the operator socket, or does what is due there, and answers every whole request.
    pub(super) fn operate(&mut self, now: Instant, token: Option<Token>) {
        let Some(mut operator) = self.operator.take() else { return };
        let mut answer = |request| {
            let response = self.answer(now, request);
            // Answered only when it is in force: whoever has drained a server may count on it.
            self.bring_up_to_date(now);
            response
        };
        match token {
            Some(token) => operator.handle(now, token, &mut answer),
            None => operator.advance(now, &mut answer),
        }
        self.operator = Some(operator);
    }

    fn answer(&mut self, now: Instant, request: Request) -> Response {
        match request {
            Request::Ping {} => Response::Done("pong".into()),
            Request::Show { what: What::Sessions } => Response::Rows(Box::new(self.session_rows(now))),
            Request::Show { what: What::Sticky } => Response::Rows(self.sticky_rows(now)),
            Request::Show { what } => Response::Done(self.show(now, what)),
            Request::Explain { source, destination, protocol, port } => {
                let question = Question::new(&source, &destination, &protocol);
                match question.and_then(|question| self.explain(now, &question, port.as_deref())) {
                    Ok(account) => Response::Done(account),
                    Err(reason) => Response::wrong_input(reason),
                }
            }
            Request::Reload {} => match self.reload(now) {
                Ok(changes) => Response::Done(changes.into()),
                Err(reason) => Response::wrong_input(reason),
            },
            Request::Server { action, service, server } => self.wish(action, &service, &server),
            Request::Firewall { action, group, firewall } => self.wish_firewall(action, &group, &firewall),
            Request::Weight { service, server, weight } => self.weigh(weight, &service, &server),
            Request::RealServerFacts { service } => self.real_server_facts(&service),
        }
    }

    fn explain(&self, now: Instant, question: &Question, port: Option<&str>) -> Result<Value, String> {
        let members: HashMap<MemberId, &'static str> =
            self.members.all().map(|(_, member)| (member.id, member.shown().word())).collect();
        let around = Surroundings {
            plan: self.publisher.current(),
            shared: &self.shared,
            now_ns: now.duration_since(self.clock).as_nanos() as u64,
            state_of: &|member| members.get(&member).copied(),
        };
        explain(&around, question, port)
    }

    fn show(&self, now: Instant, what: What) -> Value {
        match what {
            What::Status => self.show_status(now),
            What::Services => self.show_services().into(),
            What::Servers => self.show_servers().into(),
            What::Sessions => self.session_rows(now).collect::<Vec<_>>().into(),
            What::Sticky => self.sticky_rows(now).collect::<Vec<_>>().into(),
            What::Ports => self.show_ports().into(),
            What::Workers => self.show_workers().into(),
            What::Drops => self.show_drops().into(),
            What::Neighbours => self.show_neighbours(now).into(),
            What::Bridge => self.show_bridge(now).into(),
            What::Firewalls => self.show_firewalls().into(),
            What::Latency => self.show_latency().into(),
        }
    }

    /// Reads the file again. All or nothing: a file with an error, or with a change that needs a restart, changes nothing.
    pub(super) fn reload(&mut self, now: Instant) -> Result<String, String> {
        let outcome = self.try_reload(now);
        match &outcome {
            Ok(changes) => {
                info!("reloaded {}: {changes}", self.config_path.display());
                self.reload_error = None;
            }
            Err(reason) => {
                warn!("reload refused, the old configuration stays in force:\n{reason}");
                self.reload_error = Some(reason.clone());
            }
        }
        outcome
    }

    fn try_reload(&mut self, now: Instant) -> Result<String, String> {
        let outcome = Config::load(&self.config_path);
        let mut diagnostics = outcome.diagnostics;
        if let Some(config) = &outcome.config {
            diagnostics.extend(self.rings.vet(config, &self.facts));
        }
        let errors: Vec<String> =
            diagnostics.iter().filter(|found| found.is_error()).map(config::Diagnostic::render).collect();
        let config = outcome.config.filter(|_| errors.is_empty()).ok_or_else(|| errors.join("\n\n"))?;
        let fixed = needs_restart(&self.config, &config);
        if !fixed.is_empty() {
            let keys = fixed.join(", ");
            return Err(format!(
                "{keys}: cannot change while the appliance runs; restart it, or put the old value back"
            ));
        }
        self.members.configure(&config, Moment::now()).map_err(|error| error.to_string())?;
        let changes = describe(&self.config, &config);
        self.config = config;
        self.config_loaded = now;
        self.watch(now);
        self.dirty = Dirty::all();
        // Answered only when it is in force.
        self.bring_up_to_date(now);
        self.clients_are_other = true;
        Ok(changes)
    }

    fn real_server_facts(&self, service: &str) -> Response {
        match RealServerFacts::of(&self.config, service).map(serde_json::to_value) {
            Ok(Ok(facts)) => Response::Done(facts),
            Ok(Err(error)) => Response::failed(error.to_string()),
            Err(reason) => Response::wrong_input(reason),
        }
    }

    fn wish(&mut self, action: Action, service: &str, server: &str) -> Response {
        let key = match named_server(&self.config, service, server) {
            Ok(key) => key,
            Err(reason) => return Response::wrong_input(reason),
        };
        let wish = wish(action);
        self.members.set_wish(&key, wish, Moment::now());
        self.dirty.members = true;
        info!("{service} server {server} is {} by the operator", wish.word());
        Response::Done(format!("{service} {server}: {}", wish.word()).into())
    }

    fn wish_firewall(&mut self, action: Action, group: &str, firewall: &str) -> Response {
        let key = match named_firewall(&self.config, group, firewall) {
            Ok(key) => key,
            Err(reason) => return Response::wrong_input(reason),
        };
        let wish = wish(action);
        self.members.set_wish(&key, wish, Moment::now());
        self.dirty.members = true;
        info!("{group} firewall {firewall} is {} by the operator", wish.word());
        Response::Done(format!("{group} {firewall}: {}", wish.word()).into())
    }

    fn weigh(&mut self, weight: Option<u16>, service: &str, server: &str) -> Response {
        let key = match named_server(&self.config, service, server) {
            Ok(key) => key,
            Err(reason) => return Response::wrong_input(reason),
        };
        self.members.set_weight(&key, weight, Moment::now());
        self.dirty.members = true;
        let configured = self.members.get(&key).and_then(Member::configured_weight).unwrap_or_default();
        let words = match weight {
            Some(weight) => format!("weight {weight}, whatever the file says (it says {configured})"),
            None => format!("weight {configured}, as the file says"),
        };
        info!("{service} server {server} has {words}, by the operator");
        Response::Done(format!("{service} {server}: {words}").into())
    }
}

fn wish(action: Action) -> Wish {
    match action {
        Action::Enable => Wish::Enabled,
        Action::Disable => Wish::Disabled,
        Action::Drain => Wish::Draining,
    }
}

/// The firewall that an operator means, or why there is none.
fn named_firewall(config: &Config, group: &str, firewall: &str) -> Result<ServerKey, String> {
    let Some(configured) = config.firewall_groups.iter().find(|other| other.name == group) else {
        let names: Vec<&str> = config.firewall_groups.iter().map(|group| group.name.as_str()).collect();
        return Err(match names[..] {
            [] => format!("there is no firewall group \"{group}\", nor any other"),
            _ => format!("there is no firewall group \"{group}\"; there are: {}", names.join(", ")),
        });
    };
    match configured.firewalls.iter().find(|other| other.name == firewall) {
        Some(firewall) => Ok(ServerKey::of_firewall(configured, firewall)),
        None => {
            let names: Vec<&str> = configured.firewalls.iter().map(|other| other.name.as_str()).collect();
            Err(format!("group {group} has no firewall \"{firewall}\"; it has: {}", names.join(", ")))
        }
    }
}

/// The server that an operator means, or why there is none.
fn named_server(config: &Config, service: &str, server: &str) -> Result<ServerKey, String> {
    let Some((address, port)) = parse_server(server) else {
        return Err(format!(
            "\"{server}\" is no server; write ADDRESS or ADDRESS:PORT, IPv6 as [ADDRESS]:PORT"
        ));
    };
    let Some(configured) = config.services.iter().find(|other| other.name == service) else {
        let names: Vec<&str> = config.services.iter().map(|service| service.name.as_str()).collect();
        return Err(format!("there is no service \"{service}\"; there are: {}", names.join(", ")));
    };
    let shown_port = |server: &config::Server| server.port.or(configured.ports.single());
    let found: Vec<&config::Server> = configured
        .servers
        .iter()
        .filter(|server| server.address == address && (port.is_none() || shown_port(server) == port))
        .collect();
    match found[..] {
        [server] => Ok(ServerKey::of(configured, server)),
        [] => Err(format!("service {service} has no server {server}")),
        _ => Err(format!("service {service} has several servers {address}; say which port")),
    }
}

/// Keys that differ and are fixed when the appliance starts.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let (before, after) = (&old.appliance, &new.appliance);
    let ports = |config: &Config| -> Vec<_> {
        let port = |port: &config::Port| {
            (port.name.clone(), port.interface.clone(), port.vlan, port.driver, port.addresses.clone())
        };
        config.ports.iter().map(port).collect()
    };
    let bridges = |config: &Config| -> Vec<_> {
        let bridge =
            |bridge: &config::Bridge| (bridge.name.clone(), bridge.ports.clone(), bridge.addresses.clone());
        config.bridges.iter().map(bridge).collect()
    };
    let differing = [
        ("appliance.workers", before.workers != after.workers),
        ("appliance.control_cpu", before.control_cpu != after.control_cpu),
        ("appliance.polling", before.polling != after.polling),
        ("appliance.session_capacity", before.session_capacity != after.session_capacity),
        ("appliance.session_capacity_ipv6", before.session_capacity_ipv6 != after.session_capacity_ipv6),
        ("appliance.persistence_capacity", before.persistence_capacity != after.persistence_capacity),
        ("appliance.socket", before.socket != after.socket),
        ("appliance.hash_key", before.hash_key != after.hash_key),
        ("appliance.state_directory", before.state_directory != after.state_directory),
        ("port", ports(old) != ports(new)),
        ("bridge", bridges(old) != bridges(new)),
    ];
    differing.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

/// What a reload changes, in a few words: "+1 service, -2 servers, ~1 firewall group".
fn describe(old: &Config, new: &Config) -> String {
    let services =
        |config: &Config| config.services.iter().map(|one| (one.name.clone(), one.clone())).collect();
    let servers = |config: &Config| {
        let of = |service: &config::Service| {
            let name = service.name.clone();
            service
                .servers
                .clone()
                .into_iter()
                .map(move |server| ((name.clone(), server.address, server.port), ()))
        };
        config.services.iter().flat_map(of).collect()
    };
    let groups =
        |config: &Config| config.firewall_groups.iter().map(|one| (one.name.clone(), one.clone())).collect();
    let firewalls = |config: &Config| {
        let of = |group: &config::FirewallGroup| {
            let name = group.name.clone();
            group.firewalls.clone().into_iter().map(move |one| ((name.clone(), one.name, one.address), ()))
        };
        config.firewall_groups.iter().flat_map(of).collect()
    };
    let words: Vec<String> = [
        differences(&services(old), &services(new), "service"),
        differences(&servers(old), &servers(new), "server"),
        differences(&groups(old), &groups(new), "firewall group"),
        differences(&firewalls(old), &firewalls(new), "firewall"),
    ]
    .concat();
    if words.is_empty() { "nothing changed".to_owned() } else { words.join(", ") }
}

/// How many are new, gone and other than before, in words; none that would be 0.
fn differences<K: Hash + Eq, V: PartialEq>(
    before: &HashMap<K, V>,
    after: &HashMap<K, V>,
    what: &str,
) -> Vec<String> {
    let is_other = |(key, now): &(&K, &V)| before.get(*key).is_some_and(|then| then != *now);
    let counts = [
        ("+", after.keys().filter(|key| !before.contains_key(*key)).count()),
        ("-", before.keys().filter(|key| !after.contains_key(*key)).count()),
        ("~", after.iter().filter(is_other).count()),
    ];
    let counts = counts.into_iter().filter(|(_, count)| *count > 0);
    counts.map(|(sign, count)| format!("{sign}{count} {what}{}", if count == 1 { "" } else { "s" })).collect()
}

fn parse_server(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(endpoint) = text.parse::<SocketAddr>() {
        return Some((endpoint.ip(), Some(endpoint.port())));
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    Some((bare.parse().ok()?, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{firewall, group};

    fn config(extra: &str) -> Config {
        let text = format!("{extra}\n[[port]]\nname = \"a\"\ninterface = \"eth1\"\n");
        let outcome = config::parse(&text, "test.toml");
        outcome.config.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics))
    }

    fn service(name: &str, last: u8, servers: &[u8]) -> String {
        let head = format!(
            "[[service]]\nname = \"{name}\"\naddress = \"198.18.0.{last}\"\nport = 80\nmode = \"routed\"\n"
        );
        let servers =
            servers.iter().map(|server| format!("[[service.server]]\naddress = \"198.18.1.{server}\"\n"));
        head + &servers.collect::<String>()
    }

    #[test]
    fn servers_are_named_with_and_without_port_in_both_families() {
        assert_eq!(parse_server("198.18.1.1"), Some(([198, 18, 1, 1].into(), None)));
        assert_eq!(parse_server("198.18.1.1:80"), Some(([198, 18, 1, 1].into(), Some(80))));
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(parse_server("[2001:db8::1]:80"), Some((v6, Some(80))));
        assert_eq!(parse_server("[2001:db8::1]"), Some((v6, None)));
        assert_eq!(parse_server("2001:db8::1"), Some((v6, None)));
        assert_eq!(parse_server("web1"), None);
    }

    #[test]
    fn what_needs_a_restart_is_named() {
        let old = config("");
        assert!(needs_restart(&old, &old.clone()).is_empty());
        let new = config("[appliance]\nsession_capacity = 2000\npolling = \"busy\"\n");
        let keys = needs_restart(&old, &new);
        assert!(
            keys.contains(&"appliance.session_capacity") && keys.contains(&"appliance.polling"),
            "{keys:?}"
        );
    }

    #[test]
    fn a_reload_is_described_by_what_it_changes() {
        let old = config(&(service("web", 10, &[1, 2]) + &service("dns", 11, &[1])));
        let new = config(&(service("web", 10, &[2, 3]) + &service("ftp", 12, &[1])));
        assert_eq!(describe(&old, &new), "+1 service, -1 service, ~1 service, +2 servers, -2 servers");
        assert_eq!(describe(&old, &old.clone()), "nothing changed");
    }

    fn fenced(groups: &[(&str, &[(&str, u8)])]) -> Config {
        let of = |(name, firewalls): &(&str, &[(&str, u8)])| {
            group(name, 0, firewalls.iter().map(|(name, last)| firewall(name, *last)).collect())
        };
        Config { firewall_groups: groups.iter().map(of).collect(), ..config("") }
    }

    #[test]
    fn a_firewall_is_named_by_group_and_name_and_who_errs_is_told_what_there_is() {
        let config = fenced(&[("in", &[("fw1", 1), ("fw2", 2)]), ("out", &[("fw1", 11)])]);
        let key = named_firewall(&config, "out", "fw1").unwrap();
        assert_eq!((key.service.as_str(), key.address), ("out", IpAddr::from([198, 18, 1, 11])));
        assert_eq!(
            named_firewall(&config, "in", "fw3").unwrap_err(),
            "group in has no firewall \"fw3\"; it has: fw1, fw2"
        );
        assert_eq!(
            named_firewall(&config, "dmz", "fw1").unwrap_err(),
            "there is no firewall group \"dmz\"; there are: in, out"
        );
        let none = named_firewall(&fenced(&[]), "in", "fw1").unwrap_err();
        assert_eq!(none, "there is no firewall group \"in\", nor any other");
    }

    #[test]
    fn a_reload_of_firewalls_is_described_too() {
        let old = fenced(&[("in", &[("fw1", 1), ("fw2", 2)]), ("out", &[("fw1", 11)])]);
        let new = fenced(&[("in", &[("fw1", 1), ("fw3", 3)]), ("dmz", &[("fw1", 21)])]);
        assert_eq!(
            describe(&old, &new),
            "+1 firewall group, -1 firewall group, ~1 firewall group, +2 firewalls, -2 firewalls"
        );
    }
}
