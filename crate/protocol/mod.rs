//! What both sides of a ttrpc connection mean: status codes, outcomes, and why a connection ended. It knows of
//! no connection, so that everything else can use it.

pub mod closed;
pub mod codes;
pub mod outcome;
pub mod status;
