//! Which crate may use which: arrows point down only, as ARCHITECTURE.md draws them. Reads the truth from
//! `cargo metadata`, so that a new dependency in a Cargo.toml is seen whether code uses it or not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Every crate of the workspace and the crates of ours that it may use, from the top down.
const ALLOWED: [(&str, &[&str]); 13] = [
    (
        "mishards",
        &[
            "mishards-router",
            "mishards-node",
            "mishards-discovery",
            "mishards-catalog",
            "mishards-storage",
            "mishards-proto",
            "mishards-trace",
            "mishards-types",
        ],
    ),
    (
        "mishards-router",
        &[
            "mishards-proto",
            "mishards-catalog",
            "mishards-discovery",
            "mishards-expr",
            "mishards-trace",
            "mishards-types",
        ],
    ),
    (
        "mishards-node",
        &[
            "mishards-proto",
            "mishards-catalog",
            "mishards-storage",
            "mishards-segment",
            "mishards-index",
            "mishards-wal",
            "mishards-expr",
            "mishards-trace",
            "mishards-types",
        ],
    ),
    ("mishards-discovery", &["mishards-catalog"]),
    ("mishards-wal", &["mishards-storage", "mishards-types"]),
    ("mishards-catalog", &["mishards-types"]),
    ("mishards-segment", &["mishards-types"]),
    ("mishards-index", &["mishards-types"]),
    ("mishards-expr", &["mishards-types"]),
    ("mishards-storage", &[]),
    ("mishards-proto", &[]),
    ("mishards-trace", &[]),
    ("mishards-types", &[]),
];

/// A dependency of one crate of ours on another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Arrow {
    from: String,
    to: String,
    /// Used by tests, benches and examples only.
    dev: bool,
}

fn arrow(from: &str, to: &str, dev: bool) -> Arrow {
    Arrow { from: from.to_owned(), to: to.to_owned(), dev }
}

/// The crates that the table lets `from` use, directly or through others.
fn reachable(from: &str) -> BTreeSet<&'static str> {
    let table: BTreeMap<&str, &[&'static str]> = ALLOWED.into_iter().collect();
    let (mut found, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(name) = next.pop() {
        for to in table.get(name).copied().unwrap_or_default() {
            if found.insert(*to) {
                next.push(to);
            }
        }
    }
    found
}

/// The arrows that the table does not allow. A crate's tests may also use what the crate uses through others; that
/// never points up either.
fn forbidden(arrows: &[Arrow]) -> Vec<String> {
    let may = |a: &&Arrow| match a.dev {
        true => reachable(&a.from).contains(a.to.as_str()),
        false => ALLOWED.iter().any(|(from, to)| *from == a.from && to.contains(&a.to.as_str())),
    };
    let name = |a: &Arrow| format!("{} -> {}{}", a.from, a.to, if a.dev { " (dev)" } else { "" });
    arrows.iter().filter(|a| !may(a)).map(name).collect()
}

/// The packages of the workspace, as cargo describes them.
fn packages() -> Vec<Value> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let arguments =
        ["metadata", "--no-deps", "--format-version", "1", "--offline", "--manifest-path", manifest];
    let run = Command::new(env!("CARGO")).args(arguments).output().unwrap();
    assert!(run.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&run.stderr));
    let metadata: Value = serde_json::from_slice(&run.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn names(packages: &[Value]) -> BTreeSet<&str> {
    packages.iter().map(|p| p["name"].as_str().unwrap()).collect()
}

fn arrows_among(packages: &[Value]) -> Vec<Arrow> {
    let ours = names(packages);
    let mut out = Vec::new();
    for package in packages {
        let from = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            if ours.contains(to) {
                out.push(arrow(from, to, dependency["kind"] == "dev"));
            }
        }
    }
    out
}

#[test]
fn arrows_point_down_only() {
    let arrows = arrows_among(&packages());
    // A reading of the metadata that finds nothing would forbid nothing.
    assert!(arrows.contains(&arrow("mishards", "mishards-router", false)), "no arrows were read: {arrows:?}");
    let found = forbidden(&arrows);
    assert!(found.is_empty(), "these arrows are not allowed:\n  {}", found.join("\n  "));
}

#[test]
fn every_crate_is_in_the_table() {
    let packages = packages();
    let table: BTreeSet<&str> = ALLOWED.iter().map(|(from, _)| *from).collect();
    let listed: BTreeSet<&str> = ALLOWED.iter().flat_map(|(_, to)| to.iter().copied()).collect();
    assert_eq!(names(&packages), table, "the workspace's crates (left) and the table's (right) differ");
    assert!(listed.is_subset(&table), "the table lets crates be used that do not exist: {listed:?}");
}

#[test]
fn the_table_has_no_circle() {
    for (from, _) in ALLOWED {
        assert!(!reachable(from).contains(from), "{from} may use itself through others");
    }
}

#[test]
fn a_forbidden_arrow_is_named_by_both_ends() {
    let arrows = [
        arrow("mishards-router", "mishards-proto", false),
        arrow("mishards-router", "mishards-node", false),
        arrow("mishards-router", "mishards-storage", false),
        arrow("mishards-segment", "mishards-storage", true),
        arrow("mishards-types", "mishards-expr", true),
        arrow("mishards-node", "mishards-types", true),
        arrow("mishards", "mishards-wal", true),
        arrow("mishards", "mishards-wal", false),
    ];
    let expected = [
        "mishards-router -> mishards-node",
        "mishards-router -> mishards-storage",
        "mishards-segment -> mishards-storage (dev)",
        "mishards-types -> mishards-expr (dev)",
        "mishards -> mishards-wal",
    ];
    assert_eq!(forbidden(&arrows), expected);
}
