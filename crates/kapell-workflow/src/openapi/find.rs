//! Finding one's way through an OpenAPI document: versions, references, servers, styles.

use serde_json::Value;
use url::Url;

use super::{Body, FORM, OpenApiError, Place, Style};

/// References that lead on to references.
const LONGEST_CHAIN: usize = 16;

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Swagger,
    OpenApi,
}

pub(super) struct Document<'d> {
    root: &'d Value,
    version: Version,
}

/// An operation where it was found.
pub(super) struct Found<'d> {
    pub(super) path: &'d str,
    pub(super) method: &'d str,
    pub(super) item: &'d Value,
    pub(super) operation: &'d Value,
}

impl<'d> Found<'d> {
    pub(super) fn id(&self) -> Option<&'d str> {
        self.operation.get("operationId")?.as_str()
    }
}

pub(super) struct References;

impl References {
    /// The items of a member that is a list, or nothing.
    pub(super) fn list<'d>(of: &'d Value, key: &str) -> impl Iterator<Item = &'d Value> {
        of.get(key).and_then(Value::as_array).into_iter().flatten()
    }
}

impl<'d> Document<'d> {
    pub(super) fn new(root: &'d Value) -> Result<Self, OpenApiError> {
        let text = |key: &str| root.get(key).and_then(Value::as_str);
        let version = match (text("swagger"), text("openapi")) {
            (Some("2.0"), _) => Version::Swagger,
            (_, Some(version)) if version.starts_with("3.0.") || version.starts_with("3.1.") => Version::OpenApi,
            (Some(other), _) | (_, Some(other)) => return Err(OpenApiError::Version(other.to_owned())),
            (None, None) => return Err(OpenApiError::NotOpenApi),
        };
        Ok(Self { root, version })
    }

