//! The `.proto` files against the table of facts: every message, field, enum value and call, in both directions.

use std::collections::BTreeMap;

use mishards_proto::{
    FILE_DESCRIPTOR_SET, MILVUS_SERVICE, StatusIn, is_milvus_rpc, milvus, milvus_rpcs, status_in_answer,
};
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

/// Where a fact stands and what it says: for a field `"<message>" / "3 name"`, and its label, type and oneof.
type Facts = BTreeMap<(String, String), String>;

const KEY_WORDS: [&str; 3] = ["enum", "rpc", "empty"];

fn expected() -> Facts {
    let mut facts = Facts::new();
    for line in include_str!("../facts/milvus-wire.tsv").lines().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        let [package, owner, number, name, label, kind, oneof, _origin] = cells[..] else {
            panic!("not eight columns: {line}");
        };
        let says = if KEY_WORDS.contains(&label) {
            format!("{label} {kind}")
        } else {
            format!("{label} {kind} oneof={oneof}")
        };
        let before = facts.insert((format!("{package}.{owner}"), format!("{number} {name}")), says);
        assert!(before.is_none(), "twice in the table: {line}");
    }
    facts
}

fn declared(set: &FileDescriptorSet) -> Facts {
    let mut facts = Facts::new();
    for file in set.file.iter().filter(|f| f.package().starts_with("milvus.")) {
        assert_eq!(file.syntax(), "proto3", "{}", file.name());
        for message in &file.message_type {
            declared_message(&format!("{}.{}", file.package(), message.name()), message, &mut facts);
        }
        for list in &file.enum_type {
            declared_enum(&format!("{}.{}", file.package(), list.name()), list, &mut facts);
        }
        for service in &file.service {
            let owner = format!("{}.{}", file.package(), service.name());
            for call in &service.method {
                let stream = |on: bool| if on { "stream " } else { "" };
                let says = format!(
                    "rpc {}{} -> {}{}",
                    stream(call.client_streaming()),
                    call.input_type().trim_start_matches('.'),
                    stream(call.server_streaming()),
                    call.output_type().trim_start_matches('.'),
                );
                facts.insert((owner.clone(), format!(" {}", call.name())), says);
            }
        }
    }
    facts
}

fn declared_message(owner: &str, message: &DescriptorProto, facts: &mut Facts) {
    if message.field.is_empty() {
        facts.insert((owner.to_owned(), " ".to_owned()), "empty ".to_owned());
    }
    for field in &message.field {
        let entry = message.nested_type.iter().find(|n| {
            n.options.as_ref().is_some_and(|o| o.map_entry())
                && field.type_name().ends_with(&format!(".{}", n.name()))
        });
        let (label, kind) = match entry {
            Some(entry) => ("map", format!("map<{},{}>", type_of(&entry.field[0]), type_of(&entry.field[1]))),
            None if field.proto3_optional() => ("presence", type_of(field)),
            None if field.label() == Label::Repeated => ("repeated", type_of(field)),
            None => ("optional", type_of(field)),
        };
        // Explicit presence is written as a oneof of one member, which is not a oneof of the facts.
        let oneof = match field.oneof_index {
            Some(at) if !field.proto3_optional() => message.oneof_decl[at as usize].name(),
            _ => "",
        };
        let key = (owner.to_owned(), format!("{} {}", field.number(), field.name()));
        facts.insert(key, format!("{label} {kind} oneof={oneof}"));
    }
    for nested in &message.nested_type {
        if !nested.options.as_ref().is_some_and(|o| o.map_entry()) {
            declared_message(&format!("{owner}.{}", nested.name()), nested, facts);
        }
    }
    for list in &message.enum_type {
        declared_enum(&format!("{owner}.{}", list.name()), list, facts);
    }
}

fn declared_enum(owner: &str, list: &EnumDescriptorProto, facts: &mut Facts) {
    for value in &list.value {
        facts.insert((owner.to_owned(), format!("{} {}", value.number(), value.name())), "enum ".to_owned());
    }
}

fn type_of(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message | Type::Enum => field.type_name().trim_start_matches('.').to_owned(),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    }
}

/// One line for each fact that only one side has, or that the sides tell differently.
fn differences(facts: &Facts, ours: &Facts) -> Vec<String> {
    let mut found = Vec::new();
    for (key @ (owner, at), says) in facts {
        match ours.get(key) {
            None => found.push(format!("{owner}: `{at}` ({says}) is not declared")),
            Some(we) if we != says => found.push(format!("{owner}: `{at}` is `{we}`, should be `{says}`")),
            Some(_) => {}
        }
    }
    for ((owner, at), says) in ours.iter().filter(|(key, _)| !facts.contains_key(key)) {
        found.push(format!("{owner}: `{at}` ({says}) has no fact"));
    }
    found.sort();
    found
}

