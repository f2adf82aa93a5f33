//! `mishards demo`: a cluster in this process on loopback, real data, real questions.

mod cluster;
mod data;
mod show;

use cluster::DemoCluster;
use data::Sample;
use mishards_proto::milvus::milvus_service_client::MilvusServiceClient;
use std::time::Duration;
use tonic::transport::Channel;

/// Questions of the sample that are asked, and the filter to ask them with.
const ASKED: [(usize, &str); 5] = [
    (12, ""),
    (8, ""),
    (3, "installed_kb < 1000"),
    (0, "section == \"games\""),
    (7, "array_contains(tags, \"interface::commandline\")"),
];

pub type Client = MilvusServiceClient<Channel>;

/// Runs the demo; without `once` it stays up until Ctrl-C.
pub async fn run(once: bool) -> Result<(), String> {
    let sample = Sample::read()?;
    let dir = tempfile::tempdir().map_err(|e| format!("cannot make a temporary directory: {e}"))?;
    println!("Starting a router, a writable node and two read-only nodes in {}", dir.path().display());
    let cluster = DemoCluster::start(dir.path()).await?;
    let mut client = cluster.client().await?;
    load(&mut client, &sample).await?;
    for (question, filter) in ASKED {
        let request = data::search(sample.question_vector(question), filter);
        let started = cluster.clock.elapsed();
        let (answer, coverage) = cluster.search(request).await?;
        let hits = data::hits(answer)?;
        let took = cluster.clock.elapsed().saturating_sub(started);
        if hits.is_empty() {
            return Err(format!("the question {:?} found nothing", sample.questions[question]));
        }
        show::answer(&sample.questions[question], filter, &hits, took, &coverage);
    }
    if once {
        return Ok(());
    }
    show::how_to_connect(&cluster.address);
    let stop = crate::shutdown::on_signal()?;
    stop.cancelled().await;
    Ok(())
}

async fn load(client: &mut Client, sample: &Sample) -> Result<(), String> {
    const BATCH: usize = 500;
    data::create_collection(client).await?;
    let total = sample.records.len();
    for start in (0..total).step_by(BATCH) {
        data::insert(client, sample, start..(start + BATCH).min(total)).await?;
        show::progress("Loading records", (start + BATCH).min(total), total);
    }
    data::flush(client).await?;
    loop {
        let (indexed, rows) = data::index_progress(client).await?;
        show::progress("Rows ready to be searched", indexed, rows);
        if indexed == rows {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
