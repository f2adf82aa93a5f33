//! A search through a real router over nodes that answer, fail, hang, or talk nonsense: it is complete, or it is an error.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod stub;

use mishards_router::{Call, Coverage, Kind};
use mishards_types::Code;
use std::sync::Arc;
use std::time::Duration;
use stub::*;

const MS: Duration = Duration::from_millis(1);

async fn covered(cluster: &Cluster, level: i32) -> (Vec<i64>, Coverage) {
    let call = Call::of("default");
    let keys = cluster.search_as(&call, level).await.unwrap();
    (keys, call.coverage())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_segment_is_searched_once_and_the_answer_says_so() {
    let cluster = Make::of(&["a", "b", "c", "w"], 30).start().await;
    *cluster.node("w").growing.lock().unwrap() = vec![31_000, 31_001];
    let (keys, coverage) = covered(&cluster, STRONG).await;
    assert_eq!(keys, cluster.expected());
    assert_eq!((coverage.segments, coverage.segments_searched, coverage.growing), (30, 30, true));
    assert_eq!(coverage.nodes.iter().collect::<Vec<_>>(), ["a", "b", "c", "w"]);
    assert_eq!(coverage.to_string(), "segments=30/30; growing=yes; version=1:1; nodes=a,b,c,w");
    let asked: usize = cluster.asked().values().map(|segments| segments.len()).sum();
    assert_eq!(asked, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_one_node_does_the_answer_is_complete() {
    let faults = [
        Does::Unreached,
        Does::Break,
        Does::Hang,
        Does::LeaveOut,
        Does::Garbage,
        Does::Fail(Kind::Busy),
        Does::Fail(Kind::NotCaughtUp),
        Does::Fail(Kind::Unreadable),
    ];
    for fault in faults {
        let make = Make { patience: 300 * MS, ..Make::of(&["a", "b", "c", "w"], 20) };
        let cluster = make.start().await;
        *cluster.node("w").growing.lock().unwrap() = vec![31_000];
        cluster.node("b").does(fault.clone());
        for _ in 0..5 {
            let (keys, coverage) = covered(&cluster, STRONG).await;
            assert_eq!(keys, cluster.expected(), "{fault:?}");
            assert_eq!(coverage.segments_searched, 20, "{fault:?}");
            assert!(!coverage.nodes.contains("b"), "{fault:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nobody_answers_well_there_is_an_error_and_no_part_of_an_answer() {
    for fault in [Does::LeaveOut, Does::Garbage, Does::Unreached, Does::Fail(Kind::Unreadable)] {
        let cluster = Make::of(&["a", "b", "w"], 6).start().await;
        cluster.node("a").does(fault.clone());
        cluster.node("b").does(fault.clone());
        // The writable node is the last resort for segments; it has its own rows to answer for.
        cluster.node("w").does(Does::Fail(Kind::Unreadable));
        let call = Call::of("default");
        call_with_deadline(&cluster, &call).await.unwrap_err();
    }
}

/// A file that nobody finds is lost if the catalog names it; else the read was planned too long ago.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_the_catalog_names_and_nobody_finds_is_lost() {
    let cluster = Make::of(&["a", "b", "w"], 3).start().await;
    let file = cluster.catalog.borrow().segments().next().unwrap().footer.path.clone();
    for (lacks, code, said) in [
        (file.as_str(), Code::INTEGRITY, "restore it"),
        ("segments/removed", Code::UNAVAILABLE, "snapshot too old"),
    ] {
        ["a", "b", "w"].iter().for_each(|node| cluster.node(node).does(Does::Lack(lacks.to_owned())));
        let error = cluster.search_as(&Call::of("default"), EVENTUALLY).await.unwrap_err();
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(said), "{error}");
        assert_eq!(error.message.contains(lacks), code == Code::INTEGRITY, "{error}");
    }
    assert_eq!(cluster.metrics.lost_files_total.get(), 1);
    // Another node may have a copy.
    cluster.node("w").does(Does::Answer);
    assert_eq!(cluster.search_as(&Call::of("default"), EVENTUALLY).await.unwrap(), cluster.expected());
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_come_back_together_share_the_work_at_once() {
    let present = ["a", "b", "w"].map(str::to_owned).to_vec();
    let cluster = Make { present, ..Make::of(&["a", "b", "w"], 20) }.start().await;
    ["a", "b"].iter().for_each(|name| cluster.gets_done_opening(name, false));
    ["a", "b"].iter().for_each(|name| cluster.die(name));
    wait_for("both are gone", || ["a", "b"].iter().all(|name| cluster.state(name) == "gone")).await;
    // However busy this machine is, they come within a moment.
    cluster.clock.stop();
    cluster.join("a");
    wait_for("a is back", || cluster.state("a") == "serving").await;
    cluster.join("b");
    // Neither ever gets done with opening.
    wait_for("b is back", || cluster.state("b") == "serving").await;
    cluster.clock.go_on();
    assert_eq!(cluster.search().await.unwrap(), cluster.expected());
}

/// A search whose client waits two seconds.
async fn call_with_deadline(cluster: &Cluster, call: &Call) -> Result<Vec<i64>, String> {
    match tokio::time::timeout(Duration::from_secs(2), cluster.search_as(call, EVENTUALLY)).await {
        Ok(answer) => answer.map_err(|e| e.message),
        Err(_) => Err("too late".to_owned()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_have_too_much_to_do_clients_are_told_to_come_again() {
    let cluster = Make::of(&["a", "b", "w"], 6).start().await;
    for node in ["a", "b", "w"] {
        cluster.node(node).does(Does::Fail(Kind::Busy));
    }
    let error = cluster.search_as(&Call::of("default"), EVENTUALLY).await.unwrap_err();
    assert_eq!(error.code, Code::RATE_LIMIT, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_breaks_two_nodes_is_not_given_to_a_third() {
    let cluster = Make::of(&["a", "b", "c", "d", "w"], 1).start().await;
    for node in ["a", "b", "c", "d"] {
        cluster.node(node).does(Does::Break);
    }
    let error = cluster.search().await.unwrap_err();
    assert!(error.message.contains("broke off"), "{error}");
    let broken = ["a", "b", "c", "d"].iter().filter(|name| cluster.node(name).searches() > 0).count();
    assert_eq!(broken, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_is_one_whose_second_node_was_asked_because_the_first_was_slow() {
    let make = Make { replicas: 2, ..Make::of(&["a", "b", "c", "d", "w"], 1) };
    let cluster = make.start().await;
    // Each takes longer than is waited for before a second one is asked, as the first search of a router may.
    (0..1000).for_each(|_| cluster.topology.hedging.earn());
    for node in ["a", "b", "c", "d"] {
        cluster.node(node).does(Does::BreakLate(400 * MS));
    }
    let error = cluster.search().await.unwrap_err();
    assert!(error.message.contains("broke off"), "{error}");
    let broken = ["a", "b", "c", "d"].iter().filter(|name| cluster.node(name).searches() > 0).count();
    assert_eq!(broken, 2);
}

/// What takes a node's voice away may be what it was asked: it is not handed on until nobody is left.
#[tokio::test(flavor = "multi_thread")]
async fn what_silences_two_nodes_goes_no_further_and_never_to_the_writer() {
    let make = Make { patience: Duration::from_secs(60), ..Make::of(&["a", "b", "c", "d", "w"], 1) };
    let cluster = make.start().await;
    let silenced = ["a", "b", "c", "d"];
    silenced.iter().for_each(|node| cluster.node(node).does(Does::StopOnceAsked));
    let error = tokio::time::timeout(Duration::from_secs(30), cluster.search()).await.unwrap().unwrap_err();
    assert!(error.message.contains("broke off"), "{error}");
    let asked = cluster.asked();
    assert_eq!(silenced.iter().filter(|node| !asked[**node].is_empty()).count(), 2, "{asked:?}");
    assert!(asked["w"].is_empty(), "the writable node got it too");
}

/// It is asked again while it is dying: that is not a second node.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_dies_under_a_search_is_waited_for() {
    let cluster = Make::of(&["a", "w"], 2).start().await;
    cluster.node("w").does(Does::Break);
    let search = tokio::spawn({
        let router = Arc::clone(&cluster.router);
        async move { router.search(&Call::of("default"), stub::request(STRONG)).await.map(drop) }
    });
    tokio::time::sleep(1000 * MS).await;
    assert!(!search.is_finished(), "{:?}", search.await);
    cluster.node("w").does(Does::Answer);
    search.await.unwrap().unwrap();
}

/// A slow search is no reason to have a segment opened where it is not placed.
#[tokio::test(flavor = "multi_thread")]
async fn hedges_go_only_where_the_segments_are_placed() {
    for (replicas, hedged) in [(1, false), (2, true)] {
        let make = Make { replicas, patience: 700 * MS, ..Make::of(&["a", "b", "w"], 1) };
        let cluster = make.start().await;
        let wanted = replicas as usize;
        cluster
            .eventually("it is placed", |s| s.nodes.iter().map(|n| n.segments).sum::<usize>() == wanted)
            .await;
        (0..1000).for_each(|_| cluster.topology.hedging.earn());
        ["a", "b"].iter().for_each(|node| cluster.node(node).does(Does::Hang));
        let mut call = Call::of("default");
        call.deadline = Some(cluster.topology.now() + 1200 * MS);
        let _ = cluster.search_as(&call, STRONG).await;
        let asked = ["a", "b"].iter().filter(|node| cluster.node(node).searches() > 0).count();
        assert!(asked == 2 || !hedged, "{replicas} replicas");
        let report = call.coverage().subqueries;
        assert_eq!(cluster.metrics.hedged_subqueries_total.get() > 0, hedged, "{replicas}: {report:?}");
    }
}

/// Where nobody else can answer, nothing of a client's time is kept back.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_node_that_can_be_asked_has_all_the_time() {
    let make = Make { patience: 100 * MS, ..Make::of(&["w"], 2) };
    let cluster = make.start().await;
    cluster.node("w").does(Does::Hang);
    let began = tokio::time::Instant::now();
    let mut call = Call::of("default");
    call.deadline = Some(cluster.topology.now() + 2000 * MS);
    let answer = tokio::spawn({
        let router = Arc::clone(&cluster.router);
        async move { router.search(&call, stub::request(STRONG)).await.map(drop) }
    });
    tokio::time::sleep(1200 * MS).await;
    assert!(!answer.is_finished(), "it was given up after {:?}", began.elapsed());
    answer.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hangs_is_left_in_time_for_another_try() {
    let make = Make { patience: Duration::from_secs(60), ..Make::of(&["a", "b", "w"], 8) };
    let cluster = make.start().await;
    // Both hang, so that no hedge helps; the writable node is left.
    cluster.node("a").does(Does::Hang);
    cluster.node("b").does(Does::Hang);
    let began = tokio::time::Instant::now();
    let mut call = Call::of("default");
    call.deadline = Some(cluster.topology.now() + Duration::from_secs(4));
    let keys = cluster.search_as(&call, STRONG).await.unwrap();
    assert_eq!(keys, cluster.expected());
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_silent_node_has_in_hand_is_asked_of_others_before_it_is_given_up() {
    let make = Make { patience: Duration::from_secs(60), ..Make::of(&["a", "b", "c", "w"], 30) };
    let cluster = make.start().await;
    // No hedge helps.
    while cluster.topology.hedging.spend() {}
    cluster.node("a").does(Does::Stop);
    assert_eq!(cluster.search().await.unwrap(), cluster.expected());
    assert_eq!(cluster.state("a"), "avoided");
    is_passed_over(&cluster, "a").await;
    wait_for("a is given up", || cluster.state("a") == "gone").await;
    serves_again(&cluster, "a").await;
}

/// Searches are complete, and none of them asks this node.
async fn is_passed_over(cluster: &Cluster, name: &str) {
    let before = cluster.node(name).searches();
    for _ in 0..5 {
        assert_eq!(cluster.search().await.unwrap(), cluster.expected());
    }
    assert_eq!(cluster.node(name).searches(), before);
}

/// A node that is well again is asked again.
async fn serves_again(cluster: &Cluster, name: &str) {
    let before = cluster.node(name).searches();
    cluster.node(name).does(Does::Answer);
    wait_for("it serves", || cluster.state(name) == "serving").await;
    cluster.search().await.unwrap();
    assert!(cluster.node(name).searches() > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_silent_for_a_moment_is_not_given_up() {
    let cluster = Make::of(&["a", "b", "w"], 10).start().await;
    let mut avoided = false;
    cluster.node("a").unanswered.store(1, std::sync::atomic::Ordering::SeqCst);
    let again = || {
        let state = cluster.state("a");
        assert_ne!(state, "gone");
        avoided |= state == "avoided";
        avoided && state == "serving"
    };
    wait_for("a is avoided, and serves again", again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hangs_holds_up_no_look_at_the_others() {
    let cluster = Make::of(&["a", "b", "w"], 10).start().await;
    cluster.node("a").does(Does::Stop);
    let began = tokio::time::Instant::now();
    for epoch in EPOCH + 1..EPOCH + 6 {
        cluster.node("w").says(|said| said.epoch = epoch);
        let is_seen = |s: &mishards_router::ClusterStatus| s.nodes.iter().any(|n| n.epoch == epoch);
        cluster.eventually("the new epoch is seen", is_seen).await;
    }
    // Each within a probe period. If the others waited for the silent one, each would take a second and a half.
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_fails_again_and_again_is_asked_last_and_tried_again_later() {
    let cluster = Make::of(&["a", "b", "w"], 40).start().await;
    cluster.node("a").does(Does::Fail(Kind::Transport));
    for _ in 0..3 {
        cluster.search().await.unwrap();
    }
    let fails_until_it_is_avoided = async {
        loop {
            cluster.search().await.unwrap();
            cluster.clock.stop();
            if cluster.state("a") == "avoided" {
                return;
            }
            cluster.clock.go_on();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), fails_until_it_is_avoided).await.unwrap();
    is_passed_over(&cluster, "a").await;
    cluster.clock.go_on();
    serves_again(&cluster, "a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_the_less_busy_one_is_asked() {
    let make = Make { replicas: 2, ..Make::of(&["a", "b", "w"], 10) };
    let cluster = make.start().await;
    let is_placed = |s: &mishards_router::ClusterStatus| {
        s.nodes.iter().filter(|n| n.role == "readonly").all(|n| n.segments == 10)
    };
    cluster.eventually("both hold every segment", is_placed).await;
    cluster.node("a").does(Does::Hang);
    // No hedge helps.
    while cluster.topology.hedging.spend() {}
    let slow = cluster.search();
    let others = async {
        let in_hand = |s: &mishards_router::ClusterStatus, name| {
            s.nodes.iter().find(|n| n.name == name).map(|n| n.outstanding)
        };
        let only_a = |s: &_| in_hand(s, "a") == Some(1) && in_hand(s, "b") == Some(0);
        cluster.eventually("only a has something in hand", only_a).await;
        cluster.asked();
        for _ in 0..3 {
            cluster.search().await.unwrap();
        }
        cluster.asked()
    };
    tokio::select! {
        asked = others => assert!(asked["a"].is_empty() && asked["b"].len() == 10, "{asked:?}"),
        done = slow => panic!("it did not hang: {done:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_its_sub_queries_with_it() {
    let cluster = Make::of(&["a", "b", "w"], 10).start().await;
    ["a", "b", "w"].iter().for_each(|name| cluster.node(name).does(Does::Hang));
    let left = tokio::time::timeout(100 * MS, cluster.search()).await;
    assert!(left.is_err());
    let idle = || cluster.nodes.values().all(|n| n.under_way.load(std::sync::atomic::Ordering::SeqCst) == 0);
    wait_for("nobody works any more", idle).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_answers_for_growing_rows_while_nobody_writes() {
    let cluster = Make::of(&["a", "s1", "w"], 4).start().await;
    for node in ["s1", "w"] {
        *cluster.node(node).growing.lock().unwrap() = vec![31_000];
    }
    cluster.node("s1").says(|said| said.tails_epoch = EPOCH);
    cluster.search().await.unwrap();
    cluster.die("w");
    cluster.eventually("the writer is gone", |s| s.nodes.iter().all(|n| n.role != "writable")).await;
    for level in [SESSION, EVENTUALLY] {
        let (keys, coverage) = covered(&cluster, level).await;
        assert_eq!(keys, cluster.expected());
        assert!(coverage.growing && coverage.nodes.contains("s1"), "{coverage}");
    }
    // One that follows another term has not these rows.
    cluster.node("s1").says(|said| said.tails_epoch = EPOCH - 1);
    let follows =
        |s: &mishards_router::ClusterStatus| s.nodes.iter().any(|n| n.name == "s1" && n.epoch == EPOCH - 1);
    cluster.eventually("another term is seen", follows).await;
    let (_, coverage) = covered(&cluster, EVENTUALLY).await;
    assert!(!coverage.growing && coverage.to_string().contains("growing=no"), "{coverage}");
}

/// Its disk hangs, say: it answers probes, and nothing that needs its files.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_gives_no_read_point_holds_no_eventual_read_up() {
    let cluster = Make::of(&["a", "b", "w"], 6).start().await;
    *cluster.node("w").point.lock().unwrap() = Point::Hang;
    let read = tokio::time::timeout(Duration::from_secs(5), covered(&cluster, EVENTUALLY)).await;
    assert_eq!(read.unwrap().1.segments_searched, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_s_read_point_is_for_one_read_only() {
    let cluster = Make::of(&["a", "s1", "w"], 4).start().await;
    cluster.node("s1").says(|said| said.tails_epoch = EPOCH);
    *cluster.node("s1").point.lock().unwrap() = Point::At(40);
    cluster.eventually("it follows", |s| s.nodes.iter().any(|n| n.name == "s1" && n.epoch == EPOCH)).await;
    *cluster.node("w").point.lock().unwrap() = Point::Fail;
    assert_eq!(covered(&cluster, SESSION).await.1.timestamp, 40);
    *cluster.node("w").point.lock().unwrap() = Point::At(60);
    assert_eq!(
        covered(&cluster, BOUNDED).await.1.timestamp,
        60,
        "a bounded read took what a standby had said"
    );
    *cluster.node("w").point.lock().unwrap() = Point::Fail;
    assert_eq!(covered(&cluster, BOUNDED).await.1.timestamp, 60, "the writable node's word is remembered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joins_opens_its_segments_before_it_is_searched() {
    let make =
        Make { present: ["a", "b", "w"].map(str::to_owned).to_vec(), ..Make::of(&["a", "b", "c", "w"], 40) };
    let cluster = make.start().await;
    cluster.gets_done_opening("c", false);
    // Nodes that come together with the first one are as warm as it is.
    tokio::time::sleep(1200 * MS).await;
    cluster.join("c");
    wait_for("c opens", || cluster.state("c") == "opening").await;
    assert_eq!(cluster.search().await.unwrap(), cluster.expected());
    assert_eq!(cluster.node("c").searches(), 0, "it was searched before it had opened anything");
    cluster.gets_done_opening("c", true);
    wait_for("c serves", || cluster.state("c") == "serving").await;
    cluster.asked();
    assert_eq!(cluster.search().await.unwrap(), cluster.expected());
    let asked = cluster.asked()["c"].clone();
    let opened = cluster.node("c").opened.lock().unwrap().iter().copied().collect();
    assert!(!asked.is_empty() && asked.is_subset(&opened), "{asked:?} of {opened:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_is_asked_until_others_have_opened_its_segments() {
    let cluster = Make::of(&["a", "b", "c", "w"], 40).start().await;
    cluster.search().await.unwrap();
    let own = cluster.asked()["c"].clone();
    ["a", "b"].iter().for_each(|name| cluster.gets_done_opening(name, false));
    tokio::time::sleep(1200 * MS).await;
    cluster.node("c").says(|said| said.leaving = true);
    wait_for("c leaves", || cluster.state("c") == "leaving").await;
    assert_eq!(cluster.search().await.unwrap(), cluster.expected());
    assert_eq!(cluster.asked()["c"], own, "its segments went to nodes that had not opened them");
    ["a", "b"].iter().for_each(|name| cluster.gets_done_opening(name, true));
    let opened = || ["a", "b"].map(|name| cluster.node(name).opened.lock().unwrap().clone()).concat();
    wait_for("others have opened its segments", || own.iter().all(|id| opened().contains(id))).await;
    cluster
        .eventually("nothing is placed on it", |s| s.nodes.iter().any(|n| n.name == "c" && n.segments == 0))
        .await;
    cluster.asked();
    assert_eq!(cluster.search().await.unwrap(), cluster.expected());
    assert!(cluster.asked()["c"].is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_another_cluster_version_or_directory_are_named_and_not_asked() {
    let cluster = Make::of(&["a", "b", "c", "d", "w"], 12).start().await;
    cluster.node("b").says(|said| said.cluster_id = "other".to_owned());
    cluster.node("c").says(|said| (said.api_min, said.api_max) = (2, 3));
    cluster.node("d").says(|said| said.directory = 5);
    cluster.eventually("they are refused", |s| s.unused.len() == 3 && s.nodes.len() == 2).await;
    let unused = cluster.router.status().unused;
    assert!(unused["b"].contains("\"other\"") && unused["c"].contains("2 to 3"), "{unused:?}");
    assert!(unused["d"].contains("shared directory 0000000000000005"), "{unused:?}");
    cluster.asked();
    assert_eq!(cluster.search().await.unwrap(), cluster.expected());
    assert!(["b", "c", "d"].iter().all(|name| cluster.asked()[*name].is_empty()));
    cluster.node("d").says(|said| said.directory = 99);
    cluster.eventually("d is back", |s| s.nodes.iter().any(|n| n.name == "d" && n.state == "serving")).await;
    assert!(!cluster.router.status().unused.contains_key("d"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_says_why_it_is_not_ready() {
    let make = Make { present: vec!["w".to_owned()], ..Make::of(&["a", "w"], 2) };
    let cluster = make.start().await;
    assert_eq!(cluster.router.not_ready(), Vec::<String>::new());
    assert_eq!(cluster.router.warnings(), Vec::<String>::new());
    cluster.die("w");
    wait_for("nobody answers", || !cluster.router.is_ready()).await;
    let reasons = cluster.router.not_ready();
    assert!(reasons[0].contains("none of the 2 that discovery names"), "{reasons:?}");
    assert!(reasons.iter().any(|r| r == "node w: 127.0.0.1:1 does not answer"), "{reasons:?}");
    // It stays so when a read-only node comes back: that one is enough.
    cluster.join("a");
    wait_for("a is enough", || cluster.router.is_ready()).await;
    let warnings = cluster.router.warnings();
    assert!(warnings.iter().any(|w| w.contains("no writable node answers")), "{warnings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_node_does_not_lag_and_a_silent_one_is_named() {
    let cluster = Make::of(&["a", "s", "w"], 2).start().await;
    cluster.node("w").says(|said| (said.applied, said.last_delete) = (1000, 40));
    cluster.node("s").says(|said| (said.applied, said.heard_ago_ms) = (990, Some(500)));
    cluster.node("a").says(|said| (said.applied, said.heard_ago_ms) = (40, Some(70_000)));
    let of = |status: &mishards_router::ClusterStatus, name: &str| {
        status.nodes.iter().find(|n| n.name == name).map(|n| (n.lag, n.heard_seconds)).unwrap()
    };
    cluster.eventually("all is told", |status| of(status, "s") == (10, Some(0.5))).await;
    cluster.eventually("inserts are no lag", |status| of(status, "a") == (0, Some(70.0))).await;
    cluster.eventually("nor has the writer any", |status| of(status, "w") == (0, None)).await;
    let status = cluster.router.status();
    assert!(status.catalog_age_seconds.unwrap() < 5.0);
    assert!(status.warnings.iter().any(|w| w.contains("node a has not heard the writable node for 70 s")));
    cluster.node("w").says(|said| said.last_delete = 45);
    cluster.eventually("deletes are", |status| of(status, "a").0 == 5).await;
}

/// What a router says of a catalog that nobody confirms any more.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_catalog_is_told_from_a_fresh_one() {
    let cluster = Make::of(&["a", "w"], 2).start().await;
    let age = || cluster.router.status().catalog_age_seconds.unwrap();
    wait_for("it is confirmed", || age() < 1.0).await;
    cluster.die("w");
    wait_for("nobody confirms it", || age() > 1.2).await;
    assert!(cluster.router.is_ready());
    cluster.join("w");
    wait_for("it is confirmed again", || age() < 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_loses_its_directory_takes_nobody_with_it() {
    let cluster = Make::of(&["a", "b", "w"], 12).start().await;
    cluster.node("w").says(|said| said.directory = u64::MAX);
    cluster.eventually("the writer is refused", |s| s.unused.contains_key("w")).await;
    let (keys, coverage) = covered(&cluster, EVENTUALLY).await;
    assert_eq!((keys, coverage.segments_searched, coverage.growing), (cluster.expected(), 12, false));
    assert_eq!(coverage.nodes.iter().collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_breaks_the_writer_and_its_standby_goes_no_further() {
    let cluster = Make::of(&["a", "s1", "s2", "w"], 0).start().await;
    for name in ["s1", "s2", "w"] {
        cluster.node(name).does(Does::Break);
    }
    ["s1", "s2"].iter().for_each(|name| cluster.node(name).says(|said| said.tails_epoch = EPOCH));
    cluster.eventually("they follow", |s| s.nodes.iter().filter(|n| n.epoch == EPOCH).count() == 3).await;
    let error = cluster.search().await.unwrap_err();
    assert!(error.message.contains("broke off"), "{error}");
    assert!(cluster.node("s1").searches() + cluster.node("s2").searches() <= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_by_filter_is_planned_again_and_keeps_its_client_s_deadline() {
    let cluster = Make::of(&["a", "b", "w"], 4).start().await;
    let delete = || {
        let mut call = Call::of("default");
        call.deadline = Some(cluster.topology.now() + Duration::from_secs(2));
        let request = mishards_proto::milvus::DeleteRequest {
            collection_name: "t".to_owned(),
            expr: "id > 0".to_owned(),
            ..Default::default()
        };
        let router = &cluster.router;
        async move { router.delete(&call, request).await }
    };
    let all = ["a", "b", "w"];
    all.iter().for_each(|name| cluster.node(name).does(Does::Fail(Kind::SnapshotTooOld)));
    let mend = async {
        tokio::time::sleep(100 * MS).await;
        all.iter().for_each(|name| cluster.node(name).does(Does::Answer));
    };
    let (done, ()) = tokio::join!(delete(), mend);
    assert_eq!(done.unwrap().delete_cnt, 4 * ROWS);
    let written = std::mem::take(&mut *cluster.node("w").written.lock().unwrap());
    assert!(written.len() == 1 && written[0].resolved_at == 50 && written[0].deletes.is_some());
    all.iter().for_each(|name| cluster.node(name).does(Does::Hang));
    let began = tokio::time::Instant::now();
    assert!(delete().await.is_err());
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(cluster.node("w").written.lock().unwrap().is_empty());
}

/// A time from the router's own clock could be one that no write has reached yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_finds_nothing_has_the_time_of_a_read() {
    let cluster = Make::of(&["a", "w"], 0).start().await;
    for expr in ["id > 0", "id in []"] {
        let request = mishards_proto::milvus::DeleteRequest {
            collection_name: "t".to_owned(),
            expr: expr.to_owned(),
            ..Default::default()
        };
        let done = cluster.router.delete(&Call::of("default"), request).await.unwrap();
        assert_eq!((done.delete_cnt, done.timestamp), (0, 50), "{expr}");
    }
    assert!(cluster.node("w").written.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_that_come_are_placed_and_searched() {
    let cluster = Make::of(&["a", "b", "w"], 3).start().await;
    cluster.search().await.unwrap();
    cluster.catalog.send_replace(std::sync::Arc::new(snapshot(9, 1, 2)));
    cluster.eventually("they are placed", |s| s.nodes.iter().map(|n| n.segments).sum::<usize>() == 9).await;
    let (keys, coverage) = covered(&cluster, STRONG).await;
    assert_eq!((keys, coverage.segments), (cluster.expected(), 9));
    let status = cluster.router.status();
    let share: f64 = status.nodes.iter().map(|n| n.share).sum();
    assert!((share - 1.0).abs() < 1e-9, "{share}");
    assert_eq!(status.collections[0].segments, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_is_explained() {
    let cluster = Make::of(&["a", "b", "w"], 6).start().await;
    let request = serde_json::json!({"collection": "t", "vector": [0.0, 0.0, 0.0, 0.0], "limit": LIMIT});
    let explained = cluster.router.explain(serde_json::from_value(request).unwrap()).await.unwrap();
    let keys: Vec<String> = cluster.expected().iter().map(i64::to_string).collect();
    assert_eq!((explained.keys, explained.error), (keys, None));
    assert_eq!(explained.segments.len(), 6);
    for segment in &explained.segments {
        assert_eq!(segment.candidates.len(), 3, "{segment:?}");
        assert_eq!(segment.candidates.first(), segment.read_by.as_ref(), "{segment:?}");
    }
    let request = serde_json::json!({"collection": "t", "filter": "id > 3"});
    let explained = cluster.router.explain(serde_json::from_value(request).unwrap()).await.unwrap();
    assert_eq!(explained.count, Some(6 * ROWS));
    let request = serde_json::json!({"collection": "t", "filter": "no such"});
    let explained = cluster.router.explain(serde_json::from_value(request).unwrap()).await.unwrap();
    assert!(explained.error.unwrap().contains("no such") && explained.coverage.subqueries.is_empty());
    let nothing = serde_json::from_value(serde_json::json!({"collection": "nothing"})).unwrap();
    assert_eq!(cluster.router.explain(nothing).await.unwrap_err().code, Code::COLLECTION_NOT_FOUND);
}
