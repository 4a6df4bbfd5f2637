//! The part of a `FileDescriptorSet` that some messages need, without comments, options and services.

use std::collections::{BTreeMap, BTreeSet};

use protox::prost_reflect::prost_types::field_descriptor_proto::Type;
use protox::prost_reflect::prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MessageOptions,
};

pub(super) fn is_scalar(field: &FieldDescriptorProto) -> bool {
    use protox::prost_reflect::prost_types::field_descriptor_proto::Label;
    field.label() != Label::Repeated && field.r#type() != Type::Message
}

/// What can be reached from `roots` (full names), in files that contain nothing else.
pub(super) fn reachable(set: FileDescriptorSet, roots: &BTreeSet<String>) -> FileDescriptorSet {
    let homes = homes(&set);
    let messages: BTreeMap<String, &DescriptorProto> = set
        .file
        .iter()
        .flat_map(|file| {
            file.message_type.iter().map(|message| (format!("{}.{}", file.package(), message.name()), message))
        })
        .collect();
    let mut kept = BTreeSet::new();
    let mut open: Vec<String> = roots.iter().cloned().collect();
    while let Some(name) = open.pop() {
        if let Some(message) = messages.get(&name).filter(|_| kept.insert(name.clone())) {
            open.extend(references(message));
        }
    }
    let files = set.file.iter().map(|file| strip(file, &kept, &homes)).filter(|file| !file.message_type.is_empty());
    FileDescriptorSet { file: files.collect() }
}

/// The file in which each message is.
fn homes(set: &FileDescriptorSet) -> BTreeMap<String, String> {
    let of = |file: &FileDescriptorProto| {
        let (package, name) = (file.package().to_owned(), file.name().to_owned());
        file.message_type
            .iter()
            .map(move |message| (format!("{package}.{}", message.name()), name.clone()))
            .collect::<Vec<_>>()
    };
    set.file.iter().flat_map(of).collect()
}

/// The full names of the messages that a message mentions, also in its maps.
fn references(message: &DescriptorProto) -> Vec<String> {
    let nested = message.nested_type.iter().flat_map(references);
    message
        .field
        .iter()
        .filter_map(|field| Some(field.type_name.as_ref()?.trim_start_matches('.').to_owned()))
        .chain(nested)
        .collect()
}

fn strip(file: &FileDescriptorProto, kept: &BTreeSet<String>, homes: &BTreeMap<String, String>) -> FileDescriptorProto {
    let is_kept = |message: &&DescriptorProto| kept.contains(&format!("{}.{}", file.package(), message.name()));
    let message_type: Vec<DescriptorProto> = file.message_type.iter().filter(is_kept).map(strip_message).collect();
    let needed = message_type.iter().flat_map(references).filter_map(|name| homes.get(&name).cloned());
    let dependency: BTreeSet<String> = needed.filter(|name| name != file.name()).collect();
    FileDescriptorProto {
        name: file.name.clone(),
        package: file.package.clone(),
        syntax: file.syntax.clone(),
        dependency: dependency.into_iter().collect(),
        message_type,
        ..FileDescriptorProto::default()
    }
}

fn strip_message(message: &DescriptorProto) -> DescriptorProto {
    let plain = |field: &FieldDescriptorProto| FieldDescriptorProto { options: None, json_name: None, ..field.clone() };
    let is_map = message.options.as_ref().is_some_and(MessageOptions::map_entry);
    DescriptorProto {
        name: message.name.clone(),
        field: message.field.iter().map(plain).collect(),
        nested_type: message.nested_type.iter().map(strip_message).collect(),
        options: is_map.then(|| MessageOptions { map_entry: Some(true), ..MessageOptions::default() }),
        ..DescriptorProto::default()
    }
}
