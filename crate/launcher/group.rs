//! A container whose group has a shim: all that `start` has to do is to say where it listens. Everything unusual
//! is left to the server, which decides by the same rules (`src/shim/serve.ts`).

use super::arguments::Arguments;
use super::payload::Payload;
use crate::system::digest::sha256;
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use protobuf::Message as _;
use protobuf::well_known_types::any::Any;
use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{self, Path};

/// Where containerd up to 2.2 expects shims' sockets, and later ones unless they say otherwise.
const DEFAULT_FOLDER: &str = "/run/containerd/s";

/// The folder of sandboxes' bundles, as in `src/sandboxes.ts`.
const SANDBOXES: &str = "io.containerd.sandbox.controller.v1.shim";

/// The answer of `start`, if the container's group has a shim.
pub fn answer(payload: &Payload, arguments: &Arguments, input: &[u8]) -> Option<Vec<u8>> {
    if payload.groups.is_empty() {
        return None;
    }
    let bundle =
        if arguments.bundle.is_empty() { Path::new(".") } else { Path::new(&arguments.bundle) };
    let group = group_of(&fs::read(bundle.join("config.json")).ok()?, &payload.groups)?;
    let (id, namespace) = (arguments.id.to_str()?, arguments.namespace.to_str()?);
    let form = Form::of(input, id, namespace)?;
    // For a sandbox, containerd 2.0 to 2.2 reads JSON, which Node writes.
    if form == Form::Address && is_sandbox(bundle) {
        return None;
    }
    let folder = match &form {
        Form::Message { folder } if !folder.is_empty() => folder,
        _ => DEFAULT_FOLDER,
    };
    let path = socket_path(folder, arguments.address.to_str()?, namespace, &group)?;
    if !listens(&path) {
        return None;
    }
    let address = format!("unix://{path}");
    leave_address(bundle, &address).ok()?;
    match form {
        Form::Address => Some(address.into_bytes()),
        Form::Message { .. } => {
            let mut result = BootstrapResult::new();
            result.version = 3;
            result.address = address;
            result.protocol = "ttrpc".to_owned();
            result.write_to_bytes().ok()
        }
    }
}

/// Whether a bundle is a sandbox's.
fn is_sandbox(bundle: &Path) -> bool {
    let Ok(bundle) = path::absolute(bundle) else { return false };
    bundle.ancestors().nth(2).and_then(Path::file_name) == Some(OsStr::new(SANDBOXES))
}

/// Leaves the address where containerd up to 1.7 looks for it after a restart, as `src/shim/address-file.ts` does.
fn leave_address(bundle: &Path, address: &str) -> io::Result<()> {
    let new = bundle.join("address.tmp");
    // What is there goes, as in `src/shim/write-file.ts`: a link would lead elsewhere.
    let _ = fs::remove_file(&new);
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o644).open(&new);
    opened.and_then(|mut new| new.write_all(address.as_bytes()))?;
    fs::rename(&new, bundle.join("address"))
}

/// Whether somebody listens on a socket. Never waits.
pub fn listens(path: &str) -> bool {
    let Ok(address) = SockAddr::unix(path) else { return false };
    let Ok(socket) = Socket::new(Domain::UNIX, Type::STREAM, None) else { return false };
    socket.set_nonblocking(true).is_ok() && socket.connect(&address).is_ok()
}

/// The form of the answer.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    /// The plain address.
    Address,
    /// A `BootstrapResult`.
    Message { folder: String },
}

impl Form {
    /// What containerd reads, by what it wrote; `src/shim/bootstrap.ts` says how the two messages are told apart.
    fn of(input: &[u8], id: &str, namespace: &str) -> Option<Form> {
        if input.is_empty() {
            return Some(Form::Address);
        }
        if let Ok(params) = BootstrapParams::parse_from_bytes(input)
            && params.instance_id == id
            && params.namespace == namespace
        {
            return Some(Form::Message { folder: params.socket_dir().to_owned() });
        }
        let any = Any::parse_from_bytes(input).ok()?;
        let known = any.special_fields.unknown_fields().iter().next().is_none();
        (known && !any.type_url.is_empty()).then_some(Form::Address)
    }
}

