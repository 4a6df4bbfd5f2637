//! Builds the services and hands each the few things that are not objects.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use kapell_api::net::LoopbackBlock;
use kapell_apiserver::pki::Pki;
use kapell_apiserver::{ApiServer, Identity};
use kapell_gateway::{Gateway, GatewayConfig};
use kapell_store::Store;

/// Everything that runs, built and connected, but not yet started.
pub(crate) struct Wired {
    pub(crate) api: ApiServer,
    pub(crate) tls: Arc<rustls::ServerConfig>,
    pub(crate) kubeconfig: String,
    pub(crate) gateway: Gateway,
}

pub(crate) async fn wire(
    data: &Path,
    node_name: &str,
    block: LoopbackBlock,
    store: Arc<dyn Store>,
    address: SocketAddr,
) -> anyhow::Result<Wired> {
    let today = jiff::Zoned::now().date();
    let pki = Pki::load_or_create(&data.join("pki"), today, &[]).context("cannot load the server's keys")?;
    let config = kapell_apiserver::Config {
        block: Some(block),
        advertise: Some(address),
        ..kapell_apiserver::Config::new(pki.admin_token())
    };
    let api = ApiServer::new(config, store.clone()).await.context("the API server cannot start")?;
    let gateway = Gateway::new(GatewayConfig::default(), client(&api, "system:kapell:gateway"));
    let _ = node_name;
    Ok(Wired { tls: pki.server_config()?, kubeconfig: pki.kubeconfig(&format!("https://{address}")), gateway, api })
}

/// A client without a socket, for a service of this process.
pub(crate) fn client(api: &ApiServer, user: &str) -> kube::Client {
    kube::Client::new(api.service(Identity::internal(user)), "default")
}
