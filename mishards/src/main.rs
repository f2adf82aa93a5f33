//! The one binary: standalone, router, node, demo, and operator commands. It composes the parts and owns nothing else.

mod cli;
mod client_server;
mod config;
mod demo;
mod discovery;
mod election;
mod local_node;
mod node_server;
mod operator;
mod ops;
mod parts;
mod peers;
mod roles;
mod shared_lock;
mod shutdown;
mod state_file;
mod system;
mod telemetry;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mishards: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: cli::Cli) -> Result<(), String> {
    system::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("cannot start the runtime: {e}"))?;
    // The process ends as soon as its role has. A runtime that is shut down would take the timers away from work that goes on
    // beside its workers meanwhile; what must be on disk is there before a role ends.
    let runtime = std::mem::ManuallyDrop::new(runtime);
    match cli.command {
        cli::Command::Config { config } => {
            let config = config::load(config.as_deref(), &[])?;
            if let Some(warning) = config.warning() {
                eprintln!("mishards: warning: {warning}");
            }
            print!("{}", config.explain());
            Ok(())
        }
        cli::Command::Status { router, json } => runtime.block_on(operator::status(&router.ops, json)),
        cli::Command::Explain { read, router, json } => {
            runtime.block_on(operator::explain(&router.ops, read, json))
        }
        cli::Command::Repair { data_dir, config, accept_loss } => {
            let config = start(config.as_deref(), &[("cluster.shared_dir", data_dir)])?;
            runtime.block_on(operator::repair(config, accept_loss))
        }
        cli::Command::Rename { name, data_dir, config } => {
            let config = start(config.as_deref(), &[("cluster.shared_dir", data_dir)])?;
            runtime.block_on(operator::rename(config, &name))
        }
        cli::Command::Demo { once } => runtime.block_on(demo::run(once)),
        cli::Command::Standalone { data_dir, listen, ops_listen, config } => {
            let flags = [
                ("cluster.shared_dir", data_dir),
                ("server.listen", listen),
                ("server.ops_listen", ops_listen),
            ];
            runtime.block_on(roles::standalone(start(config.as_deref(), &flags)?))
        }
        cli::Command::Router { config } => runtime.block_on(roles::router(start(Some(&config), &[])?)),
        cli::Command::Node { role, config } => {
            let settings = start(Some(&config), &[])?;
            match role {
                cli::Role::Writable => runtime.block_on(roles::writable_node(settings)),
                cli::Role::Readonly => runtime.block_on(roles::readonly_node(settings)),
            }
        }
    }
}

/// Reads the configuration and starts logging.
fn start(file: Option<&std::path::Path>, flags: &[(&str, Option<String>)]) -> Result<config::Config, String> {
    let config = config::load(file, flags)?;
    telemetry::start(&config)?;
    if let Some(warning) = config.warning() {
        tracing::warn!("{warning}");
    }
    Ok(config)
}
