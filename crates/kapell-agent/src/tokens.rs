//! Tokens of a pod's account, which its projected volumes hold: which it wants, how long each is good for, and when it is
//! replaced. Pure but for reading what an earlier agent has left; asking for new ones is the worker's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, ServiceAccountTokenProjection};
use kapell_api::jwt::Jwt;
use serde::Deserialize;

/// What a projection asks for; projections that ask for the same share a token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wanted {
    /// The API server's own if empty.
    pub(crate) audience: String,
    pub(crate) seconds: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    /// From here on there should be another one. It is good for longer than that.
    pub(crate) replace_at: Timestamp,
    pub(crate) expires: Timestamp,
}

pub(crate) type Tokens = BTreeMap<Wanted, Token>;

/// A token older than this is replaced however long it is good for, as the kubelet does.
const OLDEST: SignedDuration = SignedDuration::from_hours(24);
/// The API's default for projections that name no time.
const DEFAULT_SECONDS: i64 = 3600;

#[derive(Deserialize)]
struct Times {
    iat: i64,
    exp: i64,
    #[serde(default)]
    aud: Vec<String>,
}

impl Wanted {
    pub(crate) fn by(projection: &ServiceAccountTokenProjection) -> Self {
        Self {
            audience: projection.audience.clone().unwrap_or_default(),
            seconds: projection.expiration_seconds.unwrap_or(DEFAULT_SECONDS),
        }
    }
}

impl Token {
    /// `None` for a text that is no token. Its signature is the API server's business.
    pub(crate) fn read(text: String) -> Option<Self> {
        let Times { iat, exp, .. } = Jwt::parse(&text).ok()?.claims().ok()?;
        let (issued, expires) = (Timestamp::from_second(iat).ok()?, Timestamp::from_second(exp).ok()?);
        // As the kubelet: when four fifths of its life are over.
        let most = expires.duration_since(issued) / 5 * 4;
        Some(Self { replace_at: issued.saturating_add(most.min(OLDEST)).ok()?, expires, text })
    }
}

/// The projections of a pod, each with its volume.
fn projections(pod: &Pod) -> impl Iterator<Item = (&str, &ServiceAccountTokenProjection)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.flat_map(|volume| {
        let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        sources.filter_map(|source| Some((volume.name.as_str(), source.service_account_token.as_ref()?)))
    })
}

/// All that the pod's volumes ask for.
pub(crate) fn wanted(pod: &Pod) -> BTreeSet<Wanted> {
    projections(pod).map(|(_, projection)| Wanted::by(projection)).collect()
}

/// The tokens in the pod's volumes that are good for a while yet, so that an agent that takes over a thousand pods need not ask a
/// thousand times. `volumes` is where the pod's volumes are.
pub(crate) fn left(pod: &Pod, volumes: &Path, now: Timestamp) -> Tokens {
    let mut tokens = Tokens::new();
    for (volume, projection) in projections(pod) {
        let Ok(text) = fs::read_to_string(volumes.join(volume).join(&projection.path)) else { continue };
        let Some(times) = Jwt::parse(&text).ok().and_then(|jwt| jwt.claims::<Times>().ok()) else { continue };
        let wanted = Wanted::by(projection);
        let fits = wanted.audience.is_empty() || times.aud.contains(&wanted.audience);
        if let Some(token) = Token::read(text).filter(|token| fits && token.replace_at > now) {
            tokens.insert(wanted, token);
        }
    }
    tokens
}

#[cfg(test)]
mod tests;
