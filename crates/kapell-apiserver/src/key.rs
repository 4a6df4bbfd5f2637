//! Where objects live in the store: `/registry/<group or core>/<plural>/<namespace or ->/<name>`.
//!
//! No part may hold a `/`; names and namespaces are checked before a key is made of them.

use kapell_api::kind::Kind;

/// All objects of a kind, in all namespaces.
pub(crate) fn of_kind(kind: &Kind) -> String {
    let group = if kind.group.is_empty() { "core" } else { kind.group };
    format!("/registry/{group}/{}/", kind.plural)
}

/// All objects of a kind in one namespace, or in all when `namespace` is `None`.
pub(crate) fn of_collection(kind: &Kind, namespace: Option<&str>) -> String {
    let mut key = of_kind(kind);
    if let Some(namespace) = namespace {
        key.push_str(namespace);
        key.push('/');
    }
    key
}

/// One object; `namespace` is `None` for cluster-wide kinds.
pub(crate) fn of_object(kind: &Kind, namespace: Option<&str>, name: &str) -> String {
    format!("{}{}/{name}", of_kind(kind), namespace.unwrap_or("-"))
}

/// The namespace (`-` for none) and the name that a key ends with.
pub(crate) fn namespace_and_name(key: &[u8]) -> Option<(&str, &str)> {
    let mut parts = std::str::from_utf8(key).ok()?.rsplit('/');
    let name = parts.next()?;
    Some((parts.next()?, name))
}
