//! `kapell get`: the server's tables, or whole objects.

use http_body_util::BodyExt as _;
use kapell_api::kind::Kind;
use serde_json::{Value, json};

use crate::cli::{GetArgs, Output};
use crate::cluster::{AS_TABLE, Cluster, kind_called, query};
use crate::error::{Failure, Outcome};
use crate::print::{self, TableView};

/// What one word of the command line asks for.
struct Wanted {
    kind: &'static Kind,
    /// All of them if empty.
    names: Vec<String>,
}

pub(crate) async fn run(cluster: &Cluster, args: &GetArgs) -> Outcome {
    let wanted = parse_targets(&args.targets)?;
    let namespace = args.all_namespaces.then_some("");
    let rows = matches!(args.output, None | Some(Output::Wide));
    if args.watch && (!rows || wanted.len() > 1) {
        return Err(Failure::usage("--watch prints the rows of one kind").hint("kapell get pods --watch"));
    }
    if args.all_namespaces && wanted.iter().any(|want| !want.names.is_empty()) {
        return Err(Failure::usage("an object is named in one namespace, --all-namespaces lists all of them"));
    }
    if rows {
        tables(cluster, args, &wanted, namespace).await
    } else {
        objects(cluster, args, &wanted, namespace).await
    }
}

/// `pods`, `pods,services`, `pod/a deployment/b`, `pod a b`, `all`.
fn parse_targets(words: &[String]) -> Outcome<Vec<Wanted>> {
    let mut wanted: Vec<Wanted> = Vec::new();
    if words.iter().any(|word| word.contains('/')) {
        for word in words {
            let named = crate::cluster::named(std::slice::from_ref(word))?;
            match wanted.iter_mut().find(|want| want.kind.kind == named.kind.kind) {
                Some(want) => want.names.push(named.name),
                None => wanted.push(Wanted { kind: named.kind, names: vec![named.name] }),
            }
        }
        return Ok(wanted);
    }
    let Some((kinds, names)) = words.split_first() else { return Ok(wanted) };
    for name in names {
        crate::cluster::check_name(name)?;
    }
    for word in kinds.split(',') {
        let names = names.to_vec();
        if word == "all" {
            let all = kapell_api::kinds::KINDS.iter().filter(|kind| kind.categories.contains(&"all"));
            wanted.extend(all.map(|kind| Wanted { kind, names: names.clone() }));
        } else {
            wanted.push(Wanted { kind: kind_called(word)?, names });
        }
    }
    Ok(wanted)
}

fn selection(args: &GetArgs) -> Vec<(&str, &str)> {
    let mut pairs = Vec::new();
    if let Some(selector) = &args.selector {
        pairs.push(("labelSelector", selector.as_str()));
    }
    if let Some(selector) = &args.field_selector {
        pairs.push(("fieldSelector", selector.as_str()));
    }
    pairs
}

