//! The machine, as far as it says what it is. No names of hosts or users.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use ::bench::results::{Environment, Fact};

use super::devices::Cpus;

/// The testbed, drawn.
const TOPOLOGY: &str = "\
             +----- clients ======= outside -+
 generator  -+                               +- device
 (or peers)  +----- servers ======= inside --+
             198.18.0.0/15, a VIP and four servers";

/// What a report says of the machine.
pub(super) fn environment(cpus: Cpus) -> Environment {
    let cpu_info = read("/proc/cpuinfo");
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_string())
            .unwrap_or_default()
    };
    let memory = value(&read("/proc/meminfo"), "MemTotal");
    let memory_kib = memory.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
    let is_guest = value(&cpu_info, "flags").split(' ').any(|flag| flag == "hypervisor");
    let cores = cpu_info.lines().filter(|line| line.starts_with("processor")).count();
    Environment {
        kernel: kernel(),
        cpu: value(&cpu_info, "model name"),
        cores: u32::try_from(cores).unwrap_or(0),
        memory_bytes: memory_kib * 1024,
        virtualisation: if is_guest { "a virtual machine" } else { "none" }.into(),
        jeoul: concat!("jeoul ", env!("CARGO_PKG_VERSION")).into(),
        link: "veth pairs in network namespaces, one queue, offloads off; no network card".into(),
        topology: TOPOLOGY.into(),
        pinning: vec![
            Fact::new(format!("CPU {}", cpus.peers), "generator, or clients and servers; control threads"),
            Fact::new(format!("CPU {}", cpus.device), "the device"),
        ],
        facts: facts(),
    }
}

fn facts() -> Vec<Fact> {
    let files = [
        ("governor", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        ("isolated CPUs", "/sys/devices/system/cpu/isolated"),
        ("transparent huge pages", "/sys/kernel/mm/transparent_hugepage/enabled"),
        ("huge pages of 2 MiB set aside", "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"),
        ("connections that the kernel tracks", "/proc/sys/net/netfilter/nf_conntrack_max"),
        ("buckets of its table", "/proc/sys/net/netfilter/nf_conntrack_buckets"),
    ];
    let known = |(name, path): (&str, &str)| {
        let value = read(path).trim().to_string();
        Fact::new(name, if value.is_empty() { "none".into() } else { value })
    };
    files.into_iter().map(known).collect()
}

/// `uname -r`.
pub(super) fn kernel() -> String {
    read("/proc/sys/kernel/osrelease").trim().into()
}

/// A file of the kernel's; empty where it has none.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Now, in UTC, as RFC 3339 writes it.
pub(super) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc_3339(since.as_secs())
}

/// The civil date of a day since 1970 in the proleptic Gregorian calendar, by counting from a 1 March.
fn rfc_3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01; eras of 400 years have 146,097 days.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_around_leap_days() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_752_000, "2026-11-27T04:00:00Z"),
        ] {
            assert_eq!(rfc_3339(seconds), text);
        }
    }
}
