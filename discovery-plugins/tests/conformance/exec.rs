//! Programs that do not do what they should.

use super::*;
use mishards_discovery::{Discovery, Event, Exec};
use sources::simple::put;
use tempfile::TempDir;

/// A program that counts its starts in a file.
struct Program {
    dir: TempDir,
    exec: Exec,
}

impl Program {
    fn new(script: &str) -> Program {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program.sh");
        put(path.clone(), &format!("cd {}\necho >>starts\n{script}\n", dir.path().display()));
        let exec = Exec::parse(&format!("sh {}", path.display()), "the-cluster").unwrap();
        Program { dir, exec }
    }

    fn text(&self, file: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(file)).unwrap_or_default()
    }

    fn starts(&self) -> usize {
        self.text("starts").lines().count()
    }
}

fn reset(names: &[&str]) -> String {
    let members: Vec<String> =
        names.iter().map(|n| format!("{{\"name\": \"{n}\", \"address\": \"h:1\"}}")).collect();
    format!("echo '{{\"reset\": [{}]}}'", members.join(", "))
}

fn members(names: &[&str]) -> Vec<Member> {
    names.iter().map(|n| Member { name: (*n).to_owned(), address: "h:1".to_owned() }).collect()
}

const ADD: &str = "echo '{\"add\": {\"name\": \"b\", \"address\": \"h:1\"}}'";

#[tokio::test]
async fn a_program_that_ends_is_started_again_and_not_all_the_time() {
    let program = Program::new(&reset(&["a"]));
    let mut watch = Watch::of(&program.exec);
    watch.begins_with(&members(&["a"])).await;
    watch.stays(&members(&["a"]), Duration::from_millis(2500)).await;
    let starts = program.starts();
    assert!((2..=4).contains(&starts), "{starts} starts");
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_tried_again() {
    let program = Program::new(&reset(&["a"]));
    let missing = program.dir.path().join("missing");
    let exec = Exec::parse(missing.to_str().unwrap(), "c").unwrap();
    let mut watch = Watch::of(&exec);
    watch.is_quiet(Duration::from_millis(300)).await;
    std::os::unix::fs::symlink("/bin/true", &missing).unwrap();
    watch.is_quiet(Duration::from_millis(1200)).await;
    std::fs::remove_file(&missing).unwrap();
    put(missing.clone(), &format!("#!/bin/sh\n{}\n", reset(&["a"])));
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&missing, executable).unwrap();
    watch.begins_with(&members(&["a"])).await;
}

#[tokio::test]
async fn lines_that_cannot_be_read_are_left_out() {
    let script = format!(
        "{ADD}\necho nonsense\necho\n{}\necho '{{\"reset\": 1}}'\n{ADD}\necho '{{\"remove\": \"nobody\"}}'\nexec sleep 60",
        reset(&["a"])
    );
    let program = Program::new(&script);
    let mut watch = Watch::of(&program.exec);
    watch.begins_with(&members(&["a"])).await;
    watch.until(&members(&["a", "b"])).await;
    assert_eq!(program.starts(), 1);
}

#[tokio::test]
async fn what_is_no_text_ends_the_program() {
    let script = format!(
        "{}\n[ -e second ] && exec sleep 60\n>second\nprintf '\\377\\n'\nexec sleep 60",
        reset(&["a"])
    );
    let program = Program::new(&script);
    let mut watch = Watch::of(&program.exec);
    watch.begins_with(&members(&["a"])).await;
    assert_eq!(watch.event(Duration::from_secs(20)).await, Some(Event::Reset(members(&["a"]))));
    assert_eq!(program.starts(), 2);
}

#[tokio::test]
async fn a_line_that_does_not_end_ends_the_program() {
    let script = format!("{}\n[ -e second ] && exec sleep 60\n>second\nexec cat /dev/zero", reset(&["a"]));
    let program = Program::new(&script);
    let mut watch = Watch::of(&program.exec);
    watch.begins_with(&members(&["a"])).await;
    assert_eq!(watch.event(Duration::from_secs(20)).await, Some(Event::Reset(members(&["a"]))));
}

/// It does not know who has left meanwhile.
#[tokio::test]
async fn a_program_that_was_started_again_begins_with_a_reset_too() {
    let script = format!(
        "[ -e second ] && {{ {ADD}\n{}\nexec sleep 60\n}}\n>second\n{}",
        reset(&["c"]),
        reset(&["a"])
    );
    let program = Program::new(&script);
    let mut watch = Watch::of(&program.exec);
    watch.begins_with(&members(&["a"])).await;
    assert_eq!(watch.event(Duration::from_secs(20)).await, Some(Event::Reset(members(&["c"]))));
}

#[tokio::test]
async fn the_program_knows_the_cluster_and_sees_its_input_end() {
    let script = format!(
        "echo $MISHARDS_CLUSTER_ID >cluster\nexec 3<&0\n(cat; >ended) <&3 >/dev/null 2>&1 &\n{}\nexec sleep 60",
        reset(&["a"])
    );
    let program = Program::new(&script);
    let mut watch = Watch::of(&program.exec);
    watch.begins_with(&members(&["a"])).await;
    assert_eq!(program.text("cluster"), "the-cluster\n");
    assert!(!program.dir.path().join("ended").exists());
    drop(watch);
    eventually("its input ends", async || program.dir.path().join("ended").exists()).await;
}

/// Such as the first half of a pipeline, which keeps the output open.
#[tokio::test]
async fn a_program_that_dies_is_noticed_although_a_child_of_it_lives() {
    let script = format!(
        "{}\n[ -e second ] && exec sleep 60\n>second\nsleep 60 &\necho $! >child\nkill -KILL $$",
        reset(&["a"])
    );
    let program = Program::new(&script);
    let mut watch = Watch::of(&program.exec);
    watch.begins_with(&members(&["a"])).await;
    let again = watch.event(Duration::from_secs(5)).await;
    sources::simple::kill(program.text("child").trim().parse().unwrap());
    assert_eq!(again, Some(Event::Reset(members(&["a"]))));
}

#[tokio::test]
async fn two_watches_are_two_programs() {
    let program = Program::new(&format!("{}\nexec sleep 60", reset(&["a"])));
    let (mut one, mut two) = (Watch::of(&program.exec), Watch::of(&program.exec));
    one.begins_with(&members(&["a"])).await;
    two.begins_with(&members(&["a"])).await;
    assert_eq!(program.starts(), 2);
    program.exec.register(&members(&["b"])[0]).await.unwrap();
    program.exec.deregister("b").await.unwrap();
    one.is_quiet(Duration::from_millis(200)).await;
}
