//! `mishards status`: the cluster as one router sees it.

use super::{ask, list, number, print_json, size, table, text};
use http::Method;
use serde_json::Value;

pub async fn status(ops: &str, json: bool) -> Result<(), String> {
    let status = ask(ops, Method::GET, "/status", Vec::new()).await?;
    if json {
        print_json(&status);
        return Ok(());
    }
    let version = status["version"].as_str().unwrap_or("none yet");
    let ready = if status["ready"] == true { "ready" } else { "not ready" };
    println!(
        "router {ops}: {ready}; catalog version {version}, epoch {}, {}",
        number(&status, "epoch"),
        match status["catalog_age_seconds"].as_f64() {
            Some(age) => format!("confirmed {age:.1} s ago"),
            None => "not confirmed by anybody yet".to_owned(),
        }
    );
    for (what, key) in [("not ready", "not_ready"), ("warning", "warnings")] {
        for line in list(&status, key) {
            println!("{what}: {}", line.as_str().unwrap_or_default());
        }
    }
    println!();
    let nodes: Vec<Vec<String>> = list(&status, "nodes").iter().map(node).collect();
    table::print(
        &[
            "node",
            "role",
            "state",
            "address",
            "share",
            "segments",
            "bytes",
            "open",
            "growing rows",
            "epoch",
            "lag",
            "heard writer",
            "in hand",
        ],
        &[false, false, false, false, true, true, true, true, true, true, true, true, true],
        &nodes,
    );
    for (name, why) in status["unused"].as_object().into_iter().flatten() {
        println!("not used: {name}: {}", why.as_str().unwrap_or_default());
    }
    let collections: Vec<Vec<String>> = list(&status, "collections").iter().map(collection).collect();
    if !collections.is_empty() {
        println!();
        table::print(
            &[
                "database",
                "collection",
                "loaded",
                "partitions",
                "segments",
                "rows in files",
                "bytes",
                "to index",
            ],
            &[false, false, false, true, true, true, true, true],
            &collections,
        );
    }
    Ok(())
}

fn node(node: &Value) -> Vec<String> {
    let share = node["share"].as_f64().unwrap_or(0.0);
    vec![
        text(node, "name").to_owned(),
        text(node, "role").to_owned(),
        text(node, "state").to_owned(),
        text(node, "address").to_owned(),
        format!("{:.0} %", share * 100.0),
        number(node, "segments").to_string(),
        size(number(node, "bytes")),
        number(node, "open_segments").to_string(),
        number(node, "growing_rows").to_string(),
        number(node, "epoch").to_string(),
        number(node, "lag").to_string(),
        heard(node),
        number(node, "outstanding").to_string(),
    ]
}

/// When a node last heard the writable node.
fn heard(node: &Value) -> String {
    match (text(node, "role"), node["heard_seconds"].as_f64()) {
        ("writable", _) => "-".to_owned(),
        (_, Some(seconds)) => format!("{seconds:.1} s ago"),
        (_, None) => "never".to_owned(),
    }
}

fn collection(collection: &Value) -> Vec<String> {
    let loaded = match number(collection, "replicas") {
        0 => "no".to_owned(),
        1 => "yes".to_owned(),
        replicas => format!("{replicas} replicas"),
    };
    vec![
        text(collection, "database").to_owned(),
        text(collection, "name").to_owned(),
        loaded,
        number(collection, "partitions").to_string(),
        number(collection, "segments").to_string(),
        number(collection, "rows").to_string(),
        size(number(collection, "bytes")),
        number(collection, "segments_without_index").to_string(),
    ]
}
