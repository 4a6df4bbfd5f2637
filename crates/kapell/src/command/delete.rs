//! `kapell delete`: named objects, selected ones, or those of files.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::DeleteArgs;
use crate::cluster::{Cluster, Named, kind_called, named, query};
use crate::error::{Failure, Outcome};
use crate::manifest;
use crate::print;

/// How long `delete` waits for objects to be gone: a pod's default grace of 30 s, and time to spare.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

pub(crate) async fn run(cluster: &Cluster, args: &DeleteArgs) -> Outcome {
    let mut paths = Vec::new();
    for named in targets(cluster, args).await? {
        paths.push((label(&named), cluster.path_of(&named)));
    }
    if !args.filename.is_empty() {
        for object in manifest::read(&args.filename)?.into_iter().rev() {
            let namespace = object.namespace();
            paths.push((object.label(), cluster.path(object.kind, namespace, Some(object.name()))));
        }
    }
    if paths.is_empty() {
        return Err(Failure::usage("nothing to delete").hint("kapell delete KIND/NAME, or kapell delete -f FILE"));
    }
    delete_all(cluster, &paths, args.grace_period, args.ignore_not_found, !args.no_wait).await
}

/// Deletes in the given order, then waits until the objects are gone.
pub(crate) async fn delete_all(
    cluster: &Cluster,
    paths: &[(String, String)],
    grace: Option<u32>,
    ignore_missing: bool,
    wait: bool,
) -> Outcome {
    let mut options = json!({"propagationPolicy": "Background"});
    if let Some(seconds) = grace {
        options["gracePeriodSeconds"] = seconds.into();
    }
    let mut pending = Vec::new();
    let mut missing = Vec::new();
    for (label, path) in paths {
        match cluster.delete(path, &options).await? {
            Some(_) => {
                print::out(&format!("{label} deleted\n"))?;
                pending.push((label, path));
            }
            None if ignore_missing => {}
            None => missing.push(format!("{label} does not exist")),
        }
    }
    if wait {
        for (label, path) in pending {
            wait_until_gone(cluster, label, path).await?;
        }
    }
    // One name that is wrong does not keep the others.
    if missing.is_empty() { Ok(()) } else { Err(Failure::new(missing.join("\n       "))) }
}

async fn wait_until_gone(cluster: &Cluster, label: &str, path: &str) -> Outcome {
    let Some((collection, name)) = path.rsplit_once('/') else { return Ok(()) };
    let gone = async {
        loop {
            let Some(object) = cluster.get_if_exists(path).await? else { return Ok(()) };
            let field = format!("metadata.name={name}");
            let version = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
            let pairs = [("watch", "true"), ("fieldSelector", field.as_str()), ("resourceVersion", version)];
            let body = cluster.stream(&format!("{collection}{}", query(&pairs)), "application/json").await?;
            let mut lines = super::get::Lines::new(body);
            while let Some(line) = lines.next().await? {
                let event: Value = serde_json::from_slice(&line).unwrap_or_default();
                if event["type"] == "DELETED" || event["type"] == "ERROR" {
                    break;
                }
            }
        }
    };
    match tokio::time::timeout(LONGEST_WAIT, gone).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::new(format!(
            "{label} is marked for deletion, but still there after {} s",
            LONGEST_WAIT.as_secs()
        ))
        .hint("kapell describe shows its finalizers and events")),
    }
}

async fn targets(cluster: &Cluster, args: &DeleteArgs) -> Outcome<Vec<Named>> {
    let words = &args.targets;
    let Some((first, rest)) = words.split_first() else { return Ok(Vec::new()) };
    if first.contains('/') {
        return words.iter().map(|word| named(std::slice::from_ref(word))).collect();
    }
    let kind = kind_called(first)?;
    if let Some(selector) = &args.selector {
        let path = cluster.path(kind, None, None) + &query(&[("labelSelector", selector)]);
        let list = cluster.get(&path).await?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let names = items.iter().filter_map(|item| item["metadata"]["name"].as_str());
        return Ok(names.map(|name| Named { kind, name: name.to_owned() }).collect());
    }
    if rest.is_empty() {
        return Err(Failure::usage(format!("which of the {} shall be deleted?", kind.plural))
            .hint("name them, or select by -l"));
    }
    rest.iter().map(|name| named(&[first.clone(), name.clone()])).collect()
}

fn label(named: &Named) -> String {
    format!("{}/{}", named.kind.singular, named.name)
}
