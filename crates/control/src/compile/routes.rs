//! The kernel's routes as the data plane needs them: by port instead of interface, gateways resolved, dead ways left out.

use super::{Inputs, legs_by_interface};
use crate::facts::{Facts, NextHop, Resolution, Route as KernelRoute, RouteKind, RouteTable as Table};
use flow::Family;
use hashbrown::HashMap;
use plan::{Hop, LinksByNextHop, Route, RouteTable, RouteTableBuilder};
use std::sync::Arc;

/// Hops of one route at the most, weights spelled out as repetitions; the kernel's own bound is 256, of equal weight.
const HOPS_MAX: usize = 256;

pub(super) fn compile<F: Family>(inputs: &Inputs<'_>, links: Arc<LinksByNextHop<F>>) -> RouteTable<F> {
    let ports = legs_by_interface(inputs.config, inputs.facts);
    let mut builder = RouteTableBuilder::new(links);
    // `all_routes` goes by rising metric, and the first route of a prefix stays.
    for route in inputs.facts.all_routes() {
        let Some(network) = F::address(route.destination.network()) else { continue };
        let compiled = match route.kind {
            RouteKind::Unicast if route.table == Table::Main => forward::<F>(inputs.facts, &ports, route),
            // What the host holds never gets this far; the rest of table `local` is no place to forward to.
            _ => Route::Reject,
        };
        builder.add(network, route.destination.length(), compiled);
    }
    builder.build()
}

fn forward<F: Family>(facts: &Facts, ports: &HashMap<u32, u16>, route: &KernelRoute) -> Route<F> {
    let weights: Vec<u64> = route.next_hops.iter().map(|next_hop| u64::from(next_hop.weight)).collect();
    let smallest = weights.iter().copied().min().unwrap_or(1).max(1);
    let mut hops: Vec<Hop<F>> = Vec::new();
    for next_hop in &route.next_hops {
        let repetitions = (u64::from(next_hop.weight) / smallest).clamp(1, HOPS_MAX as u64) as usize;
        for hop in resolve::<F>(facts, ports, next_hop) {
            hops.extend(std::iter::repeat_n(hop, repetitions.min(HOPS_MAX - hops.len())));
        }
    }
    if hops.is_empty() { Route::Reject } else { Route::Forward(hops.into()) }
}

/// The ways that one next hop leads: itself, or where its gateway is reached when it names no interface.
fn resolve<F: Family>(facts: &Facts, ports: &HashMap<u32, u16>, next_hop: &NextHop) -> Vec<Hop<F>> {
    let carries = |index| facts.interfaces.get(&index).is_some_and(crate::facts::Interface::carries);
    match (next_hop.interface, next_hop.gateway) {
        (Some(interface), gateway) => {
            let port = ports.get(&interface).filter(|_| carries(interface));
            // An IPv4 route by way of an IPv6 gateway (RFC 8950) leads nowhere yet.
            let gateway = match gateway {
                Some(gateway) => match F::address(gateway) {
                    Some(gateway) => Some(gateway),
                    None => return Vec::new(),
                },
                None => None,
            };
            port.map(|&port| Hop { port, gateway }).into_iter().collect()
        }
        (None, Some(gateway)) => match facts.resolve(gateway) {
            Resolution::Forward(hops) => {
                let known = hops.iter().filter_map(|hop| {
                    Some(Hop { port: *ports.get(&hop.interface)?, gateway: Some(F::address(hop.address)?) })
                });
                known.collect()
            }
            _ => Vec::new(),
        },
        (None, None) => Vec::new(),
    }
}
