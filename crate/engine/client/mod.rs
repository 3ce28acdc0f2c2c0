//! Calls that this side makes: unary ones, and those that open a stream.

pub(super) mod guard;
pub(super) mod stream;
pub(super) mod unary;
pub(super) mod waiting;
