//! The API as the client verbs use it: paths built from the table of kinds, bodies as JSON values.

use std::ffi::OsStr;
use std::path::Path;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use kapell_api::kind::Kind;
use kapell_api::kinds;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;

use crate::cli::Target;
use crate::error::{Failure, Outcome};

/// The rows that kubectl would print for these objects.
pub(crate) const AS_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

pub(crate) struct Cluster {
    client: Client,
    /// Where objects live that do not say it themselves.
    pub(crate) namespace: String,
    /// Whether the person has chosen it with `-n`.
    chosen: bool,
    /// The flags that a person has to repeat to reach this server again: ` --data DIR`.
    flags: String,
    /// This program as the person has called it: `kapell`, or a path when it is not in `PATH`.
    program: String,
}

/// A kind, and which object of it.
#[derive(Clone)]
pub(crate) struct Named {
    pub(crate) kind: &'static Kind,
    pub(crate) name: String,
}

impl Cluster {
    /// `--kubeconfig`, else the kubeconfig of `--data` (or `$KAPELL_DATA`), else `$KUBECONFIG`, else that of the default data directory.
    pub(crate) async fn connect(target: &Target) -> Outcome<Self> {
        let path = match (&target.kubeconfig, &target.data, std::env::var_os("KUBECONFIG")) {
            (Some(file), _, _) => file.clone(),
            (None, Some(data), _) => data.join("kubeconfig"),
            (None, None, Some(file)) if !file.is_empty() => file.into(),
            (None, None, _) => kapell_server::data::default_dir().join("kubeconfig"),
        };
        Self::from_file(&path, target).await
    }

