//! From an operation and its parameters' values to method, URL, headers and body.

use super::{FORM, Operation, Parameter, Place, Style};
use crate::core::exchange::stepping;
use crate::expression::Datum;

/// The parts of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) uri: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<String>,
}

/// # Errors
/// When a required parameter is missing, there is one that the operation does not have, or one cannot be written.
pub(crate) fn parts(operation: &Operation, values: &Datum) -> Result<Parts, String> {
    let values =
        values.as_object().ok_or_else(|| format!("parameters: must be an object, not {}", values.type_name()))?;
    for name in values.members().keys() {
        let known = operation.parameters.iter().any(|parameter| *parameter.name == **name);
        let is_body = &**name == "body" && takes_body(operation);
        if !known && !is_body {
            let known: Vec<&str> = operation.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(format!("parameters: the operation has no parameter `{name}`, only {known}"));
        }
    }
    let mut path = operation.path.clone();
    let (mut query, mut form, mut cookies) = (Vec::new(), Vec::new(), Vec::new());
    let mut headers = Vec::new();
    headers.extend(operation.accept.iter().map(|accept| ("accept".to_owned(), accept.clone())));
    for parameter in &operation.parameters {
        let name = parameter.name.as_str();
        let value = values.get(name).filter(|value| **value != Datum::Null);
        let Some(value) = value else {
            if parameter.required {
                return Err(format!("parameters: `{name}` is required"));
            }
            continue;
        };
        match parameter.place {
            Place::Path => path = path.replace(&format!("{{{name}}}"), &joined(parameter, value, encoded)?),
            Place::Query => query.extend(pairs(parameter, value)?),
            Place::Form => form.extend(pairs(parameter, value)?),
            Place::Cookie => {
                cookies.extend(pairs(parameter, value)?.into_iter().map(|(k, v)| format!("{k}={}", encoded(&v))))
            }
            Place::Header => headers.push((name.to_ascii_lowercase(), joined(parameter, value, str::to_owned)?)),
        }
    }
    if let Some(template) = stepping(&operation.path, &path) {
        let named = |parameter: &&Parameter| template.contains(&format!("{{{}}}", parameter.name));
        let name = operation.parameters.iter().find(named).map_or(template, |parameter| &parameter.name);
        return Err(format!("parameters: `{name}` would be taken for a step through the path"));
    }
    if !cookies.is_empty() {
        headers.push(("cookie".to_owned(), cookies.join("; ")));
    }
    let body = body(operation, values.get("body"), &form, &mut headers)?;
    let query = if query.is_empty() { String::new() } else { format!("?{}", urlencoded(&query)) };
    Ok(Parts { uri: format!("{}{path}{query}", operation.server), headers, body })
}

fn takes_body(operation: &Operation) -> bool {
    operation.body.is_some() && !operation.parameters.iter().any(|parameter| parameter.place == Place::Form)
}

fn body(
    operation: &Operation,
    value: Option<&Datum>,
    form: &[(String, String)],
    headers: &mut Vec<(String, String)>,
) -> Result<Option<String>, String> {
    let Some(body) = &operation.body else { return Ok(None) };
    let text = if takes_body(operation) {
        match value.filter(|value| **value != Datum::Null) {
            None if body.required => return Err("parameters: `body` is required".to_owned()),
            None => return Ok(None),
            Some(value) if body.media_type == FORM => {
                let object =
                    value.as_object().ok_or("parameters: `body` must be an object, as it is sent as a form")?;
                let style = |name: &str| Parameter {
                    name: name.to_owned(),
                    place: Place::Form,
                    required: false,
                    style: Style::Repeated,
                };
                let members = object.members().iter().map(|(name, value)| pairs(&style(name), value));
                urlencoded(&members.collect::<Result<Vec<_>, _>>()?.concat())
            }
            Some(value) if body.media_type.starts_with("text/") => {
                value.as_str().map_or_else(|| value.to_json(), str::to_owned)
            }
            Some(value) => value.to_json(),
        }
    } else {
        urlencoded(form)
    };
    headers.push(("content-type".to_owned(), body.media_type.clone()));
    Ok(Some(text))
}

