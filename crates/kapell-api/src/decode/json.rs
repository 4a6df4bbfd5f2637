//! JSON, with every duplicate key reported: `serde_json` alone would keep the last value and say nothing.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{DecodeError, Decoded, Duplicate, MOST_DUPLICATES, Position, Positions};
use crate::field_path::Place;

pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let duplicates = RefCell::new(Vec::new());
    // The deserializer itself stops at 128 levels.
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let seed = Seed { place: Place::Root, duplicates: &duplicates };
    let value = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    let value = value.map_err(decode_error)?;
    Ok(Decoded { value, duplicates: duplicates.into_inner(), positions: Positions::default() })
}

fn decode_error(error: serde_json::Error) -> DecodeError {
    let position = (error.line() > 0).then(|| Position { line: error.line(), column: error.column().max(1) });
    let text = error.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    match message {
        "recursion limit exceeded" => DecodeError::TooDeep { position },
        _ => DecodeError::Syntax { message: message.to_owned(), position },
    }
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    place: Place<'a>,
    duplicates: &'a RefCell<Vec<Duplicate>>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_string<E: Error>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element_seed(Seed { place: Place::Index(&self.place, list.len()), ..self })? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let place = Place::Key(&self.place, &key);
            let value = access.next_value_seed(Seed { place, ..self })?;
            if map.contains_key(&key) {
                let mut duplicates = self.duplicates.borrow_mut();
                if duplicates.len() < MOST_DUPLICATES {
                    duplicates.push(Duplicate { path: place.path(), position: None });
                }
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
