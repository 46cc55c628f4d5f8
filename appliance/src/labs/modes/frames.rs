//! One request and its reply, as they were on every wire that they crossed, beside what a drawing says.
//!
//! The frames of a drawing are lines such as `arm out: SYN appliance > server, client > vip, ttl 63`: where it
//! was seen, what it is, from and to which station, from and to which address. Ports are the same whichever
//! server it is, so they are left to the table.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use lab::topology::{HTTP_PORT, Host, Router, Site};
use lab::{
    AddressRow, Answer, Capture, Direction, Endpoint, Failure, Mac, Packet, address_rows, address_table,
    http_get,
};
use wire::tcp::TcpFlags;

use super::super::Stopped;
use super::super::report::Report;
use super::appliance_macs;

/// Who calls, and the names of all that it may meet.
pub(in super::super) struct Caller<'a> {
    site: &'a Site,
    client: &'a Host,
    macs: Vec<(&'a str, Mac)>,
    addresses: Vec<(IpAddr, &'a str)>,
}

/// What the appliance rewrites, in words; of a reply none where it does not cross the appliance.
pub(in super::super) struct Rewrites<'a> {
    pub request: &'a str,
    pub reply: Option<&'a str>,
}

impl<'a> Caller<'a> {
    /// `client` is the site's own, or another host of it.
    pub(in super::super) fn of(
        site: &'a Site,
        client: &'a Host,
        router: Option<&'a Router>,
        others: &[(IpAddr, &'a str)],
    ) -> Result<Self, Stopped> {
        let host = |host: &'a Host| (host.name.as_str(), host.end.mac());
        let mut macs: Vec<(&str, Mac)> = site.servers.iter().chain([client]).map(host).collect();
        macs.extend(router.into_iter().flat_map(|router| &router.ends).map(|end| ("router", end.mac())));
        macs.extend(appliance_macs(&site.appliance)?.into_iter().map(|mac| ("appliance", mac)));
        let mut addresses: Vec<(IpAddr, &str)> = site.vips.map(|vip| (vip, "vip")).into();
        addresses.extend(client.addresses().map(|address| (address, client.name.as_str())));
        let of_servers = site.servers.iter().flat_map(|server| server.addresses());
        addresses.extend(of_servers.map(|address| (address, "server")));
        addresses.extend(others);
        Ok(Self { site, client, macs, addresses })
    }

    /// One request to the virtual address of each family, each answered within `limit` or not.
    pub(in super::super) fn call_each_family(
        &self,
        limit: Duration,
    ) -> Result<[Result<Answer, Failure>; 2], Stopped> {
        let call = || self.site.vips.map(|vip| http_get((vip, HTTP_PORT).into(), limit));
        Ok(self.client.namespace().run(call)?)
    }

    fn name(&self, address: IpAddr) -> &str {
        self.addresses.iter().find(|(known, _)| *known == address).map_or("another", |(_, name)| name)
    }

    /// The opening of a connection of the caller's, or its refusal. Health checks are not, since they come
    /// from an address of the appliance's own.
    fn is_of_story(&self, packet: &Packet) -> bool {
        let ends = [packet.source, packet.destination];
        let is_known = |address: IpAddr| ["vip", "server", &*self.client.name].contains(&self.name(address));
        let opens = |flags: TcpFlags| flags.intersects(TcpFlags::SYN | TcpFlags::RST);
        packet.has_port(HTTP_PORT) && packet.tcp_flags.is_some_and(opens) && ends.into_iter().all(is_known)
    }

    /// A row in the words of a drawing; see the module.
    fn line(&self, row: &AddressRow) -> String {
        let place: Vec<&str> = row.place.split(' ').map(|word| self.word(word)).collect();
        let place = place.join(" ");
        let (kind, packet) = (row.kind(), &row.packet);
        let (from, to) = (self.word(&row.source_mac), self.word(&row.destination_mac));
        let (source, destination) = (self.name(packet.source), self.name(packet.destination));
        let dscp = if packet.traffic_class >> 2 == 0 { "" } else { ", marked" };
        let vlan = packet.vlan.map_or(String::new(), |id| format!(", vlan {id}"));
        let outer = row.outer.map_or(String::new(), |outer| {
            format!(", in {} > {}", self.name(outer.source), self.name(outer.destination))
        });
        let ttl = packet.ttl;
        format!("{place}: {kind} {from} > {to}, {source} > {destination}, ttl {ttl}{dscp}{vlan}{outer}")
    }

    /// `server` for the one that was chosen, whichever it is.
    fn word<'w>(&self, name: &'w str) -> &'w str {
        let is_server = self.site.servers.iter().any(|server| server.name == name);
        if is_server && name != self.client.name { "server" } else { name }
    }

