//! Shell commands and scripts: pods of the runtime class `process`, which this node's agent runs.
//!
//! A pod stays as long as the run that started it, since its end may have to be read again.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kapell_client::{Informer, ObjectKey};
use kube::api::{Api, PostParams};
use kube::runtime::watcher;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Desk, JobEnd, JobError, News, PARENT_LABEL, Waiting, code, owner, refused};
use crate::core::running::Process;
use crate::fault::Standard;
use crate::program::process::Returns;
use crate::secrets::{Disclosure, Piece, pieces};

const CONTAINER: &str = "run";

/// Output taken in, in bytes; it becomes part of the run's data.
const LONGEST_OUTPUT: usize = 1 << 20;

/// This engine's pods.
pub(super) struct Pods {
    informer: Informer<Pod>,
    news: Arc<News>,
}

impl Pods {
    pub(super) fn watch(client: &kube::Client, shutdown: &CancellationToken) -> Self {
        let news: Arc<News> = Arc::default();
        let heard = news.clone();
        let ours = watcher::Config::default().labels(PARENT_LABEL);
        let informer = Informer::start(Api::all(client.clone()), ours, shutdown.clone(), move |change| {
            if let Some(waiting) = heard.lock().get(&change.key()) {
                waiting.notify_waiters();
            }
        });
        Self { informer, news }
    }

    pub(super) async fn run(
        &self,
        desk: &Desk,
        key: &ObjectKey,
        uid: &str,
        process: &Process,
        awaited: bool,
    ) -> Result<JobEnd, JobError> {
        self.informer.synced().await;
        let news = Arc::new(Notify::new());
        let _waiting = Waiting::new(&self.news, key, &news);
        let api: Api<Pod> = Api::namespaced(desk.client.clone(), &key.namespace);
        let disclosure = disclosure(desk, &key.namespace, process).await?;
        if self.informer.get(key).is_none() {
            for (_, value) in &process.environment {
                let known = disclosure.disclosed(value, str::to_owned);
                known.map_err(|missing| refused(Standard::Configuration, missing.to_string()))?;
            }
            self.create(desk, &api, key, uid, process, awaited).await?;
        }
        if awaited { self.wait(desk, key, process, &disclosure, &news).await } else { Ok(JobEnd::Started) }
    }

