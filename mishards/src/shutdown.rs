//! SIGTERM and Ctrl-C: stop taking requests, let the running ones end, leave with 0.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled at the first SIGTERM or Ctrl-C.
pub fn on_signal() -> Result<CancellationToken, String> {
    let token = CancellationToken::new();
    let listen = |kind| signal(kind).map_err(|e| format!("cannot listen for signals: {e}"));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let cancelled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop, draining");
        cancelled.cancel();
    });
    Ok(token)
}
