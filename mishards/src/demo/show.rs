//! What a person sees of the demo.

use super::data::{COLLECTION, Hit};
use mishards_router::Coverage;
use std::io::Write;
use std::time::Duration;

const TAGS: usize = 3;

/// One line that is written over until it is done.
pub fn progress(what: &str, done: usize, total: usize) {
    let share = (done * 100).checked_div(total).unwrap_or(100);
    print!("\r{what}: {done} of {total} ({share} %)   ");
    if done >= total {
        println!();
    }
    let _ = std::io::stdout().flush();
}

/// A question with its hits, and who did what.
pub fn answer(question: &str, filter: &str, hits: &[Hit], took: Duration, coverage: &Coverage) {
    println!("\n\u{201c}{question}\u{201d}");
    if !filter.is_empty() {
        println!("  where {filter}");
    }
    for hit in hits {
        let tags = hit.tags.iter().take(TAGS).cloned().collect::<Vec<_>>().join(", ");
        println!("  {:.3}  {:<24} {:<12} {tags}", hit.score, hit.name, hit.section);
    }
    println!("  {:.1} ms in all:", took.as_secs_f64() * 1000.0);
    for done in coverage.subqueries.iter().filter(|done| done.what == "search" && done.failure.is_none()) {
        let growing = if done.growing { " and the growing rows" } else { "" };
        let ids = done.segments.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        let segments = if ids.is_empty() { "no segments".to_owned() } else { format!("segments {ids}") };
        let millis = done.node_micros as f64 / 1000.0;
        println!("    {:<9} {segments}{growing}: {} rows in {millis:.1} ms", done.node, done.rows_scanned);
    }
}

pub fn how_to_connect(address: &str) {
    println!(
        "\nThe cluster stays up until Ctrl-C; its data goes with it. Connect any Milvus client:\n
    from pymilvus import MilvusClient
    client = MilvusClient(\"http://{address}\")
    print(client.describe_collection(\"{COLLECTION}\"))
    for row in client.query(\"{COLLECTION}\", 'name like \"lib%\" or section == \"games\"', limit=5, output_fields=[\"name\", \"section\"]):
        print(row)
"
    );
}