    async fn create(
        &self,
        desk: &Desk,
        api: &Api<Pod>,
        key: &ObjectKey,
        uid: &str,
        process: &Process,
        awaited: bool,
    ) -> Result<(), JobError> {
        let environment = environment(process);
        let command: Vec<String> = process.command.iter().map(|word| escaped(word)).collect();
        let mut metadata = json!({ "name": key.name, "namespace": key.namespace, "labels": { PARENT_LABEL: uid } });
        let parent = desk.parent(&key.namespace, uid);
        if awaited && let Some(parent) = parent.as_ref().and_then(|parent| parent.whole()) {
            metadata["ownerReferences"] = owner(parent);
        }
        let pod: Pod = serde_json::from_value(json!({
            "metadata": metadata,
            "spec": {
                "runtimeClassName": "process", "restartPolicy": "Never",
                "containers": [{ "name": CONTAINER, "command": command, "env": environment }],
            },
        }))
        .map_err(|error| refused(Standard::Validation, error.to_string()))?;
        match api.create(&PostParams::default(), &pod).await {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == Some(409) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn wait(
        &self,
        desk: &Desk,
        key: &ObjectKey,
        process: &Process,
        disclosure: &Disclosure,
        news: &Notify,
    ) -> Result<JobEnd, JobError> {
        let mut known = false;
        loop {
            let changed = news.notified();
            match self.informer.get(key) {
                Some(pod) => {
                    known = true;
                    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
                    if matches!(phase, "Succeeded" | "Failed") {
                        return self.end(desk, key, &pod, process.returns, disclosure).await;
                    }
                }
                None if known => {
                    return Err(refused(Standard::Runtime, format!("pod {} was deleted", key.name)));
                }
                // Our own copy does not show it yet.
                None => {}
            }
            changed.await;
        }
    }

    async fn end(
        &self,
        desk: &Desk,
        key: &ObjectKey,
        pod: &Pod,
        returns: Returns,
        disclosure: &Disclosure,
    ) -> Result<JobEnd, JobError> {
        let status = pod.status.as_ref();
        let containers = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
        let terminated = containers.first().and_then(|container| container.state.as_ref()?.terminated.as_ref());
        let Some(terminated) = terminated else {
            let why = status.and_then(|status| status.message.clone().or(status.reason.clone())).unwrap_or_default();
            return Err(refused(Standard::Runtime, format!("pod {} has failed: {why}", key.name)));
        };
        let code = i64::from(terminated.exit_code);
        let wants_stdout = matches!(returns, Returns::Stdout | Returns::All);
        // Of a process that fails, the error says what it complained of.
        let wants_stderr = matches!(returns, Returns::Stderr | Returns::All) || code != 0;
        let stdout = if wants_stdout { output(desk, key, "Stdout").await? } else { String::new() };
        let stderr = if wants_stderr { output(desk, key, "Stderr").await? } else { String::new() };
        // What it prints becomes data of the run.
        let (stdout, stderr) = (disclosure.blotted(&stdout), disclosure.blotted(&stderr));
        Ok(JobEnd::Exited { code, stdout, stderr })
    }
}

async fn output(desk: &Desk, key: &ObjectKey, stream: &str) -> Result<String, JobError> {
    let ObjectKey { namespace, name } = key;
    let path = format!(
        "/api/v1/namespaces/{namespace}/pods/{name}/log?container={CONTAINER}&stream={stream}&limitBytes={LONGEST_OUTPUT}"
    );
    let request = http::Request::get(path).body(Vec::new());
    let request = request.map_err(|error| refused(Standard::Runtime, error.to_string()))?;
    Ok(desk.client.request_text(request).await?)
}

/// The values that the process is given, to be blotted out of what it prints.
async fn disclosure(desk: &Desk, namespace: &str, process: &Process) -> Result<Disclosure, JobError> {
    let mut disclosure = Disclosure::new(process.sealed.as_deref().unwrap_or_default());
    if process.sealed.is_none() {
        return Ok(disclosure);
    }
    let texts: Vec<&str> = process.environment.iter().map(|(_, value)| value.as_str()).collect();
    for name in disclosure.names(&texts) {
        let unreadable = |error| refused(Standard::Configuration, format!("Secret `{name}` cannot be read: {error}"));
        let data = desk.shared.secrets.read(namespace, &name).await.map_err(unreadable)?;
        let learnt = disclosure.learn(&name, data.unwrap_or_default());
        learnt.map_err(|error| refused(Standard::Configuration, error.to_string()))?;
    }
    Ok(disclosure)
}

/// The container's variables. A token becomes a reference to its Secret, which the node resolves when the process starts: the
/// object never holds the value. A token inside of a longer text gets a variable of its own for that.
fn environment(process: &Process) -> Vec<Value> {
    let nonce = process.sealed.as_deref();
    let mut helpers: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut variables = Vec::new();
    let reference = |name: &str, key: &str| json!({ "secretKeyRef": { "name": name, "key": key } });
    for (name, value) in &process.environment {
        let pieces = nonce.map_or_else(|| vec![Piece::Text(value.as_str())], |nonce| pieces(value, nonce));
        if let [Piece::Secret { name: secret, key }] = pieces.as_slice() {
            variables.push(json!({ "name": name, "valueFrom": reference(secret, key) }));
            continue;
        }
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(literal) => text.push_str(&escaped(literal)),
                Piece::Secret { name: secret, key } => {
                    let number = helpers.len() + 1;
                    let helper = helpers.entry((secret.clone(), key.clone())).or_insert_with(|| {
                        let helper = format!("KAPELL_SECRET_{number}");
                        variables.push(json!({ "name": helper, "valueFrom": reference(&secret, &key) }));
                        helper
                    });
                    text.push_str(&format!("$({helper})"));
                }
            }
        }
        variables.push(json!({ "name": name, "value": text }));
    }
    variables
}

/// `$(NAME)` in a pod's command stands for a variable; here it is the shell's.
fn escaped(text: &str) -> String {
    text.replace("$(", "$$(")
}

#[cfg(test)]
mod tests;
