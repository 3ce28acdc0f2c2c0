//! Frames as the ttrpc crate encodes them.

use serde_json::Value;
use ttrpc::proto::{Any, Codec as _, KeyValue, MessageHeader, Request, Response, Status};

use crate::Failure;

/// Encodes a frame from JSON: `streamId`, `type` and `flags` of the header, and the body, which is one of
/// `request`, `response` and `data`. Bytes are hexadecimal strings, `timeoutNano` is a string of digits.
pub(crate) fn encode(frame: &Value) -> Result<Vec<u8>, Failure> {
    let body = if let Some(fields) = frame.get("request") {
        request(fields)?.encode()?
    } else if let Some(fields) = frame.get("response") {
        response(fields)?.encode()?
    } else {
        bytes(&frame["data"])?
    };
    let mut header =
        MessageHeader::new_request(integer(&frame["streamId"])?, u32::try_from(body.len())?);
    header.type_ = integer(&frame["type"])?;
    header.set_flags(integer(&frame["flags"])?);
    Ok([Vec::from(header), body].concat())
}

fn request(fields: &Value) -> Result<Request, Failure> {
    let mut request = Request::new();
    request.service = string(&fields["service"])?;
    request.method = string(&fields["method"])?;
    request.payload = bytes(&fields["payload"])?;
    request.timeout_nano = string(&fields["timeoutNano"])?.parse()?;
    for pair in fields["metadata"].as_array().ok_or("metadata is missing")? {
        let mut entry = KeyValue::new();
        entry.key = string(&pair[0])?;
        entry.value = string(&pair[1])?;
        request.metadata.push(entry);
    }
    Ok(request)
}

fn response(fields: &Value) -> Result<Response, Failure> {
    let mut response = Response::new();
    response.payload = bytes(&fields["payload"])?;
    if let Some(fields) = fields.get("status") {
        let mut status = Status::new();
        // Set as a number, so that codes without a name in ttrpc are possible.
        status.code = protobuf::EnumOrUnknown::from_i32(integer(&fields["code"])?);
        status.message = string(&fields["message"])?;
        for detail in fields["details"].as_array().ok_or("details are missing")? {
            let mut any = Any::new();
            any.type_url = string(&detail["typeUrl"])?;
            any.value = bytes(&detail["value"])?;
            status.details.push(any);
        }
        response.set_status(status);
    }
    Ok(response)
}

fn integer<T: TryFrom<i64>>(value: &Value) -> Result<T, Failure> {
    let number = value.as_i64().ok_or("a number is missing")?;
    T::try_from(number).map_err(|_| format!("{number} is out of range").into())
}

fn string(value: &Value) -> Result<String, Failure> {
    Ok(value.as_str().ok_or("a string is missing")?.to_owned())
}

fn bytes(value: &Value) -> Result<Vec<u8>, Failure> {
    let text = value.as_str().ok_or("bytes are missing")?;
    text.as_bytes()
        .chunks(2)
        .map(|digits| Ok(u8::from_str_radix(str::from_utf8(digits)?, 16)?))
        .collect()
}
