//! Bytes as text: messages travel to the tests as hexadecimal inside JSON.

use std::fmt::Write as _;

/// Lower-case hexadecimal, two digits a byte.
pub(crate) fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
