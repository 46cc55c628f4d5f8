//! One end of a sandwich with two firewalls, as the probes see it: a ring, by which all comes and goes.

use control::facts::Facts;
use engine::Punt;
use flow::FlowHasher;
use sim::frame::Scope;
use sim::{Manager, Sizes, World, apply_fact};
use std::net::IpAddr;
use wire::Mac;

pub const KEY: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// The MAC address of an end, by side (1 or 2).
pub fn own(side: u8) -> Mac {
    Mac([2, 0, 0, 0, side, 0])
}

/// The MAC address of a firewall's leg on a side.
pub fn firewall(side: u8, number: u8) -> Mac {
    Mac([2, 0, 0, 0, side, number])
}

/// The probe address of a side for the path over a firewall.
pub fn responder(side: u8, number: u8, v6: bool) -> IpAddr {
    match v6 {
        false => IpAddr::from([198, 18, side, 100 + number]),
        true => IpAddr::from([0x2001, 0xdb8, 0, side.into(), 0, 0, 0, 0x100 + u16::from(number)]),
    }
}

pub fn hasher() -> FlowHasher {
    FlowHasher::new(KEY)
}

fn groups(side: u8) -> String {
    let far = 3 - side;
    let mut text = String::new();
    for (name, networks, v6) in
        [("fw", format!("198.19.{far}.0/24"), false), ("fw6", format!("2001:db8:{far}::/48"), true)]
    {
        text += &format!(
            "[[firewall_group]]\nname = \"{name}\"\nnetworks = [\"{networks}\"]\nhealth_check = \"path\"\n"
        );
        for number in [1, 2] {
            let address =
                if v6 { format!("2001:db8:0:{side}::{number}") } else { format!("198.18.{side}.{number}") };
            text += &format!(
                "[[firewall_group.firewall]]\nname = \"fw{number}\"\naddress = \"{address}\"\nfar_address = \"{}\"\n",
                responder(far, number, v6)
            );
        }
    }
    for (number, v6) in [(1, false), (2, false), (1, true), (2, true)] {
        text += &format!(
            "[[probe_responder]]\naddress = \"{}\"\nfirewall = \"fw{number}\"\n",
            responder(side, number, v6)
        );
    }
    text
}

/// The configuration of one side; its leg is a port, or the VLAN 20 of one.
fn config(side: u8, has_vlan: bool, kind: &str) -> String {
    let vlan = format!("vlan = 20\naddresses = [\"198.18.{side}.100/24\", \"2001:db8:0:{side}::100/64\"]\n");
    format!(
        "[appliance]\nhash_key = \"000102030405060708090a0b0c0d0e0f\"\n\
         [[port]]\nname = \"front\"\ninterface = \"eth1\"\n{}\
         [[service]]\nname = \"web\"\naddress = \"198.18.{side}.50\"\nport = 80\nmode = \"routed\"\n\
         [[service.server]]\naddress = \"198.18.{side}.60\"\n{}\
         [[health_check]]\nname = \"path\"\n{kind}\ninterval = \"200ms\"\nresponse_time = \"100ms\"\n",
        if has_vlan { &vlan } else { "" },
        groups(side)
    )
}

/// One end, with its only worker.
pub fn end(side: u8, has_vlan: bool, kind: &str) -> World {
    let mut scope = Scope::default();
    scope.name("OWN", own(side));
    scope.name("FW1", firewall(side, 1));
    scope.name("FW2", firewall(side, 2));
    let leg = if has_vlan { "front" } else { "eth1" };
    let mut facts = Facts::default();
    let mut lines = vec!["interface eth1 OWN mtu 1500".to_owned()];
    lines.extend(has_vlan.then(|| "interface front OWN mtu 1500".to_owned()));
    lines.push(format!("address {leg} 198.18.{side}.100/24"));
    lines.push(format!("address {leg} 2001:db8:0:{side}::100/64"));
    for number in [1, 2] {
        lines.push(format!("neighbour {leg} 198.18.{side}.{number} FW{number}"));
        lines.push(format!("neighbour {leg} 2001:db8:0:{side}::{number} FW{number}"));
    }
    for line in &lines {
        apply_fact(&mut facts, &scope, line).expect("a fact");
    }
    let sizes = Sizes { sessions_v4: Some(64), sessions_v6: Some(64) };
    let manager = Manager::new(&config(side, has_vlan, kind), facts, sizes).expect("a configuration");
    World::new(manager, 1, 256)
}

/// Everything that was sent.
pub fn sent(world: &mut World) -> Vec<Vec<u8>> {
    world.settle();
    std::iter::from_fn(|| world.take(0)).collect()
}

/// Everything that was handed to control.
pub fn punts(world: &World) -> Vec<Punt> {
    std::iter::from_fn(|| world.manager.shared().punts.pop()).collect()
}
