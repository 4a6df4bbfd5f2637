//! `kapell rollout status` and `kapell rollout undo`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::RolloutVerb;
use crate::cluster::{Cluster, Named, named};
use crate::error::{Failure, Outcome};
use crate::print;
use crate::readiness::Readiness;

use super::settle::{self, News};
use super::{list, text};

/// The annotation in which upstream's deployment controller counts its revisions.
const REVISION: &str = "deployment.kubernetes.io/revision";

pub(crate) async fn run(cluster: &Cluster, verb: &RolloutVerb) -> Outcome {
    match verb {
        RolloutVerb::Status { target, timeout } => {
            status(cluster, &deployment(target)?, Duration::from_secs(*timeout)).await
        }
        RolloutVerb::Undo { target, to_revision } => undo(cluster, &deployment(target)?, *to_revision).await,
    }
}

fn deployment(words: &[String]) -> Outcome<Named> {
    let target = named(words)?;
    if target.kind.kind == "Deployment" {
        return Ok(target);
    }
    Err(Failure::usage(format!("a {} has no rollout", target.kind.kind)).hint("kapell rollout status deployment/NAME"))
}

async fn status(cluster: &Cluster, target: &Named, timeout: Duration) -> Outcome {
    let object = cluster.get(&cluster.path_of(target)).await?;
    let mut last = String::new();
    settle::until_ready(cluster, vec![object], timeout, |_, news| {
        let why = match news {
            News::State(Readiness::Waiting(why)) => why,
            News::Reason(why) => why,
            News::State(_) => return,
        };
        if why != last {
            eprintln!("deployment {}: {why}", target.name);
            why.clone_into(&mut last);
        }
    })
    .await?;
    print::out(&format!("deployment {:?} successfully rolled out\n", target.name))
}

async fn undo(cluster: &Cluster, target: &Named, to: Option<i64>) -> Outcome {
    let object = cluster.get(&cluster.path_of(target)).await?;
    let uid = text(&object, "/metadata/uid");
    let revision =
        |object: &Value| object["metadata"]["annotations"][REVISION].as_str().and_then(|text| text.parse::<i64>().ok());
    let mut history: Vec<(i64, Value)> = list(cluster, "replicasets", &[])
        .await?
        .into_iter()
        .filter(|set| text(set, "/metadata/ownerReferences/0/uid") == uid)
        .filter_map(|set| Some((revision(&set)?, set)))
        .collect();
    history.sort_by_key(|(number, _)| *number);
    let current = revision(&object).unwrap_or(0);
    let wanted = match to {
        Some(number) => history.iter().find(|(other, _)| *other == number),
        None => history.iter().rev().find(|(other, _)| *other < current),
    };
    let known: Vec<String> = history.iter().map(|(number, _)| number.to_string()).collect();
    let (number, set) = wanted.ok_or_else(|| {
        let which = to.map_or("a revision before this one".to_owned(), |number| format!("revision {number}"));
        Failure::new(format!("deployment {:?} does not keep {which}; it keeps {}", target.name, known.join(", ")))
    })?;

    let mut template = set["spec"]["template"].clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove("pod-template-hash");
    }
    let patch = json!([{"op": "replace", "path": "/spec/template", "value": template}]);
    cluster.json_patch(&cluster.path_of(target), &patch).await?;
    print::out(&format!("deployment.apps/{} rolled back to revision {number}\n", target.name))
}
