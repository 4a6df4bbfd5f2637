//! Over a socket: certificates, tokens, and the drain.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kapell_apiserver::pki::Pki;
use kapell_apiserver::{ApiServer, Config};
use kapell_store::memory::MemoryStore;
use kube::api::{Api as KubeApi, ListParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

async fn client(kubeconfig: &str) -> kube::Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    kube::Client::try_from(config).unwrap()
}

#[tokio::test]
async fn the_kubeconfig_opens_the_door_and_nothing_else_does() {
    let directory = tempfile::tempdir().unwrap();
    let pki = Pki::load_or_create(directory.path(), jiff::Zoned::now().date(), &[]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let server = ApiServer::new(Config::new(pki.admin_token()), Arc::new(MemoryStore::new())).await.unwrap();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn({
        let (server, tls, shutdown) = (server.clone(), pki.server_config().unwrap(), shutdown.clone());
        async move { server.serve(listener, tls, shutdown).await }
    });

    let kubeconfig = pki.kubeconfig(&url);
    let admin = client(&kubeconfig).await;
    let maps: KubeApi<ConfigMap> = KubeApi::namespaced(admin.clone(), "default");
    assert!(maps.list(&ListParams::default()).await.unwrap().items.is_empty());

    let stranger = client(&kubeconfig.replace(pki.admin_token(), "guess")).await;
    let maps_of_stranger: KubeApi<ConfigMap> = KubeApi::namespaced(stranger.clone(), "default");
    let refused = maps_of_stranger.list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 401), "{refused:?}");
    stranger.apiserver_version().await.expect("the version is open");

    let other = Pki::load_or_create(&directory.path().join("other"), jiff::Zoned::now().date(), &[]).unwrap();
    let deceived = client(&other.kubeconfig(&url)).await;
    assert!(deceived.apiserver_version().await.is_err(), "another CA is not trusted");

    let mut watch = maps.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    shutdown.cancel();
    serving.await.unwrap().unwrap();
    let end: Option<WatchEvent<ConfigMap>> = watch.try_next().await.unwrap_or(None);
    assert!(end.is_none(), "shutdown ends watches: {end:?}");
}
