//! `jeoul fwlb`.

use std::path::PathBuf;

use clap::Subcommand;

/// Random flows of each pair of groups at the most: some minutes.
const FLOWS_MAX: u64 = 100_000_000;

/// What concerns both ends of a firewall sandwich.
#[derive(Debug, Subcommand)]
pub(crate) enum Fwlb {
    /// Prove that two configurations send every flow over the same firewall
    ///
    /// Looks at the two files alone, on any machine. It pairs each group of the one with the group of the other that
    /// stands for the same firewalls: by their names, and where several have the same names, by `far_address` and
    /// `[[probe_responder]]`. It compares what must be the same (key, hash, names, weights) and what must fit together
    /// (far addresses and probe responders), and names every difference; the key is never shown.
    ///
    /// Then it places random flows (TCP, UDP, ICMP, ESP, GRE, SCTP) between the networks of the two groups by the very
    /// tables of the appliances: both ends must give each flow the same firewall, in both directions. For each firewall
    /// it says what its failure moves and where to; both ends must agree, no flow of another firewall may move, and on
    /// its return all must come back.
    ///
    /// Findings go to standard error, or with `--json` with all else to standard output. Exit status: 0 the ends agree, 1
    /// they do not, 2 wrong input.
    Verify {
        /// The configuration of the outer appliance (TOML)
        #[arg(value_name = "OUTER.toml")]
        outer: PathBuf,
        /// The configuration of the inner appliance (TOML)
        #[arg(value_name = "INNER.toml")]
        inner: PathBuf,
        /// Random flows of each pair of groups
        #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=FLOWS_MAX))]
        flows: u64,
        /// Draws the same flows as another run, which printed its seed [default: another one each time]
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
        /// Print JSON, for programs
        #[arg(long, short)]
        json: bool,
    },
}
