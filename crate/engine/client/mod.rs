//! Calls that this side makes: unary ones, and those that open a stream.

pub(super) mod calls;
pub(super) mod open_call;
pub(super) mod stream;
pub(super) mod waiting_calls;
