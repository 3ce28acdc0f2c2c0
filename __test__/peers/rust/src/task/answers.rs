//! The answers of the Task server: fixed values, and values computed from the request's fields so
//! that a test notices a field that did not cross.

use std::{collections::BTreeMap, time::Duration};

use protobuf::{
    EnumOrUnknown, Message, MessageField,
    well_known_types::{any::Any, timestamp::Timestamp},
};

use super::protos::{
    api::{
        ConnectRequest, ConnectResponse, CreateTaskRequest, CreateTaskResponse, DeleteRequest,
        DeleteResponse, PidsRequest, PidsResponse, ProcessInfo, StartRequest, StartResponse,
        StateRequest, StateResponse, StatsRequest, StatsResponse, Status, WaitRequest,
        WaitResponse,
    },
    cgroups::metrics::{Metrics, PidsStat},
    shim::oci::ProcessDetails,
    ttrpc::r#async::TtrpcContext,
};
use crate::{hex, history::History};

/// The length of a text in bytes, which a test can compute, too.
fn len(text: &str) -> u32 {
    text.len().try_into().unwrap_or(u32::MAX)
}

/// A time, nanoseconds included.
pub(super) fn timestamp(since_epoch: Duration) -> Timestamp {
    Timestamp {
        seconds: since_epoch.as_secs().try_into().unwrap_or(i64::MAX),
        nanos: since_epoch.subsec_nanos().try_into().unwrap_or(i32::MAX),
        ..Default::default()
    }
}

/// A message packed as containerd does it: the type is the full name without a prefix.
fn pack(type_url: &str, message: &impl Message) -> MessageField<Any> {
    MessageField::some(Any {
        type_url: type_url.to_owned(),
        value: message.write_to_bytes().unwrap_or_default(),
        ..Default::default()
    })
}

/// State: the request's fields echoed, or what the ids `metadata`, `last` and `forwarded` ask for.
pub(super) fn state(
    context: &TtrpcContext,
    history: &History,
    request: &StateRequest,
) -> StateResponse {
    let id = &request.id;
    let (bundle, stdin) = match id.as_str() {
        "metadata" => {
            let sorted: BTreeMap<_, _> = context.metadata.iter().collect();
            (serde_json::json!(sorted).to_string(), context.timeout_nano.to_string())
        }
        "last" => {
            let previous = history.previous();
            (hex::encode(&previous.payload), previous.method)
        }
        "forwarded" => (hex::encode(&history.forwarded()), format!("/stdin/{id}")),
        _ => (format!("/bundle/{id}"), format!("/stdin/{id}")),
    };
    StateResponse {
        id: id.clone(),
        bundle,
        pid: 4242,
        status: EnumOrUnknown::new(Status::RUNNING),
        stdin,
        stdout: format!("/stdout/{id}"),
        stderr: format!("/stderr/{id}"),
        terminal: true,
        exit_status: 7,
        exited_at: MessageField::some(timestamp(Duration::new(1_700_000_000, 123_456_789))),
        exec_id: request.exec_id.clone(),
        ..Default::default()
    }
}

/// Create: the length of the id.
pub(super) fn create(request: &CreateTaskRequest) -> CreateTaskResponse {
    CreateTaskResponse { pid: 1000 + len(&request.id), ..Default::default() }
}

/// Start: the lengths of the ids.
pub(super) fn start(request: &StartRequest) -> StartResponse {
    StartResponse { pid: 2000 + len(&request.id) + len(&request.exec_id), ..Default::default() }
}

/// Delete: the lengths of the ids, and a time with nine digits of nanoseconds.
pub(super) fn delete(request: &DeleteRequest) -> DeleteResponse {
    DeleteResponse {
        pid: 3000 + len(&request.id) + len(&request.exec_id),
        exit_status: 137,
        exited_at: MessageField::some(timestamp(Duration::new(1_700_000_001, 987_654_321))),
        ..Default::default()
    }
}

/// Pids: two processes, the second with details that hold the id.
pub(super) fn pids(request: &PidsRequest) -> PidsResponse {
    let details = ProcessDetails { exec_id: request.id.clone(), ..Default::default() };
    let pid = 4000 + len(&request.id);
    PidsResponse {
        processes: vec![
            ProcessInfo { pid, ..Default::default() },
            ProcessInfo {
                pid: pid + 1,
                info: pack("containerd.runc.v1.ProcessDetails", &details),
                ..Default::default()
            },
        ],
        ..Default::default()
    }
}

/// Wait: the lengths of the ids, and a time of one nanosecond past the second.
pub(super) fn wait(request: &WaitRequest) -> WaitResponse {
    WaitResponse {
        exit_status: 100 + len(&request.id) + len(&request.exec_id),
        exited_at: MessageField::some(timestamp(Duration::new(1_700_000_002, 1))),
        ..Default::default()
    }
}

/// Stats: cgroup v1 metrics whose process count is the length of the id.
pub(super) fn stats(request: &StatsRequest) -> StatsResponse {
    let pids = PidsStat { current: len(&request.id).into(), limit: u64::MAX, ..Default::default() };
    let metrics = Metrics { pids: MessageField::some(pids), ..Default::default() };
    StatsResponse {
        stats: pack("io.containerd.cgroups.v1.Metrics", &metrics),
        ..Default::default()
    }
}

/// Connect: the peer's own pid, the length of the id, and which of the two servers it is.
pub(super) fn connect(request: &ConnectRequest) -> ConnectResponse {
    ConnectResponse {
        shim_pid: std::process::id(),
        task_pid: 5000 + len(&request.id),
        version: super::VERSION.to_owned(),
        ..Default::default()
    }
}
