//! `kapell logs`.

use std::borrow::Cow;

use http_body_util::BodyExt as _;
use serde_json::Value;

use crate::cli::LogsArgs;
use crate::cluster::{Cluster, kind_called, named, query};
use crate::error::{Failure, Outcome};
use crate::print;

pub(crate) async fn run(cluster: &Cluster, args: &LogsArgs) -> Outcome {
    let pod = pod_name(cluster, &args.pod).await?;
    let containers = containers(cluster, &pod, args).await?;
    let since = args.since.as_deref().map(seconds).transpose()?;
    let logs = containers.iter().map(|container| {
        let (pod, since) = (&pod, &since);
        async move { print_log(cluster, args, pod, container.as_deref(), since.as_deref()).await }
    });
    if args.follow {
        return futures::future::try_join_all(logs).await.map(drop);
    }
    for log in logs {
        log.await?;
    }
    Ok(())
}

/// Which to show; `None` leaves it to the server.
async fn containers(cluster: &Cluster, pod: &str, args: &LogsArgs) -> Outcome<Vec<Option<String>>> {
    let one = args.container.is_some() || !args.prefix;
    if one && !args.all_containers {
        return Ok(vec![args.container.clone()]);
    }
    let object = cluster.get(&cluster.path(kind_called("pod")?, None, Some(pod))).await?;
    let of = |list: &str| object["spec"][list].as_array().cloned().unwrap_or_default();
    let names = [of("initContainers"), of("ephemeralContainers"), of("containers")].into_iter().flatten();
    let names: Vec<_> = names.map(|container| container["name"].as_str().map(str::to_owned)).collect();
    Ok(if args.all_containers { names } else { names.into_iter().rev().take(1).collect() })
}

async fn print_log(
    cluster: &Cluster,
    args: &LogsArgs,
    pod: &str,
    container: Option<&str>,
    since_seconds: Option<&str>,
) -> Outcome {
    let (tail, limit) = (args.tail.map(|lines| lines.to_string()), args.limit_bytes.map(|bytes| bytes.to_string()));
    let values = [
        ("container", container),
        ("tailLines", tail.as_deref()),
        ("limitBytes", limit.as_deref()),
        ("sinceSeconds", since_seconds),
        ("sinceTime", args.since_time.as_deref()),
    ];
    let mut pairs: Vec<(&str, &str)> = values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    // A server that is not Kapell does not know `restarts` and ends the log with its container.
    let flags = [
        ("follow", args.follow),
        ("restarts", args.follow),
        ("previous", args.previous),
        ("timestamps", args.timestamps),
    ];
    for (name, wanted) in flags {
        if wanted {
            pairs.push((name, "true"));
        }
    }
    let path = cluster.path(kind_called("pod")?, None, Some(pod)) + "/log" + &query(&pairs);
    let mut body = cluster.stream(&path, "text/plain, */*").await?;
    let prefix = container.filter(|_| args.prefix).map(|container| format!("[pod/{pod}/{container}] "));
    let mut prefixed = Prefixed { prefix: prefix.unwrap_or_default(), at_line_start: true };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::new(format!("the connection broke: {error}")))?;
        let Some(data) = frame.data_ref() else { continue };
        print::out_bytes(&prefixed.lines(data))?;
    }
    Ok(())
}

/// Puts something before each line of what comes in pieces, which may end anywhere, also within a character.
struct Prefixed {
    prefix: String,
    at_line_start: bool,
}

impl Prefixed {
    fn lines<'a>(&mut self, piece: &'a [u8]) -> Cow<'a, [u8]> {
        if self.prefix.is_empty() {
            return piece.into();
        }
        let mut out = Vec::with_capacity(piece.len() + self.prefix.len());
        for line in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.at_line_start {
                out.extend_from_slice(self.prefix.as_bytes());
            }
            out.extend_from_slice(line);
            self.at_line_start = line.ends_with(b"\n");
        }
        out.into()
    }
}

/// `1h30m` in seconds, as the API wants it.
fn seconds(word: &str) -> Outcome<String> {
    let wrong = || Failure::usage(format!("{word:?} is not a duration")).hint("30s, 5m or 1h30m");
    let (mut total, mut number) = (0_u64, String::new());
    for letter in word.chars() {
        let unit = match letter {
            '0'..='9' => {
                number.push(letter);
                continue;
            }
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return Err(wrong()),
        };
        let count: u64 = number.parse().map_err(|_| wrong())?;
        total = count.checked_mul(unit).and_then(|more| total.checked_add(more)).ok_or_else(wrong)?;
        number.clear();
    }
    if !number.is_empty() || total == 0 { Err(wrong()) } else { Ok(total.to_string()) }
}

/// `POD`, `pod/POD`, or any kind with a selector, for the first of its pods.
pub(super) async fn pod_name(cluster: &Cluster, word: &str) -> Outcome<String> {
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

#[cfg(test)]
mod tests;