    pub(super) fn operations(&self) -> impl Iterator<Item = Found<'d>> {
        let paths = self.root.get("paths").and_then(Value::as_object).into_iter().flatten();
        paths.flat_map(|(path, item)| {
            let item = self.resolved(item, path).unwrap_or(item);
            METHODS
                .into_iter()
                .filter_map(move |method| Some(Found { path, method, item, operation: item.get(method)? }))
        })
    }

    pub(super) fn operation(&self, id: &str) -> Option<Found<'d>> {
        self.operations().find(|found| found.id() == Some(id))
    }

    /// The value itself, or what its `$ref` leads to.
    pub(super) fn resolved(&self, value: &'d Value, place: &str) -> Result<&'d Value, OpenApiError> {
        let mut value = value;
        for _ in 0..LONGEST_CHAIN {
            let Some(reference) = value.get("$ref").and_then(Value::as_str) else { return Ok(value) };
            let Some(pointer) = reference.strip_prefix('#') else {
                return Err(OpenApiError::unsupported(place, format!("the reference {reference} to another document")));
            };
            let target = self.root.pointer(pointer);
            value = target.ok_or_else(|| OpenApiError::invalid(place, format!("{reference} does not exist")))?;
        }
        Err(OpenApiError::invalid(place, "references that lead back to themselves"))
    }

    /// Where the operation is to be called.
    pub(super) fn server(&self, found: &Found<'d>, origin: &Url) -> Result<String, OpenApiError> {
        let url = match self.version {
            Version::Swagger => self.swagger_server(found, origin),
            Version::OpenApi => self.openapi_server(found, origin)?,
        };
        Ok(url.trim_end_matches('/').to_owned())
    }

    fn swagger_server(&self, found: &Found<'d>, origin: &Url) -> String {
        let text = |key: &str| self.root.get(key).and_then(Value::as_str);
        let schemes: Vec<&str> = ["schemes"]
            .iter()
            .flat_map(|key| {
                let own: Vec<&str> = References::list(found.operation, key).filter_map(Value::as_str).collect();
                if own.is_empty() { References::list(self.root, key).filter_map(Value::as_str).collect() } else { own }
            })
            .collect();
        // The document's own scheme has just worked; else a safe one.
        let scheme = [origin.scheme(), "https", "http"].into_iter().find(|scheme| schemes.contains(scheme));
        let scheme =
            scheme.unwrap_or(if matches!(origin.scheme(), "http" | "https") { origin.scheme() } else { "https" });
        let port = origin.port().map_or(String::new(), |port| format!(":{port}"));
        let host =
            text("host").map_or_else(|| format!("{}{port}", origin.host_str().unwrap_or_default()), str::to_owned);
        format!("{scheme}://{host}{}", text("basePath").unwrap_or_default())
    }

    fn openapi_server(&self, found: &Found<'d>, origin: &Url) -> Result<String, OpenApiError> {
        let first =
            [found.operation, found.item, self.root].into_iter().find_map(|at| References::list(at, "servers").next());
        let Some(server) = first else { return Ok(origin.join("/").map_or_else(|_| origin.to_string(), Into::into)) };
        let place = "servers";
        let mut url = server.get("url").and_then(Value::as_str).unwrap_or("/").to_owned();
        for (name, variable) in server.get("variables").and_then(Value::as_object).into_iter().flatten() {
            let default = variable.get("default").and_then(Value::as_str);
            let default =
                default.ok_or_else(|| OpenApiError::invalid(place, format!("variable {name} has no default")))?;
            url = url.replace(&format!("{{{name}}}"), default);
        }
        let url = origin.join(&url).map_err(|error| OpenApiError::invalid(place, format!("{url}: {error}")))?;
        if matches!(url.scheme(), "http" | "https") {
            Ok(url.into())
        } else {
            Err(OpenApiError::unsupported(place, format!("the scheme {}", url.scheme())))
        }
    }

    pub(super) fn style(&self, parameter: &Value, place: &str, at: &str) -> Result<(Place, Style), OpenApiError> {
        let place = match place {
            "path" => Place::Path,
            "query" => Place::Query,
            "header" => Place::Header,
            "cookie" => Place::Cookie,
            "formData" => Place::Form,
            other => return Err(OpenApiError::unsupported(at, format!("a parameter in `{other}`"))),
        };
        if parameter.get("type").and_then(Value::as_str) == Some("file") {
            return Err(OpenApiError::unsupported(at, "a parameter of type file"));
        }
        let text = |key: &str| parameter.get(key).and_then(Value::as_str);
        if self.version == Version::Swagger {
            let style = match text("collectionFormat") {
                None | Some("csv") => Style::Commas,
                Some("ssv") => Style::Spaces,
                Some("tsv") => Style::Tabs,
                Some("pipes") => Style::Pipes,
                Some("multi") => Style::Repeated,
                Some(other) => return Err(OpenApiError::unsupported(at, format!("collectionFormat {other}"))),
            };
            return Ok((place, style));
        }
        if let Some(content) = parameter.get("content").and_then(Value::as_object) {
            return match content.keys().next().map(String::as_str) {
                Some(media_type) if is_json(media_type) => Ok((place, Style::Json)),
                other => Err(OpenApiError::unsupported(at, format!("a parameter of type {}", other.unwrap_or("none")))),
            };
        }
        let default = if matches!(place, Place::Path | Place::Header) { "simple" } else { "form" };
        let style = text("style").unwrap_or(default);
        let explode = parameter.get("explode").and_then(Value::as_bool).unwrap_or(style == "form");
        Ok((
            place,
            match (style, explode) {
                ("form", true) => Style::Repeated,
                ("form" | "simple", false) => Style::Commas,
                ("simple", true) => Style::Pairs,
                ("spaceDelimited", false) => Style::Spaces,
                ("pipeDelimited", false) => Style::Pipes,
                ("spaceDelimited" | "pipeDelimited", true) => Style::Repeated,
                ("deepObject", _) => Style::Deep,
                ("label", explode) => Style::Label { explode },
                ("matrix", explode) => Style::Matrix { explode },
                (other, _) => return Err(OpenApiError::unsupported(at, format!("style {other}"))),
            },
        ))
    }

    /// Swagger: the media type of a body, of those that we can write.
    pub(super) fn consumed(&self, found: &Found<'d>, wanted: &str) -> Result<String, OpenApiError> {
        let types = |of: &'d Value| References::list(of, "consumes").filter_map(Value::as_str).collect::<Vec<_>>();
        let own = types(found.operation);
        let types = if own.is_empty() { types(self.root) } else { own };
        if types.is_empty() {
            return Ok(wanted.to_owned());
        }
        let preferred = types.iter().find(|known| **known == wanted || (wanted != FORM && is_json(known)));
        match preferred.or_else(|| types.iter().find(|known| is_plain(known))) {
            Some(range) if range.contains('*') => Ok(wanted.to_owned()),
            Some(known) => Ok((*known).to_owned()),
            None => {
                let place = format!("{} {}", found.method, found.path);
                Err(OpenApiError::unsupported(&place, format!("a body of type {}", types.join(", "))))
            }
        }
    }

    /// OpenAPI 3: the operation's body.
    pub(super) fn request_body(&self, found: &Found<'d>) -> Result<Option<Body>, OpenApiError> {
        let Some(body) = found.operation.get("requestBody") else { return Ok(None) };
        let place = format!("{} {} requestBody", found.method, found.path);
        let body = self.resolved(body, &place)?;
        let types: Vec<&str> =
            body.get("content").and_then(Value::as_object).into_iter().flatten().map(|(k, _)| k.as_str()).collect();
        let preferred = types.iter().find(|media_type| is_json(media_type));
        let Some(media_type) = preferred.or_else(|| types.iter().find(|known| is_plain(known))) else {
            return Err(OpenApiError::unsupported(&place, format!("a body of type {}", types.join(", "))));
        };
        // A range is no type to send.
        let media_type = if media_type.contains('*') { "application/json" } else { media_type };
        let required = body.get("required").and_then(Value::as_bool).unwrap_or_default();
        Ok(Some(Body { media_type: media_type.to_owned(), required }))
    }

    /// The first JSON type that a good answer may have.
    pub(super) fn accepted(&self, found: &Found<'d>) -> Option<String> {
        let own: Vec<&str> = References::list(found.operation, "produces").filter_map(Value::as_str).collect();
        let all = References::list(self.root, "produces").filter_map(Value::as_str);
        let swagger = if own.is_empty() { all.collect() } else { own };
        let responses = found.operation.get("responses").and_then(Value::as_object).into_iter().flatten();
        let good = responses.filter(|(status, _)| status.starts_with('2') || *status == "default");
        let openapi =
            good.filter_map(|(_, response)| self.resolved(response, "responses").ok()?.get("content")?.as_object());
        let types: Vec<&str> =
            swagger.into_iter().chain(openapi.flat_map(|content| content.keys().map(String::as_str))).collect();
        types.iter().find(|media_type| is_json(media_type)).or(types.first()).map(|media_type| (*media_type).to_owned())
    }
}

fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json") || essence == "*/*" || essence == "application/*"
}

/// What a body can be written as beside JSON.
fn is_plain(media_type: &str) -> bool {
    media_type == FORM || media_type.starts_with("text/")
}
