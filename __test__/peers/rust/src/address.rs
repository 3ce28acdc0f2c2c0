//! Frees an address before a server binds it.

use std::{fs, io, os::unix::fs::FileTypeExt};

/// Removes the socket file that an earlier peer left at a `unix://` address: ttrpc does not, and
/// its bind would fail. A file that is not a socket stays, so a mistyped path does no harm.
pub(crate) fn clear(address: &str) -> io::Result<()> {
    let Some(path) = address.strip_prefix("unix://").filter(|path| !path.starts_with('@')) else {
        return Ok(());
    };
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
