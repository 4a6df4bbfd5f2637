//! Over a socket: certificates, tokens, and the drain.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::core::v1::ConfigMap;
use kapell_apiserver::pki::Pki;
use kapell_apiserver::{ApiServer, Config};
use kapell_store::memory::MemoryStore;
use kube::api::{Api as KubeApi, ListParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
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

/// A certificate for a client, signed with the key of the CA below `directory`, and its key; both PEM in base64.
fn client_certificate(directory: &Path) -> (String, String) {
    let named = |names: &[(DnType, &str)]| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        names.iter().for_each(|(kind, name)| params.distinguished_name.push(kind.clone(), *name));
        params
    };
    let mut ca = named(&[(DnType::CommonName, "kapell-ca")]);
    ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_key = KeyPair::from_pem(&std::fs::read_to_string(directory.join("ca.key")).unwrap()).unwrap();
    let mut params = named(&[(DnType::OrganizationName, "developers"), (DnType::CommonName, "ann")]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &Issuer::from_params(&ca, &ca_key)).unwrap().pem();
    (STANDARD.encode(certificate), STANDARD.encode(key.serialize_pem()))
}

#[tokio::test]
async fn a_client_certificate_of_our_ca_says_who_one_is() {
    let directory = tempfile::tempdir().unwrap();
    let today = jiff::Zoned::now().date();
    let pki = Pki::load_or_create(directory.path(), today, &[]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let server = ApiServer::new(Config::new(pki.admin_token()), Arc::new(MemoryStore::new())).await.unwrap();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn({
        let (server, tls, shutdown) = (server.clone(), pki.server_config().unwrap(), shutdown.clone());
        async move { server.serve(listener, tls, shutdown).await }
    });
    let with_certificate = |directory: &Path| {
        let (certificate, key) = client_certificate(directory);
        let token = format!("token: {}", pki.admin_token());
        let data = format!("client-certificate-data: {certificate}\n    client-key-data: {key}");
        pki.kubeconfig(&url).replace(&token, &data)
    };
    let who_am_i = async |kubeconfig: String| {
        let reviews: KubeApi<SelfSubjectReview> = KubeApi::all(client(&kubeconfig).await);
        reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await
    };
    let user = who_am_i(with_certificate(directory.path())).await.unwrap().status.unwrap().user_info.unwrap();
    assert_eq!(user.username.as_deref(), Some("ann"));
    assert_eq!(user.groups.unwrap(), ["developers", "system:authenticated"]);

    let other = directory.path().join("other");
    Pki::load_or_create(&other, today, &[]).unwrap();
    let stranger = who_am_i(with_certificate(&other)).await.expect_err("the CA is another");
    assert!(matches!(&stranger, kube::Error::Api(status) if status.code == 401), "{stranger}");
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}
