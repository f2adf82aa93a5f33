//! Sources without a server: the list of the configuration, programs, and the plugin of the README.

use super::{Source, address, own};
use async_trait::async_trait;
use mishards_discovery::{Discovery, Exec, Member, StaticList};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// A list that is complete before it is watched.
#[derive(Default)]
pub struct List {
    entries: Mutex<BTreeMap<String, String>>,
}

#[async_trait]
impl Source for List {
    fn plugin(&self) -> Arc<dyn Discovery> {
        let entries = self.entries.lock().unwrap();
        let entries: Vec<String> = entries.iter().map(|(name, at)| format!("{name}={at}")).collect();
        Arc::new(StaticList::parse(&entries).unwrap())
    }

    async fn join(&self, who: &str, at: u16) -> Member {
        self.entries.lock().unwrap().insert(who.to_owned(), address(at));
        Member { name: who.to_owned(), address: address(at) }
    }

    async fn leave(&self, who: &str) {
        self.entries.lock().unwrap().remove(who);
    }

    async fn interrupt(&self) {}

    async fn restore(&self) {}

    async fn running(&self) -> usize {
        0
    }
}

/// The directory of the README's plugin.
pub struct Files {
    dir: TempDir,
}

impl Files {
    pub fn new() -> Files {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("members")).unwrap();
        Files { dir }
    }

    fn folder(&self) -> &str {
        if self.dir.path().join("away").exists() { "away" } else { "members" }
    }

    fn rename(&self, from: &str, to: &str) {
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        std::fs::rename(self.dir.path().join(from), self.dir.path().join(to)).unwrap();
    }
}

#[async_trait]
impl Source for Files {
    fn plugin(&self) -> Arc<dyn Discovery> {
        Arc::new(own::Folder { path: self.dir.path().join("members") })
    }

    async fn join(&self, who: &str, at: u16) -> Member {
        put(self.dir.path().join("new"), &address(at));
        self.rename("new", &format!("{}/{who}", self.folder()));
        Member { name: who.to_owned(), address: address(at) }
    }

    async fn leave(&self, who: &str) {
        std::fs::remove_file(self.dir.path().join(self.folder()).join(who)).unwrap();
    }

    async fn interrupt(&self) {
        self.rename("members", "away");
    }

    async fn restore(&self) {
        self.rename("away", "members");
    }

    async fn running(&self) -> usize {
        0
    }
}

/// A file with a line `name host:port` for each member, as the programs read it. While the file `away` is there, they
/// end at once.
pub struct Lines {
    dir: TempDir,
    members: Mutex<BTreeMap<String, String>>,
    command: String,
}

/// Says what was added and removed. Its process id is appended to the file `running`.
const FOLLOW: &str = r#"
import json, os, sys, time
folder = sys.argv[1]
open(folder + "/running", "a").write(f"{os.getpid()}\n")
def say(**line):
    print(json.dumps(line), flush=True)
def members():
    return dict(line.split() for line in open(folder + "/members"))
if os.path.exists(folder + "/away"):
    sys.exit()
known = members()
say(reset=[{"name": n, "address": a} for n, a in known.items()])
while not os.path.exists(folder + "/away"):
    time.sleep(0.05)
    now = members()
    for name in known.keys() - now.keys():
        say(remove=name)
    for name, address in now.items():
        if known.get(name) != address:
            say(add={"name": name, "address": address})
    known = now
"#;

impl Lines {
    fn with(command: impl FnOnce(&str) -> String) -> Lines {
        let dir = tempfile::tempdir().unwrap();
        let command = command(dir.path().to_str().unwrap());
        let lines = Lines { dir, members: Mutex::default(), command };
        lines.write();
        lines
    }

    /// The members are followed by a program in Python.
    pub fn python() -> Lines {
        let lines = Lines::with(|dir| format!("python3 {dir}/follow.py {dir}"));
        put(lines.path("follow.py"), FOLLOW);
        lines
    }

    /// By the shell script of the README.
    pub fn shell() -> Lines {
        let lines = Lines::with(|dir| format!("sh {dir}/members.sh {dir}"));
        let script = super::readme("sh");
        put(
            lines.path("members.sh"),
            &format!("exec 2>/dev/null\necho $$ >>$1/running\n[ -e $1/away ] && exit 1\n{script}"),
        );
        lines
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn write(&self) {
        let members = self.members.lock().unwrap();
        let text: String = members.iter().map(|(name, at)| format!("{name} {at}\n")).collect();
        // In one step, for the programs read whenever they like.
        put(self.path("new"), &text);
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        std::fs::rename(self.path("new"), self.path("members")).unwrap();
    }

    /// The processes that were started and live.
    pub fn processes(&self) -> Vec<u32> {
        let started = std::fs::read_to_string(self.path("running")).unwrap_or_default();
        started.lines().map(|pid| pid.parse().unwrap()).filter(|pid| lives(*pid)).collect()
    }
}

/// Whether a process runs; one that only waits to be reaped does not.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

pub fn put(path: PathBuf, text: &str) {
    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    std::fs::write(path, text).unwrap();
}

pub fn kill(pid: u32) {
    std::process::Command::new("kill").arg("-KILL").arg(pid.to_string()).status().unwrap();
}

#[async_trait]
impl Source for Lines {
    fn plugin(&self) -> Arc<dyn Discovery> {
        Arc::new(Exec::parse(&self.command, "test").unwrap())
    }

    async fn join(&self, who: &str, at: u16) -> Member {
        self.members.lock().unwrap().insert(who.to_owned(), address(at));
        self.write();
        Member { name: who.to_owned(), address: address(at) }
    }

    async fn leave(&self, who: &str) {
        self.members.lock().unwrap().remove(who);
        self.write();
    }

    async fn interrupt(&self) {
        put(self.path("away"), "");
        self.processes().into_iter().for_each(kill);
    }

    async fn restore(&self) {
        std::fs::remove_file(self.path("away")).unwrap();
    }

    async fn running(&self) -> usize {
        self.processes().len()
    }
}
