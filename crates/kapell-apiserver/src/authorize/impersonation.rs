//! Acting as somebody else: the headers `Impersonate-*`, each value of which needs the verb `impersonate`.

use std::collections::BTreeMap;

use http::HeaderMap;
use kapell_api::status::Status;

use super::Authorizer;
use super::attributes::{Action, OnResource};
use crate::auth::{AUTHENTICATED, Identity, account_groups};

const USER: &str = "impersonate-user";
const UID: &str = "impersonate-uid";
const GROUP: &str = "impersonate-group";
const EXTRA: &str = "impersonate-extra-";
const ANONYMOUS: &str = "system:anonymous";
const UNAUTHENTICATED: &str = "system:unauthenticated";
const AUTHENTICATION: &str = "authentication.k8s.io";

/// Whom a request asks to act as; `None` when it does not.
pub(crate) fn wanted(headers: &HeaderMap) -> Result<Option<Identity>, Status> {
    let texts = |name: &str| -> Result<Vec<String>, Status> {
        let values = headers.get_all(name).iter();
        values
            .map(|value| value.to_str().map(str::to_owned))
            .collect::<Result<_, _>>()
            .map_err(|_| Status::bad_request(format!("the header {name} is not text")))
    };
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in headers.keys().filter_map(|name| name.as_str().strip_prefix(EXTRA)) {
        let key = percent_decode(name)
            .ok_or_else(|| Status::bad_request(format!("the header {EXTRA}{name} is not a percent-encoded name")))?;
        extra.insert(key, texts(&format!("{EXTRA}{name}"))?);
    }
    let (groups, uid) = (texts(GROUP)?, texts(UID)?.into_iter().next().unwrap_or_default());
    let user = texts(USER)?.into_iter().next().unwrap_or_default();
    if user.is_empty() {
        return match groups.is_empty() && uid.is_empty() && extra.is_empty() {
            true => Ok(None),
            false => Err(Status::bad_request(
                "requested [impersonation] of groups, uid or extra without impersonating a user",
            )),
        };
    }
    Ok(Some(Identity { user, uid, groups, extra, internal: false }))
}

fn percent_decode(name: &str) -> Option<String> {
    let mut pieces = name.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(piece.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(piece.as_bytes().get(2..)?);
    }
    String::from_utf8(bytes).ok()
}

/// The name and namespace of an account, out of the name that it acts under.
fn account(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix("system:serviceaccount:")?.split_once(':').filter(|(_, name)| !name.contains(':'))
}

/// Checks that `caller` may act as `wanted`, and completes its groups as if it had come by itself.
pub(crate) fn assume(authorizer: &Authorizer, caller: &Identity, wanted: Identity) -> Result<Identity, Status> {
    let mut wanted = wanted;
    let require = |on: OnResource<'_>| {
        authorizer.require(caller, &Action::Resource(OnResource { verb: "impersonate", version: "v1", ..on })).map(drop)
    };
    match account(&wanted.user) {
        Some((namespace, name)) => {
            require(OnResource { resource: "serviceaccounts", namespace, name, ..OnResource::default() })?;
        }
        None => require(OnResource { resource: "users", name: &wanted.user, ..OnResource::default() })?,
    }
    for group in &wanted.groups {
        require(OnResource { resource: "groups", name: group, ..OnResource::default() })?;
    }
    for (key, values) in &wanted.extra {
        for value in values {
            require(OnResource {
                group: AUTHENTICATION,
                resource: "userextras",
                subresource: key,
                name: value,
                ..OnResource::default()
            })?;
        }
    }
    if !wanted.uid.is_empty() {
        let on = OnResource { group: AUTHENTICATION, resource: "uids", name: &wanted.uid, ..OnResource::default() };
        require(on)?;
    }
    complete_groups(&mut wanted);
    Ok(wanted)
}

fn complete_groups(identity: &mut Identity) {
    if identity.user == ANONYMOUS {
        identity.groups = vec![UNAUTHENTICATED.to_owned()];
        return;
    }
    if identity.groups.is_empty()
        && let Some((namespace, _)) = account(&identity.user)
    {
        identity.groups = account_groups(namespace);
    }
    if !identity.groups.iter().any(|group| group == AUTHENTICATED || group == UNAUTHENTICATED) {
        identity.groups.push(AUTHENTICATED.to_owned());
    }
}

#[cfg(test)]
mod tests;
