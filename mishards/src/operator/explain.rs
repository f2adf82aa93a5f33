//! `mishards explain`: how a read was answered.

use super::{ask, list, number, print_json, size, table, text};
use crate::cli::Read;
use http::Method;
use mishards_router::ExplainRequest;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read as _;

/// What a router is asked, from what stands on the command line.
fn request(read: Read) -> Result<ExplainRequest, String> {
    let vector = match read.vector.as_deref() {
        None => Vec::new(),
        Some("-") => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|e| format!("--vector -: {e}"))?;
            numbers(&text)?
        }
        Some(text) => numbers(text)?,
    };
    let mut params = BTreeMap::new();
    for param in &read.params {
        let (name, value) =
            param.split_once('=').ok_or_else(|| format!("--param {param}: write NAME=VALUE"))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        params.insert(name.to_owned(), value);
    }
    let Read { collection, database, filter, partitions, field, limit, consistency, .. } = read;
    Ok(ExplainRequest { database, collection, filter, partitions, vector, field, limit, params, consistency })
}

fn numbers(text: &str) -> Result<Vec<f32>, String> {
    serde_json::from_str(text).map_err(|e| format!("--vector must be a JSON list of numbers: {e}"))
}

pub async fn explain(ops: &str, read: Read, as_json: bool) -> Result<(), String> {
    let request = serde_json::to_vec(&request(read)?).map_err(|e| e.to_string())?;
    let explained = ask(ops, Method::POST, "/explain", request).await?;
    if as_json {
        print_json(&explained);
    } else {
        print(&explained);
    }
    match explained["error"].as_str() {
        Some(error) => Err(format!("the read failed: {error}")),
        None => Ok(()),
    }
}

fn print(explained: &Value) {
    let coverage = &explained["coverage"];
    let millis = number(explained, "micros") as f64 / 1000.0;
    let (searched, all) = (number(coverage, "segments_searched"), number(coverage, "segments"));
    let growing = if coverage["growing"] == true { "with" } else { "without" };
    println!(
        "{} answered in {millis:.1} ms: {searched} of {all} segments, {growing} rows that are not in files; version {}",
        text(explained, "collection"),
        coverage["version"].as_str().unwrap_or("none"),
    );
    if let Some(count) = explained["count"].as_i64() {
        println!("count: {count}");
    }
    let scores = list(explained, "scores");
    for (i, key) in list(explained, "keys").iter().enumerate() {
        let score = scores.get(i).and_then(Value::as_f64).map_or_else(String::new, |s| format!("  {s}"));
        println!("{}{score}", key.as_str().unwrap_or_default());
    }
    println!();
    let subqueries: Vec<Vec<String>> = list(coverage, "subqueries").iter().map(subquery).collect();
    table::print(
        &["sub-query", "node", "segments", "rows", "ms", "ms at the node", "ended"],
        &[false, false, true, true, true, true, false],
        &subqueries,
    );
    let segments: Vec<Vec<String>> = list(explained, "segments").iter().map(segment).collect();
    if !segments.is_empty() {
        println!();
        table::print(
            &["segment", "partition", "rows", "bytes", "indexes", "read by", "asked in this order"],
            &[true, false, true, true, false, false, false],
            &segments,
        );
    }
}

fn subquery(subquery: &Value) -> Vec<String> {
    let millis = |key| format!("{:.1}", number(subquery, key) as f64 / 1000.0);
    let mut segments = list(subquery, "segments").len().to_string();
    if subquery["growing"] == true {
        segments.push_str(" + growing");
    }
    let ended = match subquery["failure"].as_str() {
        Some(failure) => failure.to_owned(),
        None if subquery["hedge"] == true => "answered, as a second try".to_owned(),
        None => "answered".to_owned(),
    };
    vec![
        text(subquery, "what").to_owned(),
        text(subquery, "node").to_owned(),
        segments,
        number(subquery, "rows_scanned").to_string(),
        millis("micros"),
        millis("node_micros"),
        ended,
    ]
}

fn segment(segment: &Value) -> Vec<String> {
    let texts = |key| -> Vec<&str> { list(segment, key).iter().filter_map(Value::as_str).collect() };
    vec![
        segment["id"].as_i64().unwrap_or_default().to_string(),
        text(segment, "partition").to_owned(),
        number(segment, "rows").to_string(),
        size(number(segment, "bytes")),
        texts("indexes").join(","),
        segment["read_by"].as_str().unwrap_or("nobody").to_owned(),
        texts("candidates").join(" "),
    ]
}
