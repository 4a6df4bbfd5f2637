//! Who asks.
//!
//! Three kinds of credentials open the door: the administrator's bearer token, a client certificate of our own CA, and
//! the token of a ServiceAccount. The services of this process arrive without a socket and bring their identity along.
//! What somebody may do is decided elsewhere ([`crate::authorize`]); here it is only found out who it is, or that nobody
//! knows.

pub(crate) mod certificate;
pub(crate) mod token;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, header};
use jiff::Timestamp;
use kapell_api::kind::Kind;
use kapell_api::kinds;
use kapell_api::metadata::Metadata;
use kapell_store::Store;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use self::token::{AUDIENCE, Claims, Reference, TokenError};
pub use self::token::{KeyError, ServiceAccountKey};
use crate::key;

pub(crate) const MASTERS: &str = "system:masters";
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// Where `UserInfo.extra` says which credential was shown.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
/// Tokens whose signature was checked lately: a check costs about 100 µs, a look 1 µs. Forgotten all at once when full.
const CHECKED_TOKENS: usize = 4_096;

/// An authenticated caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// As in `UserInfo.username`.
    pub user: String,
    /// As in `UserInfo.uid`; empty where there is none.
    pub uid: String,
    pub groups: Vec<String>,
    /// As in `UserInfo.extra`.
    pub extra: BTreeMap<String, Vec<String>>,
    /// A service of this process: it waits for its turn instead of being sent away when the server is busy.
    pub internal: bool,
}

impl Identity {
    /// A service of this process, e.g. `system:kapell:controllers`.
    pub fn internal(user: impl Into<String>) -> Self {
        Self { user: user.into(), groups: vec![MASTERS.to_owned()], internal: true, ..Self::default() }
    }

    fn admin() -> Self {
        let groups = vec![MASTERS.to_owned(), AUTHENTICATED.to_owned()];
        Self { user: "admin".to_owned(), groups, ..Self::default() }
    }

    /// An account of a namespace, without the marks of a token.
    pub(crate) fn account(namespace: &str, name: &str, uid: &str) -> Self {
        Self {
            user: account_user(namespace, name),
            uid: uid.to_owned(),
            groups: account_groups(namespace),
            ..Self::default()
        }
    }

    /// Whether nothing is forbidden to it.
    pub(crate) fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
    }

    /// `authentication.k8s.io/v1 UserInfo`.
    pub(crate) fn user_info(&self) -> Value {
        let mut info = json!({"username": self.user});
        if !self.uid.is_empty() {
            info["uid"] = json!(self.uid);
        }
        if !self.groups.is_empty() {
            info["groups"] = json!(self.groups);
        }
        if !self.extra.is_empty() {
            info["extra"] = json!(self.extra);
        }
        info
    }
}

/// The name under which an account acts.
pub(crate) fn account_user(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

/// The groups that every account of a namespace is in.
pub(crate) fn account_groups(namespace: &str) -> Vec<String> {
    vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}"), AUTHENTICATED.to_owned()]
}

/// What is known of the other end of a connection before its first request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    pub(crate) address: Option<SocketAddr>,
    /// Whom its client certificate names.
    pub(crate) certificate: Option<Identity>,
}

/// Leaves out what is for us alone before a request is passed on.
pub(crate) fn forget_credentials(headers: &mut HeaderMap) {
    headers.remove(header::AUTHORIZATION);
    let assumed: Vec<_> = headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in assumed {
        headers.remove(name);
    }
}

/// Why a bearer token opens nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("the {what} {name:?} that the token is bound to does not exist any more")]
    Gone { what: &'static str, name: String },
    #[error("the objects that the token is bound to cannot be read")]
    Unreadable,
}

/// Checks credentials. Knows the administrator's token by its digest only.
pub(crate) struct Authenticator {
    digest: [u8; 32],
    accounts: ServiceAccountKey,
    checked: Mutex<HashMap<[u8; 32], Arc<Claims>>>,
    store: Arc<dyn Store>,
}

