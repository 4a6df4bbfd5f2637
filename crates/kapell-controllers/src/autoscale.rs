//! HorizontalPodAutoscalers: as many replicas as the pods' use of processor and memory asks for.
//!
//! [`plan`] turns figures into a wish, [`behavior`] the wish into a pace; this module reads `metrics.k8s.io`, scales through
//! the `scale` subresource of whatever the target is, and writes down what it saw. Use has no events, so this is the one
//! controller that looks again every so often.

mod behavior;
mod plan;
mod status;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec};
use kapell_api::quantity::Quantity;
use kapell_client::reconcile::Next;
use kapell_client::{Change, ObjectKey, Queue, Recorder, Severity};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use parking_lot::Mutex;
use serde_json::{Value, json};

use self::behavior::Decision;
pub(crate) use self::behavior::History;
use self::plan::{ContainerFacts, PodFacts, Proposal};
use self::status::Outcome;
use crate::caches::Caches;
use crate::pod::{self, KnownPod};

/// How often use is looked at, as upstream.
const INTERVAL: Duration = Duration::from_secs(15);

#[derive(Clone)]
pub(crate) struct Autoscaler {
    pub(crate) client: Client,
    pub(crate) caches: Caches,
    pub(crate) events: Recorder,
    /// By the uid of the autoscaler.
    pub(crate) histories: Arc<Mutex<HashMap<String, History>>>,
}

/// Its own status is no reason to look again.
pub(crate) fn on_change(
    queue: &Queue<ObjectKey>,
    histories: &Mutex<HashMap<String, History>>,
    change: &Change<HorizontalPodAutoscaler>,
) {
    match change {
        Change::Applied { old: Some(old), new } if old.spec == new.spec => {}
        Change::Applied { .. } => queue.add(change.key()),
        Change::Deleted(hpa) => drop(histories.lock().remove(hpa.metadata.uid.as_deref().unwrap_or_default())),
    }
}

/// What is scaled, as its `Scale` tells.
struct Target {
    path: String,
    replicas: i32,
    selector: String,
}

impl Autoscaler {
    pub(crate) async fn reconcile(self, key: ObjectKey) -> Result<Next, kube::Error> {
        let Some(hpa) = self.caches.workloads.autoscalers.get(&key) else { return Ok(Next::OnChange) };
        let (Some(spec), None) = (&hpa.spec, &hpa.metadata.deletion_timestamp) else { return Ok(Next::OnChange) };
        let now = Timestamp::now();
        let outcome = match self.target(&key.namespace, spec).await {
            Ok(target) => self.scale(&hpa, spec, &target, now).await,
            Err(message) => {
                self.events.record(hpa.as_ref(), Severity::Warning, "FailedGetScale", message.clone());
                Outcome::NoTarget { message }
            }
        };
        let status = status::status(&hpa, &outcome, now);
        if hpa.status.as_ref() != Some(&status) {
            let api: Api<HorizontalPodAutoscaler> = Api::namespaced(self.client.clone(), &key.namespace);
            let changed = HorizontalPodAutoscaler { status: Some(status), ..hpa.as_ref().clone() };
            match api.replace_status(&key.name, &PostParams::default(), &changed).await {
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                other => drop(other?),
            }
        }
        Ok(Next::After(INTERVAL))
    }

    async fn target(&self, namespace: &str, spec: &HorizontalPodAutoscalerSpec) -> Result<Target, String> {
        let wanted = &spec.scale_target_ref;
        let api_version = wanted.api_version.as_deref().unwrap_or("v1");
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let row = kapell_api::kinds::by_kind(group, version, &wanted.kind);
        let row = row.ok_or_else(|| format!("no kind {} in {api_version}", wanted.kind))?;
        let base = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let path = format!("{base}/namespaces/{namespace}/{}/{}/scale", row.plural, wanted.name);
        let scale = self.get(&path).await.map_err(|error| crate::pods::explain(&error))?;
        let count = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
        Ok(Target {
            path,
            replicas: i32::try_from(count).unwrap_or(i32::MAX),
            selector: scale.pointer("/status/selector").and_then(Value::as_str).unwrap_or_default().to_owned(),
        })
    }

    async fn get(&self, path: &str) -> Result<Value, kube::Error> {
        let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        self.client.request(request).await
    }

    async fn scale(
        &self,
        hpa: &HorizontalPodAutoscaler,
        spec: &HorizontalPodAutoscalerSpec,
        target: &Target,
        now: Timestamp,
    ) -> Outcome {
        let current = target.replicas;
        let least = spec.min_replicas.unwrap_or(1);
        if current == 0 {
            return Outcome::Disabled;
        }
        let (proposals, decision) = if current > spec.max_replicas {
            (Vec::new(), bounded(spec.max_replicas, ("TooManyReplicas", "there are more replicas than the maximum")))
        } else if current < least {
            (Vec::new(), bounded(least, ("TooFewReplicas", "there are fewer replicas than the minimum")))
        } else {
            match self.wish(hpa, spec, target).await {
                Ok((wish, proposals)) => {
                    let mut histories = self.histories.lock();
                    let history = histories.entry(hpa.uid().unwrap_or_default()).or_default();
                    history.recommend(now, wish);
                    (proposals, behavior::decide(spec, history, current, wish, now))
                }
                Err(message) => {
                    self.events.record(hpa, Severity::Warning, "FailedGetResourceMetric", message.clone());
                    return Outcome::NoMetrics { current, message };
                }
            }
        };
        let failure = if decision.replicas == current { None } else { self.set(hpa, target, &decision, now).await };
        Outcome::Decided { current, proposals, decision, failure }
    }

