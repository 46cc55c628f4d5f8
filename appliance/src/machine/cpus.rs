//! Whether the CPUs that a file names are there.

use config::{Config, Diagnostic, Position, Workers};

/// A CPU that does not exist, or that this process may not use.
const NO_SUCH_CPU: &str = "E0504";

/// What is wrong with the CPU numbers of `config` where only `available` may be used.
pub(crate) fn check_cpus(config: &Config, available: &[usize]) -> Vec<Diagnostic> {
    let appliance = &config.appliance;
    let listed = available.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let missing = |cpu: usize, at: Position| {
        let message = format!("CPU {cpu} does not exist, or this process may not use it");
        config.source.error(NO_SUCH_CPU, at, message).with_help(format!("there are: {listed}"))
    };
    let mut findings = Vec::new();
    if !available.contains(&appliance.control_cpu) {
        findings.push(missing(appliance.control_cpu, appliance.control_cpu_at));
    }
    match &appliance.workers {
        Workers::List(cpus) => {
            let absent = cpus.iter().filter(|cpu| !available.contains(cpu));
            findings.extend(absent.map(|cpu| missing(*cpu, appliance.workers_at)));
        }
        Workers::Auto if available.iter().all(|cpu| *cpu == appliance.control_cpu) => {
            let message = "`auto` leaves no CPU for a worker beside the control CPU";
            let finding = config.source.error(NO_SUCH_CPU, appliance.workers_at, message);
            findings
                .push(finding.with_help(format!("let them share it: workers = [{}]", appliance.control_cpu)));
        }
        Workers::Auto => {}
    }
    findings
}
