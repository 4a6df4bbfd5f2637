//! `kapell describe`: one object, its conditions and its events, for reading.

use serde_json::{Map, Value};

use crate::cli::NamedArgs;
use crate::cluster::{Cluster, named};
use crate::error::{Failure, Outcome};
use crate::print;

use super::{events_of, text};

pub(crate) async fn run(cluster: &Cluster, args: &NamedArgs) -> Outcome {
    let target = named(&args.target)?;
    let object = cluster.get(&cluster.path_of(&target)).await?;
    let events = events_of(cluster, &object).await?;

    let mut page = String::new();
    for (title, value) in
        [("Name", text(&object, "/metadata/name")), ("Namespace", text(&object, "/metadata/namespace"))]
    {
        if !value.is_empty() {
            page.push_str(&format!("{title:<14}{value}\n"));
        }
    }
    page.push_str(&format!("{:<14}{}\n", "Created", text(&object, "/metadata/creationTimestamp")));
    for (title, pointer) in [("Labels", "/metadata/labels"), ("Annotations", "/metadata/annotations")] {
        page.push_str(&pairs(title, object.pointer(pointer).and_then(Value::as_object)));
    }
    if let Some(owner) = object.pointer("/metadata/ownerReferences/0") {
        page.push_str(&format!("{:<14}{}/{}\n", "Owner", text(owner, "/kind"), text(owner, "/name")));
    }
    for section in ["spec", "data", "endpoints", "ports", "status"] {
        page.push_str(&body(section, &object[section])?);
    }
    page.push_str(&conditions(&object));
    page.push_str(&events_table(&events));
    print::out(&page)
}

fn pairs(title: &str, map: Option<&Map<String, Value>>) -> String {
    let entries = map.into_iter().flatten().filter(|(key, _)| !key.ends_with("last-applied-configuration"));
    let lines = entries.enumerate().map(|(position, (key, value))| {
        let title = if position == 0 { title } else { "" };
        format!("{title:<14}{key}={}\n", value.as_str().unwrap_or_default())
    });
    lines.collect()
}

fn body(title: &str, value: &Value) -> Outcome<String> {
    let mut value = value.clone();
    if let Some(map) = value.as_object_mut() {
        map.remove("conditions"); // they have a table of their own
    }
    let empty =
        value.is_null() || value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty);
    if empty {
        return Ok(String::new());
    }
    let yaml = serde_saphyr::to_string(&value).map_err(|error| Failure::new(error.to_string()))?;
    let indented: String = yaml.lines().map(|line| format!("  {line}\n")).collect();
    Ok(format!("{}{}:\n{indented}", title[..1].to_uppercase(), &title[1..]))
}

fn conditions(object: &Value) -> String {
    let Some(conditions) =
        object.pointer("/status/conditions").and_then(Value::as_array).filter(|list| !list.is_empty())
    else {
        return String::new();
    };
    let header = ["  TYPE", "STATUS", "REASON", "MESSAGE"].map(str::to_owned);
    let row = |condition: &Value| {
        let cell = |pointer| text(condition, pointer).to_owned();
        vec![format!("  {}", cell("/type")), cell("/status"), cell("/reason"), cell("/message")]
    };
    let rows: Vec<_> = conditions.iter().map(row).collect();
    format!("Conditions:\n{}", print::columns(&header, &rows))
}

fn events_table(events: &[Value]) -> String {
    if events.is_empty() {
        return "Events:       none\n".to_owned();
    }
    let header = ["  TYPE", "REASON", "LAST SEEN", "COUNT", "MESSAGE"].map(str::to_owned);
    let row = |event: &Value| {
        let cell = |pointer| text(event, pointer).to_owned();
        let seen = event["lastTimestamp"].as_str().or(event["eventTime"].as_str()).unwrap_or_default().to_owned();
        vec![
            format!("  {}", cell("/type")),
            cell("/reason"),
            seen,
            event["count"].as_u64().unwrap_or(1).to_string(),
            cell("/message"),
        ]
    };
    let rows: Vec<_> = events.iter().map(row).collect();
    format!("Events:\n{}", print::columns(&header, &rows))
}