    /// The largest wish of all metrics. A metric that cannot be had may hide a reason to stay large, so then nothing shrinks.
    async fn wish(
        &self,
        hpa: &HorizontalPodAutoscaler,
        spec: &HorizontalPodAutoscalerSpec,
        target: &Target,
    ) -> Result<(i32, Vec<(MetricSpec, Proposal)>), String> {
        let namespace = hpa.namespace().unwrap_or_default();
        let pods = self.pods(&namespace, &target.selector).await?;
        let mut proposals = Vec::new();
        let mut failure = None;
        for metric in spec.metrics.iter().flatten() {
            let proposal = plan::measured(metric)
                .ok_or_else(|| format!("metrics of type {} are not measured here", metric.type_))
                .and_then(|measured| plan::propose(&measured, &pods, target.replicas));
            match proposal {
                Ok(proposal) => proposals.push((metric.clone(), proposal)),
                Err(message) => failure = Some(message),
            }
        }
        let wish = proposals.iter().map(|(_, proposal)| proposal.replicas).max();
        match (wish, failure) {
            (Some(wish), None) => Ok((wish, proposals)),
            (Some(wish), Some(_)) if wish > target.replicas => Ok((wish, proposals)),
            (_, failure) => Err(failure.unwrap_or_else(|| "no metric is named".to_owned())),
        }
    }

    /// The pods of the target with what they use.
    async fn pods(&self, namespace: &str, selector: &str) -> Result<Vec<PodFacts>, String> {
        if selector.is_empty() {
            return Err("the target's selector is empty".to_owned());
        }
        let query: String = http_escaped(selector);
        let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods?labelSelector={query}");
        let metrics = self.get(&path).await.map_err(|error| {
            format!("unable to fetch metrics from resource metrics API: {}", crate::pods::explain(&error))
        })?;
        let usage = usage_of(&metrics);
        let labels = kapell_api::selector::Selector::parse(selector).map_err(|error| error.to_string())?;
        let mut pods = self.caches.pods.list_in(namespace);
        pods.retain(|pod| labels.matches(&pod.labels) && pod::is_active(pod));
        if pods.is_empty() {
            return Err("no running pods to measure".to_owned());
        }
        Ok(pods.iter().map(|pod| facts(pod, &usage)).collect())
    }

    async fn set(
        &self,
        hpa: &HorizontalPodAutoscaler,
        target: &Target,
        decision: &Decision,
        now: Timestamp,
    ) -> Option<String> {
        let patch = json!({"spec": {"replicas": decision.replicas}}).to_string().into_bytes();
        let request = http::Request::patch(&target.path).header("content-type", "application/merge-patch+json");
        let result: Result<Value, kube::Error> = match request.body(patch) {
            Ok(request) => self.client.request(request).await,
            Err(error) => Err(kube::Error::HttpError(error)),
        };
        if let Err(error) = result {
            let message = format!("New size: {}; error: {}", decision.replicas, crate::pods::explain(&error));
            self.events.record(hpa, Severity::Warning, "FailedRescale", message.clone());
            return Some(message);
        }
        let message = format!("New size: {}", decision.replicas);
        self.events.record(hpa, Severity::Normal, "SuccessfulRescale", message);
        let mut histories = self.histories.lock();
        let history = histories.entry(hpa.uid().unwrap_or_default()).or_default();
        history.changed(now, decision.replicas - target.replicas);
        None
    }
}

fn bounded(replicas: i32, limited: (&'static str, &'static str)) -> Decision {
    Decision { replicas, stabilized: None, limited: Some(limited) }
}

/// Percent-encodes what cannot stand in a query.
fn http_escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Used processor and memory, in thousandths, by pod and container.
type Usage = HashMap<(String, String), (Option<i64>, Option<i64>)>;

fn usage_of(metrics: &Value) -> Usage {
    let mut usage = Usage::new();
    for pod in metrics["items"].as_array().into_iter().flatten() {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        for container in pod["containers"].as_array().into_iter().flatten() {
            let amount = |resource: &str| {
                let text = container["usage"][resource].as_str()?;
                Quantity::parse(text).ok().map(Quantity::milli)
            };
            let key = (name.to_owned(), container["name"].as_str().unwrap_or_default().to_owned());
            usage.insert(key, (amount("cpu"), amount("memory")));
        }
    }
    usage
}

fn facts(pod: &KnownPod, usage: &Usage) -> PodFacts {
    let containers = pod.template.containers.iter().map(|container| {
        let used = usage.get(&(pod.id.name.to_string(), container.name.clone()));
        ContainerFacts {
            name: container.name.clone(),
            cpu: used.and_then(|(cpu, _)| *cpu),
            memory: used.and_then(|(_, memory)| *memory),
            requests_cpu: container.requests_cpu,
            requests_memory: container.requests_memory,
        }
    });
    PodFacts { starting: !pod::is_ready(pod), containers: containers.collect() }
}
