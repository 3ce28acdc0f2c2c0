//! Keeps every request as it came off the wire, in front of the generated handlers: re-encoding
//! the decoded message would lose the sender's order of map entries.

use std::collections::HashMap;

use async_trait::async_trait;

use super::protos::ttrpc::{
    Request, Response, Result,
    r#async::{MethodHandler, Service, TtrpcContext},
};
use crate::history::History;

/// A generated handler with the recorder in front.
struct Recorder {
    /// Where requests go.
    history: History,
    /// The generated handler.
    inner: Box<dyn MethodHandler + Send + Sync>,
}

/// Puts a recorder in front of every method of `services`.
pub(super) fn record(
    services: HashMap<String, Service>,
    history: &History,
) -> HashMap<String, Service> {
    let wrap = |inner| -> Box<dyn MethodHandler + Send + Sync> {
        Box::new(Recorder { history: history.clone(), inner })
    };
    services
        .into_iter()
        .map(|(name, service)| {
            let methods =
                service.methods.into_iter().map(|(name, inner)| (name, wrap(inner))).collect();
            (name, Service { methods, streams: service.streams })
        })
        .collect()
}

#[async_trait]
impl MethodHandler for Recorder {
    async fn handler(&self, context: TtrpcContext, request: Request) -> Result<Response> {
        self.history.record(&request.method, &request.payload);
        self.inner.handler(context, request).await
    }
}
