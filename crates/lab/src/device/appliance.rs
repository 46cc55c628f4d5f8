//! The appliance as a device: a configuration for each job.

use std::fmt::Write;
use std::fs;
use std::net::IpAddr;

use wire::Mac;

use crate::appliance::Appliance;
use crate::client::send_frames;
use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::topology::straight::{BRIDGE, VIPS, servers};

use super::{Job, Running, START_LIMIT, Site, Started};

/// The bridge's name, which is its host leg's too.
const BRIDGE_NAME: &str = "br0";

/// Room that a table has beside the flows of a trial: the flows of the trial before are not gone yet, and a table is
/// filled to nine tenths at the most.
const CAPACITY_PER_FLOW: u32 = 2;

/// The smallest table.
const CAPACITY_MIN: u32 = 20_000;

/// The largest (`session_capacity` of the configuration).
const CAPACITY_MAX: u32 = 20_000_000;

/// The sources of source NAT: each has some 64,000 ports for every server.
const POOLS: [[&str; 8]; 2] = [
    [
        "198.18.1.240",
        "198.18.1.241",
        "198.18.1.242",
        "198.18.1.243",
        "198.18.1.244",
        "198.18.1.245",
        "198.18.1.246",
        "198.18.1.247",
    ],
    [
        "2001:db8:1::240",
        "2001:db8:1::241",
        "2001:db8:1::242",
        "2001:db8:1::243",
        "2001:db8:1::244",
        "2001:db8:1::245",
        "2001:db8:1::246",
        "2001:db8:1::247",
    ],
];

/// The sources of tunnels.
const TUNNEL_SOURCES: [&str; 2] = ["198.18.1.251", "2001:db8:1::251"];

/// Two ends of a firewall sandwich would share it; here the other end is a generator.
const HASH_KEY: &str = "000102030405060708090a0b0c0d0e0f";

pub(super) fn start(site: &Site<'_>) -> Result<Started> {
    let job = site.plan.job;
    match job {
        Job::SlbTransparent | Job::Switching => {
            [site.outside, site.inside].iter().try_for_each(|end| end.silence_ipv6())?;
        }
        _ => site.straight.address_device()?,
    }
    if job == Job::Routing {
        site.route_vips()?;
    }
    let configuration = configuration(site);
    let (file, socket) = (site.write("jeoul.toml", &configuration)?, site.directory.join("control.sock"));
    let state = site.directory.join("state");
    fs::create_dir_all(&state).map_err(Error::system(format!("creating {}", state.display())))?;
    let appliance = Appliance::start(site.namespace(), &site.tools.jeoul, &file, &socket, START_LIMIT)?;
    let destination = match job {
        Job::SlbTransparent => Some(site.settle_bridge()?),
        Job::Switching => Some(site.straight.servers.mac()),
        _ => None,
    };
    let mode = modes(&appliance.show("ports")?);
    let commands = vec![format!("jeoul run --config {}", super::file_name(&file))];
    Ok(Started {
        running: Running::Appliance(Box::new(appliance)),
        commands,
        configuration,
        mode,
        destination,
    })
}

impl Site<'_> {
    /// Gives the bridge's own leg what it must know of hosts that answer no ARP, and lets it learn where they are.
    /// Whom clients send to: the bridge itself, which answers for the virtual address.
    fn settle_bridge(&self) -> Result<Mac> {
        let namespace = self.namespace();
        let own = hardware_address(namespace, BRIDGE_NAME)?;
        self.straight.know_neighbours(namespace, BRIDGE_NAME, BRIDGE_NAME)?;
        // A frame that nobody wants, for bridges learn from any (EtherType 0x88b5, IEEE 802: for experiments).
        for end in [&self.straight.clients, &self.straight.servers] {
            let mut frame = vec![0xff; 60];
            frame[6..12].copy_from_slice(&end.mac().0);
            frame[12..14].copy_from_slice(&[0x88, 0xb5]);
            send_frames(end, &[frame])?;
        }
        Ok(own)
    }
}

fn hardware_address(namespace: &Namespace, interface: &str) -> Result<Mac> {
    let path = format!("/sys/class/net/{interface}/address");
    let output = namespace.output("cat", &[&path])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let bytes: Vec<u8> =
        text.trim().split(':').filter_map(|part| u8::from_str_radix(part, 16).ok()).collect();
    let bytes = bytes.try_into().map_err(|_| Error::unusable(text.trim(), "it is no hardware address"))?;
    Ok(Mac(bytes))
}