/// One text for the value, with `escape` applied to each part.
fn joined(parameter: &Parameter, value: &Datum, escape: impl Fn(&str) -> String) -> Result<String, String> {
    let name = parameter.name.as_str();
    let scalar = |value: &Datum| Ok::<_, String>(escape(&scalar(name, value)?));
    let list = |separator: &str| match value {
        Datum::Array(array) => Ok(array.items().iter().map(scalar).collect::<Result<Vec<_>, _>>()?.join(separator)),
        Datum::Object(object) => {
            let members = object.members().iter().map(|(key, value)| Ok::<_, String>([escape(key), scalar(value)?]));
            Ok(members.collect::<Result<Vec<_>, _>>()?.concat().join(separator))
        }
        value => scalar(value),
    };
    let named = |separator: &str| match value {
        Datum::Object(object) => {
            let members = object
                .members()
                .iter()
                .map(|(key, value)| Ok::<_, String>(format!("{}={}", escape(key), scalar(value)?)));
            Ok(members.collect::<Result<Vec<_>, _>>()?.join(separator))
        }
        _ => list(separator),
    };
    match parameter.style {
        Style::Json => Ok(escape(&value.to_json())),
        Style::Pairs => named(","),
        Style::Label { explode: true } => Ok(format!(".{}", named(".")?)),
        Style::Label { explode: false } => Ok(format!(".{}", list(",")?)),
        Style::Matrix { explode: true } => match value {
            Datum::Object(_) => Ok(format!(";{}", named(";")?)),
            Datum::Array(array) => {
                let items = array.items().iter().map(|item| Ok::<_, String>(format!(";{name}={}", scalar(item)?)));
                Ok(items.collect::<Result<Vec<_>, _>>()?.concat())
            }
            value => Ok(format!(";{name}={}", scalar(value)?)),
        },
        Style::Matrix { explode: false } => Ok(format!(";{name}={}", list(",")?)),
        Style::Spaces => list(" "),
        Style::Tabs => list("\t"),
        Style::Pipes => list("|"),
        Style::Commas | Style::Repeated | Style::Deep => list(","),
    }
}

/// `name=value` pairs for a query, a form or cookies.
fn pairs(parameter: &Parameter, value: &Datum) -> Result<Vec<(String, String)>, String> {
    let name = parameter.name.as_str();
    match (parameter.style, value) {
        (Style::Repeated, Datum::Array(array)) => {
            array.items().iter().map(|item| Ok((name.to_owned(), scalar(name, item)?))).collect()
        }
        (Style::Repeated, Datum::Object(object)) => {
            object.members().iter().map(|(key, value)| Ok((key.to_string(), scalar(name, value)?))).collect()
        }
        (Style::Deep, Datum::Object(object)) => {
            let members = object.members().iter();
            members.map(|(key, value)| Ok((format!("{name}[{key}]"), scalar(name, value)?))).collect()
        }
        _ => Ok(vec![(name.to_owned(), joined(parameter, value, str::to_owned)?)]),
    }
}

fn scalar(name: &str, value: &Datum) -> Result<String, String> {
    match value {
        Datum::Text(_) => Ok(value.as_str().unwrap_or_default().to_owned()),
        Datum::Array(_) | Datum::Object(_) => {
            Err(format!("parameters: `{name}` is nested deeper than its style can express"))
        }
        Datum::Null => Ok(String::new()),
        scalar => Ok(scalar.to_json()),
    }
}

fn encoded(text: &str) -> String {
    crate::core::exchange::percent_encoded(text)
}

fn urlencoded(pairs: &[(String, String)]) -> String {
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    pairs.iter().for_each(|(name, value)| {
        text.append_pair(name, value);
    });
    text.finish()
}
