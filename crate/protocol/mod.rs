//! What both sides of a ttrpc connection mean: status codes, outcomes, and why a connection ended. It knows of
//! no connection, so that everything else can use it.

pub mod close_reason;
pub mod code_corrections;
pub mod outcome;
pub mod status;
