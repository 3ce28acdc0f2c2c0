//! Follows the instruction in a request's id.

use protobuf::{EnumOrUnknown, Message as _};

use super::protos::{
    events::task::TaskStart,
    ttrpc::{
        Error, Result, Status,
        proto::{Any, Code},
    },
};
use crate::instruction::Instruction;

/// Does what `id` asks for before the usual answer. Every handler of Task starts with this.
pub(super) async fn obey(id: &str) -> Result<()> {
    match Instruction::parse(id) {
        Instruction::Answer => Ok(()),
        Instruction::Fail(code) => Err(Error::RpcStatus(status(code))),
        Instruction::Sleep(duration) => {
            tokio::time::sleep(duration).await;
            Ok(())
        }
        Instruction::Panic => panic!("asked to panic"),
    }
}

/// A status with two details: one whose type a client knows, and one that it cannot know.
fn status(code: i32) -> Status {
    let known = TaskStart { container_id: "detail".to_owned(), pid: 7, ..Default::default() };
    Status {
        // From the number, so that a code without a name in ttrpc is sent as it is.
        code: EnumOrUnknown::<Code>::from_i32(code),
        message: format!("asked for {code}"),
        details: vec![
            detail("containerd.events.TaskStart", known.write_to_bytes().unwrap_or_default()),
            detail("example.com/unknown.Type", vec![0xde, 0xad, 0xbe, 0xef]),
        ],
        ..Default::default()
    }
}

/// One detail, of the Any type in ttrpc's own schema.
fn detail(type_url: &str, value: Vec<u8>) -> Any {
    Any { type_url: type_url.to_owned(), value, ..Default::default() }
}
