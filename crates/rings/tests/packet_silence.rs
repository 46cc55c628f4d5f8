//! The kernel kept from what is claimed, on a veth pair whose far end asks.
#![allow(clippy::unwrap_used, reason = "a test's own helper")]

mod packet_lab;

use packet_lab::Lab;
use rings::silence::Silence;
use rings::steering::Owner;
use std::net::IpAddr;

const HOST: [&str; 2] = ["198.18.0.1", "2001:db8::1"];
const CLAIMED: [&str; 2] = ["198.18.0.10", "2001:db8::10"];
const OTHER: [&str; 2] = ["198.18.0.20", "2001:db8::20"];

fn owned(hosts: &[&str], claimed: &[&str]) -> Vec<(IpAddr, Owner)> {
    let with = |addresses: &[&str], owner| {
        addresses.iter().map(|address| (address.parse().unwrap(), owner)).collect::<Vec<_>>()
    };
    [with(hosts, Owner::Host), with(claimed, Owner::Claimed)].concat()
}

/// Which of the addresses answer after the far kernel has resolved them anew.
fn answering(lab: &Lab, addresses: &[&'static str]) -> Vec<&'static str> {
    lab.far("neighbour flush dev far0");
    std::thread::scope(|scope| {
        let asked: Vec<_> =
            addresses.iter().map(|address| (*address, scope.spawn(|| lab.answers_far(address)))).collect();
        asked.into_iter().filter_map(|(address, answer)| answer.join().unwrap().then_some(address)).collect()
    })
}

#[test]
fn the_kernel_hears_what_is_the_hosts_and_nothing_else_until_the_silence_ends() {
    Lab::run(1, |lab| {
        lab.enable_ipv6();
        // The near kernel holds all of them, and would answer.
        for address in [HOST[0], CLAIMED[0], OTHER[0]] {
            lab.near(&format!("address add {address}/24 dev near0"));
        }
        for address in [HOST[1], CLAIMED[1], OTHER[1]] {
            lab.near(&format!("address add {address}/64 dev near0 nodad"));
        }
        lab.far("address add 198.18.0.2/24 dev far0");
        lab.far("address add 2001:db8::2/64 dev far0 nodad");
        let all = [HOST, CLAIMED, OTHER].concat();
        assert_eq!(answering(lab, &all), all);

        let mut silence = Silence::new("near0", &owned(&HOST, &CLAIMED)).unwrap();
        assert_eq!(answering(lab, &all), HOST);
        // ARP and ND of what is neither are the kernel's, of what is claimed not: nothing may announce them.
        let neighbours = lab.far("neighbour show dev far0");
        let resolved = |address: &str| {
            neighbours.lines().any(|line| line.starts_with(&format!("{address} ")) && line.contains("lladdr"))
        };
        assert!(OTHER.iter().all(|address| resolved(address)), "{neighbours}");
        assert!(!CLAIMED.iter().any(|address| resolved(address)), "{neighbours}");

        // An address of both owners is claimed.
        silence.set_addresses(&owned(&[CLAIMED[0], OTHER[0], OTHER[1]], &CLAIMED)).unwrap();
        assert_eq!(answering(lab, &all), OTHER);
        let many = (0..20_000u32).map(|number| IpAddr::from((0xc613_0000 + number).to_be_bytes()));
        let many: Vec<_> = many.map(|address| (address, Owner::Claimed)).collect();
        silence.set_addresses(&[many, owned(&HOST, &[])].concat()).unwrap();
        assert_eq!(answering(lab, &all), HOST);

        drop(silence);
        assert_eq!(answering(lab, &all), all);
    });
}
