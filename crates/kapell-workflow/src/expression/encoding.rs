//! Data from and to JSON text and [`serde_json::Value`].

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

use super::datum::{Array, Datum, Object};
use super::outline::{self, Key};

impl Serialize for Datum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match outline::outlined(self) {
            Some(outlined) => Plain(&outlined).serialize(serializer),
            None => Plain(self).serialize(serializer),
        }
    }
}

/// Data as it is, with all its parts.
pub(super) struct Plain<'d>(pub(super) &'d Datum);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Datum::Null => serializer.serialize_unit(),
            Datum::Bool(b) => serializer.serialize_bool(*b),
            Datum::Int(i) => serializer.serialize_i64(*i),
            // As jq prints them: 6/2 is 3, and JSON has neither infinity nor NaN.
            Datum::Float(f) if f.fract() == 0.0 && f.abs() < 9e15 => serializer.serialize_i64(*f as i64),
            Datum::Float(f) if f.is_finite() => serializer.serialize_f64(*f),
            Datum::Float(_) => serializer.serialize_unit(),
            Datum::Text(text) => serializer.serialize_str(&String::from_utf8_lossy(text)),
            Datum::Array(array) => {
                let mut seq = serializer.serialize_seq(Some(array.items().len()))?;
                for item in array.items() {
                    seq.serialize_element(&Plain(item))?;
                }
                seq.end()
            }
            Datum::Object(object) => {
                let mut map = serializer.serialize_map(Some(object.members().len()))?;
                for (key, value) in object.members() {
                    map.serialize_entry(key.as_ref(), &Plain(value))?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Datum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DatumVisitor)
    }
}

struct DatumVisitor;

impl<'de> Visitor<'de> for DatumVisitor {
    type Value = Datum;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Datum, E> {
        Ok(Datum::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Datum, E> {
        Ok(Datum::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Datum, E> {
        Ok(i64::try_from(value).map_or(Datum::Float(value as f64), Datum::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Datum, E> {
        Ok(Datum::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Datum, E> {
        Ok(Datum::Text(Bytes::copy_from_slice(value.as_bytes())))
    }

    fn visit_string<E>(self, value: String) -> Result<Datum, E> {
        Ok(Datum::string(value))
    }

    fn visit_unit<E>(self) -> Result<Datum, E> {
        Ok(Datum::Null)
    }

    fn visit_none<E>(self) -> Result<Datum, E> {
        Ok(Datum::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Datum, D::Error> {
        Deserialize::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Datum, A::Error> {
        let mut array = Array::default();
        while let Some(item) = seq.next_element()? {
            array.push(item).map_err(A::Error::custom)?;
        }
        Ok(Datum::Array(Arc::new(array)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Datum, A::Error> {
        let mut object = Object::default();
        while let Some(key) = map.next_key::<String>()? {
            match outline::key_read(key) {
                Key::Itself(key) => {
                    let value: Datum = map.next_value()?;
                    object.insert(key.into(), value).map_err(A::Error::custom)?;
                }
                Key::Reference => {
                    let hash: String = map.next_value()?;
                    return outline::part(&hash).ok_or_else(|| A::Error::custom(format!("there is no payload {hash}")));
                }
            }
        }
        Ok(Datum::Object(Arc::new(object)))
    }
}

impl Datum {
    /// # Errors
    /// When the value is nested too deeply or too large.
    pub(crate) fn from_json(value: &serde_json::Value) -> Result<Self, serde_json::Error> {
        Datum::deserialize(value)
    }

    pub(crate) fn to_value(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
