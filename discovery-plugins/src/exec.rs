//! Any program that prints members as JSON lines: a plugin without recompiling. Each line is one of
//!
//! ```json
//! {"reset": [{"name": "a", "address": "host:port"}]}
//! {"add": {"name": "a", "address": "host:port"}}
//! {"remove": "a"}
//! ```
//!
//! A program that ends is started again. It is told the cluster's name in `MISHARDS_CLUSTER_ID`, and is ended with this
//! process: its standard input is closed then.

use crate::{Discovery, Error, Event, Member, Result};
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde::Deserialize;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const PLUGIN: &str = "exec";
const AGAIN: Duration = Duration::from_secs(1);
/// Longest line that is read.
const LINE_BYTES: u64 = 4 << 20;

/// See [`Discovery`].
#[derive(Clone)]
pub struct Exec {
    program: String,
    arguments: Vec<String>,
    cluster_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Reset(Vec<Member>),
    Add(Member),
    Remove(String),
}

impl Exec {
    /// `command` is the program and its arguments, separated by blanks.
    pub fn parse(command: &str, cluster_id: &str) -> Result<Exec> {
        let mut words = command.split_whitespace().map(str::to_owned);
        let program = words.next().ok_or_else(|| Error::new(PLUGIN, "discovery.command is empty"))?;
        Ok(Exec { program, arguments: words.collect(), cluster_id: cluster_id.to_owned() })
    }

    fn start(&self) -> Result<Running> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .env("MISHARDS_CLUSTER_ID", &self.cluster_id)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| Error::new(PLUGIN, format!("cannot start {:?}: {e}", self.program)))?;
        let out = child.stdout.take().ok_or_else(|| Error::new(PLUGIN, "the program has no output"))?;
        // Waiting for a child closes its input, unless somebody else has it.
        let input = child.stdin.take();
        Ok(Running { child, _input: input, out: BufReader::new(out), line: Vec::new() })
    }
}

struct Running {
    child: Child,
    _input: Option<ChildStdin>,
    out: BufReader<ChildStdout>,
    /// The beginning of the next line.
    line: Vec<u8>,
}

impl Running {
    /// The next line; `None` when the program has ended, or does not end its line.
    async fn line(&mut self) -> std::io::Result<Option<String>> {
        let mut out = (&mut self.out).take(LINE_BYTES);
        let mut read = std::pin::pin!(out.read_until(b'\n', &mut self.line));
        tokio::select! {
            biased;
            read = &mut read => drop(read?),
            // Children of it may keep its output open: what it said last is there at once, or does not come.
            _ = self.child.wait() => match tokio::time::timeout(AGAIN / 10, read).await {
                Ok(read) => drop(read?),
                Err(_) => return Ok(None),
            },
        }
        let line = std::mem::take(&mut self.line);
        if !line.ends_with(b"\n") {
            return Ok(None);
        }
        String::from_utf8(line).map(Some).map_err(std::io::Error::other)
    }
}

fn event(line: &str) -> Result<Event> {
    let line: Line = serde_json::from_str(line).map_err(|e| {
        Error::new(
            PLUGIN,
            format!("a line cannot be read: {e}: {}", line.chars().take(200).collect::<String>()),
        )
    })?;
    Ok(match line {
        Line::Reset(members) => Event::Reset(members),
        Line::Add(member) => Event::Add(member),
        Line::Remove(name) => Event::Remove(name),
    })
}

#[async_trait]
impl Discovery for Exec {
    fn watch(&self) -> BoxStream<'static, Event> {
        let start = (self.clone(), None::<Running>, false);
        stream::unfold(start, |(exec, mut running, mut began)| async move {
            loop {
                let Some(program) = &mut running else {
                    match exec.start() {
                        Ok(started) => running = Some(started),
                        Err(e) => {
                            tracing::error!(error = %e, "trying again");
                            tokio::time::sleep(AGAIN).await;
                        }
                    }
                    continue;
                };
                match program.line().await {
                    Ok(Some(line)) if line.trim().is_empty() => {}
                    Ok(Some(line)) => match event(&line) {
                        // The first word must be the whole list.
                        Ok(event @ Event::Reset(_)) => {
                            began = true;
                            return Some((event, (exec, running, began)));
                        }
                        Ok(event) if began => return Some((event, (exec, running, began))),
                        Ok(_) => tracing::error!(
                            "discovery (exec): the first line must be a reset; it is left out"
                        ),
                        Err(e) => tracing::error!(error = %e, "this line is left out"),
                    },
                    end => {
                        if let Err(e) = end {
                            tracing::error!(error = %e, "the program's output cannot be read");
                        }
                        tracing::warn!(
                            program = exec.program,
                            "the program has ended, or does not end a line: starting it again"
                        );
                        (running, began) = (None, false);
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
        })
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let member = Member { name: "a".to_owned(), address: "h:1".to_owned() };
        assert_eq!(
            event(r#"{"reset": [{"name": "a", "address": "h:1"}]}"#),
            Ok(Event::Reset(vec![member.clone()]))
        );
        assert_eq!(event(r#"{"add": {"name": "a", "address": "h:1"}}"#), Ok(Event::Add(member)));
        assert_eq!(event(r#"{"remove": "a"}"#), Ok(Event::Remove("a".to_owned())));
        for bad in ["", "x", "{}", r#"{"reset": 1}"#, r#"{"add": {"name": "a"}}"#, r#"{"gone": "a"}"#] {
            assert!(event(bad).is_err(), "{bad}");
        }
        assert!(Exec::parse("  ", "c").is_err());
    }
}
