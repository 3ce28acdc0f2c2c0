//! Corrects, in place, the status codes that ttrpc gets wrong in encoded responses.

const CODE_INVALID_ARGUMENT: u8 = 3;
/// What Go answers to an oversized message.
pub const CODE_RESOURCE_EXHAUSTED: u8 = 8;
/// What Go answers to a call of a service that it does not have.
pub const CODE_UNIMPLEMENTED: u8 = 12;

/// Where the code is in an encoded `Response { status: { code: INVALID_ARGUMENT, message } }`, and the code that Go
/// answers in its place, if the message is one of the two that ttrpc itself writes.
///
/// `body` may be cut off: ttrpc writes a response of more than a page in parts. No service has a name that long; one
/// that had would keep ttrpc's own code.
pub fn code_that_go_answers(body: &[u8]) -> Option<(usize, u8)> {
    const STATUS: u8 = 0x0a;
    const CODE: u8 = 0x08;
    const MESSAGE: u8 = 0x12;
    let (_, status) = length_behind(STATUS, body)?;
    let [CODE, CODE_INVALID_ARGUMENT, rest @ ..] = status else { return None };
    let (size, text) = length_behind(MESSAGE, rest)?;
    let code = code_by_text(text.get(..size)?)?;
    Some((body.len() - status.len() + 1, code))
}

/// The length of the field that begins with `tag`, and what follows the length.
fn length_behind(tag: u8, bytes: &[u8]) -> Option<(usize, &[u8])> {
    let bytes = bytes.strip_prefix(&[tag])?;
    let last = bytes.iter().take(4).position(|byte| byte & 0x80 == 0)?;
    let (length, rest) = bytes.split_at(last + 1);
    let value = length.iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f));
    Some((value, rest))
}

/// The code that Go answers in place of INVALID_ARGUMENT with this text.
pub fn code_by_text(message: &[u8]) -> Option<u8> {
    if message.ends_with(b" service does not exist") {
        Some(CODE_UNIMPLEMENTED)
    } else if message.starts_with(b"message length ")
        && message.windows(OVERSIZE.len()).any(|part| part == OVERSIZE)
    {
        Some(CODE_RESOURCE_EXHAUSTED)
    } else {
        None
    }
}

const OVERSIZE: &[u8] = b" exceed maximum message size of ";
