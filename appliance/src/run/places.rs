//! Which CPUs run what.

use config::{Config, Driver, Workers};
use core_affinity::CoreId;
use std::io;
use tracing::{info, warn};

const ONLINE: &str = "/sys/devices/system/cpu/online";

/// The CPUs that are to have a worker.
///
/// The list of online CPUs is read from the kernel itself: a library that asks for this thread's mask would leave out
/// isolated CPUs, the very ones that a worker wants.
pub fn cpus(config: &Config) -> io::Result<Vec<usize>> {
    match &config.appliance.workers {
        Workers::List(cpus) => Ok(cpus.clone()),
        Workers::Auto => {
            let online = parse_list(std::fs::read_to_string(ONLINE)?.trim());
            let others: Vec<usize> =
                online.iter().copied().filter(|&cpu| cpu != config.appliance.control_cpu).collect();
            Ok(if others.is_empty() { online } else { others })
        }
    }
}

/// "0-3,8" as numbers; what is not one is left out.
fn parse_list(text: &str) -> Vec<usize> {
    let ranges = text.split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.trim().parse::<usize>().ok()?..=last.trim().parse::<usize>().ok()?)
    });
    ranges.flatten().collect()
}

/// As many of `cpus` as there are queues on the AF_XDP port that has the fewest: a pair of interface and queue belongs to
/// one worker's memory. The others stay idle, which the log says.
pub fn active(config: &Config, cpus: Vec<usize>) -> Vec<usize> {
    let ports = config.ports.iter().filter(|port| port.driver != Driver::AfPacket);
    let queues =
        ports.filter_map(|port| Some((rings::interface::find(&port.interface).ok()?.receive_queues, port)));
    let Some((fewest, port)) = queues.min_by_key(|(queues, _)| *queues) else { return cpus };
    let count = cpus.len().min((fewest as usize).max(1));
    for idle in &cpus[count..] {
        info!("CPU {idle} gets no worker: port {} has {fewest} queues", port.name);
    }
    cpus[..count].to_vec()
}

/// Pins the calling thread.
pub fn pin(cpu: usize, who: &str) {
    if !core_affinity::set_for_current(CoreId { id: cpu }) {
        warn!("{who} could not be pinned to CPU {cpu}; it runs where the kernel puts it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_of_cpus_is_read() {
        assert_eq!(parse_list("0-3,8,10-11"), [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(parse_list("0"), [0]);
        assert!(parse_list("").is_empty());
    }
}
