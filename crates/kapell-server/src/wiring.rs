//! Builds the services and hands each the few things that are not objects.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use kapell_agent::{AgentConfig, Logs, Sessions, Usage};
use kapell_api::net::LoopbackBlock;
use kapell_apiserver::pki::Pki;
use kapell_apiserver::{ApiServer, Identity};
use kapell_gateway::{Gateway, GatewayConfig};
use kapell_scheduler::SchedulerConfig;
use kapell_store::Store;
use kapell_workflow::Engine;

use crate::cloud_events::CloudEvents;
use crate::handles::{Caller, NodeUsage, PodLogs, Timeline};
use crate::streams::{PodAttach, PodExec, PodPortForward};

/// Everything that runs, built and connected, but not yet started.
pub(crate) struct Wired {
    pub(crate) api: ApiServer,
    pub(crate) tls: Arc<rustls::ServerConfig>,
    pub(crate) kubeconfig: String,
    pub(crate) gateway: Gateway,
    pub(crate) workflows: Arc<Engine>,
    pub(crate) agent: AgentConfig,
    pub(crate) scheduler: SchedulerConfig,
}

pub(crate) async fn wire(
    data: &Path,
    node_name: &str,
    block: LoopbackBlock,
    store: Arc<dyn Store>,
    address: SocketAddr,
) -> anyhow::Result<Wired> {
    // In UTC, whose rules need no search through the system's time zones; a certificate's day does not depend on it.
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let pki = Pki::load_or_create(&data.join("pki"), today, &[]).context("cannot load the server's keys")?;
    let config = kapell_apiserver::Config {
        account_key: Some(pki.service_account_key()?),
        block: Some(block),
        advertise: Some(address),
        validators: vec![(("kapell.dev".to_owned(), "Workflow".to_owned()), Arc::new(workflow_problems))],
        ..kapell_apiserver::Config::new(pki.admin_token())
    };
    let api = ApiServer::new(config, store.clone()).await.context("the API server cannot start")?;
    let gateway = Gateway::new(GatewayConfig::default(), client(&api, "system:kapell:gateway"));
    let caller = Arc::new(Caller::new(gateway.clone()));
    let engine_client = client(&api, "system:kapell:workflow");
    let workflows = Arc::new(Engine::new(Default::default(), engine_client, store, caller));
    api.register_connect("pods", "log", Arc::new(PodLogs(Logs::new(data))));
    api.register_usage(Arc::new(NodeUsage { usage: Usage::new(data), node: node_name.to_owned() }));
    let sessions = Sessions::new(data);
    let attach = PodAttach { sessions: sessions.clone(), logs: Logs::new(data) };
    api.register_connect("pods", "exec", Arc::new(PodExec(sessions)));
    api.register_connect("pods", "attach", Arc::new(attach));
    api.register_connect("pods", "portforward", Arc::new(PodPortForward));
    api.register_connect("workflowruns", "timeline", Arc::new(Timeline(workflows.clone())));

    let collection = [kapell_api::workflow::GROUP, kapell_api::workflow::VERSION, "cloudevents"];
    api.register_feed(collection, Arc::new(CloudEvents(workflows.clone())));

    let executable =
        std::env::current_exe().context("cannot find this program's own file, which pods are started with")?;
    let agent = AgentConfig {
        node_name: node_name.to_owned(),
        data_dir: data.to_owned(),
        block,
        host_ip: Ipv4Addr::LOCALHOST,
        shim_command: vec![executable.into_os_string(), "shim".into()],
        host_env: kapell_agent::host_environment(),
    };
    let tls = pki.server_config()?;
    let kubeconfig = pki.kubeconfig(&format!("https://{address}"));
    Ok(Wired { tls, kubeconfig, gateway, workflows, agent, scheduler: SchedulerConfig::default(), api })
}

/// A client without a socket, for a service of this process.
pub(crate) fn client(api: &ApiServer, user: &str) -> kube::Client {
    kube::Client::new(api.service(Identity::internal(user)), "default")
}

/// What the language says about a Workflow object's document.
fn workflow_problems(object: &serde_json::Value) -> Vec<kapell_api::problem::Problem> {
    kapell_workflow::validate(&object["spec"])
}
