//! Status codes, outcomes, and the reasons why connections end. Nothing here depends on a connection, so
//! everything else can use it.

pub mod close_reason;
pub mod code_corrections;
pub mod outcome;
pub mod status;
