//! A client, the appliance and three servers: shares, a reload, a death and a return.

mod captures;
mod death;
mod kernel;
mod reload;

use lab::topology::slb_routed::{
    CLIENT_V4, CLIENT_V6, HOLD_PORT, HTTP_PORT, Service, SlbRouted, UDP_PORT, VIP_V4, VIP_V6, slb_routed,
};
use lab::{Load, NginxServer, TcpHold, Testbed, UdpEcho, ask_udp, run_requests};

use super::appliance::{Running, keep_routed};
use super::report::Report;
use super::shares::{self, Run};
use super::{Stopped, Wish};
use captures::Wire;
use kernel::Kernel;

/// Questions to the UDP service.
const UDP_QUESTIONS: usize = 100;

const PICTURE: &str = "\
client ──────────── outside  appliance  inside ──── switch ─┬─ server1  198.18.1.11  2001:db8:1::11
198.18.0.50         VIP 198.18.0.10  198.18.1.1             ├─ server2  198.18.1.12  2001:db8:1::12
2001:db8::50        VIP 2001:db8::10                        └─ server3  198.18.1.13  2001:db8:1::13
";

/// The servers' programs. Every server has all three.
struct Peers {
    web: Vec<NginxServer>,
    hold: Vec<TcpHold>,
    _echo: Vec<UdpEcho>,
}

/// Runs the lab.
pub(super) fn run(testbed: Testbed, wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    report.section("A client, the appliance and three servers");
    report.quote(PICTURE);
    let lab = slb_routed(&testbed)?;
    let mut peers = Peers::start(&lab)?;
    let kernel = Kernel::watch(&lab.outside, &lab.inside)?;
    let running = Running::start_routed(&lab, &services(&lab), wish, report)?;
    let seen = watch(&lab, &mut peers, &running, kernel, wish, report);
    if seen.is_err() || !report.is_good() {
        running.quote_last_words(report);
    }
    if wish.keep {
        keep_routed(testbed, &lab, &running, seen, report);
    }
    seen?;
    running.stop(report)
}

fn watch(
    lab: &SlbRouted,
    peers: &mut Peers,
    running: &Running,
    kernel: Kernel,
    wish: Wish,
    report: &mut Report,
) -> Result<(), Stopped> {
    report.section(format!("{} requests over IPv4 and over IPv6, {UDP_QUESTIONS} over UDP", wish.requests));
    let wire = Wire::watch(lab)?;
    ask(lab, wish, report)?;
    wire.judge(report)?;
    reload::under_open_connections(lab, running, report)?;
    death::of_a_server(lab, peers, running, wish, report)?;

    report.section("What the appliance has counted");
    for what in ["status", "services", "drops"] {
        running.quote(what, report)?;
    }
    kernel.judge(report)
}

impl Peers {
    fn start(lab: &SlbRouted) -> Result<Self, Stopped> {
        let mut peers = Self { web: Vec::new(), hold: Vec::new(), _echo: Vec::new() };
        for server in &lab.servers {
            let (namespace, name) = (server.namespace(), &server.name);
            peers.web.push(NginxServer::start(namespace, name, &[HTTP_PORT])?);
            peers.hold.push(TcpHold::start(namespace, name, HOLD_PORT)?);
            peers._echo.push(UdpEcho::start(namespace, name, UDP_PORT)?);
        }
        Ok(peers)
    }
}

/// The standard services, all checked at the web server's port: when it dies, what ends the server's other
/// connections is the appliance alone, for the process that holds them lives.
fn services(lab: &SlbRouted) -> Vec<Service> {
    let services = lab.standard_services().into_iter();
    services.map(|service| Service { check_port: Some(HTTP_PORT), ..service }).collect()
}

/// Puts the load on every service and tells who answered.
fn ask(lab: &SlbRouted, wish: Wish, report: &mut Report) -> Result<(), Stopped> {
    let client = lab.client.namespace();
    let load = |count| Load { count, ..Load::default() };
    let run = |service: &str, sees, seen| Run { service: service.into(), servers_see: sees, seen };
    let http = |vip| run_requests(client, (vip, HTTP_PORT).into(), load(wish.requests));
    let runs = [
        run("http-v4", CLIENT_V4, http(VIP_V4)?),
        run("http-v6", CLIENT_V6, http(VIP_V6)?),
        run("udp-v4", CLIENT_V4, ask_udp(client, (VIP_V4, UDP_PORT).into(), load(UDP_QUESTIONS))?),
    ];
    let servers: Vec<&str> = lab.servers.iter().map(|server| server.name.as_str()).collect();
    shares::judge(&runs, &servers, "the client's own address", report);
    Ok(())
}
