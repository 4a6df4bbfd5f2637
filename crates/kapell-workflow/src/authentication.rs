//! How a call proves who it is: `basic`, `bearer`, `digest`, `oauth2` and `oidc`.
//!
//! A task's policy becomes [`Credentials`] when the task begins: plain data, in which secrets are tokens (see
//! [`crate::secrets`]). They go into the journal with the request. What they are worth is found out by the engine when
//! it makes the call; everything about that which needs no network is here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::expression::Datum;

pub(crate) mod digest;
pub(crate) mod oauth2;
#[cfg(test)]
mod tests;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scheme {
    Basic,
    Bearer,
    Digest,
    OAuth2,
    Oidc,
}

impl Scheme {
    pub(crate) const ALL: [(&'static str, Scheme); 5] = [
        ("basic", Scheme::Basic),
        ("bearer", Scheme::Bearer),
        ("digest", Scheme::Digest),
        ("oauth2", Scheme::OAuth2),
        ("oidc", Scheme::Oidc),
    ];

    /// `$authorization.scheme`.
    pub(crate) fn authorization(self) -> &'static str {
        match self {
            Scheme::Basic => "Basic",
            Scheme::Bearer | Scheme::OAuth2 | Scheme::Oidc => "Bearer",
            Scheme::Digest => "Digest",
        }
    }
}

/// A policy with its expressions evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) scheme: Scheme,
    /// The members of the policy; those of a Secret are its keys.
    pub(crate) settings: Datum,
}

/// Why credentials cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CredentialsError {
    #[error("authentication: `{0}` is missing")]
    Missing(&'static str),
    #[error("authentication: {0}")]
    Invalid(String),
}

/// The settings with the dotted keys of a Secret (`client.id`) as members of members.
pub(crate) fn nested(settings: Value) -> Value {
    let Value::Object(members) = settings else { return settings };
    let mut nested = Map::new();
    for (key, value) in members {
        let mut at = &mut nested;
        let mut names: Vec<&str> = key.split('.').collect();
        let last = names.pop().unwrap_or_default();
        for name in names {
            let inner = at.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            let Value::Object(members) = inner else { return Value::Null };
            at = members;
        }
        at.insert(last.to_owned(), value);
    }
    Value::Object(nested)
}

pub(crate) fn text<'v>(settings: &'v Value, key: &'static str) -> Result<&'v str, CredentialsError> {
    match settings.get(key) {
        Some(Value::String(text)) => Ok(text),
        None | Some(Value::Null) => Err(CredentialsError::Missing(key)),
        Some(_) => Err(CredentialsError::Invalid(format!("`{key}` must be a text"))),
    }
}

/// The parameter of a header `Authorization` that needs nobody to be asked; `None` for the other schemes.
pub(crate) fn parameter(scheme: Scheme, settings: &Value) -> Result<Option<String>, CredentialsError> {
    let parameter = match scheme {
        Scheme::Basic => STANDARD.encode(format!("{}:{}", text(settings, "username")?, text(settings, "password")?)),
        Scheme::Bearer => text(settings, "token")?.to_owned(),
        Scheme::Digest | Scheme::OAuth2 | Scheme::Oidc => return Ok(None),
    };
    fits_header(&parameter)?;
    Ok(Some(parameter))
}

pub(crate) fn fits_header(parameter: &str) -> Result<(), CredentialsError> {
    match http::HeaderValue::from_str(parameter) {
        Ok(_) => Ok(()),
        Err(_) => Err(CredentialsError::Invalid("the credentials do not fit into a header".to_owned())),
    }
}
