//! Builds the services and hands each the few things that are not objects.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use kapell_agent::{AgentConfig, Logs, Sessions, Usage};
use kapell_api::net::LoopbackBlock;
use kapell_apiserver::pki::Pki;
use kapell_apiserver::{ApiServer, AuditConfig, Identity, Tls};
use kapell_controllers::ControllersConfig;
use kapell_gateway::{Gateway, GatewayConfig};
use kapell_scheduler::SchedulerConfig;
use kapell_store::Store;
use kapell_workflow::{Engine, EventLimits};

use crate::caller::Caller;
use crate::cloud_events::CloudEvents;
use crate::handles::{ClientAuthority, NodeUsage, PodLogs, RunIntake, Timeline};
use crate::proxy::{PodProxy, ServiceProxy};
use crate::streams::{PodAttach, PodExec, PodPortForward};

/// Everything that runs, built and connected, but not yet started.
pub(crate) struct Wired {
    pub(crate) api: ApiServer,
    pub(crate) tls: Tls,
    pub(crate) kubeconfig: String,
    pub(crate) gateway: Gateway,
    pub(crate) workflows: Arc<Engine>,
    pub(crate) agent: AgentConfig,
    pub(crate) scheduler: SchedulerConfig,
    pub(crate) controllers: ControllersConfig,
}

pub(crate) async fn wire(
    settings: &crate::Config,
    node_name: &str,
    block: LoopbackBlock,
    store: Arc<dyn Store>,
    address: SocketAddr,
) -> anyhow::Result<Wired> {
    let data: &Path = &settings.data;
    let workflows = &settings.workflows;
    // In UTC, whose rules need no search through the system's time zones; a certificate's day does not depend on it.
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    // Where pods reach the API, through the Service `kubernetes`.
    let service_address = block.services().0.to_string();
    let pki =
        Pki::load_or_create(&data.join("pki"), today, &[service_address]).context("cannot load the server's keys")?;
    let config = kapell_apiserver::Config {
        audit: Some(AuditConfig::new(data.join("audit"))),
        account_key: Some(pki.service_account_key()?),
        block: Some(block),
        advertise: Some(address),
        validators: vec![(("kapell.dev".to_owned(), "Workflow".to_owned()), workflow_validator(workflows.allow_run))],
        ..kapell_apiserver::Config::new(pki.admin_token())
    };
    let api = ApiServer::new(config, store.clone()).await.context("the API server cannot start")?;
    let gateway = Gateway::new(GatewayConfig::default(), client(&api, "system:kapell:gateway"));
    let mut egress = workflows.egress.clone();
    egress.own.push(address);
    let caller = Arc::new(Caller::new(gateway.clone(), egress.clone()));
    let engine_client = client(&api, "system:kapell:workflow");
    api.add_metrics(crate::metrics::of_process(data));
    let defaults = kapell_workflow::Config::default();
    let count = |given: Option<u32>, default: usize| given.and_then(|given| given.try_into().ok()).unwrap_or(default);
    let max_bytes = workflows.event_log_mib.map_or(defaults.events.max_bytes, |mib| u64::from(mib) << 20);
    let engine = kapell_workflow::Config {
        max_runs: count(workflows.max_runs, defaults.max_runs),
        max_waiting: count(workflows.max_waiting_runs, defaults.max_waiting),
        events: EventLimits { max_bytes, ..defaults.events },
        egress,
        resources: workflows.resources.clone(),
        allow_processes: workflows.allow_run,
        lifecycle_events: workflows.lifecycle_events,
        ..defaults
    };
    let workflows = Arc::new(Engine::new(engine, engine_client, store, caller));
    let (of_workflows, of_gateway) = (workflows.clone(), gateway.clone());
    api.add_metrics(Arc::new(move || of_workflows.metrics()));
    api.add_metrics(Arc::new(move || of_gateway.metrics()));
    api.register_connect("pods", "log", Arc::new(PodLogs(Logs::new(data))));
    api.register_usage(Arc::new(NodeUsage { usage: Usage::new(data), node: node_name.to_owned() }));
    let sessions = Sessions::new(data);
    let attach = PodAttach { sessions: sessions.clone(), logs: Logs::new(data) };
    api.register_connect("pods", "exec", Arc::new(PodExec(sessions)));
    api.register_connect("pods", "attach", Arc::new(attach));
    api.register_connect("pods", "portforward", Arc::new(PodPortForward(block)));
    api.register_connect("pods", "proxy", Arc::new(PodProxy(block)));
    api.register_connect("services", "proxy", Arc::new(ServiceProxy(gateway.clone())));
    api.register_connect("workflowruns", "timeline", Arc::new(Timeline(workflows.clone())));
    api.register_intake(kapell_api::workflow::GROUP, "workflowruns", Arc::new(RunIntake(workflows.clone())));

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
    let controllers = ControllersConfig {
        root_certificate: Some(pki.ca_pem().to_owned()),
        client_signer: Some(Arc::new(ClientAuthority(pki.client_signer()?))),
        event_ttl: settings.event_ttl,
        ..ControllersConfig::default()
    };
    Ok(Wired { tls, kubeconfig, gateway, workflows, agent, scheduler: SchedulerConfig::default(), controllers, api })
}

/// A client without a socket, for a service of this process.
pub(crate) fn client(api: &ApiServer, user: &str) -> kube::Client {
    kube::Client::new(api.service(Identity::internal(user)), "default")
}

/// What the language says about a Workflow object's document, and whether this server runs what it asks for.
fn workflow_validator(allow_run: bool) -> kapell_apiserver::Validator {
    Arc::new(move |object: &serde_json::Value| {
        beside_async_work(|| {
            let problems = kapell_workflow::validate(&object["spec"]);
            if allow_run || !problems.is_empty() { problems } else { kapell_workflow::processes(&object["spec"]) }
        })
    })
}

/// A large document is compiled for longer than others should wait for this worker.
fn beside_async_work<R>(work: impl FnOnce() -> R) -> R {
    match tokio::runtime::Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
