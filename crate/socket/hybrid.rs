//! Hybrid vsock: a hypervisor's unix socket, behind which the ports of a guest are, as Cloud Hypervisor and
//! Firecracker have it. A line names the port, and a line with OK answers it; all later bytes are the guest's.

use super::Stream;
use std::io::{self, IoSlice};

/// The most bytes that a hypervisor may answer with. A port has ten digits.
const ANSWER_LIMIT: usize = 64;

/// The state of the exchange that opens a port.
#[derive(Debug)]
pub(super) struct Greeting {
    port: u32,
    answer: Vec<u8>,
}

impl Greeting {
    /// Asks for a port on a fresh connection, whose socket has room for the line.
    pub(super) fn begin(stream: &Stream, port: u32) -> io::Result<Self> {
        let line = format!("CONNECT {port}\n");
        if stream.write(&[IoSlice::new(line.as_bytes())])? == line.len() {
            Ok(Self { port, answer: Vec::new() })
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    /// Reads what has arrived of the answer, and nothing behind it. Returns whether the port is open.
    pub(super) fn advance(&mut self, stream: &Stream) -> io::Result<bool> {
        loop {
            let mut seen = [0; ANSWER_LIMIT];
            let room = ANSWER_LIMIT - self.answer.len();
            let count = match stream.peek(&mut seen[..room]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            };
            if count == 0 {
                return Err(self.refused());
            }
            let end = seen[..count].iter().position(|&byte| byte == b'\n');
            let mut taken = vec![0; end.map_or(count, |at| at + 1)];
            let read = stream.read(&mut taken)?;
            self.answer.extend_from_slice(&taken[..read]);
            if end.is_some() {
                return if self.is_ok() { Ok(true) } else { Err(self.refused()) };
            }
            if self.answer.len() == ANSWER_LIMIT {
                return Err(self.refused());
            }
        }
    }

    fn is_ok(&self) -> bool {
        let words = self.answer.strip_suffix(b"\n").and_then(|line| line.strip_prefix(b"OK"));
        words.is_some_and(|rest| rest.is_empty() || rest[0] == b' ')
    }

    /// Nothing listens in the guest, or the socket is not a hypervisor's. Either may change while a guest starts.
    fn refused(&self) -> io::Error {
        let said = String::from_utf8_lossy(&self.answer).escape_debug().to_string();
        let said = if said.is_empty() { "hung up".to_owned() } else { format!("answered {said}") };
        let text = format!("the hypervisor does not open port {}: it {said}", self.port);
        io::Error::new(io::ErrorKind::ConnectionRefused, text)
    }
}
