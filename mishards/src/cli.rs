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
    /// Print what a router sees: nodes, their state and share, collections
    Status {
        #[command(flatten)]
        router: OpsAddress,
        /// Everything, as JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a read and print how it was answered: plan, placement, who took how long
    #[command(after_help = "Examples:\n  \
        mishards explain books --filter 'year > 2000'\n  \
        mishards explain books --vector '[0.1, 0.2, 0.3]' --limit 5 --param ef=100\n  \
        mishards explain books --vector - < vector.json")]
    Explain {
        #[command(flatten)]
        read: Read,
        #[command(flatten)]
        router: OpsAddress,
        /// Everything, as JSON
        #[arg(long)]
        json: bool,
    },
    /// Look for acknowledged data that is missing, after a start was refused because of it
    #[command(
        after_help = "Stop the writable node first. Without --accept-loss nothing is changed. Put back what can be put \
        back, then run this again; what is still missing is given up with --accept-loss, and the writable node starts again."
    )]
    Repair {
        /// Directory of a standalone server [default: ./mishards-data]
        #[arg(long, value_name = "DIR", conflicts_with = "config")]
        data_dir: Option<String>,
        /// Settings of the writable node, in TOML
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Give up what is missing: rows and deletes in it are lost for good
        #[arg(long)]
        accept_loss: bool,
    },
    /// Make a copy of a cluster one of its own: another name for its catalog and shared directory
    #[command(
        after_help = "For a copy of the catalog's database and of the shared directory, made for tests or for a second site. Routers \
        and nodes of either cluster refuse those of the other from then on. Stop all nodes of the copy first, let FILE name \
        the copy's database and directory, and set cluster.id to NAME afterwards."
    )]
    Rename {
        /// The new name: cluster.id of all routers and nodes of the copy
        #[arg(value_name = "NAME")]
        name: String,
        /// Directory of a standalone server [default: ./mishards-data]
        #[arg(long, value_name = "DIR", conflicts_with = "config")]
        data_dir: Option<String>,
        /// Settings of the copy's writable node, in TOML
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
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

/// Which router an operator's command asks.
#[derive(Debug, clap::Args)]
pub struct OpsAddress {
    /// Ops address of a router or a standalone server (server.ops_listen)
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9091")]
    pub ops: String,
}

/// A read to be explained.
#[derive(Debug, clap::Args)]
pub struct Read {
    /// Collection or alias
    pub collection: String,
    #[arg(long, value_name = "NAME", default_value = "")]
    pub database: String,
    /// Filter; without a vector its matches are counted, or listed when there is a limit
    #[arg(long, value_name = "EXPRESSION", default_value = "")]
    pub filter: String,
    /// Only this partition; may be given several times
    #[arg(long = "partition", value_name = "NAME")]
    pub partitions: Vec<String>,
    /// Query vector as a JSON list of numbers; `-` reads it from standard input
    #[arg(long, value_name = "JSON")]
    pub vector: Option<String>,
    /// Vector field, where there is more than one
    #[arg(long, value_name = "NAME", default_value = "")]
    pub field: String,
    #[arg(long, value_name = "ROWS")]
    pub limit: Option<usize>,
    /// Search parameter; may be given several times
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// strong, session, bounded or eventually [default: the collection's own]
    #[arg(long, value_name = "LEVEL", default_value = "")]
    pub consistency: String,
}