    pub(crate) async fn from_file(path: &Path, target: &Target) -> Outcome<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::new(format!("no server has written {} yet", path.display()))
                .hint("start one with `kapell server` or `kapell up`, or name another with --data or --kubeconfig"),
            std::io::ErrorKind::PermissionDenied => Failure::new(format!("{}: {error}", path.display()))
                .hint("it belongs to the user who started the server; name your own with --data or --kubeconfig"),
            _ => Failure::new(format!("{}: {error}", path.display())),
        })?;
        let unusable = |error: &dyn std::fmt::Display| Failure::new(format!("{}: {error}", path.display()));
        let kubeconfig = Kubeconfig::from_yaml(&text).map_err(|error| unusable(&error))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|error| unusable(&error))?;
        let namespace = target.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| unusable(&error))?;
        let flags = flags(target, std::env::var_os("KAPELL_DATA").as_deref());
        let called = std::env::args().next().unwrap_or_default();
        let program = program(&called, std::env::current_dir().ok().as_deref());
        Ok(Self { client, namespace, chosen: target.namespace.is_some(), flags, program })
    }

    /// No server at all, for tests of what is made of its flags.
    #[cfg(test)]
    pub(crate) fn nowhere(flags: &str) -> Self {
        let config = Config::new(http::Uri::from_static("http://127.0.0.1:1"));
        let client = Client::try_from(config).expect("a client without TLS");
        Self {
            client,
            namespace: "default".to_owned(),
            chosen: false,
            flags: flags.to_owned(),
            program: "kapell".to_owned(),
        }
    }

    /// The namespace of an object from a file: what the file says, which `-n` must not contradict, else ours.
    pub(crate) fn namespace_for<'a>(&'a self, in_file: Option<&'a str>) -> Outcome<&'a str> {
        match in_file {
            Some(namespace) if self.chosen && namespace != self.namespace => {
                Err(Failure::usage(format!("the file says namespace {namespace}, the command line {}", self.namespace))
                    .hint(format!("-n {namespace}, or no -n at all")))
            }
            Some(namespace) => Ok(namespace),
            None => Ok(&self.namespace),
        }
    }

    /// A command line that a person can type next: with `-n` and the flags that lead to this server.
    pub(crate) fn command(&self, words: &str) -> String {
        let namespace = if self.namespace == "default" { String::new() } else { format!(" -n {}", self.namespace) };
        format!("{} {words}{namespace}{}", self.program, self.flags)
    }

    /// The same server, with another namespace for objects that do not name one.
    pub(crate) fn within(&self, namespace: &str) -> Self {
        Self {
            client: self.client.clone(),
            namespace: namespace.to_owned(),
            chosen: self.chosen,
            flags: self.flags.clone(),
            program: self.program.clone(),
        }
    }

    /// Pods of our namespace, for their streams.
    pub(crate) fn pod_api(&self) -> kube::Api<k8s_openapi::api::core::v1::Pod> {
        kube::Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn get(&self, path: &str) -> Outcome<Value> {
        self.send(request(Method::GET, path, None)).await
    }

    /// `None` when there is no such object.
    pub(crate) async fn get_if_exists(&self, path: &str) -> Outcome<Option<Value>> {
        match self.exchange(request(Method::GET, path, None)).await? {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, body) => value_or_failure(status, &body).map(Some),
        }
    }

    pub(crate) async fn get_as(&self, path: &str, accept: &'static str) -> Outcome<Value> {
        let mut request = request(Method::GET, path, None);
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
        self.send(request).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Outcome<Value> {
        self.send(request(Method::POST, path, Some(("application/json", body)))).await
    }

    /// As `post`, with a media type of its own.
    pub(crate) async fn post_as(&self, path: &str, media_type: &'static str, body: &Value) -> Outcome<Value> {
        self.send(request(Method::POST, path, Some((media_type, body)))).await
    }

    /// As `post`, but a refusal comes with its HTTP status, for callers that treat some of them as answers.
    pub(crate) async fn try_post(&self, path: &str, body: &Value) -> Outcome<Result<Value, (StatusCode, Failure)>> {
        let (status, bytes) = self.exchange(request(Method::POST, path, Some(("application/json", body)))).await?;
        Ok(value_or_failure(status, &bytes).map_err(|failure| (status, failure)))
    }

    pub(crate) async fn merge_patch(&self, path: &str, patch: &Value) -> Outcome<Value> {
        self.send(request(Method::PATCH, path, Some(("application/merge-patch+json", patch)))).await
    }

    pub(crate) async fn json_patch(&self, path: &str, patch: &Value) -> Outcome<Value> {
        self.send(request(Method::PATCH, path, Some(("application/json-patch+json", patch)))).await
    }

    pub(crate) async fn delete(&self, path: &str, options: &Value) -> Outcome<Option<Value>> {
        match self.exchange(request(Method::DELETE, path, Some(("application/json", options)))).await? {
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, body) => value_or_failure(status, &body).map(Some),
        }
    }

    /// A body that goes on: `watch` and `log -f`.
    pub(crate) async fn stream(&self, path: &str, accept: &'static str) -> Outcome<Body> {
        let mut request = request(Method::GET, path, None);
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
        let response = self.client.send(request).await?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Err(failure(status, &body))
    }

    async fn send(&self, request: Request<Body>) -> Outcome<Value> {
        let (status, body) = self.exchange(request).await?;
        value_or_failure(status, &body)
    }

    async fn exchange(&self, request: Request<Body>) -> Outcome<(StatusCode, Vec<u8>)> {
        let response = self.client.send(request).await?;
        for warning in response.headers().get_all("warning") {
            // RFC 7234 §5.5: `299 - "text"`.
            if let Some(text) = warning.to_str().ok().and_then(|line| line.split_once('"')) {
                eprintln!("warning: {}", text.1.trim_end_matches('"').replace("\\\"", "\""));
            }
        }
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes().to_vec();
        Ok((status, body))
    }

    /// The URL path of a kind in `namespace` (ours if `None`), of all namespaces for `Some("")`, or of one object.
    pub(crate) fn path(&self, kind: &Kind, namespace: Option<&str>, name: Option<&str>) -> String {
        let mut path = if kind.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group) };
        path.push('/');
        path.push_str(kind.version);
        let namespace = namespace.unwrap_or(&self.namespace);
        if kind.namespaced && !namespace.is_empty() {
            path.push_str(&format!("/namespaces/{namespace}"));
        }
        path.push('/');
        path.push_str(kind.plural);
        if let Some(name) = name {
            path.push('/');
            path.push_str(name);
        }
        path
    }

    pub(crate) fn path_of(&self, named: &Named) -> String {
        self.path(named.kind, None, Some(&named.name))
    }
}

