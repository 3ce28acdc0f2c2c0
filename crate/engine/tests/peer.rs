//! What peers send in these tests, and the records in which JavaScript hears of it.

use crate::engine::{Method, Services};
use crate::records::StreamKind;
use ttrpc::proto::{Codec as _, MESSAGE_TYPE_REQUEST, MessageHeader, Request};

/// A frame.
pub(super) fn frame(kind: u8, flags: u8, id: u32, body: &[u8]) -> Vec<u8> {
    let mut header = MessageHeader::new_request(id, body.len() as u32);
    (header.type_, header.flags) = (kind, flags);
    [&Vec::<u8>::from(header)[..], body].concat()
}

/// A request of the method that [`one_method`] has.
pub(super) fn request(id: u32) -> Vec<u8> {
    let request = Request { service: "s".into(), method: "m".into(), ..Default::default() };
    frame(MESSAGE_TYPE_REQUEST, 0, id, &request.encode().unwrap())
}

/// A service with one method.
pub(super) fn one_method(kind: Option<StreamKind>) -> Services {
    Services::from([("s".into(), vec![Method { name: "m".into(), route: 0, kind }])])
}

/// The records of a batch.
pub(super) fn records(mut batch: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let size = u32::from_le_bytes(*batch.first_chunk()?) as usize;
        let (record, rest) = batch.split_at(size);
        batch = rest;
        Some(record)
    })
}
