//! The addresses of frames side by side, as a textbook draws them: who sends to whom, before and behind a
//! box.
//!
//! Pure; any thread.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use wire::Mac;

use super::packet::Packet;

/// The addresses of one kind of frame, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRow {
    /// Where it was seen.
    pub place: String,
    /// Who sent the frame: a name, where it is known.
    pub source_mac: String,
    /// For whom it was.
    pub destination_mac: String,
    /// IP source, with the port where there is one.
    pub source: String,
    /// IP destination, with the port where there is one.
    pub destination: String,
    /// TTL or hop limit.
    pub ttl: u8,
    /// The VLAN of its tag.
    pub vlan: Option<u16>,
}

/// The most rows of one place: what is drawn of a connection is one request and one reply.
const ROWS_PER_PLACE_MAX: usize = 16;

/// One row for each different heading among the packets seen at a place, in order of appearance. `names` are
/// those of the hardware addresses that shall not be read as numbers.
pub fn address_rows(
    place: &str,
    packets: impl IntoIterator<Item = Packet>,
    names: &[(&str, Mac)],
) -> Vec<AddressRow> {
    let mac = |mac: Mac| {
        let known = names.iter().find(|(_, known)| *known == mac);
        known.map_or_else(|| mac.to_string(), |(name, _)| (*name).to_string())
    };
    let end = |address: IpAddr, port: Option<u16>| {
        port.map_or_else(|| address.to_string(), |port| SocketAddr::new(address, port).to_string())
    };
    let mut rows = Vec::new();
    for packet in packets {
        let row = AddressRow {
            place: place.into(),
            source_mac: mac(packet.source_mac),
            destination_mac: mac(packet.destination_mac),
            source: end(packet.source, packet.ports.map(|(source, _)| source)),
            destination: end(packet.destination, packet.ports.map(|(_, destination)| destination)),
            ttl: packet.ttl,
            vlan: packet.vlan,
        };
        if !rows.contains(&row) {
            rows.push(row);
        }
        if rows.len() == ROWS_PER_PLACE_MAX {
            break;
        }
    }
    rows
}

/// The rows as a table, the places' in the order given; a column for the VLAN only where there is one.
pub fn address_table(rows: &[AddressRow]) -> String {
    let vlan = |row: &AddressRow| row.vlan.map_or("-".into(), |id| id.to_string());
    let tagged = rows.iter().any(|row| row.vlan.is_some());
    let head = ["WHERE", "FROM MAC", "TO MAC", "FROM", "TO", "TTL", "VLAN"].map(String::from);
    let cells = rows.iter().map(|row| {
        let AddressRow { place, source_mac, destination_mac, source, destination, ttl, .. } = row.clone();
        [place, source_mac, destination_mac, source, destination, ttl.to_string(), vlan(row)]
    });
    let lines: Vec<[String; 7]> = std::iter::once(head).chain(cells).collect();
    let columns = if tagged { 7 } else { 6 };
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_two_rows_at_each_place() {
        let (client, router) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let packet = |from, to, source: [u8; 4], target: [u8; 4], ports: (u16, u16)| {
            let frame = wire::build::ethernet(from, to).ipv4(source.into(), target.into());
            Packet::of(&frame.tcp(ports.0, ports.1).finish()).unwrap()
        };
        let there = packet(client, router, [198, 18, 0, 50], [198, 18, 0, 10], (4_000, 80));
        let back = packet(router, client, [198, 18, 0, 10], [198, 18, 0, 50], (80, 4_000));
        let rows = address_rows("client", [there, back, there, back], &[("client", client)]);
        let tagged = AddressRow { place: "trunk".into(), vlan: Some(20), ..rows[1].clone() };
        assert_eq!(
            address_table(&rows),
            "WHERE   FROM MAC           TO MAC             FROM              TO                TTL\n\
             client  client             02:00:00:00:00:02  198.18.0.50:4000  198.18.0.10:80    64\n\
             client  02:00:00:00:00:02  client             198.18.0.10:80    198.18.0.50:4000  64\n"
        );
        assert!(
            address_table(&[rows[0].clone(), tagged]).lines().all(|line| {
                line.ends_with("VLAN") || line.ends_with("64   -") || line.ends_with("64   20")
            })
        );
    }
}
