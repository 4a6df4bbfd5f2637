//! `continue` tokens: where the next page of a list begins and at which revision. Opaque to clients, and what they send
//! back is not trusted: it names a position, never what may be read.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// Says which program and which format a token is of.
const FORMAT: &str = "kapell.dev/v1";

/// Not a token that this program has given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("continue key is not valid")]
pub struct NotAToken;

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continue {
    /// `None`: whatever is the latest then, for a list whose own revision is gone.
    pub revision: Option<u64>,
    /// The key after which it goes on, without what all keys of the kind begin with.
    pub after: String,
}

/// As JSON, in base64. `rv` -1 stands for the latest revision.
#[derive(Serialize, Deserialize)]
struct Wire {
    v: String,
    rv: i64,
    start: String,
}

impl Continue {
    pub fn parse(text: &str) -> Result<Self, NotAToken> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotAToken)?;
        let wire: Wire = serde_json::from_slice(&bytes).map_err(|_| NotAToken)?;
        let revision = match wire.rv {
            -1 => None,
            revision => Some(u64::try_from(revision).map_err(|_| NotAToken)?),
        };
        if wire.v == FORMAT { Ok(Self { revision, after: wire.start }) } else { Err(NotAToken) }
    }
}

impl fmt::Display for Continue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rv = self.revision.and_then(|revision| i64::try_from(revision).ok()).unwrap_or(-1);
        let wire = Wire { v: FORMAT.to_owned(), rv, start: self.after.clone() };
        f.write_str(&URL_SAFE_NO_PAD.encode(serde_json::to_vec(&wire).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests;
