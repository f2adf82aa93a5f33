//! The command line.

use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// A distributed vector database that Milvus clients use unmodified.
///
/// Start with `mishards demo`, or `mishards standalone` and any Milvus client on http://127.0.0.1:19530.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Everything in one process, on one data directory
    #[command(
        after_help = "Every setting of `mishards config` can be given in FILE or as MISHARDS__SECTION__KEY."
    )]
    Standalone {
        /// Directory for all data; made when it is not there [default: ./mishards-data]
        #[arg(long, value_name = "DIR")]
        data_dir: Option<String>,
        /// Address for Milvus clients [default: 127.0.0.1:19530]
        #[arg(long, value_name = "HOST:PORT")]
        listen: Option<String>,
        /// Address for /healthz, /readyz and /metrics [default: 127.0.0.1:9091]
        #[arg(long, value_name = "HOST:PORT")]
        ops_listen: Option<String>,
        /// Settings in TOML
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// A stateless router: what Milvus clients of a cluster connect to
    Router {
        /// Settings in TOML
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// A node of a cluster
    Node {
        /// What the node does
        #[arg(long)]
        role: Role,
        /// Settings in TOML
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// A whole cluster in this process with real data: asks it some questions, then stays up
    Demo {
        /// Leave after the answers
        #[arg(long)]
        once: bool,
    },
    /// Print the effective settings and where each value came from
    Config {
        /// Settings in TOML
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Role {
    /// Owns the log and the catalog; one at a time serves
    Writable,
    /// Answers searches from the shared directory
    Readonly,
}
