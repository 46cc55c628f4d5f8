//! `jeoul bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// A bench to run, or what to do with the results of some.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub action: Option<BenchAction>,
    /// The profile (TOML): devices, trials, rounds; see configs/bench
    #[arg(required = true)]
    pub profile: Option<PathBuf>,
    /// Where report.html and results.json go; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "bench-results")]
    pub output: PathBuf,
    /// Three rounds at the most: wider spreads, sooner
    #[arg(long)]
    pub quick: bool,
}

/// What else there is to do.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchAction {
    /// Compare the raw results of two benches, figure by figure
    Compare {
        /// The earlier results
        #[arg(value_name = "A.json")]
        a: PathBuf,
        /// The later results
        #[arg(value_name = "B.json")]
        b: PathBuf,
        /// Print JSON, for programs
        #[arg(long, short)]
        json: bool,
    },
}
