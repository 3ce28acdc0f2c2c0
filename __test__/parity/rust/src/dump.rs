//! Messages as text that is the same for equal values on both sides.
//!
//! The text is JSON: an object with the fields that are set, in the order of their numbers, each named
//! `number:name:type`. Booleans, 32-bit integers and enum values are plain JSON; 64-bit integers are strings of
//! digits, floating-point numbers are their bits as hexadecimal strings (every NaN is `"NaN"`), and bytes are
//! hexadecimal strings. A map is an array of its entries, in the order of their keys. `"?"` has the unknown
//! fields, in the order of their numbers and wire types.

use std::{
    collections::HashMap,
    fmt::{Display, Write as _},
    rc::Rc,
};

use containerd_shim_protos::cgroups_v2::metrics::PSIData;
use protobuf::{
    MessageDyn, UnknownFields, UnknownValueRef,
    reflect::{
        FieldDescriptor, MessageDescriptor, ReflectFieldRef, ReflectValueRef, RuntimeFieldType,
    },
};

/// A message type, analyzed once.
pub(crate) struct Plan {
    /// In the order of their numbers.
    pub(crate) fields: Vec<FieldPlan>,
}

/// A field, analyzed once.
pub(crate) struct FieldPlan {
    pub(crate) descriptor: FieldDescriptor,
    pub(crate) field_type: RuntimeFieldType,
    /// `number:name:type`.
    pub(crate) signature: String,
}

/// Writes messages as text. It caches what it learns about their types.
#[derive(Default)]
pub(crate) struct Dumper {
    /// By descriptor rather than by name, because the two crates have types of the same names.
    plans: HashMap<MessageDescriptor, Rc<Plan>>,
}

impl Dumper {
    pub(crate) fn plan(&mut self, descriptor: &MessageDescriptor) -> Rc<Plan> {
        if let Some(plan) = self.plans.get(descriptor) {
            return Rc::clone(plan);
        }
        let mut fields: Vec<_> = descriptor
            .fields()
            .map(|field| FieldPlan {
                field_type: field.runtime_field_type(),
                signature: format!("{}:{}:{}", field.number(), field.name(), type_of(&field)),
                descriptor: field,
            })
            .collect();
        fields.sort_by_key(|field| field.descriptor.number());
        let plan = Rc::new(Plan { fields });
        self.plans.insert(descriptor.clone(), Rc::clone(&plan));
        plan
    }

    pub(crate) fn dump(&mut self, message: &dyn MessageDyn) -> String {
        let mut text = String::with_capacity(256);
        self.message(message, &mut text);
        text
    }

    fn message(&mut self, message: &dyn MessageDyn, text: &mut String) {
        let plan = self.plan(&message.descriptor_dyn());
        let mut list = List::open(text, '{');
        for field in &plan.fields {
            match field.descriptor.get_reflect(message) {
                ReflectFieldRef::Optional(optional) => {
                    if let Some(value) = optional.value() {
                        self.value(value, list.key(&field.signature));
                    } else if is_negative_zero(message, field.descriptor.number()) {
                        self.value(ReflectValueRef::F64(-0.0), list.key(&field.signature));
                    }
                }
                ReflectFieldRef::Repeated(repeated) if repeated.is_empty() => {}
                ReflectFieldRef::Repeated(repeated) => {
                    let mut items = List::open(list.key(&field.signature), '[');
                    for item in &repeated {
                        self.value(item, items.item());
                    }
                    items.close(']');
                }
                ReflectFieldRef::Map(map) if map.is_empty() => {}
                ReflectFieldRef::Map(map) => {
                    let mut entries: Vec<_> = map
                        .into_iter()
                        .map(|(key, value)| (self.text(key), self.text(value)))
                        .collect();
                    entries.sort();
                    let mut items = List::open(list.key(&field.signature), '[');
                    for (key, value) in entries {
                        append(items.item(), format_args!("[{key},{value}]"));
                    }
                    items.close(']');
                }
            }
        }
        let unknown = message.special_fields_dyn().unknown_fields();
        if unknown.iter().next().is_some() {
            write_unknown(unknown, list.key("?"));
        }
        list.close('}');
    }

    fn text(&mut self, value: ReflectValueRef<'_>) -> String {
        let mut text = String::new();
        self.value(value, &mut text);
        text
    }

    fn value(&mut self, value: ReflectValueRef<'_>, text: &mut String) {
        match value {
            ReflectValueRef::U32(number) => append(text, number),
            ReflectValueRef::I32(number) | ReflectValueRef::Enum(_, number) => append(text, number),
            ReflectValueRef::U64(number) => append(text, format_args!("\"{number}\"")),
            ReflectValueRef::I64(number) => append(text, format_args!("\"{number}\"")),
            ReflectValueRef::F32(number) if number.is_nan() => text.push_str("\"NaN\""),
            ReflectValueRef::F64(number) if number.is_nan() => text.push_str("\"NaN\""),
            ReflectValueRef::F32(number) => {
                append(text, format_args!("\"{:08x}\"", number.to_bits()))
            }
            ReflectValueRef::F64(number) => {
                append(text, format_args!("\"{:016x}\"", number.to_bits()))
            }
            ReflectValueRef::Bool(value) => append(text, value),
            ReflectValueRef::String(string) => append(text, serde_json::Value::from(string)),
            ReflectValueRef::Bytes(bytes) => {
                text.push('"');
                hex(bytes, text);
                text.push('"');
            }
            ReflectValueRef::Message(message) => self.message(&*message, text),
        }
    }
}

