//! An independent test peer: it has every message type of containerd-shim-protos in rust-protobuf, decodes and
//! encodes what the Node binding encodes, and generates values for the Node binding to decode.
//!
//! It reads requests from stdin, one after the other, and answers on stdout. Each is a length of 4 bytes and so
//! many bytes; all numbers are little-endian. The first byte of a request is the command:
//!
//! | command | the rest of the request | the answer |
//! |---|---|---|
//! | 0, types | | JSON: the name of each type, with its fields |
//! | 1, echo | the type's index (u16); messages | for each: 0, its bytes re-encoded, its value as text; or 1 and an error |
//! | 2, random | the type's index (u16), a seed (u64), how many (u32) | for each: its bytes, its value as text |
//! | 3, frame | JSON: an envelope and its header | the frame |
//! | 4, topics | | JSON: the names and values of the topics of events |
//!
//! Messages, bytes and texts are each a length of 4 bytes and so many bytes. An answer starts with 0, or with 1
//! and an error instead of the answer.

mod dump;
mod frame;
mod protocol;
mod random;
mod table;

use std::io::{self, BufReader, BufWriter, Read, Write};

use dump::Dumper;
use protocol::{Input, put};
use random::{Generator, Random};
use table::Table;

/// The error of a command.
type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut peer = Peer::new();
    let mut stdin = BufReader::with_capacity(1 << 16, io::stdin().lock());
    let mut stdout = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut length = [0; 4];
    loop {
        match stdin.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            result => result?,
        }
        let mut request = vec![0; usize::try_from(u32::from_le_bytes(length))?];
        stdin.read_exact(&mut request)?;
        let mut answer = vec![0];
        if let Err(failure) = peer.answer(&request, &mut answer) {
            answer = vec![1];
            answer.extend_from_slice(failure.to_string().as_bytes());
        }
        stdout.write_all(&u32::try_from(answer.len())?.to_le_bytes())?;
        stdout.write_all(&answer)?;
        stdout.flush()?;
    }
}

/// The state that the commands share.
struct Peer {
    table: Table,
    dumper: Dumper,
}

impl Peer {
    fn new() -> Self {
        Self { table: Table::new(), dumper: Dumper::default() }
    }

    fn answer(&mut self, request: &[u8], answer: &mut Vec<u8>) -> Result<(), Failure> {
        let mut input = Input(request);
        match input.u8()? {
            0 => answer.extend_from_slice(self.table.describe(&mut self.dumper).as_bytes()),
            1 => self.echo(input, answer)?,
            2 => self.random(input, answer)?,
            3 => answer.extend_from_slice(&frame::encode(&serde_json::from_slice(input.0)?)?),
            4 => answer.extend_from_slice(topics().to_string().as_bytes()),
            command => return Err(format!("there is no command {command}").into()),
        }
        Ok(())
    }

    fn echo(&mut self, mut input: Input<'_>, answer: &mut Vec<u8>) -> Result<(), Failure> {
        let descriptor = self.table.get(input.u16()?)?;
        while !input.0.is_empty() {
            match descriptor.parse_from_bytes(input.bytes()?) {
                Ok(message) => {
                    answer.push(0);
                    put(answer, &message.write_to_bytes_dyn()?)?;
                    put(answer, self.dumper.dump(&*message).as_bytes())?;
                }
                Err(error) => {
                    answer.push(1);
                    put(answer, error.to_string().as_bytes())?;
                }
            }
        }
        Ok(())
    }

    fn random(&mut self, mut input: Input<'_>, answer: &mut Vec<u8>) -> Result<(), Failure> {
        let descriptor = self.table.get(input.u16()?)?;
        let seed = input.u64()?;
        for index in 0..input.u32()? {
            let random = Random::new(seed, u64::from(index));
            let message = Generator::new(&mut self.dumper, random).message(descriptor, 0);
            put(answer, &message.write_to_bytes_dyn()?)?;
            put(answer, self.dumper.dump(&*message).as_bytes())?;
        }
        Ok(())
    }
}

/// The topics of events that the crate has.
fn topics() -> serde_json::Value {
    macro_rules! constants {
        ($($name:ident)*) => { serde_json::json!({ $(stringify!($name): containerd_shim_protos::topics::$name),* }) };
    }
    constants! {
        TASK_CREATE_EVENT_TOPIC
        TASK_START_EVENT_TOPIC
        TASK_OOM_EVENT_TOPIC
        TASK_EXIT_EVENT_TOPIC
        TASK_DELETE_EVENT_TOPIC
        TASK_EXEC_ADDED_EVENT_TOPIC
        TASK_EXEC_STARTED_EVENT_TOPIC
        TASK_PAUSED_EVENT_TOPIC
        TASK_RESUMED_EVENT_TOPIC
        TASK_CHECKPOINTED_EVENT_TOPIC
        TASK_UNKNOWN_TOPIC
    }
}
