//! State and answers that the handlers of one connection share.

use crate::engine::Shared;
use crate::protocol::outcome::Failure;
use crate::protocol::status::{MESSAGE_LIMIT, response_of_status};
use crate::transport::Wire;
use crate::transport::budget::Budget;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use ttrpc::Response;
use ttrpc::proto::Codec as _;

/// State that the handlers of one connection share.
#[derive(Debug)]
pub(in crate::engine) struct Handlers {
    pub(in crate::engine) shared: Arc<Shared>,
    pub(in crate::engine) wire: Arc<Wire>,
    pub(in crate::engine) connection: u32,
    pub(in crate::engine) budget: Arc<Budget>,
    /// Requests of the connection between their arrival and the last byte of their answer.
    pub(in crate::engine) in_flight: Arc<AtomicU32>,
}

/// The answer to a request whose metadata does not fit a record.
pub(in crate::engine) const METADATA_TOO_LARGE: &str = "the request has too many metadata entries";

/// The answer to a request when a million are in flight.
pub(in crate::engine) const TOO_MANY: &str = "the server handles a million calls";

/// Replaces a response that is too large by the status that Go answers.
pub(in crate::engine) fn within_limit(response: Response) -> Response {
    let size = response.size() as usize;
    if size <= MESSAGE_LIMIT {
        return response;
    }
    let Failure { code, text, .. } = Failure::oversize(size);
    response_of_status(code, text)
}
