//! `kapell logs`.

use http_body_util::BodyExt as _;
use serde_json::Value;

use crate::cli::LogsArgs;
use crate::cluster::{Cluster, kind_called, named, query};
use crate::error::{Failure, Outcome};
use crate::print;

pub(crate) async fn run(cluster: &Cluster, args: &LogsArgs) -> Outcome {
    let pod = pod_name(cluster, &args.pod).await?;
    let tail = args.tail.map(|lines| lines.to_string());
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    if let Some(container) = &args.container {
        pairs.push(("container", container));
    }
    if let Some(tail) = &tail {
        pairs.push(("tailLines", tail));
    }
    for (name, wanted) in [("follow", args.follow), ("previous", args.previous), ("timestamps", args.timestamps)] {
        if wanted {
            pairs.push((name, "true"));
        }
    }
    let path = cluster.path(kind_called("pod")?, None, Some(&pod)) + "/log" + &query(&pairs);
    let mut body = cluster.stream(&path, "text/plain, */*").await?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::new(format!("the connection broke: {error}")))?;
        if let Some(data) = frame.data_ref() {
            print::out(&String::from_utf8_lossy(data))?;
        }
    }
    Ok(())
}

/// `POD`, `pod/POD`, or any kind with a selector, for the first of its pods.
async fn pod_name(cluster: &Cluster, word: &str) -> Outcome<String> {
    if !word.contains('/') {
        return Ok(word.to_owned());
    }
    let owner = named(&[word.to_owned()])?;
    if owner.kind.kind == "Pod" {
        return Ok(owner.name);
    }
    let object = cluster.get(&cluster.path_of(&owner)).await?;
    let pods = super::pods_selected_by(cluster, &object).await?;
    let running = |pod: &&Value| pod["status"]["phase"] == "Running";
    let chosen = pods.iter().find(running).or(pods.first());
    let name = chosen.and_then(|pod| pod["metadata"]["name"].as_str());
    let name = name.ok_or_else(|| {
        Failure::new(format!("{word} has no pods")).hint(format!("kapell why {word} -n {}", cluster.namespace))
    })?;
    if pods.len() > 1 {
        eprintln!("{} pods of {word}, showing {name}", pods.len());
    }
    Ok(name.to_owned())
}
