//! The samples in `deploy/` name settings and command lines that the program has.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// All files of `deploy/` with their text.
fn samples() -> Vec<(PathBuf, String)> {
    let (mut found, mut below) = (Vec::new(), vec![deploy()]);
    while let Some(dir) = below.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below.push(path);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 5);
    found
}

fn mishards(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mishards")).args(arguments).output().unwrap()
}

/// Every `section.key` that `mishards config` prints.
fn settings() -> BTreeSet<String> {
    let table: toml::Table = String::from_utf8(mishards(&["config"]).stdout).unwrap().parse().unwrap();
    let keys = |(section, keys): (&String, &toml::Value)| {
        let keys = keys.as_table().unwrap().keys();
        keys.map(|key| format!("{section}.{key}")).collect::<Vec<_>>()
    };
    table.iter().flat_map(keys).collect()
}

#[test]
fn settings_files_are_read() {
    let mut read = 0;
    for (path, _) in samples().iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "toml")) {
        let done = mishards(&["config", "--config", path.to_str().unwrap()]);
        assert!(done.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&done.stderr));
        read += 1;
    }
    assert_eq!(read, 2);
}

#[test]
fn variables_are_settings() {
    let known = settings();
    let mut named = 0;
    for (path, text) in samples() {
        for part in text.split("MISHARDS__").skip(1) {
            let end = part.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(part.len());
            let key = part[..end].to_lowercase().replace("__", ".");
            assert!(known.contains(&key), "{}: MISHARDS__{} is no setting", path.display(), &part[..end]);
            named += 1;
        }
    }
    assert!(named > 5);
}

/// What stands after the program's name is accepted: the words by `--help`, each option by its name.
#[test]
fn command_lines_are_accepted() {
    let mut lines: Vec<Vec<String>> = Vec::new();
    for (path, text) in samples() {
        let is = |name: &str| path.file_name().is_some_and(|n| n == name);
        for line in text.lines().map(str::trim) {
            if let Some(words) = line.strip_prefix("ExecStart=/usr/local/bin/mishards ") {
                lines.push(words.split_whitespace().map(|w| w.replace("%i", "readonly")).collect());
            }
            let list = match line.split_once("command: ").or(line.split_once("CMD ")) {
                Some((_, list)) if is("Dockerfile") || line.contains("\"--config\"") => list,
                _ => continue,
            };
            lines.push(serde_json::from_str(list).unwrap());
        }
    }
    assert!(lines.len() > 8, "{lines:?}");
    for line in lines {
        let words: Vec<&str> = line.iter().map(String::as_str).collect();
        let help = mishards(&[words[0], "--help"]);
        assert!(help.status.success(), "{words:?}");
        let help = String::from_utf8(help.stdout).unwrap();
        for option in words.iter().filter(|w| w.starts_with("--")) {
            assert!(help.contains(option), "{words:?}: {option}");
        }
        if let Some(role) = words.iter().position(|w| *w == "--role") {
            assert!(help.contains(words[role + 1]), "{words:?}");
        }
    }
}
