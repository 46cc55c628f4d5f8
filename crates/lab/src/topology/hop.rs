//! A narrow hop: two routers with a 1300-byte link between them, which may stand before any host of a lab.
//!
//! ```text
//!  host eth0 ─── inner ═══ 1300 bytes ═══ outer ─── the host's place in the lab
//! ```
//!
//! Both ends of a connection keep links of 1500 bytes and say so in their MSS, so nobody but the routers
//! knows of the narrow link, and path MTU discovery (RFC 1191, RFC 8201) has to work. The host keeps its
//! addresses: the outer router answers ARP and neighbour solicitations for them (RFC 1027; RFC 4861, 7.2.8),
//! so the hop fits where a mode wants client or servers on the appliance's own network. Their frames then
//! come from the outer router's MAC, and their TTL is two less.

use std::net::IpAddr;

use crate::error::Result;
use crate::link::Endpoint;
use crate::namespace::Namespace;
use crate::testbed::Testbed;

use super::host::HostPlan;

/// The longest IP packet that crosses a hop.
pub const HOP_MTU_BYTES: u16 = 1300;

/// Where a lab has narrow hops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hop {
    /// Nowhere.
    #[default]
    None,
    /// Before every client.
    Client,
    /// Before every server.
    Servers,
}

/// What a router's own number is above its host's: host 11 has the outer router 111 in its network.
const OUTER_ABOVE_HOST: u8 = 100;

/// Makes host and routers; gives the host's interface, the outer router's towards the lab, and the lab's end.
pub(super) fn create(
    testbed: &Testbed,
    plan: &HostPlan<'_>,
    at: (&Namespace, &str),
) -> Result<(Endpoint, Endpoint, Endpoint)> {
    let role = |suffix: &str| testbed.namespace(&format!("{}{suffix}", plan.name));
    let (host, inner, outer) = (role("")?, role("inner")?, role("outer")?);
    let near = testbed.link((&host, "eth0"), (&inner, "near"))?;
    let narrow = testbed.link((&inner, "far"), (&outer, "near"))?;
    let wide = testbed.link((&outer, "far"), at)?;
    [&narrow.first, &narrow.second].iter().try_for_each(|end| end.set_mtu(HOP_MTU_BYTES))?;
    [&inner, &outer].iter().try_for_each(|router| router.forward_packets())?;

    // The links of a hop are no network of the lab's: 198.19.N.0/24 and 2001:db8:ffff:N::/64 of the host's
    // number.
    let number = plan.number;
    let link = |host: u8| {
        let v6 = [0x2001, 0xdb8, 0xffff, number.into(), 0, 0, 0, u16::from(host)];
        [IpAddr::from([198, 19, number, host]), IpAddr::from(v6)]
    };
    let (inner_far, outer_near, inner_near) = (link(1), link(2), link(3));
    let own = plan.network.host(number);
    for family in 0..2 {
        let (one, many) = [(32, 24), (128, 64)][family];
        near.first.add_address(&format!("{}/{one}", own[family]))?;
        near.second.add_address(&format!("{}/{one}", inner_near[family]))?;
        narrow.first.add_address(&format!("{}/{many}", inner_far[family]))?;
        narrow.second.add_address(&format!("{}/{many}", outer_near[family]))?;
        wide.first.add_address(&plan.network.prefixes(number + OUTER_ABOVE_HOST)[family])?;

        let via = inner_near[family].to_string();
        let words = ["route", "add", "default", "via", &via, "dev", "eth0", "onlink"];
        let chosen = if own[family].is_ipv4() { "-4" } else { "-6" };
        host.ip(&[&[chosen][..], &words].concat())?;
        inner.add_default_route(outer_near[family])?;
        let text = own[family].to_string();
        inner.ip(&["route", "add", &format!("{text}/{one}"), "dev", "near"])?;
        outer.add_route(&format!("{text}/{one}"), inner_far[family])?;
        outer.ip(&["neighbour", "add", "proxy", &text, "dev", "far"])?;
    }
    for gateway in plan.gateways().into_iter().flatten() {
        outer.add_default_route(gateway)?;
    }
    for held in plan.holds {
        let (family, length) = if held.is_ipv4() { (0, 32) } else { (1, 128) };
        inner.add_route(&format!("{held}/{length}"), own[family])?;
        outer.add_route(&format!("{held}/{length}"), inner_far[family])?;
    }
    // Answers for the host come at once, as the host's own would.
    outer.set_parameters(&[
        ("net.ipv6.conf.far.proxy_ndp", "1"),
        ("net.ipv4.neigh.far.proxy_delay", "0"),
        ("net.ipv6.neigh.far.proxy_delay", "0"),
    ])?;
    Ok((near.first, wide.first, wide.second))
}