async fn tables(cluster: &Cluster, args: &GetArgs, wanted: &[Wanted], namespace: Option<&str>) -> Outcome {
    let mut found = false;
    let mut missing = None;
    for want in wanted {
        let prefix = (wanted.len() > 1).then(|| match want.kind.group {
            "" => want.kind.singular.to_owned(),
            group => format!("{}.{group}", want.kind.singular),
        });
        let view = TableView {
            wide: args.output == Some(Output::Wide),
            namespaces: args.all_namespaces && want.kind.namespaced,
            prefix,
        };
        let paths: Vec<String> = match want.names.as_slice() {
            [] => vec![cluster.path(want.kind, namespace, None) + &query(&selection(args))],
            names => names.iter().map(|name| cluster.path(want.kind, namespace, Some(name))).collect(),
        };
        let mut header = Vec::new();
        let mut rows = Vec::new();
        let mut version = String::new();
        for path in &paths {
            match cluster.get_as(path, AS_TABLE).await {
                Ok(table) => {
                    header = view.header(&table);
                    rows.extend(view.rows(&table));
                    version = table["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
                }
                // One name that is wrong does not hide the others.
                Err(failure) if !want.names.is_empty() && !args.watch => missing = Some(note(missing, failure)),
                Err(failure) => return Err(failure),
            }
        }
        if !rows.is_empty() {
            if found {
                print::out("\n")?;
            }
            found = true;
            print::out(&print::columns(&header, &rows))?;
        }
        if args.watch {
            let widths = if rows.is_empty() { Vec::new() } else { print::widths(&header, &rows) };
            return follow(cluster, args, want, namespace, &view, &version, widths).await;
        }
    }
    match missing {
        Some(failure) => Err(failure),
        None if found => Ok(()),
        None => nothing_found(cluster, args.all_namespaces).await,
    }
}

fn note(before: Option<Failure>, failure: Failure) -> Failure {
    match before {
        Some(before) => Failure { message: format!("{}\n       {}", before.message, failure.message), ..before },
        None => failure,
    }
}

/// An empty list is an answer, not a failure; that the namespace does not exist is worth knowing.
async fn nothing_found(cluster: &Cluster, everywhere: bool) -> Outcome {
    let namespace = &cluster.namespace;
    if everywhere {
        eprintln!("nothing found");
    } else if cluster.get_if_exists(&cluster.path(kind_called("namespace")?, None, Some(namespace))).await?.is_none() {
        eprintln!("nothing found: there is no namespace {namespace}");
    } else {
        eprintln!("nothing found in namespace {namespace}");
    }
    Ok(())
}

/// Prints a row for each change until interrupted, in the columns of the rows above.
async fn follow(
    cluster: &Cluster,
    args: &GetArgs,
    want: &Wanted,
    namespace: Option<&str>,
    view: &TableView,
    version: &str,
    mut widths: Vec<usize>,
) -> Outcome {
    let mut pairs = vec![("watch", "true"), ("resourceVersion", version)];
    pairs.extend(selection(args));
    // The server follows one name or all; of several the rows are picked here.
    let field = match want.names.as_slice() {
        [one] => Some(format!("metadata.name={one}")),
        _ => None,
    };
    if let Some(field) = &field {
        pairs.push(("fieldSelector", field));
    }
    let path = cluster.path(want.kind, namespace, None) + &query(&pairs);
    let mut lines = Lines::new(cluster.stream(&path, AS_TABLE).await?);
    while let Some(line) = lines.next().await? {
        let event: Value = serde_json::from_slice(&line).map_err(|error| Failure::new(error.to_string()))?;
        if event["type"] == "ERROR" {
            return Err(Failure::new(event["object"]["message"].as_str().unwrap_or("the watch ended").to_owned()));
        }
        let name = event["object"]["rows"][0]["object"]["metadata"]["name"].as_str().unwrap_or_default();
        if !want.names.is_empty() && !want.names.iter().any(|wanted| wanted == name) {
            continue;
        }
        let rows = view.rows(&event["object"]);
        if widths.is_empty() {
            let header = view.header(&event["object"]);
            widths = print::widths(&header, &rows);
            print::out(&print::padded(&header, &widths))?;
        }
        for row in rows {
            print::out(&print::padded(&row, &widths))?;
        }
    }
    Ok(())
}

async fn objects(cluster: &Cluster, args: &GetArgs, wanted: &[Wanted], namespace: Option<&str>) -> Outcome {
    let output = args.output.unwrap_or(Output::Yaml);
    let mut items = Vec::new();
    let mut single = false;
    for want in wanted {
        if want.names.is_empty() {
            let list = cluster.get(&(cluster.path(want.kind, namespace, None) + &query(&selection(args)))).await?;
            for mut item in list["items"].as_array().cloned().unwrap_or_default() {
                // Items of a list may leave out what the list says already.
                item["apiVersion"] = want.kind.api_version().into();
                item["kind"] = want.kind.kind.into();
                items.push(item);
            }
        }
        for name in &want.names {
            single = wanted.len() == 1 && want.names.len() == 1;
            items.push(cluster.get(&cluster.path(want.kind, namespace, Some(name))).await?);
        }
    }
    if output == Output::Name {
        return items.iter().try_for_each(|item| print::value(item, output));
    }
    match items.as_slice() {
        [one] if single => print::value(one, output),
        _ => print::value(
            &json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items}),
            output,
        ),
    }
}

/// The lines of a body that is still being written.
pub(crate) struct Lines {
    body: kube::client::Body,
    rest: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(body: kube::client::Body) -> Self {
        Self { body, rest: Vec::new() }
    }

    pub(crate) async fn next(&mut self) -> Outcome<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line = self.rest.drain(..=end).collect();
                return Ok(Some(line));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    let frame = frame.map_err(|error| Failure::new(format!("the connection broke: {error}")))?;
                    if let Some(data) = frame.data_ref() {
                        self.rest.extend_from_slice(data);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
