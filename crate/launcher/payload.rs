//! What is behind the addon in a shim's file: the script, V8's cache of its code, and a description of both.
//!
//! The file ends with the description as JSON, its length as a little-endian `u32`, and [`MAGIC`].

use serde_json::Value;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

/// Ends a shim's file. The last byte is the version of the format.
pub const MAGIC: [u8; 8] = *b"CTRSHIM\x01";
const TRAILER: u64 = 12;
const LIMIT: u64 = 1 << 20;

/// A range of bytes in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Range {
    pub at: u64,
    pub length: u64,
}

/// A shim's file.
#[derive(Debug)]
pub struct Payload {
    /// The file that is running, whatever its path names by now.
    pub file: File,
    /// Its path.
    pub path: PathBuf,
    /// The name of the runtime.
    pub name: String,
    /// The annotations of a container that name its group.
    pub groups: Vec<String>,
    /// The path of Node; empty if it is looked for on PATH.
    pub node: String,
    /// The flags that Node gets.
    pub flags: Vec<String>,
    /// The script.
    pub script: Range,
    /// V8's cache of the script's code; empty if there is none.
    pub cache: Range,
}

impl Payload {
    /// The payload of the running program. Fails with a message if there is none.
    pub fn own() -> Result<Payload, String> {
        const SELF: &str = "/proc/self/exe";
        let path = std::fs::read_link(SELF).map_err(|error| format!("{SELF}: {error}"))?;
        let file = File::open(SELF).map_err(|error| format!("{}: {error}", path.display()))?;
        Payload::read(file, path.clone()).map_err(|error| {
            format!(
                "{} holds no shim ({error}): `shimctl pack` makes a program of a script",
                path.display()
            )
        })
    }

    fn read(file: File, path: PathBuf) -> io::Result<Payload> {
        let size = file.metadata()?.len();
        let end = size.checked_sub(TRAILER).ok_or_else(malformed)?;
        let mut trailer = [0; TRAILER as usize];
        file.read_exact_at(&mut trailer, end)?;
        let [a, b, c, d, magic @ ..] = trailer;
        let length = u64::from(u32::from_le_bytes([a, b, c, d]));
        if magic != MAGIC || length > LIMIT || length > end {
            return Err(malformed());
        }
        let start = end - length;
        let mut text = vec![0; usize::try_from(length).map_err(|_| malformed())?];
        file.read_exact_at(&mut text, start)?;
        let value: Value = serde_json::from_slice(&text)?;
        let text = |name: &str| value[name].as_str().map(str::to_owned).ok_or_else(malformed);
        let strings = |name: &str| -> io::Result<Vec<String>> {
            let list = value[name].as_array().ok_or_else(malformed)?;
            list.iter().map(|one| one.as_str().map(str::to_owned).ok_or_else(malformed)).collect()
        };
        let range = |name: &str| -> io::Result<Range> {
            let number = |at: usize| value[name][at].as_u64().ok_or_else(malformed);
            let range = Range { at: number(0)?, length: number(1)? };
            let inside = range.at.checked_add(range.length).is_some_and(|last| last <= start);
            if inside { Ok(range) } else { Err(malformed()) }
        };
        Ok(Payload {
            name: text("name")?,
            groups: strings("groups")?,
            node: text("node")?,
            flags: strings("flags")?,
            script: range("script")?,
            cache: range("cache")?,
            file,
            path,
        })
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "its end is not that of a shim")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn read(description: &str, magic: [u8; 8], length: Option<u32>) -> io::Result<Payload> {
        let path = std::env::temp_dir().join(format!(
            "payload-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        let mut file = File::create(&path)?;
        let length = length.unwrap_or_else(|| u32::try_from(description.len()).unwrap_or(0));
        file.write_all(b"addon script")?;
        file.write_all(description.as_bytes())?;
        file.write_all(&length.to_le_bytes())?;
        file.write_all(&magic)?;
        let read = Payload::read(File::open(&path)?, path.clone());
        std::fs::remove_file(path)?;
        read
    }

    const GOOD: &str =
        r#"{"name":"n","groups":["g"],"node":"","flags":["-f"],"script":[6,6],"cache":[0,0]}"#;

    #[test]
    fn a_payload_is_read() {
        let payload = read(GOOD, MAGIC, None).expect("a payload");
        assert_eq!((payload.name.as_str(), payload.script), ("n", Range { at: 6, length: 6 }));
        assert_eq!((payload.groups, payload.flags), (vec!["g".to_owned()], vec!["-f".to_owned()]));
    }

    #[test]
    fn what_is_no_payload_is_refused() {
        assert!(read(GOOD, *b"somebody", None).is_err());
        assert!(read(GOOD, MAGIC, Some(u32::MAX)).is_err());
        assert!(read(GOOD, MAGIC, Some(3)).is_err());
        assert!(read(&GOOD.replace("[6,6]", "[6,7]"), MAGIC, None).is_err());
        assert!(read(&GOOD.replace("[6,6]", "[18446744073709551615,2]"), MAGIC, None).is_err());
        assert!(read(&GOOD.replace("\"-f\"", "1"), MAGIC, None).is_err());
    }
}