    /// What a port is called: like its interface, and like what it is where a host is called so too.
    fn port_name(&self, interface: &str) -> String {
        let is_host = self.macs.iter().any(|(name, _)| *name == interface);
        if is_host { format!("port {interface}") } else { interface.into() }
    }
}

/// A capture on one wire.
struct Spot {
    /// The host's name, or the port's with `in` or `out`.
    place: String,
    /// The hardware address of the host; none at a port.
    host: Option<Mac>,
    capture: Capture,
}

/// A frame of the story.
struct Seen {
    is_at_port: bool,
    row: AddressRow,
}

/// Captures on every wire that a request may cross. The appliance's ports are watched from their other ends,
/// since what its rings take and give passes no tap at its own.
pub(in super::super) struct Watch(Vec<Spot>);

impl Watch {
    /// From here on. The label is unique in the testbed.
    pub(in super::super) fn start(caller: &Caller<'_>, label: &str) -> Result<Self, Stopped> {
        let servers = caller.site.servers.iter().filter(|server| server.name != caller.client.name);
        let hosts = std::iter::once(caller.client).chain(servers);
        let mut plan: Vec<(String, Option<Mac>, Endpoint, Direction)> = hosts
            .map(|host| (host.name.clone(), Some(host.end.mac()), host.end.clone(), Direction::Both))
            .collect();
        for port in &caller.site.ports {
            let (name, wire) = (caller.port_name(port.interface()), port.opposite());
            plan.push((format!("{name} in"), None, wire.clone(), Direction::Out));
            plan.push((format!("{name} out"), None, wire, Direction::In));
        }
        let spots = side_by_side(plan, |(place, host, end, direction)| {
            let name = format!("{label}-{}-{}", end.namespace().name(), place.replace(' ', "-"));
            Ok(Spot { capture: Capture::start(&end, &name, direction)?, place, host })
        });
        Ok(Self(spots?))
    }

    /// Ends the captures; the frames of each family in the order of their way.
    fn stop(self, caller: &Caller<'_>) -> Result<[Vec<Seen>; 2], Stopped> {
        let captured =
            side_by_side(self.0, |Spot { place, host, capture }| Ok((place, host, capture.stop()?)));
        let mut seen = Vec::new();
        for (place, host, captured) in captured? {
            let wanted = |packet: &Packet| {
                // A switch that has not learned yet shows a host the frames of others.
                let is_own = |mac| packet.source_mac == mac || packet.destination_mac == mac;
                host.is_none_or(is_own) && caller.is_of_story(packet)
            };
            let rows = address_rows(&place, &captured.frames, &caller.macs, wanted);
            seen.extend(rows.into_iter().map(|row| match host {
                None => Seen { is_at_port: true, row },
                Some(mac) => {
                    let way = if row.packet.source_mac == mac { "out" } else { "in" };
                    Seen { is_at_port: false, row: AddressRow { place: format!("{place} {way}"), ..row } }
                }
            }));
        }
        seen.sort_by_key(Seen::rank);
        let (v4, v6) = seen.into_iter().partition(|seen| seen.row.packet.source.is_ipv4());
        Ok([v4, v6])
    }