/// What `show ports --json` says of drivers: "af_xdp, native, copy" for each, once if they are alike.
fn modes(json: &str) -> String {
    let field = |object: &str, key: &str| {
        let (_, rest) = object.split_once(&format!("\"{key}\":"))?;
        let value = rest.trim_start().strip_prefix('"')?;
        value.split('"').next().map(str::to_string)
    };
    let of_port = |object: &str| {
        let words: Vec<String> = ["driver", "mode"].iter().filter_map(|key| field(object, key)).collect();
        words.join(", ")
    };
    let mut modes: Vec<String> = json.split('}').map(of_port).filter(|words| !words.is_empty()).collect();
    modes.dedup();
    modes.join("; ")
}

fn configuration(site: &Site<'_>) -> String {
    let plan = site.plan;
    let capacity = plan.flows.saturating_mul(CAPACITY_PER_FLOW).clamp(CAPACITY_MIN, CAPACITY_MAX);
    let (v4, v6) = if plan.ipv6 { (CAPACITY_MIN, capacity) } else { (capacity, CAPACITY_MIN) };
    let polling = if plan.busy { "busy" } else { "adaptive" };
    let mut text = format!(
        "[appliance]\nname = \"bench\"\nworkers = [{}]\ncontrol_cpu = {}\npolling = \"{polling}\"\n\
         session_capacity = {v4}\nsession_capacity_ipv6 = {v6}\nhash_key = \"{HASH_KEY}\"\nsocket = {:?}\n\
         state_directory = {:?}\n",
        plan.cpu,
        plan.control_cpu,
        site.directory.join("control.sock"),
        site.directory.join("state"),
    );
    for end in [site.outside, site.inside] {
        let (name, driver) = (end.interface(), plan.driver.word());
        append(
            &mut text,
            format_args!("\n[[port]]\nname = \"{name}\"\ninterface = \"{name}\"\ndriver = \"{driver}\"\n"),
        );
    }
    if matches!(plan.job, Job::SlbTransparent | Job::Switching) {
        append(
            &mut text,
            format_args!(
                "\n[[bridge]]\nname = \"{BRIDGE_NAME}\"\nports = [\"outside\", \"inside\"]\naddresses = {BRIDGE:?}\n"
            ),
        );
    }
    for (family, vip) in VIPS.into_iter().enumerate() {
        match plan.job {
            Job::Routing | Job::Switching => {}
            Job::Fwlb => append_group(&mut text, family, vip),
            _ => append_service(&mut text, plan.job, plan.source_nat, family, vip),
        }
    }
    text
}

/// Everything to the virtual address is balanced. Servers without a check count as up: a generator answers none.
fn append_service(text: &mut String, job: Job, source_nat: bool, family: usize, vip: IpAddr) {
    let mode = match job {
        Job::SlbTransparent => "transparent",
        Job::SlbL2Dsr => "l2-dsr",
        Job::SlbL3Dsr => "l3-dsr",
        _ => "routed",
    };
    let name = ["bench-v4", "bench-v6"][family];
    append(
        text,
        format_args!(
            "\n[[service]]\nname = \"{name}\"\naddress = \"{vip}\"\nprotocol = \"any\"\nport = 80\nmode = \"{mode}\"\nscheduler = \"round-robin\"\n\
             announce = false\n"
        ),
    );
    match job {
        Job::SlbRouted if source_nat => {
            append(text, format_args!("source_nat = \"always\"\nsource_addresses = {:?}\n", POOLS[family]))
        }
        Job::SlbRouted => append(text, format_args!("source_nat = \"never\"\n")),
        Job::SlbL3Dsr => append(
            text,
            format_args!("encapsulation = \"ipip\"\nencapsulation_source = \"{}\"\n", TUNNEL_SOURCES[family]),
        ),
        _ => {}
    }
    for server in servers(vip) {
        append(text, format_args!("\n[[service.server]]\naddress = \"{server}\"\n"));
    }
}

/// The outer end of a sandwich: the servers stand for firewalls, behind which the virtual address is.
fn append_group(text: &mut String, family: usize, vip: IpAddr) {
    let (name, length) = [("inner-v4", 32), ("inner-v6", 128)][family];
    append(
        text,
        format_args!(
            "\n[[firewall_group]]\nname = \"{name}\"\nnetworks = [\"{vip}/{length}\"]\nhash = \"five-tuple\"\n"
        ),
    );
    for (index, firewall) in servers(vip).enumerate() {
        append(
            text,
            format_args!("\n[[firewall_group.firewall]]\nname = \"fw{index}\"\naddress = \"{firewall}\"\n"),
        );
    }
}

/// Writing to a string cannot fail.
fn append(text: &mut String, words: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(words);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_are_alike_are_told_once() {
        let json = r#"[{"name":"outside","driver":"af_xdp","mode":"native, copy"},
            {"name":"inside","driver":"af_xdp","mode":"native, copy"}]"#;
        assert_eq!(modes(json), "af_xdp, native, copy");
        assert_eq!(modes("[]"), "");
    }
}
