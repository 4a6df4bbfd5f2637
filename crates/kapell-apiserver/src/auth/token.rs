//! Tokens of ServiceAccounts: JSON Web Tokens (RFC 7519) that this server signs and checks with one key.
//!
//! One algorithm (ES256), one issuer, one key: a token that says anything else is refused before its signature is
//! looked at. Whether the objects that a token is bound to still exist is for the caller to ask.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use kapell_api::jwt::{self, Header, Jwt, JwtError};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Who issues tokens, and whom they are for unless a request says otherwise.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
pub(crate) const AUDIENCE: &str = ISSUER;
const ALGORITHM: &str = "ES256";
/// How far the clock that issued a token may be ahead: both are ours, so only a step of the clock is forgiven.
const LEEWAY_SECONDS: i64 = 10;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the key that signs service account tokens cannot be used: {0}")]
pub struct KeyError(String);

/// Why a token is not accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the token is malformed: {0}")]
    Malformed(#[from] JwtError),
    #[error("the token was signed with a key of another server, or changed since")]
    Signature,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    Early,
    #[error("the token is for {0:?}")]
    Audience(Vec<String>),
}

/// An object that a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reference {
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// The private claim `kubernetes.io`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bound {
    pub(crate) namespace: String,
    pub(crate) serviceaccount: Reference,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<Reference>,
}

/// What a token says; times are seconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) aud: Vec<String>,
    pub(crate) exp: i64,
    pub(crate) iat: i64,
    pub(crate) iss: String,
    pub(crate) jti: String,
    #[serde(rename = "kubernetes.io")]
    pub(crate) kubernetes: Bound,
    pub(crate) nbf: i64,
    pub(crate) sub: String,
}

impl Claims {
    /// The wanted audiences that the token is for, at `now`.
    pub(crate) fn check(&self, now: Timestamp, wanted: &[String]) -> Result<Vec<String>, TokenError> {
        let now = now.as_second();
        if self.iss != ISSUER {
            return Err(TokenError::Signature);
        }
        if now >= self.exp {
            return Err(TokenError::Expired);
        }
        if now < self.nbf - LEEWAY_SECONDS {
            return Err(TokenError::Early);
        }
        let accepted: Vec<String> = wanted.iter().filter(|audience| self.aud.contains(audience)).cloned().collect();
        if accepted.is_empty() { Err(TokenError::Audience(self.aud.clone())) } else { Ok(accepted) }
    }
}

/// The key that signs tokens of ServiceAccounts.
pub struct ServiceAccountKey {
    pair: EcdsaKeyPair,
    /// Begins the header of every token, so that a later key can be told from this one.
    id: String,
}

impl ServiceAccountKey {
    /// A P-256 key in PKCS #8, as [`crate::pki::Pki`] keeps it.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &SystemRandom::new())
            .map_err(|error| KeyError(error.to_string()))?;
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(pair.public_key().as_ref()));
        Ok(Self { pair, id })
    }

    /// A new key that ends with the process: tokens are worth nothing after it.
    pub fn ephemeral() -> Result<Self, KeyError> {
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|error| KeyError(error.to_string()))?;
        Self::from_pkcs8(der.as_ref())
    }

    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, KeyError> {
        let failed = |error: &dyn std::fmt::Display| KeyError(error.to_string());
        let header = Header { alg: ALGORITHM.to_owned(), kid: self.id.clone() };
        let signed = jwt::unsigned(&header, claims).map_err(|error| failed(&error))?;
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).map_err(|error| failed(&error))?;
        Ok(jwt::compact(&signed, signature.as_ref()))
    }

    /// The claims of a token with our signature; whether they hold now is for [`Claims::check`].
    pub(crate) fn open(&self, token: &str) -> Result<Claims, TokenError> {
        let jwt = Jwt::parse(token)?;
        if jwt.header.alg != ALGORITHM || jwt.header.kid != self.id {
            return Err(TokenError::Signature);
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref())
            .verify(jwt.signed.as_bytes(), &jwt.signature)
            .map_err(|_| TokenError::Signature)?;
        Ok(jwt.claims()?)
    }

    /// The public key as a JSON Web Key Set (RFC 7517).
    pub(crate) fn key_set(&self) -> Value {
        // An uncompressed point: a tag, then both coordinates of 32 bytes.
        let point = self.pair.public_key().as_ref();
        let coordinate = |range: std::ops::Range<usize>| point.get(range).map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": ALGORITHM,
            "x": coordinate(1..33), "y": coordinate(33..65),
        }]})
    }
}

/// What tells other programs how to check our tokens (OpenID Connect Discovery 1.0 §3, as far as Kubernetes uses it).
pub(crate) fn discovery(key_set_url: &str) -> Value {
    json!({
        "issuer": ISSUER, "jwks_uri": key_set_url, "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": [ALGORITHM],
    })
}

#[cfg(test)]
mod tests;
