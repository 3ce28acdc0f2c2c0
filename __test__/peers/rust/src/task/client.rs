//! The generated Task client, with a line of output for every call.

use std::time::Duration;

use protobuf::Message;
use serde_json::{Value, json};

use super::{
    protos::{
        shim_async::{Client, TaskClient},
        ttrpc::{
            Error, Result,
            context::{self, Context},
        },
    },
    requests,
};
use crate::{CallOptions, Failure, hex, output};

/// The methods in the order of the calls: roughly that of a container's life, so that a server
/// that keeps state can follow.
const METHODS: [&str; 17] = [
    "Connect",
    "Create",
    "Start",
    "State",
    "Pids",
    "Stats",
    "Exec",
    "ResizePty",
    "CloseIO",
    "Update",
    "Pause",
    "Resume",
    "Checkpoint",
    "Kill",
    "Wait",
    "Delete",
    "Shutdown",
];

/// Calls every method of Task, or the one asked for, one after the other.
pub(super) async fn call(
    client: Client,
    options: &CallOptions,
) -> std::result::Result<(), Failure> {
    let task = TaskClient::new(client);
    let methods = match &options.only {
        Some(method) => vec![method.as_str()],
        None => METHODS.to_vec(),
    };
    for method in methods {
        /// Builds the request, calls the method of the same name and reports what came back.
        macro_rules! exchange {
            ($method:ident) => {{
                let request = requests::$method(options.id.clone());
                report(method, &request, task.$method(context(options), &request).await)
            }};
        }
        match method {
            "Connect" => exchange!(connect),
            "Create" => exchange!(create),
            "Start" => exchange!(start),
            "State" => exchange!(state),
            "Pids" => exchange!(pids),
            "Stats" => exchange!(stats),
            "Exec" => exchange!(exec),
            "ResizePty" => exchange!(resize_pty),
            "CloseIO" => exchange!(close_io),
            "Update" => exchange!(update),
            "Pause" => exchange!(pause),
            "Resume" => exchange!(resume),
            "Checkpoint" => exchange!(checkpoint),
            "Kill" => exchange!(kill),
            "Wait" => exchange!(wait),
            "Delete" => exchange!(delete),
            "Shutdown" => exchange!(shutdown),
            unknown => Err(format!("no method {unknown}").into()),
        }?;
    }
    Ok(())
}

/// What is sent with every call: a key with two values, a key with one, and the timeout.
pub(super) fn context(options: &CallOptions) -> Context {
    let mut context = context::with_duration(Duration::from_millis(options.timeout_ms));
    context.set("key-1".to_owned(), vec!["value-1-1".to_owned(), "value-1-2".to_owned()]);
    context.set("key-2".to_owned(), vec!["value-2".to_owned()]);
    context
}

/// Prints what was sent and what came back.
pub(super) fn report<Q: Message, R: Message>(
    method: &str,
    request: &Q,
    answer: Result<R>,
) -> std::result::Result<(), Failure> {
    let request = hex::encode(&request.write_to_bytes()?);
    let line = match answer {
        Ok(response) => {
            let response = hex::encode(&response.write_to_bytes()?);
            json!({"method": method, "request": request, "response": response})
        }
        Err(error) => json!({"method": method, "request": request, "error": describe(&error)}),
    };
    Ok(output::line(line)?)
}

/// An error: a status in its parts, anything else as ttrpc's text.
fn describe(error: &Error) -> Value {
    let Error::RpcStatus(status) = error else {
        return json!({"kind": "other", "code": null, "message": error.to_string(), "details": []});
    };
    let details: Vec<_> = status
        .details
        .iter()
        .map(|any| json!({"type_url": any.type_url, "value": hex::encode(&any.value)}))
        .collect();
    json!({
        "kind": "status",
        "code": status.code.value(),
        "message": status.message,
        "details": details,
    })
}
