//! CloudEvents 1.0 as data: what makes one valid, and the views of it that the DSL has.
//!
//! An event is kept as its envelope, the object of the JSON format, so that attributes that nobody here knows survive.

use base64::Engine as _;

use crate::expression::Datum;

/// Attributes that have a meaning of their own; others are extensions.
pub(crate) const ATTRIBUTES: [&str; 9] =
    ["specversion", "id", "source", "type", "time", "subject", "datacontenttype", "dataschema", "data"];

/// What the types of lifecycle events begin with.
pub(crate) const LIFECYCLE: &str = "io.serverlessworkflow.";

/// A valid event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CloudEvent {
    envelope: Datum,
}

/// Why something is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EventError {
    #[error("an event is an object, not {0}")]
    NoObject(&'static str),
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("`{name}` must be {wanted}")]
    Invalid { name: String, wanted: &'static str },
}

impl CloudEvent {
    /// # Errors
    /// Names the first attribute that the specification does not allow as it is.
    pub(crate) fn new(envelope: Datum) -> Result<Self, EventError> {
        let object = envelope.as_object().ok_or(EventError::NoObject(envelope.type_name()))?;
        for required in ["specversion", "id", "source", "type"] {
            match object.get(required) {
                None | Some(Datum::Null) => return Err(EventError::Missing(required)),
                Some(Datum::Text(text)) if !text.is_empty() => {}
                Some(_) => return Err(invalid(required, "a text that is not empty")),
            }
        }
        if object.get("specversion").and_then(Datum::as_str) != Some("1.0") {
            return Err(invalid("specversion", "\"1.0\""));
        }
        for (name, value) in object.members() {
            if &**name == "data" {
                continue;
            }
            if !is_attribute_name(name) && &**name != "data_base64" {
                return Err(invalid(name, "named with lower-case letters and digits"));
            }
            if !matches!(value, Datum::Text(_) | Datum::Bool(_) | Datum::Int(_)) {
                return Err(invalid(name, "a text, a whole number or a boolean"));
            }
        }
        let text = |name: &str| object.get(name).map(|value| value.as_str().unwrap_or_default());
        if text("time").is_some_and(|time| time.parse::<jiff::Timestamp>().is_err()) {
            return Err(invalid("time", "an RFC 3339 time"));
        }
        for name in ["subject", "datacontenttype", "dataschema"] {
            if text(name).is_some_and(str::is_empty) {
                return Err(invalid(name, "a text that is not empty"));
            }
        }
        if let Some(encoded) = text("data_base64") {
            if object.get("data").is_some() {
                return Err(invalid("data_base64", "alone, without `data`"));
            }
            if base64::engine::general_purpose::STANDARD.decode(encoded).is_err() {
                return Err(invalid("data_base64", "base64"));
            }
        }
        Ok(Self { envelope })
    }

    pub(crate) fn envelope(&self) -> &Datum {
        &self.envelope
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&Datum> {
        self.envelope.get(name)
    }

    /// An attribute that is there in every event, and a text.
    fn required(&self, name: &str) -> &str {
        self.attribute(name).and_then(Datum::as_str).unwrap_or_default()
    }

    pub(crate) fn id(&self) -> &str {
        self.required("id")
    }

    pub(crate) fn source(&self) -> &str {
        self.required("source")
    }

    pub(crate) fn type_(&self) -> &str {
        self.required("type")
    }

    /// The payload: JSON where the event says so, else what `data_base64` holds, as it is.
    pub(crate) fn data(&self) -> Datum {
        if let Some(data) = self.attribute("data") {
            return data.clone();
        }
        let Some(encoded) = self.attribute("data_base64") else { return Datum::Null };
        let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.as_str().unwrap_or_default());
        let json = is_json(self.attribute("datacontenttype").and_then(Datum::as_str));
        match decoded {
            Ok(bytes) if json => serde_json::from_slice(&bytes).unwrap_or_else(|_| encoded.clone()),
            _ => encoded.clone(),
        }
    }

    /// The payload as a text: JSON unless it is a text already.
    pub(crate) fn raw(&self) -> Datum {
        match self.data() {
            text @ Datum::Text(_) => text,
            Datum::Null => Datum::string(""),
            other => Datum::string(other.to_json()),
        }
    }
}

fn invalid(name: &str, wanted: &'static str) -> EventError {
    EventError::Invalid { name: name.to_owned(), wanted }
}

pub(crate) fn is_attribute_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Whether a media type is JSON; without one it is.
pub(crate) fn is_json(media_type: Option<&str>) -> bool {
    let Some(media_type) = media_type else { return true };
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

#[cfg(test)]
mod tests;
