//! The methods that a listener serves, and ttrpc's dispatch table for them.

use crate::engine::server::handlers::Handlers;
use crate::engine::server::stream::StreamMethod;
use crate::engine::server::unary::UnaryMethod;
use crate::records::StreamKind;
use std::collections::HashMap;
use std::sync::Arc;
use ttrpc::r#async::Service;

/// The services of one listener, by full name.
pub type Services = HashMap<String, Vec<Method>>;

/// A method that JavaScript handles.
#[derive(Debug, Clone)]
pub struct Method {
    /// Its name.
    pub name: String,
    /// The route that its requests carry.
    pub route: u16,
    /// The kind of its streams; `None` if it is unary.
    pub kind: Option<StreamKind>,
}

/// ttrpc's dispatch table for one connection.
pub(in crate::engine) fn table(
    services: &Services,
    handlers: &Arc<Handlers>,
) -> HashMap<String, Service> {
    let service = |methods: &Vec<Method>| {
        let mut service = Service { methods: HashMap::new(), streams: HashMap::new() };
        for Method { name, route, kind } in methods {
            let handlers = handlers.clone();
            match *kind {
                None => {
                    let handler = UnaryMethod { handlers, route: *route };
                    service.methods.insert(name.clone(), Box::new(handler));
                }
                Some(kind) => {
                    let handler = StreamMethod { handlers, route: *route, kind };
                    service.streams.insert(name.clone(), Arc::new(handler));
                }
            }
        }
        service
    };
    services.iter().map(|(name, methods)| (name.clone(), service(methods))).collect()
}