fn flags(target: &Target, data_from_environment: Option<&OsStr>) -> String {
    let data = target.data.as_ref().filter(|data| Some(data.as_os_str()) != data_from_environment);
    let flag = |name: &str, value: &Path| format!(" {name} {}", quoted(&value.to_string_lossy()));
    match (&target.kubeconfig, data) {
        (Some(file), _) => flag("--kubeconfig", file),
        (None, Some(data)) => flag("--data", data),
        (None, None) => String::new(),
    }
}

/// `called`, shortened when it lies below the current directory.
fn program(called: &str, here: Option<&Path>) -> String {
    let below = here.and_then(|here| Path::new(called).strip_prefix(here).ok());
    match below.and_then(Path::to_str) {
        // A single name would be looked up in PATH.
        Some(below) if below.contains('/') => quoted(below),
        Some(below) => quoted(&format!("./{below}")),
        None if called.is_empty() => "kapell".to_owned(),
        None => quoted(called),
    }
}

/// As a shell reads it back.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@,+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn request(method: Method, path: &str, body: Option<(&'static str, &Value)>) -> Request<Body> {
    let mut request = Request::new(match body {
        Some((_, value)) => Body::from(value.to_string().into_bytes()),
        None => Body::empty(),
    });
    *request.method_mut() = method;
    // Paths are made of checked names and encoded queries, see `path` and `query`.
    *request.uri_mut() = path.parse().unwrap_or_default();
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    if let Some((content_type, _)) = body {
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    request
}

fn value_or_failure(status: StatusCode, body: &[u8]) -> Outcome<Value> {
    if !status.is_success() {
        return Err(failure(status, body));
    }
    serde_json::from_slice(body).map_err(|error| Failure::new(format!("the server's answer is not JSON: {error}")))
}

fn failure(status: StatusCode, body: &[u8]) -> Failure {
    match serde_json::from_slice::<kube::core::Status>(body) {
        Ok(details) if !details.message.is_empty() => Failure::from(&details),
        _ => Failure::new(format!("the server answered {status}: {}", String::from_utf8_lossy(body).trim())),
    }
}

/// `?a=b&c=d` with the values percent-encoded; empty when there are no pairs.
pub(crate) fn query(pairs: &[(&str, &str)]) -> String {
    let mut query = String::new();
    for (key, value) in pairs {
        query.push(if query.is_empty() { '?' } else { '&' });
        query.push_str(key);
        query.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => query.push(byte as char),
                _ => query.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    query
}

/// The kind that a person calls `deploy`, `pods` or `WorkflowRun`.
pub(crate) fn kind_called(word: &str) -> Outcome<&'static Kind> {
    let lower = word.to_ascii_lowercase();
    let (plain, group) = lower.split_once('.').map_or((lower.as_str(), None), |(plain, group)| (plain, Some(group)));
    let fits = |kind: &&Kind| {
        (kind.plural == plain
            || kind.singular == plain
            || kind.short_names.contains(&plain)
            || kind.kind.eq_ignore_ascii_case(plain))
            && group.is_none_or(|group| group == kind.group)
    };
    kinds::KINDS.iter().find(fits).ok_or_else(|| {
        let known: Vec<_> = kinds::KINDS.iter().map(|kind| kind.plural).collect();
        Failure::usage(format!("there is no kind {word:?}")).hint(format!("one of {}", known.join(", ")))
    })
}

/// Reads `KIND/NAME` or `KIND NAME`.
pub(crate) fn named(words: &[String]) -> Outcome<Named> {
    let (kind, name) = match words {
        [one] => one
            .split_once('/')
            .ok_or_else(|| Failure::usage(format!("{one:?} names a kind only")).hint(format!("{one}/NAME")))?,
        [kind, name] => (kind.as_str(), name.as_str()),
        _ => return Err(Failure::usage("expected KIND/NAME")),
    };
    let kind = kind_called(kind)?;
    check_name(name)?;
    Ok(Named { kind, name: name.to_owned() })
}

/// Whether the word can stand in a URL as a name; the server knows the finer rules.
pub(crate) fn check_name(name: &str) -> Outcome {
    if name.is_empty() || name.contains(|letter: char| "/?#% ".contains(letter) || !letter.is_ascii()) {
        return Err(Failure::usage(format!("{name:?} cannot be the name of an object")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