impl Authenticator {
    pub(crate) fn new(admin_token: &str, accounts: ServiceAccountKey, store: Arc<dyn Store>) -> Self {
        Self { digest: Sha256::digest(admin_token).into(), accounts, checked: Mutex::default(), store }
    }

    /// `None` when there are no credentials or wrong ones; callers get the same answer for both.
    pub(crate) async fn authenticate(&self, headers: &HeaderMap, peer: &Peer) -> Option<Identity> {
        if let Some(identity) = &peer.certificate {
            return Some(identity.clone());
        }
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        match self.bearer(token.trim(), &[AUDIENCE.to_owned()], Timestamp::now()).await {
            Ok((identity, _)) => Some(identity),
            Err(refusal) => {
                tracing::debug!(%refusal, "a bearer token was refused");
                None
            }
        }
    }

    /// Whose token it is, and for which of the wanted `audiences` it was issued.
    pub(crate) async fn bearer(
        &self,
        token: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<(Identity, Vec<String>), Refusal> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        // All bytes are compared whatever the first ones say, and they are digests, so the time taken tells nothing.
        let difference = digest.iter().zip(&self.digest).fold(0u8, |acc, (a, b)| acc | (a ^ b));
        if std::hint::black_box(difference) == 0 {
            return Ok((Identity::admin(), audiences.to_vec()));
        }
        let claims = self.open(digest, token)?;
        let accepted = claims.check(now, audiences)?;
        Ok((self.bound_account(&claims).await?, accepted))
    }

    /// The claims of a token of ours.
    fn open(&self, digest: [u8; 32], token: &str) -> Result<Arc<Claims>, TokenError> {
        if let Some(claims) = self.checked.lock().get(&digest) {
            return Ok(claims.clone());
        }
        let claims = Arc::new(self.accounts.open(token)?);
        let mut checked = self.checked.lock();
        if checked.len() >= CHECKED_TOKENS {
            checked.clear();
        }
        checked.insert(digest, claims.clone());
        Ok(claims)
    }

    /// The account of a token, as long as it and everything else that the token is bound to exists.
    async fn bound_account(&self, claims: &Claims) -> Result<Identity, Refusal> {
        let bound = &claims.kubernetes;
        self.exists("serviceaccounts", "service account", &bound.namespace, &bound.serviceaccount).await?;
        let mut identity = Identity::account(&bound.namespace, &bound.serviceaccount.name, &bound.serviceaccount.uid);
        identity.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("JTI={}", claims.jti)]);
        if let Some(pod) = &bound.pod {
            self.exists("pods", "pod", &bound.namespace, pod).await?;
            identity.extra.insert("authentication.kubernetes.io/pod-name".to_owned(), vec![pod.name.clone()]);
            identity.extra.insert("authentication.kubernetes.io/pod-uid".to_owned(), vec![pod.uid.clone()]);
        }
        if let Some(secret) = &bound.secret {
            self.exists("secrets", "secret", &bound.namespace, secret).await?;
        }
        Ok(identity)
    }

    async fn exists(
        &self,
        plural: &str,
        what: &'static str,
        namespace: &str,
        reference: &Reference,
    ) -> Result<(), Refusal> {
        let gone = || Refusal::Gone { what, name: reference.name.clone() };
        let kind: &Kind = kinds::find("", "v1", plural).ok_or_else(gone)?;
        let key = Bytes::from(key::of_object(kind, Some(namespace), &reference.name));
        let entry = self.store.get(&key).await.map_err(|_| Refusal::Unreadable)?.ok_or_else(gone)?;
        let metadata = Metadata::from_json(&entry.value).map_err(|_| Refusal::Unreadable)?;
        // An account that is being deleted opens nothing any more; a pod may finish what it does.
        let going = plural == "serviceaccounts" && metadata.deletion_timestamp.is_some();
        if metadata.uid == reference.uid && !going { Ok(()) } else { Err(gone()) }
    }

    pub(crate) fn accounts(&self) -> &ServiceAccountKey {
        &self.accounts
    }
}

/// Names a client certificate in `UserInfo.extra`.
pub(crate) fn certificate_id(der: &[u8]) -> (String, Vec<String>) {
    let digest: String = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
    (CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={digest}")])
}
