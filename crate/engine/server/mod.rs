//! Requests that this side answers: listeners, and the ttrpc server of each connection that they accept.

pub(super) mod connection_server;
mod handlers;
pub(super) mod listener;
mod open_request;
pub(super) mod requests;
pub(super) mod services;
mod stream;
mod unary;
