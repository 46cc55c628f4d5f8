//! What a DSR service asks of its servers.

use std::net::IpAddr;

use config::{Config, Encapsulation, Mode, Protocol, Service};
use serde::{Deserialize, Serialize};

/// What the set-up of a DSR service's real servers depends on: the answer to
/// [`Request::RealServerFacts`](super::Request::RealServerFacts).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RealServerFacts {
    /// The service's name, as the file has it: any text of one line.
    pub service: String,
    /// The VIP, which the servers hold.
    pub address: IpAddr,
    /// One of the DSR modes.
    pub mode: Mode,
    /// How requests arrive; `Some` exactly for [`Mode::L3Dsr`].
    pub encapsulation: Option<Encapsulation>,
    /// From where wrapped requests come; `Some` exactly where they are wrapped.
    pub encapsulation_source: Option<IpAddr>,
    /// UDP port that servers unwrap on; has no meaning but for [`Encapsulation::Gue`].
    pub gue_port: u16,
    /// What clients speak.
    pub protocol: Protocol,
    /// Which ports clients call: "80", "8000-8099" or "any".
    pub port: String,
    /// The servers, in the order of the file.
    pub servers: Vec<RealServer>,
}

/// One server of [`RealServerFacts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RealServer {
    /// Its own address.
    pub address: IpAddr,
    /// What tells it the VIP; `Some` exactly for [`Encapsulation::Dscp`].
    pub dscp: Option<u8>,
}

impl RealServerFacts {
    /// The facts of the service called `name`, or why there are none: the input is wrong. Any thread.
    pub fn of(config: &Config, name: &str) -> Result<Self, String> {
        let service = find(config, name)?;
        if !service.mode.is_dsr() {
            return Err(format!(
                "service {name:?} is of mode \"{}\": its servers need no set-up, since only in the modes \"l2-dsr\" \
                 and \"l3-dsr\" they answer with the VIP's address themselves",
                service.mode
            ));
        }
        let server = |server: &config::Server| RealServer { address: server.address, dscp: server.dscp };
        Ok(Self {
            service: service.name.clone(),
            address: service.address,
            mode: service.mode,
            encapsulation: service.encapsulation,
            encapsulation_source: service.encapsulation_source,
            gue_port: service.gue_port,
            protocol: service.protocol,
            port: service.ports.to_string(),
            servers: service.servers.iter().map(server).collect(),
        })
    }
}

fn find<'a>(config: &'a Config, name: &str) -> Result<&'a Service, String> {
    config.services.iter().find(|service| service.name == name).ok_or_else(|| {
        let names: Vec<&str> = config.services.iter().map(|service| service.name.as_str()).collect();
        format!("there is no service \"{name}\"; there are: {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
        [[port]]\nname = \"a\"\ninterface = \"eth1\"\n\
        [[service]]\nname = \"web\"\naddress = \"198.18.0.10\"\nport = \"8000-8099\"\nmode = \"l3-dsr\"\n\
        encapsulation = \"dscp\"\n[[service.server]]\naddress = \"198.19.0.11\"\ndscp = 7\n\
        [[service]]\nname = \"plain\"\naddress = \"198.18.0.20\"\nmode = \"routed\"\n\
        [[service.server]]\naddress = \"198.18.1.11\"\n";

    #[test]
    fn facts_cross_the_socket_unchanged_and_only_of_dsr_services() {
        let config = config::parse(FILE, "test.toml").config.unwrap();
        let facts = RealServerFacts::of(&config, "web").unwrap();
        let json = serde_json::json!({
            "service": "web", "address": "198.18.0.10", "mode": "l3-dsr", "encapsulation": "dscp",
            "encapsulation_source": null, "gue_port": 6080, "protocol": "tcp", "port": "8000-8099",
            "servers": [{ "address": "198.19.0.11", "dscp": 7 }],
        });
        assert_eq!(serde_json::to_value(&facts).unwrap(), json);
        assert_eq!(serde_json::from_value::<RealServerFacts>(json).unwrap(), facts);
        let refused = |name: &str| RealServerFacts::of(&config, name).unwrap_err();
        assert!(refused("plain").contains("mode \"routed\""));
        assert_eq!(refused("mail"), "there is no service \"mail\"; there are: web, plain");
    }
}
