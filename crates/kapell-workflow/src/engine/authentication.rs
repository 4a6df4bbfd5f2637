//! Finds out what a call proves itself with: reads credentials, asks for tokens and keeps them until they expire.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Shared;
use super::exchange::send;
use super::flights::Flights;
use crate::authentication::oauth2::{self, Granted, Settings};
use crate::authentication::{self, CredentialsError, Scheme, digest};
use crate::core::exchange::{Reply, Unanswered};
use crate::core::record::Request;
use crate::secrets::Disclosure;

/// How long asking for a token may take, whoever waits for it: what hangs for longer is down.
const TOKEN_LIMIT: Duration = Duration::from_secs(30);
/// Tokens kept; beyond that the expired ones go, then all.
const MOST_TOKENS: usize = 4096;

/// Tokens by what they were granted for.
#[derive(Default)]
pub(super) struct Tokens {
    granted: Mutex<HashMap<Purpose, (Instant, String)>>,
    /// A thousand runs that begin together need one token, and learn together that there is none.
    asking: Flights<Purpose, Result<String, Unanswered>>,
}

/// Digest of whom a token is for, and of what it is asked for with.
type Purpose = [u8; 32];

impl Tokens {
    fn get(&self, purpose: &Purpose) -> Option<String> {
        let granted = self.granted.lock();
        granted.get(purpose).filter(|(until, _)| *until > Instant::now()).map(|(_, token)| token.clone())
    }

    fn keep(&self, purpose: Purpose, granted: &Granted) {
        let mut tokens = self.granted.lock();
        if tokens.len() >= MOST_TOKENS {
            let now = Instant::now();
            tokens.retain(|_, (until, _)| *until > now);
            if tokens.len() >= MOST_TOKENS {
                tokens.clear();
            }
        }
        let until = Instant::now() + Duration::from_secs(granted.lifetime.min(86_400));
        tokens.insert(purpose, (until, granted.token.clone()));
    }

    fn forget(&self, purpose: &Purpose, token: &str) {
        let mut granted = self.granted.lock();
        if granted.get(purpose).is_some_and(|(_, kept)| kept == token) {
            granted.remove(purpose);
        }
    }
}

/// What goes into the header `Authorization` of one call.
pub(super) struct Proof {
    scheme: Option<Scheme>,
    /// The policy, with its secrets.
    settings: Value,
    header: Option<String>,
    /// What the token was granted for, and whether it was granted before this call.
    token: Option<(Purpose, String, bool)>,
}

impl Proof {
    pub(super) fn header(&self) -> Option<&str> {
        self.header.as_deref()
    }

