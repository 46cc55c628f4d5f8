//! The addresses of frames side by side, as a textbook draws them: who sends to whom, before and behind a
//! box.
//!
//! Pure; any thread.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use wire::tcp::TcpFlags;
use wire::{Mac, protocol};

use super::packet::Packet;
use super::pcap::Frame;

/// The addresses of one kind of frame, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRow {
    /// Where it was seen.
    pub place: String,
    /// Who sent the frame: a name, where it is known.
    pub source_mac: String,
    /// For whom it was.
    pub destination_mac: String,
    /// The packet; of a tunnel's the one inside.
    pub packet: Packet,
    /// The packet that carries it, of a tunnel's.
    pub outer: Option<Packet>,
}

/// The most rows of one place: what is drawn of a connection is one request and one reply.
const ROWS_PER_PLACE_MAX: usize = 16;

impl AddressRow {
    fn of(place: &str, frame: &Frame, names: &[(&str, Mac)]) -> Option<Self> {
        let mac = |mac: Mac| {
            let known = names.iter().find(|(_, known)| *known == mac);
            known.map_or_else(|| mac.to_string(), |(name, _)| (*name).to_string())
        };
        let packet = frame.packet()?;
        let inner = frame.inner_packet();
        Some(Self {
            place: place.into(),
            source_mac: mac(packet.source_mac),
            destination_mac: mac(packet.destination_mac),
            packet: inner.unwrap_or(packet),
            outer: inner.is_some().then_some(packet),
        })
    }

    /// What the packet is in its conversation: `SYN`, `SYN ACK`, `RST`, `TCP` for any other segment, `UDP`;
    /// else the protocol's number.
    pub fn kind(&self) -> String {
        let flags = self.packet.tcp_flags.unwrap_or_default();
        match self.packet.protocol {
            protocol::TCP if flags.contains(TcpFlags::RST) => "RST".into(),
            protocol::TCP if flags.contains(TcpFlags::SYN | TcpFlags::ACK) => "SYN ACK".into(),
            protocol::TCP if flags.contains(TcpFlags::SYN) => "SYN".into(),
            protocol::TCP => "TCP".into(),
            protocol::UDP => "UDP".into(),
            other => other.to_string(),
        }
    }
}

/// One row for each different heading among the frames seen at a place whose packet (of a tunnel's the one
/// inside) is `wanted`, in order of appearance. `names` are those of the hardware addresses that shall not be
/// read as numbers.
pub fn address_rows<'a>(
    place: &str,
    frames: impl IntoIterator<Item = &'a Frame>,
    names: &[(&str, Mac)],
    wanted: impl Fn(&Packet) -> bool,
) -> Vec<AddressRow> {
    let mut rows: Vec<AddressRow> = Vec::new();
    let all = frames.into_iter().filter_map(|frame| AddressRow::of(place, frame, names));
    for row in all.filter(|row| wanted(&row.packet)) {
        if rows.len() < ROWS_PER_PLACE_MAX && !rows.contains(&row) {
            rows.push(row);
        }
    }
    rows
}

/// Whether a column is drawn at all.
type IsDrawn = fn(&AddressRow) -> bool;