/// The group that a container's specification names, by the first annotation that it has.
fn group_of(spec: &[u8], names: &[String]) -> Option<String> {
    let spec: Value = serde_json::from_slice(spec).ok()?;
    let annotations = spec.get("annotations")?;
    let group = names.iter().find_map(|name| annotations.get(name))?.as_str()?;
    (!group.is_empty()).then(|| group.to_owned())
}

/// The path of a group's socket, as `src/shim/address.ts` makes it; nothing where Node would normalize a part.
fn socket_path(folder: &str, address: &str, namespace: &str, group: &str) -> Option<String> {
    let name = format!("{address}/{namespace}/{group}");
    let plain = |path: &str| {
        let mut parts = path.strip_prefix('/').unwrap_or("").split('/');
        parts.all(|part| !matches!(part, "" | "." | ".."))
    };
    if !plain(&name) || !plain(folder) {
        return None;
    }
    Some(format!("{folder}/{}", sha256(&name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_the_answer_follows_what_containerd_wrote() {
        assert_eq!(Form::of(b"", "i", "n"), Some(Form::Address));
        let mut params = BootstrapParams::new();
        (params.instance_id, params.namespace) = ("i".to_owned(), "n".to_owned());
        params.set_socket_dir("/s".to_owned());
        let bytes = params.write_to_bytes().expect("bytes");
        assert_eq!(Form::of(&bytes, "i", "n"), Some(Form::Message { folder: "/s".to_owned() }));
        // Node says for whom it is.
        assert_eq!(Form::of(&bytes, "j", "n"), None);
        let mut any = Any::new();
        (any.type_url, any.value) = ("t".to_owned(), vec![1]);
        assert_eq!(Form::of(&any.write_to_bytes().expect("bytes"), "i", "n"), Some(Form::Address));
        assert_eq!(Form::of(&[0xff], "i", "n"), None);
    }

    #[test]
    fn a_sandbox_is_known_by_the_folder_above_its_namespace() {
        assert!(is_sandbox(Path::new("/run/io.containerd.sandbox.controller.v1.shim/ns/pod")));
        assert!(is_sandbox(Path::new("io.containerd.sandbox.controller.v1.shim/ns/./pod/")));
        assert!(!is_sandbox(Path::new("/run/io.containerd.runtime.v2.task/ns/pod")));
        assert!(!is_sandbox(Path::new("/io.containerd.sandbox.controller.v1.shim")));
        assert!(!is_sandbox(Path::new("/")));
    }

    #[test]
    fn a_groups_name_comes_from_the_first_annotation_that_is_there() {
        let names = ["a".to_owned(), "b".to_owned()];
        let group = |spec: &str| group_of(spec.as_bytes(), &names);
        assert_eq!(group(r#"{"annotations":{"b":"2","a":"1"}}"#).as_deref(), Some("1"));
        assert_eq!(group(r#"{"annotations":{"b":"2"}}"#).as_deref(), Some("2"));
        for none in
            [r#"{"annotations":{"a":"","b":"2"}}"#, r#"{"annotations":{"a":1}}"#, "{}", "[]", "{"]
        {
            assert_eq!(group(none), None, "{none}");
        }
    }

    #[test]
    fn a_path_that_node_would_normalize_is_left_to_it() {
        let path = socket_path("/s", "/run/c.sock", "n", "g").expect("a path");
        assert_eq!(path, "/s/dd2f64a5f80e4e258bd48186c851f96afe24f4426edd78327c2d4a361bed6a73");
        for (address, group) in
            [("/run//c.sock", "g"), ("run/c.sock", "g"), ("/c", "../g"), ("/c", "g/")]
        {
            assert_eq!(socket_path("/s", address, "n", group), None);
        }
    }
}
