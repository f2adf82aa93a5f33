//! Members that come, go and answer, one event at a time.

use super::members::Contact;
use super::probe::Probe;
use super::*;
use crate::health::Health;
use crate::node_client::GrpcNode;
use mishards_proto::node::DescribeResponse;
use tokio_util::sync::CancellationToken;

struct Stopped;

impl Clock for Stopped {
    fn unix_ms(&self) -> u64 {
        0
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

fn topology() -> Arc<Topology> {
    Topology::new("c".to_owned(), Arc::new(Stopped), None)
}

fn member(name: &str, address: &str) -> Member {
    Member { name: name.to_owned(), address: address.to_owned() }
}

fn connect(member: &Member) -> Option<Arc<dyn NodeClient>> {
    Some(Arc::new(GrpcNode::new(&member.name, &member.address).ok()?))
}

fn answer(contact: &Contact) -> Probe {
    Probe::Answers(Box::new(Node {
        key: contact.name.clone(),
        name: contact.name.clone(),
        address: contact.address.clone(),
        writable: false,
        standby: false,
        epoch: 0,
        said: Arc::new(DescribeResponse::default()),
        client: Arc::clone(&contact.client),
        gone: CancellationToken::new(),
        health: Arc::new(Health::default()),
    }))
}

fn names(topology: &Topology) -> Vec<String> {
    topology.nodes().by_name.keys().cloned().collect()
}

#[tokio::test]
async fn a_list_connects_to_what_has_changed_and_one_member_by_itself_anew() {
    let topology = topology();
    let asked = |event| topology.apply(event, &connect).len();
    assert_eq!(asked(Event::Reset(vec![member("a", "h:1")])), 1);
    assert_eq!(asked(Event::Reset(vec![member("a", "h:1")])), 0, "it is there already");
    assert_eq!(asked(Event::Reset(vec![member("a", "h:2")])), 1);
    assert_eq!(asked(Event::Add(member("a", "h:2"))), 1, "its name may stand for another host now");
    assert_eq!(asked(Event::Remove("a".to_owned())), 0);
    assert!(topology.listed().is_empty());
    assert_eq!(asked(Event::Reset(vec![member("a", "h:2")])), 0, "it has been kept meanwhile");
    assert_eq!(topology.listed(), [member("a", "h:2")]);
    assert_eq!(asked(Event::Add(member("a", "no address"))), 0);
    assert!(topology.listed().is_empty(), "what cannot be connected to is no member");
}

#[tokio::test]
async fn those_that_answer_are_used_when_all_were_asked_also_if_nobody_lists_them_any_more() {
    let topology = topology();
    let all = ["a", "b", "c"].map(|name| member(name, "h:1"));
    let contacts = topology.apply(Event::Reset(all.to_vec()), &connect);
    assert_eq!(topology.note(&contacts[0], answer(&contacts[0])), Some(false));
    assert!(names(&topology).is_empty(), "the first one is not to have all the work");
    topology.apply(Event::Reset(Vec::new()), &connect);
    for contact in &contacts[..2] {
        assert_eq!(topology.note(contact, answer(contact)), Some(false), "{}", contact.name);
    }
    assert_eq!(topology.note(&contacts[2], Probe::Late), None, "nobody lists it, and it does not answer");
    assert_eq!(names(&topology), ["a", "b"]);
}

#[tokio::test]
async fn a_node_is_given_up_when_it_is_late_twice_or_fails_once() {
    let topology = topology();
    let contacts = topology.apply(Event::Reset(vec![member("a", "h:1")]), &connect);
    let note = |probe| topology.note(&contacts[0], probe);
    note(answer(&contacts[0]));
    let gone = topology.nodes().by_name["a"].gone.clone();
    assert_eq!(note(Probe::Late), Some(true), "it is asked again at once");
    assert_eq!(names(&topology), ["a"]);
    assert_eq!(note(Probe::Late), Some(false));
    assert!(names(&topology).is_empty() && gone.is_cancelled());
    note(answer(&contacts[0]));
    assert!(!topology.nodes().by_name["a"].gone.is_cancelled());
    note(Probe::Fails);
    assert!(names(&topology).is_empty());
}

#[tokio::test]
async fn what_a_node_was_asked_goes_on_when_it_is_connected_to_anew_and_ends_when_it_has_moved() {
    let topology = topology();
    let ask = |event: Event| {
        let contacts = topology.apply(event, &connect);
        topology.note(&contacts[0], answer(&contacts[0]));
        topology.nodes().by_name["a"].gone.clone()
    };
    let first = ask(Event::Reset(vec![member("a", "h:1")]));
    let same = ask(Event::Add(member("a", "h:1")));
    assert!(!first.is_cancelled() && !same.is_cancelled());
    let moved = ask(Event::Add(member("a", "h:2")));
    assert!(first.is_cancelled() && !moved.is_cancelled());
}
