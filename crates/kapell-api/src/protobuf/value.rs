//! A decoded message as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use prost_reflect::prost::bytes::Bytes;
use prost_reflect::prost::encoding::{WireType, encoded_len_varint};
use prost_reflect::{DynamicMessage, MapKey, ReflectMessage as _, UnknownField, Value as Wire};
use serde_json::{Map, Number, Value};

use super::catalogue::{Catalogue, Facts, Shape};
use super::{Decoded, PREFIX, ProtobufError};
use crate::decode;
use crate::field_path::Place;
use crate::time;

/// How many complaints are reported; more help nobody.
const MOST_COMPLAINTS: usize = 100;

/// The object that a message of this kind is.
pub(super) fn object(
    catalogue: &Catalogue,
    message: DynamicMessage,
    api_version: &str,
    kind: &str,
) -> Result<Decoded, ProtobufError> {
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), Value::from(api_version));
    object.insert("kind".to_owned(), Value::from(kind));
    let mut reader = Reader { catalogue, complaints: Vec::new() };
    let facts = catalogue.facts(&message.descriptor());
    reader.fields(message, facts, Place::Root, &mut object)?;
    Ok(Decoded { value: Value::Object(object), complaints: reader.complaints })
}

struct Reader<'a> {
    catalogue: &'a Catalogue,
    complaints: Vec<String>,
}

impl Reader<'_> {
    /// `None` where Go would write `null`.
    fn message(&mut self, message: DynamicMessage, place: Place<'_>) -> Result<Option<Value>, ProtobufError> {
        let catalogue = self.catalogue;
        let facts = catalogue.facts(&message.descriptor());
        match facts.shape {
            Shape::Fields => {
                let mut object = Map::new();
                self.fields(message, facts, place, &mut object)?;
                Ok(Some(Value::Object(object)))
            }
            Shape::List => self.list(message, place).map(Some),
            Shape::Time => match (number(&message, "seconds"), number(&message, "nanos")) {
                (None, None) => Ok(None),
                (seconds, _) => instant(seconds, None, place).map(|at| Some(Value::from(time::format_time(at)))),
            },
            Shape::MicroTime => match (number(&message, "seconds"), number(&message, "nanos")) {
                (None, None) => Ok(None),
                (seconds, nanos) => {
                    instant(seconds, nanos, place).map(|at| Some(Value::from(time::format_micro_time(at))))
                }
            },
            Shape::Quantity => Ok(Some(text(&message, "string").unwrap_or_else(|| "0".to_owned()).into())),
            Shape::IntOrString => match number(&message, "type").unwrap_or(0) {
                0 => Ok(Some(Value::from(number(&message, "intVal").unwrap_or(0)))),
                1 => Ok(Some(Value::from(text(&message, "strVal").unwrap_or_default()))),
                other => Err(refuse(place, format!("{other} is no type of an IntOrString"))),
            },
            Shape::Raw => match message.get_field_by_name("Raw").or_else(|| message.get_field_by_name("raw")) {
                Some(raw) => self.raw(raw.as_bytes().map(Bytes::as_ref).unwrap_or_default(), place),
                None => Ok(None),
            },
        }
    }

    /// Adds the fields of a message to an object.
    fn fields(
        &mut self,
        mut message: DynamicMessage,
        facts: &Facts,
        place: Place<'_>,
        object: &mut Map<String, Value>,
    ) -> Result<(), ProtobufError> {
        for unknown in message.take_unknown_fields() {
            self.complain_of(&unknown, place);
        }
        let catalogue = self.catalogue;
        for (field, wire) in message.take_fields() {
            let number = field.number();
            let name = field.json_name();
            match wire {
                Wire::Message(inlined) if facts.inline.contains(&number) => {
                    let facts = catalogue.facts(&inlined.descriptor());
                    self.fields(inlined, facts, place, object)?;
                }
                wire if is_zero(&wire) && !facts.zero.contains(&number) => {}
                wire => {
                    if let Some(value) = self.value(wire, Place::Key(&place, name))? {
                        object.insert(name.to_owned(), value);
                    }
                }
            }
        }
        Ok(())
    }

    fn value(&mut self, wire: Wire, place: Place<'_>) -> Result<Option<Value>, ProtobufError> {
        Ok(Some(match wire {
            Wire::Bool(value) => Value::from(value),
            Wire::I32(value) | Wire::EnumNumber(value) => Value::from(value),
            Wire::I64(value) => Value::from(value),
            Wire::U32(value) => Value::from(value),
            Wire::U64(value) => Value::from(value),
            Wire::F32(value) => float(f64::from(value), place)?,
            Wire::F64(value) => float(value, place)?,
            Wire::String(value) => Value::from(value),
            Wire::Bytes(value) => Value::from(STANDARD.encode(value)),
            Wire::Message(message) => return self.message(message, place),
            Wire::List(items) => Value::Array(
                items
                    .into_iter()
                    .enumerate()
                    .map(|(index, item)| Ok(self.value(item, Place::Index(&place, index))?.unwrap_or_default()))
                    .collect::<Result<_, ProtobufError>>()?,
            ),
            Wire::Map(entries) => {
                let mut entries: Vec<(String, Wire)> =
                    entries.into_iter().map(|(key, wire)| (key_text(key), wire)).collect();
                entries.sort_by(|(a, _), (b, _)| a.cmp(b));
                let mut object = Map::with_capacity(entries.len());
                for (key, wire) in entries {
                    let value = self.value(wire, Place::Key(&place, &key))?.unwrap_or_default();
                    object.insert(key, value);
                }
                Value::Object(object)
            }
        }))
    }

    fn list(&mut self, mut message: DynamicMessage, place: Place<'_>) -> Result<Value, ProtobufError> {
        let items = message.take_fields().next();
        let items = items.map_or(Ok(None), |(_, items)| self.value(items, place))?;
        Ok(items.unwrap_or_else(|| Value::Array(Vec::new())))
    }

    /// JSON that travels as bytes.
    fn raw(&mut self, bytes: &[u8], place: Place<'_>) -> Result<Option<Value>, ProtobufError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.starts_with(PREFIX) {
            return Err(refuse(place, "protobuf inside an object is not supported, only JSON is".to_owned()));
        }
        let decoded = decode::from_json(bytes).map_err(|error| refuse(place, format!("not JSON: {error}")))?;
        for duplicate in decoded.duplicates {
            let inner = format!("{}.{}", place.path(), duplicate.path);
            self.complain(format!("duplicate field {inner:?}"));
        }
        Ok(Some(decoded.value))
    }

    /// A newer client also writes the fields that it leaves at zero; only what it meant is worth a word.
    fn complain_of(&mut self, field: &UnknownField, place: Place<'_>) {
        let key_length = encoded_len_varint(u64::from(field.number()) << 3);
        let may_be_zero = matches!(field.wire_type(), WireType::Varint | WireType::LengthDelimited);
        if may_be_zero && field.encoded_len() == key_length + 1 {
            let mut bytes = Vec::new();
            field.encode(&mut bytes);
            if bytes.last() == Some(&0) {
                return;
            }
        }
        let name = format!("#{}", field.number());
        self.complain(format!("unknown field {:?}", Place::Key(&place, &name).path()));
    }

    fn complain(&mut self, sentence: String) {
        if self.complaints.len() < MOST_COMPLAINTS {
            self.complaints.push(sentence);
        }
    }
}