fn descriptors() -> FileDescriptorSet {
    FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the set decodes")
}

#[test]
fn declared_messages_are_those_of_the_facts() {
    let (facts, ours) = (expected(), declared(&descriptors()));
    assert!(facts.len() > 1000, "the table has only {} rows", facts.len());
    let found = differences(&facts, &ours);
    assert!(found.is_empty(), "{} differences:\n  {}", found.len(), found.join("\n  "));
}

#[test]
fn comparison_sees_a_change_on_either_side() {
    let facts = expected();
    let change = |edit: &dyn Fn(&mut DescriptorProto)| {
        let mut set = descriptors();
        let file = set.file.iter_mut().find(|f| f.package() == "milvus.proto.schema").unwrap();
        edit(file.message_type.iter_mut().find(|m| m.name() == "FieldData").unwrap());
        differences(&facts, &declared(&set)).len()
    };
    assert_eq!(change(&|_| {}), 0);
    assert_eq!(change(&|m| m.field[1].number = Some(90)), 2, "another number: one missing, one extra");
    assert_eq!(change(&|m| m.field[1].name = Some("title".into())), 2);
    assert_eq!(change(&|m| m.field[1].set_type(Type::Bytes)), 1);
    assert_eq!(change(&|m| m.field[1].set_label(Label::Repeated)), 1);
    assert_eq!(change(&|m| m.field[2].oneof_index = None), 1);
    assert_eq!(change(&|m| drop(m.field.pop())), 1);
    assert_eq!(change(&|m| m.field.push(FieldDescriptorProto { number: Some(91), ..Default::default() })), 1);
    assert_eq!(change(&|m| m.name = Some("Stranger".into())), 16, "eight fields missing, eight with no fact");
}

#[test]
fn every_call_of_the_first_priority_is_served() {
    let ours = declared(&descriptors());
    let served = |name: &str| ours.contains_key(&(MILVUS_SERVICE.to_owned(), format!(" {name}")));
    for line in include_str!("../facts/milvus-rpcs.tsv").lines().skip(1) {
        let [name, priority, _status] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert!(priority != "P0" || served(name), "{name} is not served");
    }
    for (owner, call) in ours.keys().filter(|(owner, _)| owner == MILVUS_SERVICE) {
        assert!(is_milvus_rpc(call.trim()), "{owner} has no call {call}");
    }
}

/// What the table says of the calls that are served is what their messages have.
#[test]
fn where_the_status_is() {
    const STATUS: &str = ".milvus.proto.common.Status";
    let set = descriptors();
    let file = set.file.iter().find(|f| f.package() == "milvus.proto.milvus").unwrap();
    for call in &file.service[0].method {
        let said = status_in_answer(call.name()).unwrap();
        if call.output_type() == STATUS {
            assert_eq!(said, StatusIn::Whole, "{}", call.name());
            continue;
        }
        let answer =
            file.message_type.iter().find(|m| call.output_type().ends_with(&format!(".{}", m.name())));
        let status = answer.unwrap().field.iter().find(|f| f.type_name() == STATUS);
        assert_eq!(said, StatusIn::Field(status.unwrap().number() as u32), "{}", call.name());
    }
    assert_eq!(status_in_answer("GetComponentStates"), Some(StatusIn::Field(3)));
    assert_eq!(status_in_answer("CreateReplicateStream"), Some(StatusIn::Nowhere));
    assert_eq!(status_in_answer("Serach"), None);
}

/// As every other protobuf library does; protobufjs reads no entry without a value.
#[test]
fn entries_of_maps_in_answers_are_written_whole() {
    use milvus::flush_response::*;
    let key = || Some("c".to_owned());
    let answer = milvus::FlushResponse {
        coll_seg_i_ds: vec![CollSegIDsEntry { key: key(), value: Some(Default::default()) }],
        coll_seal_times: vec![CollSealTimesEntry { key: key(), value: Some(0) }],
        ..Default::default()
    };
    let bytes = answer.encode_to_vec();
    let list = [3 << 3 | 2, 5, 1 << 3 | 2, 1, b'c', 2 << 3 | 2, 0];
    let number = [5 << 3 | 2, 5, 1 << 3 | 2, 1, b'c', 2 << 3, 0];
    assert_eq!(bytes, [list, number].concat());
    assert_eq!(milvus::FlushResponse::decode(bytes.as_slice()), Ok(answer));
}

#[test]
fn calls_are_known_by_name() {
    assert_eq!(milvus::milvus_service_server::SERVICE_NAME, MILVUS_SERVICE);
    assert!(is_milvus_rpc("Search") && is_milvus_rpc("CreateSnapshot"));
    assert!(!is_milvus_rpc("Serach") && !is_milvus_rpc("rpc") && !is_milvus_rpc(""));
    assert_eq!(milvus_rpcs().count(), 149);
}
