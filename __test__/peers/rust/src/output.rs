//! The peer's standard output, which the tests read line by line.

use std::{
    fmt::Display,
    io::{self, Write as _},
};

/// Writes one line and flushes it, so that a test that waits on a pipe sees it at once.
pub(crate) fn line(text: impl Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}