fn is_zero(wire: &Wire) -> bool {
    match wire {
        Wire::Bool(value) => !value,
        Wire::I32(value) | Wire::EnumNumber(value) => *value == 0,
        Wire::I64(value) => *value == 0,
        Wire::U32(value) => *value == 0,
        Wire::U64(value) => *value == 0,
        Wire::F32(value) => *value == 0.0,
        Wire::F64(value) => *value == 0.0,
        Wire::String(value) => value.is_empty(),
        Wire::Bytes(value) => value.is_empty(),
        Wire::Message(_) | Wire::List(_) | Wire::Map(_) => false,
    }
}

fn key_text(key: MapKey) -> String {
    match key {
        MapKey::Bool(value) => value.to_string(),
        MapKey::I32(value) => value.to_string(),
        MapKey::I64(value) => value.to_string(),
        MapKey::U32(value) => value.to_string(),
        MapKey::U64(value) => value.to_string(),
        MapKey::String(value) => value,
    }
}

/// A field that is present in the body.
fn number(message: &DynamicMessage, field: &str) -> Option<i64> {
    if !message.has_field_by_name(field) {
        return None;
    }
    let value = message.get_field_by_name(field)?;
    value.as_i64().or_else(|| value.as_i32().map(i64::from))
}

/// A field that is present in the body.
fn text(message: &DynamicMessage, field: &str) -> Option<String> {
    let value = message.get_field_by_name(field)?;
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Nanoseconds are cut to microseconds, which is all that the API has.
fn instant(seconds: Option<i64>, nanos: Option<i64>, place: Place<'_>) -> Result<Timestamp, ProtobufError> {
    let out_of_range = || refuse(place, "a time outside of the years that RFC 3339 can express".to_owned());
    let nanos = i32::try_from(nanos.unwrap_or(0) / 1000 * 1000).map_err(|_| out_of_range())?;
    Timestamp::new(seconds.unwrap_or(0), nanos).map_err(|_| out_of_range())
}

fn float(value: f64, place: Place<'_>) -> Result<Value, ProtobufError> {
    let number = Number::from_f64(value).ok_or_else(|| refuse(place, format!("{value} is not a JSON number")))?;
    Ok(Value::Number(number))
}

fn refuse(place: Place<'_>, why: String) -> ProtobufError {
    ProtobufError::Field { path: place.path(), why }
}
