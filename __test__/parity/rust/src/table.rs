//! Every message type of the stack, found by reflection.

use std::collections::BTreeMap;

use containerd_shim_protos::{
    bootstrap_api, cgroups, cgroups_v2, events, sandbox_api, shim, types, windows,
};
use protobuf::reflect::{FileDescriptor, MessageDescriptor};

use crate::{Failure, dump::Dumper};

/// The types that no crate compiles; see build.rs.
#[allow(clippy::all, missing_docs, unreachable_pub, reason = "the code is generated")]
mod compiled {
    include!(concat!(env!("OUT_DIR"), "/protos/mod.rs"));
}

/// The message types in the order of their full names; a type's position is its index.
pub(crate) struct Table(Vec<MessageDescriptor>);

impl Table {
    pub(crate) fn new() -> Self {
        let mut found = BTreeMap::new();
        for file in files() {
            collect_file(&file, &mut found);
        }
        Self(found.into_values().collect())
    }

    pub(crate) fn get(&self, index: u16) -> Result<&MessageDescriptor, Failure> {
        self.0.get(usize::from(index)).ok_or_else(|| format!("there is no type {index}").into())
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &MessageDescriptor> {
        self.0.iter()
    }

    /// The types and their fields, as JSON: `[["a.B",["1:id:string"]]]`.
    pub(crate) fn describe(&self, dumper: &mut Dumper) -> String {
        let types: Vec<_> = self
            .0
            .iter()
            .map(|descriptor| {
                let plan = dumper.plan(descriptor);
                let fields: Vec<_> =
                    plan.fields.iter().map(|field| field.signature.as_str()).collect();
                serde_json::json!([descriptor.full_name(), fields])
            })
            .collect();
        serde_json::Value::Array(types).to_string()
    }
}

/// The files with the types to test; their imports are found from them. Of two types with one name the first is
/// used, so 0.11 contributes only task v2.
fn files() -> [FileDescriptor; 25] {
    [
        types::mount::file_descriptor(),
        types::task::file_descriptor(),
        types::introspection::file_descriptor(),
        types::platform::file_descriptor(),
        cgroups::metrics::file_descriptor(),
        cgroups_v2::metrics::file_descriptor(),
        windows::stats::file_descriptor(),
        events::container::file_descriptor(),
        events::content::file_descriptor(),
        events::image::file_descriptor(),
        events::namespace::file_descriptor(),
        events::sandbox::file_descriptor(),
        events::snapshot::file_descriptor(),
        events::task::file_descriptor(),
        bootstrap_api::file_descriptor(),
        shim::oci::file_descriptor(),
        shim::event::file_descriptor(),
        shim::events::file_descriptor(),
        shim::shim::file_descriptor(),
        sandbox_api::file_descriptor(),
        containerd_shim_protos_v2::shim::shim::file_descriptor(),
        compiled::descriptor::file_descriptor(),
        compiled::sandbox::file_descriptor(),
        compiled::streaming::file_descriptor(),
        compiled::runtimeoptions::file_descriptor(),
    ]
    .map(Clone::clone)
}

fn collect_file(file: &FileDescriptor, found: &mut BTreeMap<String, MessageDescriptor>) {
    // It describes .proto files, which import it only for their options.
    if file.name() == "google/protobuf/descriptor.proto" {
        return;
    }
    for message in file.messages() {
        collect_message(message, found);
    }
    for imported in file.deps() {
        collect_file(imported, found);
    }
}

fn collect_message(message: MessageDescriptor, found: &mut BTreeMap<String, MessageDescriptor>) {
    if message.is_map_entry() {
        return;
    }
    for nested in message.nested_messages() {
        collect_message(nested, found);
    }
    found.entry(message.full_name().to_owned()).or_insert(message);
}