    /// Ends the captures and shows the frames of both families. Those of each are to be `frames`.
    pub(in super::super) fn judge(
        self,
        caller: &Caller<'_>,
        frames: &[&str],
        rewrites: &Rewrites<'_>,
        report: &mut Report,
    ) -> Result<(), Stopped> {
        let families = self.stop(caller)?;
        for (seen, family) in families.iter().zip(["IPv4", "IPv6"]) {
            show(seen, family, report);
        }
        for (seen, family) in families.iter().zip(["IPv4", "IPv6"]) {
            compare(seen, family, caller, frames, report);
            for (kind, what, expected) in
                [("SYN", "request", Some(rewrites.request)), ("SYN ACK", "reply", rewrites.reply)]
            {
                let rewritten = rewritten(seen, kind);
                let says = match expected {
                    Some(fields) => format!("{family} {what}: the appliance rewrites {fields}"),
                    None => format!("{family} {what}: it does not cross the appliance"),
                };
                let instead = rewritten.clone().unwrap_or_else(|| "it did not cross the appliance".into());
                report.expect_or(rewritten.as_deref() == expected, says, instead);
            }
        }
        Ok(())
    }

    /// As [`Watch::judge`], with the frames of IPv4 alone shown; those of IPv6 are to be alike.
    pub(in super::super) fn judge_briefly(
        self,
        caller: &Caller<'_>,
        frames: &[&str],
        report: &mut Report,
    ) -> Result<(), Stopped> {
        let [v4, v6] = self.stop(caller)?;
        show(&v4, "IPv4", report);
        compare(&v4, "IPv4", caller, frames, report);
        compare(&v6, "IPv6", caller, frames, report);
        Ok(())
    }
}

fn show(seen: &[Seen], family: &str, report: &mut Report) {
    report.note(format!("{family}:"));
    let rows: Vec<AddressRow> = seen.iter().map(|seen| seen.row.clone()).collect();
    report.text(address_table(&rows).lines().map(|line| format!("   {line}\n")).collect::<String>());
}

fn compare(seen: &[Seen], family: &str, caller: &Caller<'_>, frames: &[&str], report: &mut Report) {
    let lines: Vec<String> = seen.iter().map(|seen| caller.line(&seen.row)).collect();
    let what = format!("{family}: the frames are these {}, each as drawn", frames.len());
    report.expect_or(lines == frames, what, format!("\n{}", lines.join("\n")));
}

impl Seen {
    /// Where it belongs in the story: requests before replies before resets, each from its sender to its
    /// receiver.
    fn rank(&self) -> (usize, usize) {
        let conversation = match &*self.row.kind() {
            "SYN" => 0,
            "SYN ACK" => 1,
            _ => 2,
        };
        let step = match (self.is_at_port, self.row.place.ends_with(" out")) {
            (false, true) => 0,
            (true, false) => 1,
            (true, true) => 2,
            (false, false) => 3,
        };
        (conversation, step)
    }
}

/// What differs between what the appliance received and what it sent on, in words; none if it did not do
/// both.
fn rewritten(seen: &[Seen], kind: &str) -> Option<String> {
    let at_port = |way: &str| {
        let is_it =
            |seen: &&Seen| seen.is_at_port && seen.row.kind() == kind && seen.row.place.ends_with(way);
        seen.iter().find(is_it).map(|seen| &seen.row)
    };
    let (received, sent) = (at_port(" in")?, at_port(" out")?);
    let (before, after) = (&received.packet, &sent.packet);
    let fields = [
        ("destination MAC", before.destination_mac != after.destination_mac),
        ("source MAC", before.source_mac != after.source_mac),
        ("destination", end(before.destination, before.ports, 1) != end(after.destination, after.ports, 1)),
        ("source", end(before.source, before.ports, 0) != end(after.source, after.ports, 0)),
        ("TTL", before.ttl != after.ttl),
        ("DSCP", before.traffic_class != after.traffic_class),
        ("VLAN", before.vlan != after.vlan),
        ("an outer header", received.outer.is_some() != sent.outer.is_some()),
    ];
    let changed: Vec<&str> = fields.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
    Some(if changed.is_empty() { "nothing".into() } else { changed.join(", ") })
}

fn end(address: IpAddr, ports: Option<(u16, u16)>, which: usize) -> (IpAddr, Option<u16>) {
    (address, ports.map(|(source, destination)| [source, destination][which & 1]))
}

/// Does the same with each, all at the same time: captures take their time to begin and to end.
fn side_by_side<T: Send, U: Send>(
    all: Vec<T>,
    work: impl Fn(T) -> Result<U, lab::Error> + Sync,
) -> Result<Vec<U>, lab::Error> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = all.into_iter().map(|one| scope.spawn(move || work(one))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    })
}