    /// The service has answered 401: whether another attempt may do better, with what this then holds.
    pub(super) async fn again(
        &mut self,
        shared: &Arc<Shared>,
        namespace: &str,
        request: &Request,
        refused: &Reply,
        disclosure: &mut Disclosure,
        deadline: Instant,
    ) -> Result<bool, Unanswered> {
        match (self.scheme, &self.token) {
            (Some(Scheme::Digest), _) => {
                self.header = Some(digest_header(&self.settings, request, refused, disclosure)?);
                Ok(true)
            }
            // It may have been withdrawn meanwhile; a fresh one would not do better.
            (Some(scheme), Some((purpose, token, true))) => {
                shared.tokens.forget(purpose, token);
                let settings = std::mem::take(&mut self.settings);
                *self = granted(shared, namespace, scheme, settings, disclosure, deadline).await?;
                self.learn(disclosure);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn learn(&self, disclosure: &mut Disclosure) {
        let parameter = self.header.as_deref().and_then(|header| header.split_once(' '));
        if let Some((_, parameter)) = parameter {
            disclosure.learn_authorization(parameter);
        }
    }
}

/// Finds out how the request proves itself.
pub(super) async fn proof(
    shared: &Arc<Shared>,
    namespace: &str,
    request: &Request,
    disclosure: &mut Disclosure,
    deadline: Instant,
) -> Result<Proof, Unanswered> {
    let Some(credentials) = &request.authentication else {
        return Ok(Proof { scheme: None, settings: Value::Null, header: None, token: None });
    };
    let scheme = credentials.scheme;
    let settings = disclosure.disclosed_value(&credentials.settings.to_value())?;
    let settings = authentication::nested(settings);
    let proof = match authentication::parameter(scheme, &settings)? {
        Some(parameter) => {
            let header = Some(format!("{} {parameter}", scheme.authorization()));
            Proof { scheme: Some(scheme), settings, header, token: None }
        }
        None if scheme == Scheme::Digest => Proof { scheme: Some(scheme), settings, header: None, token: None },
        None => granted(shared, namespace, scheme, settings, disclosure, deadline).await?,
    };
    proof.learn(disclosure);
    Ok(proof)
}

impl From<CredentialsError> for Unanswered {
    fn from(error: CredentialsError) -> Self {
        Unanswered::Unauthenticated(error.to_string())
    }
}

fn digest_header(
    settings: &Value,
    request: &Request,
    refused: &Reply,
    disclosure: &Disclosure,
) -> Result<String, Unanswered> {
    let uri = disclosure.disclosed(&request.uri, crate::core::exchange::percent_encoded)?;
    let uri: http::Uri = uri.parse().map_err(|_| Unanswered::Misconfigured("the URI cannot be read".to_owned()))?;
    let cnonce = hex::encode(rand::random::<[u8; 16]>());
    let login = digest::Login {
        username: authentication::text(settings, "username")?,
        password: authentication::text(settings, "password")?,
        method: &request.method,
        target: uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str),
        cnonce: &cnonce,
    };
    let challenges = refused.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("www-authenticate"));
    Ok(digest::answer(challenges.map(|(_, value)| value.as_str()), &login)?)
}

/// A token, kept or asked for.
async fn granted(
    shared: &Arc<Shared>,
    namespace: &str,
    scheme: Scheme,
    policy: Value,
    disclosure: &Disclosure,
    deadline: Instant,
) -> Result<Proof, Unanswered> {
    let settings = Settings::read(&policy)?;
    let purpose: Purpose = Sha256::digest(format!("{namespace}\n{scheme:?}\n{policy}")).into();
    let made = |token: String, kept| Proof {
        scheme: Some(scheme),
        settings: policy.clone(),
        header: Some(format!("Bearer {token}")),
        token: Some((purpose, token, kept)),
    };
    if let Some(token) = shared.tokens.get(&purpose) {
        return Ok(made(token, true));
    }
    let asking = shared.tokens.asking.join(&purpose, async {
        // It may have come while we were about to ask.
        if let Some(token) = shared.tokens.get(&purpose) {
            return Ok(token);
        }
        let granted = ask_for_token(shared, namespace, scheme, &settings, disclosure).await?;
        shared.tokens.keep(purpose, &granted);
        Ok(granted.token)
    });
    let token = tokio::time::timeout_at(deadline.into(), asking).await;
    let token = token.map_err(|_elapsed| Unanswered::TooSlow(shared.config.call_limit.as_secs()))?;
    Ok(made(token?, false))
}

async fn ask_for_token(
    shared: &Arc<Shared>,
    namespace: &str,
    scheme: Scheme,
    settings: &Settings,
    disclosure: &Disclosure,
) -> Result<Granted, Unanswered> {
    let deadline = Instant::now() + TOKEN_LIMIT;
    let endpoint = match scheme {
        Scheme::Oidc => {
            let reply = ask(shared, namespace, "GET", &settings.discovery(), &[], String::new(), deadline).await?;
            oauth2::discovered(reply.status, &reply.body)?
        }
        _ => settings.token_endpoint(),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let request = settings.request(&endpoint, now, &uuid::Uuid::new_v4().to_string())?;
    let reply = ask(shared, namespace, "POST", &request.url, &request.headers, request.body, deadline).await?;
    if (200..300).contains(&reply.status) {
        return Ok(settings.granted(reply.status, &reply.body)?);
    }
    // Before it is cut to what is told: half a secret is found no more.
    let said = disclosure.blotted(&String::from_utf8_lossy(&reply.body));
    Ok(settings.granted(reply.status, said.as_bytes())?)
}

async fn ask(
    shared: &Arc<Shared>,
    namespace: &str,
    method: &str,
    uri: &str,
    headers: &[(&'static str, String)],
    body: String,
    deadline: Instant,
) -> Result<Reply, Unanswered> {
    let mut request = http::Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.body(Bytes::from(body));
    let request = request.map_err(|error| Unanswered::Unauthenticated(format!("authentication: {uri}: {error}")))?;
    send(shared, namespace, &request, deadline).await.map_err(|failure| match failure {
        Unanswered::Forbidden(what) => Unanswered::Forbidden(what),
        Unanswered::TooSlow(_) => {
            let within = TOKEN_LIMIT.as_secs();
            Unanswered::Unauthenticated(format!("authentication: {uri}: no answer within {within} s"))
        }
        other => Unanswered::Unauthenticated(format!("authentication: {uri}: {other}")),
    })
}

#[cfg(test)]
mod tests;
