//! What an API server answers to lists and watches.

use super::*;
use mishards_discovery::{Discovery, Kubernetes};
use sources::api_server::{ApiServer, Asked, Reply, slice};

fn pods(pods: &[(&str, &str)]) -> Vec<Member> {
    let member =
        |(name, ip): &(&str, &str)| Member { name: (*name).to_owned(), address: format!("{ip}:19530") };
    pods.iter().map(member).collect()
}

/// A server with two slices.
async fn server() -> ApiServer {
    let server = ApiServer::start().await;
    server.with(|s| s.put("one", slice(&[("a", "10.0.0.1"), ("b", "10.0.0.2")])));
    server.with(|s| s.put("two", slice(&[("c", "10.0.0.3")])));
    server
}

fn three() -> Vec<Member> {
    pods(&[("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.3")])
}

/// A watcher that has seen all, and has its watch.
async fn begin(server: &ApiServer, plugin: &dyn Discovery) -> Watch {
    let mut watch = Watch::of(plugin);
    watch.begins_with(&three()).await;
    // The stream is only driven while it is asked.
    let under_way = async { eventually("a watch is open", async || server.open() > 0).await };
    tokio::select! {
        () = under_way => {}
        event = watch.event(Duration::from_secs(60)) => panic!("{event:?}"),
    }
    watch
}

/// A change that only a working watch or a new list shows.
async fn assert_works(server: &ApiServer, watch: &mut Watch) {
    server.with(|s| s.put("two", slice(&[("c", "10.0.0.33")])));
    watch.until(&pods(&[("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.33")])).await;
}

fn plugin(server: &ApiServer) -> Kubernetes {
    Kubernetes::new(server.options()).unwrap()
}

fn lists(server: &ApiServer) -> Vec<Asked> {
    server.asked().into_iter().filter(|a| !a.is_watch()).collect()
}

fn watches(server: &ApiServer) -> Vec<Asked> {
    server.asked().into_iter().filter(Asked::is_watch).collect()
}

fn ended(text: &str) -> Reply {
    Reply::Text { text: text.to_owned(), ends: true }
}

#[tokio::test]
async fn a_list_comes_in_pages() {
    let server = ApiServer::start().await;
    let names: Vec<String> = (0..7).map(|i| format!("p{i}")).collect();
    for name in &names {
        server.with(|s| s.put(name, slice(&[(name, "10.0.0.1")])));
    }
    let plugin = plugin(&server);
    let all: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), "10.0.0.1")).collect();
    Watch::of(&plugin).begins_with(&pods(&all)).await;
    assert_eq!(lists(&server).len(), 4);
}

#[tokio::test]
async fn a_list_that_became_too_old_between_two_pages_begins_anew() {
    let server = server().await;
    server.with(|s| {
        s.page = 1;
        s.continuations.push_back(Reply::GoneWith("one".to_owned()));
    });
    let plugin = plugin(&server);
    Watch::of(&plugin).begins_with(&pods(&[("c", "10.0.0.3")])).await;
    assert_eq!(lists(&server).len(), 3);
}

/// A server whose lists are always too old by the second page.
#[tokio::test]
async fn a_list_that_is_always_too_old_is_not_asked_for_all_the_time() {
    let server = server().await;
    server.with(|s| {
        s.page = 1;
        s.continuations.extend(std::iter::repeat_n(Reply::Status(410), 100_000));
    });
    let plugin = plugin(&server);
    Watch::of(&plugin).is_quiet(Duration::from_secs(1)).await;
    let asked = server.asked().len();
    assert!(asked < 50, "{asked} requests in a second");
}

#[tokio::test]
async fn a_list_that_fails_is_tried_again() {
    let cases =
        [Reply::Status(500), ended("{\"items\": ["), ended("{}"), Reply::Status(410)].map(async |reply| {
            let server = server().await;
            server.with(|s| s.lists.push_back(reply));
            let plugin = plugin(&server);
            Watch::of(&plugin).begins_with(&three()).await;
            assert_eq!(lists(&server).len(), 2);
        });
    join_all(cases).await;
}

#[tokio::test]
async fn changes_are_followed_without_another_list() {
    let server = server().await;
    let plugin = plugin(&server);
    let mut watch = begin(&server, &plugin).await;
    server.with(|s| s.put("three", slice(&[("d", "10.0.0.4")])));
    watch.until(&[three(), pods(&[("d", "10.0.0.4")])].concat()).await;
    server.with(|s| s.remove("one"));
    watch.until(&pods(&[("c", "10.0.0.3"), ("d", "10.0.0.4")])).await;
    server.with(|s| s.put("two", slice(&[])));
    watch.until(&pods(&[("d", "10.0.0.4")])).await;
    assert_eq!((lists(&server).len(), watches(&server).len()), (1, 1));
    assert_eq!(watches(&server)[0].version().unwrap(), "102");
}

#[tokio::test]
async fn a_watch_that_ended_goes_on_from_the_last_bookmark() {
    let server = server().await;
    let plugin = plugin(&server);
    let mut watch = begin(&server, &plugin).await;
    let bookmark = server.with(|s| s.bookmark());
    watch.is_quiet(Duration::from_millis(200)).await;
    server.with(|s| s.end_watches());
    watch.is_quiet(Duration::from_millis(200)).await;
    assert_works(&server, &mut watch).await;
    assert_eq!(watches(&server)[1].version().unwrap(), bookmark.to_string());
    assert_eq!(lists(&server).len(), 1);
}

