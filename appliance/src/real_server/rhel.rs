//! RHEL and its kin: an alias of lo as an ifcfg file where network-scripts read it, and a unit of systemd for all.

use std::net::IpAddr;

use control::operator::RealServerFacts;

use super::linux::{Needs, Own, comment, scripts as linux_scripts, write_file};
use super::{FileName, title};

/// The script that sets up, and the one that undoes.
pub(super) fn scripts(name: &FileName, facts: &RealServerFacts, interface: Option<&str>) -> (String, String) {
    let needs = Needs::of(name, facts, interface);
    let unit = format!("jeoul-{}.service", name.0);
    let unit_path = format!("/etc/systemd/system/{unit}");
    let own = Own {
        tests: String::new(),
        files: format!(
            "{}# The unit does everything on every release: network-scripts know no tunnels, and NetworkManager owns lo\n\
             # only from RHEL 9.2 on. There, this would do for the VIP alone:\n{}{}\
             if [ -d /run/systemd/system ]; then\n    systemctl daemon-reload\n    systemctl enable {unit}\nfi\n",
            alias(facts.address),
            nmcli(facts.address),
            write_file(&unit_path, &unit_text(&needs, facts)),
        ),
        step_files: "/etc/systemd/system/jeoul-*.service",
        remove: format!(
            "if [ -d /run/systemd/system ]; then\n    systemctl disable {unit} || true\nfi\nrm -f {unit_path}\n{}\
             if [ -d /run/systemd/system ]; then\n    systemctl daemon-reload\nfi\n",
            remove_alias(facts.address)
        ),
        nftables_conf: "/etc/sysconfig/nftables.conf",
    };
    linux_scripts(name, &title(facts), &needs, &own)
}

fn unit_text(needs: &Needs, facts: &RealServerFacts) -> String {
    let mut text = format!(
        "[Unit]\nDescription=Jeoul {}\nAfter=network.target systemd-modules-load.service nftables.service\n\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\n",
        title(facts)
    );
    for step in &needs.steps {
        text += &comment(step.why, "");
        text += &format!("ExecStart=/bin/sh -c '{}'\n", step.up);
    }
    text + "\n[Install]\nWantedBy=multi-user.target\n"
}

/// An alias of lo per IPv4 VIP; its label has at most 15 bytes.
fn alias_name(address: IpAddr) -> Option<String> {
    match address {
        IpAddr::V4(v4) => Some(format!("lo:{:08x}", v4.to_bits())),
        IpAddr::V6(_) => None,
    }
}

fn alias_path(label: &str) -> String {
    format!("/etc/sysconfig/network-scripts/ifcfg-{label}")
}

fn alias(address: IpAddr) -> String {
    let Some(label) = alias_name(address) else { return String::new() };
    let text = format!(
        "# The VIP, added by `jeoul real-server`.\nDEVICE={label}\nIPADDR={address}\nNETMASK=255.255.255.255\nONBOOT=yes\n"
    );
    let file = write_file(&alias_path(&label), &text);
    format!(
        "# Where network-scripts are at work (RHEL 7; RHEL 8 with that package), the VIP is an alias of lo.\n\
         if [ -e /etc/sysconfig/network-scripts/ifup-aliases ]; then\n{file}fi\n"
    )
}

fn remove_alias(address: IpAddr) -> String {
    let Some(label) = alias_name(address) else { return String::new() };
    format!(
        "grep -qsF \"addr replace {address}/32 dev lo\" /etc/systemd/system/jeoul-*.service || rm -f {}\n",
        alias_path(&label)
    )
}

fn nmcli(address: IpAddr) -> String {
    let (family, length) = if address.is_ipv4() { ("ipv4", 32) } else { ("ipv6", 128) };
    format!(
        "#   nmcli connection add type loopback con-name lo ifname lo\n\
         #   nmcli connection modify lo +{family}.addresses {address}/{length}; nmcli connection up lo\n"
    )
}
