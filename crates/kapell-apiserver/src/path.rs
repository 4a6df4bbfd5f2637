//! What a URL asks for.
//!
//! Turns the path of a request into a [`Target`] and its query into a [`Query`]. Purely syntactic: whether a group,
//! a plural or a name exists is decided by those who look them up.

/// What the path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// `/livez`, `/readyz`, `/healthz`, with or without the name of one check.
    Health,
    /// `/metrics`.
    Metrics,
    /// `/version`.
    Version,
    /// `/.well-known/openid-configuration`.
    OpenIdConfiguration,
    /// `/openid/v1/jwks`.
    KeySet,
    /// `/api`: the versions of the core group.
    CoreVersions,
    /// `/apis`: all named groups.
    Groups,
    /// `/apis/GROUP`.
    Group(String),
    /// `/api/v1` and `/apis/GROUP/VERSION`: the resources of one group and version.
    Resources {
        group: String,
        version: String,
    },
    /// `/openapi/v2`.
    OpenApiV2,
    /// `/openapi/v3`.
    OpenApiIndex,
    /// `/openapi/v3/api/v1`, `/openapi/v3/apis/GROUP/VERSION`.
    OpenApiDocument {
        group: String,
        version: String,
    },
    /// A collection, an object or one of its subresources.
    Resource(ResourcePath),
    /// `/`: the list of paths.
    Root,
    Unknown,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    pub(crate) group: String,
    pub(crate) version: String,
    /// As in the URL; absent for cluster-wide kinds and for collections across namespaces.
    pub(crate) namespace: Option<String>,
    pub(crate) plural: String,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
    /// What follows `proxy`, as it is written: empty, or with a slash at its beginning. Absent for every other subresource.
    pub(crate) rest: Option<String>,
}

/// Parses an absolute path. A trailing slash is ignored, as Kubernetes does.
pub(crate) fn parse(path: &str) -> Target {
    let (path, rest) = split_proxied(path);
    match (parse_ours(path), rest) {
        (Target::Resource(path), Some(rest)) => Target::Resource(ResourcePath { rest: Some(rest.to_owned()), ..path }),
        (target, _) => target,
    }
}

/// Cuts off what `…/namespaces/NAMESPACE/PLURAL/NAME/proxy` passes on: it is somebody else's to understand.
fn split_proxied(path: &str) -> (&str, Option<&str>) {
    let mut segments = path.splitn(9, '/');
    let mut skip = |count: usize| segments.nth(count - 1);
    let is_proxied = skip(4) == Some("namespaces") && skip(4) == Some("proxy");
    if !is_proxied {
        return (path, None);
    }
    let length = segments.next().map_or(path.len(), |rest| path.len() - rest.len() - 1);
    (&path[..length], Some(&path[length..]))
}

fn parse_ours(path: &str) -> Target {
    let Some(segments) = path.split('/').filter(|s| !s.is_empty()).map(percent_decode).collect::<Option<Vec<_>>>()
    else {
        return Target::Unknown;
    };
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        [] => Target::Root,
        ["livez" | "readyz" | "healthz"] | ["livez" | "readyz" | "healthz", _] => Target::Health,
        ["metrics"] => Target::Metrics,
        ["version"] => Target::Version,
        [".well-known", "openid-configuration"] => Target::OpenIdConfiguration,
        ["openid", "v1", "jwks"] => Target::KeySet,
        ["openapi", "v2"] => Target::OpenApiV2,
        ["openapi", "v3"] => Target::OpenApiIndex,
        ["openapi", "v3", "api", version] => {
            Target::OpenApiDocument { group: String::new(), version: (*version).to_owned() }
        }
        ["openapi", "v3", "apis", group, version] => {
            Target::OpenApiDocument { group: (*group).to_owned(), version: (*version).to_owned() }
        }
        ["api"] => Target::CoreVersions,
        ["api", version] => Target::Resources { group: String::new(), version: (*version).to_owned() },
        ["api", version, rest @ ..] => parse_resource("", version, rest),
        ["apis"] => Target::Groups,
        ["apis", group] => Target::Group((*group).to_owned()),
        ["apis", group, version] => Target::Resources { group: (*group).to_owned(), version: (*version).to_owned() },
        ["apis", group, version, rest @ ..] => parse_resource(group, version, rest),
        _ => Target::Unknown,
    }
}

fn parse_resource(group: &str, version: &str, segments: &[&str]) -> Target {
    let (namespace, rest) = match segments {
        // `namespaces/NAME/status` is about the Namespace itself, not about a kind called "status".
        ["namespaces", _, "status" | "finalize"] => (None, segments),
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
        _ => (None, segments),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (plural, None, None),
        [plural, name] => (plural, Some(name), None),
        [plural, name, subresource] => (plural, Some(name), Some(subresource)),
        _ => return Target::Unknown,
    };
    Target::Resource(ResourcePath {
        group: group.to_owned(),
        version: version.to_owned(),
        namespace,
        plural: (*plural).to_owned(),
        name: name.map(|s| (*s).to_owned()),
        subresource: subresource.map(|s| (*s).to_owned()),
        rest: None,
    })
}

/// `None` for a broken escape, for anything that is not UTF-8, and for segments that could not be part of a key.
fn percent_decode(segment: &str) -> Option<String> {
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            out.push((high * 16 + low) as u8);
        } else {
            out.push(byte);
        }
    }
    let text = String::from_utf8(out).ok()?;
    // A key is built from segments: a slash or a NUL inside one would name another object.
    (text != "." && text != ".." && !text.contains(['/', '\0'])).then_some(text)
}

/// The query of a request, in order, repeated keys kept.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(query: &str) -> Self {
        Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// The first value of `key`; an empty one counts as absent.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, v)| k == key && !v.is_empty()).map(|(_, v)| v.as_str())
    }

    /// All values of `key`, in order.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// `1`, `t` and `true` are true, as are a key without a value; everything else is false.
    pub fn flag(&self, key: &str) -> bool {
        self.0
            .iter()
            .find(|(k, _)| k == key)
            .is_some_and(|(_, v)| matches!(v.as_str(), "" | "1" | "t" | "T" | "true" | "TRUE" | "True"))
    }
}

#[cfg(test)]
mod tests;
