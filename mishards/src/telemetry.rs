//! Logs: one line an event, readable at a terminal, or JSON.

use crate::config::Config;
use tracing_subscriber::EnvFilter;

/// Starts logging to standard error.
pub fn start(config: &Config) -> Result<(), String> {
    let level = config.text("log.level");
    let filter =
        EnvFilter::try_new(level).map_err(|e| format!("log.level {level:?} is no log filter: {e}"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.text("log.format") {
        "json" => lines.json().flatten_event(true).try_init(),
        "text" => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        other => return Err(format!("log.format must be text or json, not {other:?}")),
    };
    started.map_err(|e| format!("cannot start logging: {e}"))
}