#[tokio::test]
async fn changes_between_two_watches_are_seen() {
    let server = server().await;
    let plugin = plugin(&server);
    let mut watch = begin(&server, &plugin).await;
    server.with(|s| {
        s.end_watches();
        s.remove("one");
    });
    watch.until(&pods(&[("c", "10.0.0.3")])).await;
    assert_eq!(lists(&server).len(), 1);
}

/// "410 Gone" comes as an event, too.
#[tokio::test]
async fn a_watch_from_a_forgotten_version_lists_anew() {
    let server = server().await;
    let plugin = plugin(&server);
    let mut watch = begin(&server, &plugin).await;
    server.with(|s| {
        s.remove("one");
        s.compact();
        s.end_watches();
    });
    watch.until(&pods(&[("c", "10.0.0.3")])).await;
    assert_eq!(lists(&server).len(), 2);
    server.with(|s| s.put("two", slice(&[("c", "10.0.0.33")])));
    watch.until(&pods(&[("c", "10.0.0.33")])).await;
}

#[tokio::test]
async fn a_watch_that_is_refused_changes_nothing_and_is_tried_again() {
    let cases = [410, 500, 401, 403, 429].map(async |code| {
        let server = server().await;
        let plugin = plugin(&server);
        let mut watch = begin(&server, &plugin).await;
        server.with(|s| {
            s.watches.push_back(Reply::Status(code));
            s.end_watches();
        });
        watch.is_quiet(Duration::from_millis(300)).await;
        assert_works(&server, &mut watch).await;
    });
    join_all(cases).await;
}

#[tokio::test]
async fn a_watch_that_says_nonsense_is_begun_anew() {
    let texts = [
        "{\"type\": \"ADDED\", \"object\": {\"metadata\": {\"na",
        "{\"type\": \"MODIFIED\", \"ob\n\u{1}\u{2}garbage\n",
        "{\"type\": \"WHATEVER\", \"object\": {}}\n",
        "[]\n",
        "\n\n",
        "{\"type\": \"BOOKMARK\", \"object\": {}}\n",
        "{\"type\": \"ADDED\", \"object\": {\"metadata\": {}}}\n",
    ];
    let cases = texts.iter().flat_map(|text| [(*text, true), (*text, false)]);
    let cases = cases.map(async |(text, ends)| {
        let server = server().await;
        let plugin = plugin(&server).silent_for(Duration::from_millis(300));
        server.with(|s| s.watches.push_back(Reply::Text { text: text.to_owned(), ends }));
        let mut watch = Watch::of(&plugin);
        watch.begins_with(&three()).await;
        watch.is_quiet(Duration::from_millis(100)).await;
        assert_works(&server, &mut watch).await;
    });
    join_all(cases).await;
}

#[tokio::test]
async fn a_watch_that_ends_at_once_is_not_begun_all_the_time() {
    let error = "{\"type\": \"ERROR\", \"object\": {}}\n";
    let cases = [ended(""), ended("nonsense\n"), ended(error), Reply::Status(500)].map(async |reply| {
        let server = server().await;
        server.with(|s| s.every_watch = Some(reply.clone()));
        let plugin = plugin(&server);
        let mut watch = Watch::of(&plugin);
        watch.begins_with(&three()).await;
        watch.stays(&three(), Duration::from_secs(1)).await;
        let asked = server.asked().len();
        assert!(asked < 50, "{asked} requests in a second, {reply:?}");
    });
    join_all(cases).await;
}

#[tokio::test]
async fn a_silent_watch_is_begun_anew() {
    let silent = Reply::Text { text: String::new(), ends: false };
    let cases = [silent, Reply::Nothing].map(async |reply| {
        let server = server().await;
        let plugin = plugin(&server).silent_for(Duration::from_millis(300));
        server.with(|s| s.watches.extend([reply.clone(), reply]));
        let mut watch = Watch::of(&plugin);
        watch.until(&three()).await;
        assert_works(&server, &mut watch).await;
    });
    join_all(cases).await;
}

/// Some proxies pass nothing on before the first event.
#[tokio::test]
async fn the_list_is_said_before_the_watch_answers() {
    let server = server().await;
    server.with(|s| s.every_watch = Some(Reply::Nothing));
    let plugin = plugin(&server);
    let mut watch = Watch::of(&plugin);
    assert!(watch.event(Duration::from_secs(3)).await.is_some(), "nothing was said in 3 s");
    watch.until(&three()).await;
}

/// Whoever may list but not watch is behind by the time between two lists.
#[tokio::test]
async fn who_may_not_watch_lists() {
    let server = server().await;
    server.with(|s| s.every_watch = Some(Reply::Status(403)));
    let plugin = plugin(&server);
    let mut watch = Watch::of(&plugin);
    assert!(watch.event(Duration::from_secs(3)).await.is_some(), "nothing was said in 3 s");
    server.with(|s| s.put("two", slice(&[("c", "10.0.0.33")])));
    watch.until(&pods(&[("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.33")])).await;
}

/// A connection that is broken and does not say so.
#[tokio::test]
async fn a_connection_that_hangs_is_left() {
    let server = server().await;
    let plugin = plugin(&server).silent_for(Duration::from_millis(500));
    let mut watch = begin(&server, &plugin).await;
    server.proxy.freeze();
    server.with(|s| s.put("two", slice(&[("c", "10.0.0.33")])));
    watch.is_quiet(Duration::from_millis(300)).await;
    server.proxy.restore();
    watch.until(&pods(&[("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.33")])).await;
}

#[tokio::test]
async fn a_dropped_watch_ends_its_request() {
    let server = server().await;
    let plugin = plugin(&server);
    let watch = begin(&server, &plugin).await;
    drop(watch);
    eventually("its request ends", async || server.open() == 0).await;
}