/// A column: its title, when it is drawn, and its cells.
type Column = (&'static str, IsDrawn, fn(&AddressRow) -> String);

const COLUMNS: [Column; 10] = [
    ("WHERE", |_| true, |row| row.place.clone()),
    ("FRAME", |_| true, AddressRow::kind),
    ("FROM MAC", |_| true, |row| row.source_mac.clone()),
    ("TO MAC", |_| true, |row| row.destination_mac.clone()),
    ("FROM", |_| true, |row| end(row.packet.source, row.packet.ports.map(|ports| ports.0))),
    ("TO", |_| true, |row| end(row.packet.destination, row.packet.ports.map(|ports| ports.1))),
    ("TTL", |_| true, |row| row.packet.ttl.to_string()),
    ("DSCP", |row| dscp(row) != 0, |row| dscp(row).to_string()),
    ("VLAN", |row| row.packet.vlan.is_some(), |row| row.packet.vlan.map_or("-".into(), |id| id.to_string())),
    ("CARRIED BY", |row| row.outer.is_some(), |row| row.outer.map_or("-".into(), carried_by)),
];

/// The rows as a table, in the order given; columns for DSCP, VLAN and the outer header only where there is
/// one.
pub fn address_table(rows: &[AddressRow]) -> String {
    let drawn: Vec<&Column> = COLUMNS.iter().filter(|(_, is_drawn, _)| rows.iter().any(is_drawn)).collect();
    let mut text = String::new();
    let column = |(title, _, cell): &&Column| -> Vec<String> {
        let cells: Vec<String> = std::iter::once((*title).to_string()).chain(rows.iter().map(cell)).collect();
        let width = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
        cells.iter().map(|cell| format!("{cell:width$}")).collect()
    };
    let columns: Vec<Vec<String>> = drawn.iter().map(column).collect();
    for line in 0..=rows.len() {
        let cells: Vec<&str> =
            columns.iter().filter_map(|cells| cells.get(line).map(String::as_str)).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

fn dscp(row: &AddressRow) -> u8 {
    row.packet.traffic_class >> 2
}

/// `198.18.1.251 > 198.18.2.11`, with the ports of an outer UDP header.
fn carried_by(outer: Packet) -> String {
    let source = end(outer.source, outer.ports.map(|ports| ports.0));
    let destination = end(outer.destination, outer.ports.map(|ports| ports.1));
    format!("{source} > {destination}")
}

fn end(address: IpAddr, port: Option<u16>) -> String {
    port.map_or_else(|| address.to_string(), |port| SocketAddr::new(address, port).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn frame(bytes: Vec<u8>) -> Frame {
        Frame { at: Duration::ZERO, bytes }
    }

    #[test]
    fn a_connection_is_two_rows_at_each_place() {
        let packet = |from, to, source: [u8; 4], target: [u8; 4], ports: (u16, u16), flags| {
            let ip = wire::build::ethernet(from, to).ipv4(source.into(), target.into());
            frame(ip.tcp(ports.0, ports.1).flags(flags).finish())
        };
        let (client, vip) = ([198, 18, 0, 50], [198, 18, 0, 10]);
        let answer = TcpFlags::SYN | TcpFlags::ACK;
        let there = || packet(CLIENT, ROUTER, client, vip, (4_000, 80), TcpFlags::SYN);
        let back = || packet(ROUTER, CLIENT, vip, client, (80, 4_000), answer);
        let unwanted = packet(CLIENT, ROUTER, client, vip, (4_000, 443), TcpFlags::SYN);
        let frames = [unwanted, there(), back(), there(), back()];
        let rows = address_rows("client", &frames, &[("client", CLIENT)], |packet| packet.has_port(80));
        assert_eq!(
            address_table(&rows),
            "WHERE   FRAME    FROM MAC           TO MAC             FROM              TO                TTL\n\
             client  SYN      client             02:00:00:00:00:02  198.18.0.50:4000  198.18.0.10:80    64\n\
             client  SYN ACK  02:00:00:00:00:02  client             198.18.0.10:80    198.18.0.50:4000  64\n"
        );
        let tagged = Packet { vlan: Some(20), traffic_class: 11 << 2, ..rows[1].packet };
        let table = address_table(&[rows[0].clone(), AddressRow { packet: tagged, ..rows[1].clone() }]);
        let ends = ["TTL  DSCP  VLAN", "64   0     -", "64   11    20"];
        assert!(table.lines().zip(ends).all(|(line, end)| line.ends_with(end)), "{table}");
    }

    #[test]
    fn a_tunnels_row_is_the_packet_inside_and_what_carries_it() {
        let inner = wire::build::ethernet(CLIENT, ROUTER)
            .ipv4([198, 18, 0, 50].into(), [198, 18, 1, 10].into())
            .udp(4_000, 53)
            .finish();
        let outer = wire::build::ethernet(CLIENT, ROUTER)
            .ipv4([198, 18, 1, 251].into(), [198, 18, 2, 11].into())
            .udp(50_000, 6080)
            .payload(&inner[14..])
            .finish();
        let rows = address_rows("arm", &[frame(outer)], &[], |packet| packet.has_port(53));
        let table = address_table(&rows);
        assert!(table.lines().next().is_some_and(|line| line.ends_with("TTL  CARRIED BY")), "{table}");
        assert!(table.contains("198.18.1.10:53"), "{table}");
        assert!(table.ends_with("198.18.1.251:50000 > 198.18.2.11:6080\n"), "{table}");
    }
}
