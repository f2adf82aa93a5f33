//! Compiles every `.proto` file under `milvus/` and `node/` into Rust, with no protoc on the machine.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message;
use protox::prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use protox::prost_reflect::prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

fn main() -> Result<(), Box<dyn Error>> {
    let mut files = Vec::new();
    for dir in ["milvus", "node"] {
        println!("cargo::rerun-if-changed={dir}");
        files.extend(proto_files(Path::new(dir))?);
    }
    println!("cargo::rerun-if-changed=build.rs");

    // Files are named from the crate's root, so `import "milvus/common.proto"` is how one refers to another.
    let mut set = protox::compile(&files, ["."])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    write(&out.join("descriptor.bin"), &set.encode_to_vec())?;
    write(&out.join("shapes.rs"), shapes(&set).as_bytes())?;

    // Answers write both parts of a map's entry, as the libraries of Go, C++ and Java do. prost leaves out a value that is
    // the default, and then clients in JavaScript find none. So these entries are generated as messages, whose values are
    // there or not; on the wire the two are the same.
    let mut without_comment = Vec::new();
    for file in &mut set.file {
        let package = file.package().to_owned();
        for answer in file.message_type.iter_mut().filter(|m| m.name().ends_with("Response")) {
            let name = format!(".{package}.{}", answer.name());

            for entry in answer.nested_type.iter_mut() {
                if !entry.options.as_ref().is_some_and(|o| o.map_entry()) {
                    continue;
                }
                // They stand nowhere in the files, so no comment is to be looked for.
                without_comment.push(format!("{name}.{}", entry.name()));
                entry.options = None;
                entry.field.iter_mut().for_each(|part| part.proto3_optional = Some(true));
            }
        }
    }

    // A call of the public service is named Connect, which the client's own `connect` would hide: make clients
    // with `new` from a channel.
    let mut config = tonic_prost_build::Config::new();
    config.disable_comments(without_comment).enable_type_names();
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .build_transport(false)
        .btree_map(".")
        .codec_path("crate::codec::ProstCodec")
        .compile_fds_with_config(set, config)?;

    // `src/lib.rs` includes the package of `node/` even when that folder has no file yet.
    let node = out.join("mishards.node.v1.rs");
    if !node.exists() {
        write(&node, b"")?;
    }
    Ok(())
}

/// What each message is made of, as `src/shape.rs` reads it: its name, the bytes that it takes when it is empty, about, and
/// which fields are messages.
fn shapes(set: &FileDescriptorSet) -> String {
    let mut found = BTreeMap::new();
    for file in &set.file {
        file.message_type.iter().for_each(|m| collect(m, file.package(), &mut found));
    }
    let numbers: BTreeMap<&str, usize> = found.keys().map(String::as_str).zip(0..).collect();
    let mut text = format!("static SHAPES: [Shape; {}] = [\n", found.len());
    for (name, message) in &found {
        // A value, a text or a list takes up to 24 bytes, and so does a choice of several.
        let single = message.field.iter().filter(|f| f.oneof_index.is_none()).count();
        let bytes = 24 * (single + message.oneof_decl.len()) + 16;
        let parts = message.field.iter().filter_map(|field| {
            let number = numbers.get(field.type_name().trim_start_matches('.'))?;
            Some(format!("({}, {number}), ", field.number()))
        });
        let parts: String = parts.collect();
        let packed: String = message.field.iter().filter_map(packed).collect();
        text += &format!(
            "    Shape {{ name: {name:?}, bytes: {bytes}, parts: &[{parts}], packed: &[{packed}] }},\n"
        );
    }
    text + "];\n"
}

/// A list of numbers that may take one byte each on the wire: its field, and what each takes in memory.
fn packed(field: &FieldDescriptorProto) -> Option<String> {
    let size = match field.r#type() {
        Type::Int64 | Type::Uint64 | Type::Sint64 => 8,
        Type::Int32 | Type::Uint32 | Type::Sint32 | Type::Enum => 4,
        _ => return None,
    };
    (field.label() == Label::Repeated).then(|| format!("({}, {size}), ", field.number()))
}

fn collect<'a>(
    message: &'a DescriptorProto,
    within: &str,
    found: &mut BTreeMap<String, &'a DescriptorProto>,
) {
    let name = format!("{within}.{}", message.name());
    message.nested_type.iter().for_each(|inner| collect(inner, &name, found));
    found.insert(name, message);
}

/// The `.proto` files of a folder, in order of name; none when the folder is missing.
fn proto_files(dir: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    if dir.is_dir() {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "proto") {
                println!("cargo::rerun-if-changed={}", path.display());
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[expect(clippy::disallowed_methods, reason = "a build product, not a file of the store")]
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    fs::write(path, bytes)
}
