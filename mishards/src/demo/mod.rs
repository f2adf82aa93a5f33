//! `mishards demo`: a cluster in this process, real data, real questions.

/// Runs it.
pub async fn run(_once: bool) -> Result<(), String> {
    Err("the demo is not built yet; start with `mishards standalone`".to_owned())
}
