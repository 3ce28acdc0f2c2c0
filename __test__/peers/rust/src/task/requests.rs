//! The requests of the Task client: every field has a fixed value other than its default, so that a
//! server that drops one is noticed.

use std::collections::HashMap;

use protobuf::{Message, MessageField, well_known_types::any::Any};

use super::protos::{
    api::{
        CheckpointTaskRequest, CloseIORequest, ConnectRequest, CreateTaskRequest, DeleteRequest,
        ExecProcessRequest, KillRequest, Mount, PauseRequest, PidsRequest, ResizePtyRequest,
        ResumeRequest, ShutdownRequest, StartRequest, StateRequest, StatsRequest,
        UpdateTaskRequest, WaitRequest,
    },
    shim::oci::{CheckpointOptions, Options},
};

/// The exec id of every request that has one.
fn exec_id() -> String {
    "exec-1".to_owned()
}

/// A payload with a type name as in containerd: without `type.googleapis.com/`.
fn any(type_url: &str, value: Vec<u8>) -> MessageField<Any> {
    MessageField::some(Any { type_url: type_url.to_owned(), value, ..Default::default() })
}

/// A message with its type.
fn pack(type_url: &str, message: &impl Message) -> MessageField<Any> {
    any(type_url, message.write_to_bytes().unwrap_or_default())
}

/// A mount with its options in the given order.
fn mount(kind: &str, source: &str, target: &str, options: &[&str]) -> Mount {
    Mount {
        type_: kind.to_owned(),
        source: source.to_owned(),
        target: target.to_owned(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
        ..Default::default()
    }
}

/// Two annotations in a map that happens to iterate in the order of its keys. protobuf writes a
/// map in iteration order, which std randomizes for every map, so maps are built until one fits:
/// the bytes of the request are then the same in every run.
fn annotations() -> HashMap<String, String> {
    loop {
        let map: HashMap<_, _> = [("annotation-1", "value-1"), ("annotation-2", "value-2")]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        if map.keys().is_sorted() {
            return map;
        }
    }
}

/// State's request.
pub(super) fn state(id: String) -> StateRequest {
    StateRequest { id, exec_id: exec_id(), ..Default::default() }
}

/// Create's request.
pub(super) fn create(id: String) -> CreateTaskRequest {
    let options = Options {
        no_pivot_root: true,
        shim_cgroup: "/shim".to_owned(),
        io_uid: 1000,
        io_gid: 1001,
        binary_name: "runc".to_owned(),
        root: "/run/runc".to_owned(),
        systemd_cgroup: true,
        ..Default::default()
    };
    CreateTaskRequest {
        id,
        bundle: "/run/bundle".to_owned(),
        rootfs: vec![
            mount("overlay", "overlay", "/", &["lowerdir=/a:/b", "upperdir=/c", "workdir=/d"]),
            mount("bind", "/host/data", "/data", &["rbind", "ro"]),
        ],
        terminal: true,
        stdin: "/fifo/stdin".to_owned(),
        stdout: "/fifo/stdout".to_owned(),
        stderr: "/fifo/stderr".to_owned(),
        checkpoint: "/checkpoint".to_owned(),
        parent_checkpoint: "/parent-checkpoint".to_owned(),
        options: pack("containerd.runc.v1.Options", &options),
        ..Default::default()
    }
}

/// Start's request.
pub(super) fn start(id: String) -> StartRequest {
    StartRequest { id, exec_id: exec_id(), ..Default::default() }
}

/// Delete's request.
pub(super) fn delete(id: String) -> DeleteRequest {
    DeleteRequest { id, exec_id: exec_id(), ..Default::default() }
}

/// Pids' request.
pub(super) fn pids(id: String) -> PidsRequest {
    PidsRequest { id, ..Default::default() }
}

/// Pause's request.
pub(super) fn pause(id: String) -> PauseRequest {
    PauseRequest { id, ..Default::default() }
}

/// Resume's request.
pub(super) fn resume(id: String) -> ResumeRequest {
    ResumeRequest { id, ..Default::default() }
}

/// Checkpoint's request.
pub(super) fn checkpoint(id: String) -> CheckpointTaskRequest {
    let options = CheckpointOptions {
        exit: true,
        open_tcp: true,
        empty_namespaces: vec!["network".to_owned(), "ipc".to_owned()],
        cgroups_mode: "soft".to_owned(),
        ..Default::default()
    };
    CheckpointTaskRequest {
        id,
        path: "/checkpoint/path".to_owned(),
        options: pack("containerd.runc.v1.CheckpointOptions", &options),
        ..Default::default()
    }
}

/// Kill's request.
pub(super) fn kill(id: String) -> KillRequest {
    KillRequest { id, exec_id: exec_id(), signal: 15, all: true, ..Default::default() }
}

/// Exec's request, with the process as JSON in an Any, as containerd sends it.
pub(super) fn exec(id: String) -> ExecProcessRequest {
    ExecProcessRequest {
        id,
        exec_id: exec_id(),
        terminal: true,
        stdin: "/fifo/exec-stdin".to_owned(),
        stdout: "/fifo/exec-stdout".to_owned(),
        stderr: "/fifo/exec-stderr".to_owned(),
        spec: any(
            "types.containerd.io/opencontainers/runtime-spec/1/Process",
            br#"{"args":["sh","-c","true"],"cwd":"/"}"#.to_vec(),
        ),
        ..Default::default()
    }
}

/// ResizePty's request.
pub(super) fn resize_pty(id: String) -> ResizePtyRequest {
    ResizePtyRequest { id, exec_id: exec_id(), width: 120, height: 40, ..Default::default() }
}

/// CloseIO's request.
pub(super) fn close_io(id: String) -> CloseIORequest {
    CloseIORequest { id, exec_id: exec_id(), stdin: true, ..Default::default() }
}

/// Update's request.
pub(super) fn update(id: String) -> UpdateTaskRequest {
    UpdateTaskRequest {
        id,
        resources: any(
            "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources",
            br#"{"memory":{"limit":1048576}}"#.to_vec(),
        ),
        annotations: annotations(),
        ..Default::default()
    }
}

/// Wait's request.
pub(super) fn wait(id: String) -> WaitRequest {
    WaitRequest { id, exec_id: exec_id(), ..Default::default() }
}

/// Stats' request.
pub(super) fn stats(id: String) -> StatsRequest {
    StatsRequest { id, ..Default::default() }
}

/// Connect's request.
pub(super) fn connect(id: String) -> ConnectRequest {
    ConnectRequest { id, ..Default::default() }
}

/// Shutdown's request.
pub(super) fn shutdown(id: String) -> ShutdownRequest {
    ShutdownRequest { id, now: true, ..Default::default() }
}
