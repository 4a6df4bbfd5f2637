//! Bearer tokens in the compact form (RFC 7515 §3.1), taken apart.
//!
//! Nothing here is believed: whoever takes a token apart checks the signature over [`Jwt::signed`] before reading its claims.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Ours are below 2 KB; a longer one is not worth decoding.
pub const LONGEST: usize = 16 << 10;

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    #[error("it is too long")]
    TooLong,
    #[error("it does not consist of three parts")]
    Parts,
    #[error("it is not base64")]
    Base64,
    #[error("its header is not known")]
    Header,
    #[error("its claims are not known")]
    Claims,
}

/// What the header of a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub alg: String,
    pub kid: String,
}

/// A token in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt<'a> {
    pub header: Header,
    /// What the signature is about.
    pub signed: &'a str,
    pub signature: Vec<u8>,
    claims: &'a str,
}

impl<'a> Jwt<'a> {
    pub fn parse(token: &'a str) -> Result<Self, JwtError> {
        if token.len() > LONGEST {
            return Err(JwtError::TooLong);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JwtError::Parts);
        };
        let header = serde_json::from_slice(&decode(header)?).map_err(|_| JwtError::Header)?;
        let signed = &token[..token.len() - signature.len() - 1];
        Ok(Self { header, signed, signature: decode(signature)?, claims })
    }

    /// What the token says, to be asked for after its signature was checked.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, JwtError> {
        serde_json::from_slice(&decode(self.claims)?).map_err(|_| JwtError::Claims)
    }
}

/// The part of a token that is to be signed.
pub fn unsigned(header: &Header, claims: &impl Serialize) -> serde_json::Result<String> {
    let part = |json: Vec<u8>| URL_SAFE_NO_PAD.encode(json);
    Ok(format!("{}.{}", part(serde_json::to_vec(header)?), part(serde_json::to_vec(claims)?)))
}

/// The token of what was signed and its signature.
pub fn compact(signed: &str, signature: &[u8]) -> String {
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn decode(part: &str) -> Result<Vec<u8>, JwtError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtError::Base64)
}

#[cfg(test)]
mod tests;
