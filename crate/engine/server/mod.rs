//! Requests that this side answers: listeners, and what ttrpc runs for each connection that they accept.

mod handlers;
pub(super) mod listener;
pub(super) mod requests;
pub(super) mod services;
pub(super) mod serving;
mod stream;
mod ticket;
mod unary;
