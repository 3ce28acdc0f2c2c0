//! What the `id` of a request asks the server to do, besides naming a container.

use std::time::Duration;

/// A way to answer.
#[derive(Debug, PartialEq)]
pub(crate) enum Instruction {
    /// The usual answer: any id without a meaning of its own.
    Answer,
    /// `error:<number>`: a status with this code, known to ttrpc or not.
    Fail(i32),
    /// `sleep:<ms>`: the usual answer, this much later.
    Sleep(Duration),
    /// `panic`: the handler panics.
    Panic,
}

impl Instruction {
    /// Reads an id. A number that does not parse makes it an ordinary id.
    pub(crate) fn parse(id: &str) -> Self {
        if id == "panic" {
            return Self::Panic;
        }
        if let Some(code) = id.strip_prefix("error:").and_then(|text| text.parse().ok()) {
            return Self::Fail(code);
        }
        match id.strip_prefix("sleep:").and_then(|text| text.parse().ok()) {
            Some(milliseconds) => Self::Sleep(Duration::from_millis(milliseconds)),
            None => Self::Answer,
        }
    }
}