/// Whether a field without presence is negative zero, which reflection reports as not set. `PSIData` is the only
/// type with floating-point numbers, as a test checks.
fn is_negative_zero(message: &dyn MessageDyn, number: i32) -> bool {
    let Some(data) = message.downcast_ref::<PSIData>() else { return false };
    let value = match number {
        1 => data.avg10,
        2 => data.avg60,
        3 => data.avg300,
        _ => return false,
    };
    value == 0.0 && value.is_sign_negative()
}

fn write_unknown(fields: &UnknownFields, text: &mut String) {
    let mut values: Vec<_> = fields.iter().collect();
    // Values of one number and wire type stay in the order in which they were read.
    values.sort_by_key(|(number, value)| (*number, rank(value)));
    let mut items = List::open(text, '[');
    for (number, value) in values {
        let item = items.item();
        match value {
            UnknownValueRef::Varint(value) => {
                append(item, format_args!("\"{number}:varint:{value}\""))
            }
            UnknownValueRef::Fixed64(value) => {
                append(item, format_args!("\"{number}:fixed64:{value}\""))
            }
            UnknownValueRef::Fixed32(value) => {
                append(item, format_args!("\"{number}:fixed32:{value}\""))
            }
            UnknownValueRef::LengthDelimited(bytes) => {
                append(item, format_args!("\"{number}:bytes:"));
                hex(bytes, item);
                item.push('"');
            }
        }
    }
    items.close(']');
}

/// The wire type's number.
fn rank(value: &UnknownValueRef<'_>) -> u8 {
    match value {
        UnknownValueRef::Varint(_) => 0,
        UnknownValueRef::Fixed64(_) => 1,
        UnknownValueRef::LengthDelimited(_) => 2,
        UnknownValueRef::Fixed32(_) => 5,
    }
}

/// A field's type as in the .proto file, with full names.
fn type_of(field: &FieldDescriptor) -> String {
    let proto = field.proto();
    if field.is_map() {
        let name = proto.type_name().trim_start_matches('.');
        let entry =
            field.containing_message().nested_messages().find(|nested| nested.full_name() == name);
        let parts: Vec<_> =
            entry.iter().flat_map(MessageDescriptor::fields).map(|part| type_of(&part)).collect();
        return format!("map<{}>", parts.join(","));
    }
    let name = match proto.type_name().trim_start_matches('.') {
        "" => format!("{:?}", proto.type_()).trim_start_matches("TYPE_").to_lowercase(),
        name => name.to_owned(),
    };
    if field.is_repeated() { format!("{name}[]") } else { name }
}

fn append(text: &mut String, value: impl Display) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{value}");
}

fn hex(bytes: &[u8], text: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(DIGITS[usize::from(digit)]));
        }
    }
}

/// The items of an array, or the members of an object.
struct List<'a> {
    text: &'a mut String,
    empty: bool,
}

impl<'a> List<'a> {
    fn open(text: &'a mut String, bracket: char) -> Self {
        text.push(bracket);
        Self { text, empty: true }
    }

    /// Where to write the next item.
    fn item(&mut self) -> &mut String {
        if !self.empty {
            self.text.push(',');
        }
        self.empty = false;
        self.text
    }

    /// Where to write the value of the next member.
    fn key(&mut self, name: &str) -> &mut String {
        let text = self.item();
        text.push('"');
        text.push_str(name);
        text.push_str("\":");
        text
    }

    fn close(self, bracket: char) {
        self.text.push(bracket);
    }
}

#[cfg(test)]
mod tests {
    use protobuf::{Message as _, descriptor::field_descriptor_proto::Type};

    use super::*;
    use crate::table::Table;

    #[test]
    fn only_psi_data_has_floating_point_numbers() {
        let types: Vec<_> = Table::new()
            .iter()
            .filter(|message| {
                message.fields().any(|field| {
                    matches!(field.proto().type_(), Type::TYPE_DOUBLE | Type::TYPE_FLOAT)
                })
            })
            .map(|message| message.full_name().to_owned())
            .collect();

        assert_eq!(types, ["io.containerd.cgroups.v2.PSIData"]);
    }

    #[test]
    fn a_decoded_negative_zero_is_not_lost() {
        let bytes = [&[0x09][..], &(-0.0_f64).to_le_bytes()].concat();
        let message = PSIData::parse_from_bytes(&bytes).unwrap();

        assert_eq!(Dumper::default().dump(&message), r#"{"1:avg10:double":"8000000000000000"}"#);
    }
}
