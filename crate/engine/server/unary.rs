//! Unary requests, from ttrpc's server to JavaScript and back.

use crate::engine::server::handlers::{Handlers, METADATA_TOO_LARGE, TOO_MANY, within_limit};
use crate::engine::server::open_request::OpenRequest;
use crate::limits::METADATA_COST;
use crate::protocol::status::{Code, response_of_status};
use crate::records::{RECORD_LIMIT, Reply, request_size};
use crate::sync::lock;
use std::sync::Arc;
use tokio::sync::oneshot;
use ttrpc::r#async::{MethodHandler, TtrpcContext};
use ttrpc::{Request, Response};

/// Hands the requests of one method to JavaScript.
pub(super) struct UnaryMethod {
    pub(super) handlers: Arc<Handlers>,
    pub(super) route: u16,
}

#[async_trait::async_trait]
impl MethodHandler for UnaryMethod {
    /// Always `Ok`, because ttrpc turns an `Err` into UNKNOWN, whatever status it carries.
    async fn handler(
        &self,
        context: TtrpcContext,
        mut request: Request,
    ) -> ttrpc::Result<Response> {
        let Handlers { shared, wire, connection, budget, .. } = &*self.handlers;
        if request.payload.is_empty()
            && let Some(payload) = wire.take_payload(context.mh.stream_id)
        {
            request.payload = payload;
        }
        if request.timeout_nano < 0 {
            // ttrpc would read it as unsigned, a deadline in 584 years. In Go, it has expired.
            return Ok(response_of_status(Code::DeadlineExceeded, "context deadline exceeded"));
        }
        let entries = &request.metadata;
        let metadata: usize =
            entries.iter().map(|pair| METADATA_COST + pair.key.len() + pair.value.len()).sum();
        let size = request.payload.len() + metadata;
        if let Some(refusal) = budget.refusal(size) {
            return Ok(response_of_status(Code::ResourceExhausted, refusal));
        }
        let pairs = request.metadata.iter().map(|pair| (&pair.key, &pair.value));
        if request_size(pairs, request.payload.len()) > RECORD_LIMIT {
            return Ok(response_of_status(Code::ResourceExhausted, METADATA_TOO_LARGE));
        }
        let (sender, answer) = oneshot::channel();
        let stream_id = context.mh.stream_id;
        // It would be kept until the answer arrives, and JavaScript has its own copy.
        drop(context);
        let Some(mut open) = OpenRequest::begin(&self.handlers, size, request.timeout_nano) else {
            return Ok(response_of_status(Code::ResourceExhausted, TOO_MANY));
        };
        lock(&shared.requests).waiting.insert(open.call, sender);
        lock(&shared.events).request(*connection, open.call, self.route, request);
        let answer = answer.await;
        open.answered();
        let Ok(Reply { status, payload, .. }) = answer else {
            return Ok(response_of_status(Code::Unavailable, "the server is shutting down"));
        };
        wire.exempt_own(stream_id, &status);
        let mut response = Response::new();
        response.status = protobuf::MessageField::some(status);
        response.payload = payload;
        let mut response = within_limit(response);
        wire.detach_reply(stream_id, &mut response);
        Ok(response)
    }
}
