//! Corrects, in place, the status codes that ttrpc gets wrong in encoded responses.

const CODE_INVALID_ARGUMENT: u8 = 3;
const CODE_RESOURCE_EXHAUSTED: u8 = 8;
const CODE_UNIMPLEMENTED: u8 = 12;

/// The offset of a one-byte code in an encoded response that starts with a status.
pub const STATUS_CODE_AT: usize = 3;

/// The code that Go answers in place of an encoded `Response { status: { code: INVALID_ARGUMENT, message }
/// }`, if the message is one of the two that ttrpc itself writes.
///
/// Only lengths below 128 (one byte) are checked. No service in use has a longer name; one that had would
/// keep ttrpc's own code.
pub fn code_that_go_answers(body: &[u8]) -> Option<u8> {
    const STATUS: u8 = 0x0a;
    const CODE: u8 = 0x08;
    const MESSAGE: u8 = 0x12;
    let &[STATUS, _, CODE, CODE_INVALID_ARGUMENT, MESSAGE, size, ref text @ ..] = body else {
        return None;
    };
    let message = text.get(..usize::from(size))?;
    code_by_text(message)
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

/// Replaces an unknown status code in an encoded Response by UNKNOWN, in as many bytes. ttrpc would read a
/// code that its enum does not have as OK.
pub fn make_code_known(body: &mut [u8]) {
    const LAST_CODE: u64 = 16;
    const UNKNOWN: u8 = 2;
    let [0x0a, rest @ ..] = body else { return };
    let Some(size_bytes) = rest.iter().position(|byte| byte & 0x80 == 0) else { return };
    let Some([0x08, code @ ..]) = rest.get_mut(size_bytes + 1..) else { return };
    let Some(last) = code.iter().take(10).position(|byte| byte & 0x80 == 0) else { return };
    let code = &mut code[..=last];
    let value = code.iter().rev().fold(0u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
    if value > LAST_CODE {
        code.fill(0x80);
        code[last] = 0;
        code[0] |= UNKNOWN;
    }
}

const OVERSIZE: &[u8] = b" exceed maximum message size of ";
