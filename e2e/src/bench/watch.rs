//! One change to 1,000 watchers through HTTPS: how long until each has it, and what each event costs the server.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::ConfigMap;
use kapell_e2e::Kapell;
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::mpsc;

use crate::api::config_map;
use crate::hammer::Rates;
use crate::process::cpu_nanos;
use crate::row;

pub(crate) const WATCHERS: usize = 1_000;
/// Each carries an eighth of the watches, as the streams of one HTTP/2 connection.
pub(crate) const CONNECTIONS: usize = 8;
pub(crate) const CHANGES: usize = 100;
/// Changes before the first that counts.
const WARM_UP: usize = 5;

type Connection = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

pub(crate) async fn measure() -> anyhow::Result<()> {
    let rates = fan_out(&Kapell::start()).await?;
    row("one change to 1,000 watchers through HTTPS, per event", &rates.to_string(), "≤ 3 µs, p50 ≤ 3 ms, p99 < 10 ms");
    Ok(())
}

/// Times are from the start of the write, which waits for the disk as any other, to each watcher's event.
pub(crate) async fn fan_out(kapell: &Kapell) -> anyhow::Result<Rates> {
    let api = Api::<ConfigMap>::default_namespaced(kapell.client().await);
    let made = api.create(&PostParams::default(), &config_map("watched", 0)?).await?;
    let (arrived, mut arrivals) = mpsc::channel(WATCHERS);
    let version = made.resource_version().context("a version")?;
    let mut watches = Vec::new();
    for _ in 0..CONNECTIONS {
        let (connection, address, token) = connect(kapell)?;
        for _ in 0..WATCHERS / CONNECTIONS {
            let uri = format!("{address}/api/v1/namespaces/default/configmaps?watch=true&resourceVersion={version}");
            let request = Request::get(uri).header(header::AUTHORIZATION, &token).body(Empty::new())?;
            let response = connection.request(request).await?;
            anyhow::ensure!(response.status().is_success(), "{}", response.status());
            watches.push(tokio::spawn(follow(response.into_body(), arrived.clone())));
        }
    }
    let (mut times, mut cpu, mut begun) = (Vec::new(), 0.0, Instant::now());
    for change in 0..WARM_UP + CHANGES {
        if change == WARM_UP {
            (times, cpu, begun) = (Vec::new(), cpu_nanos(kapell.pid())?, Instant::now());
        }
        let start = Instant::now();
        let object = config_map("watched", change + 1)?;
        api.replace("watched", &PostParams::default(), &object).await?;
        for _ in 0..WATCHERS {
            let at = arrivals.recv().await.context("a watch has ended")?;
            times.push(at.duration_since(start).as_secs_f64() * 1e3);
        }
    }
    let (used, took) = (cpu_nanos(kapell.pid())? - cpu, begun.elapsed());
    watches.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(Rates::of(times, took, used))
}

/// Tells of each event, which is a line, when it is there.
async fn follow(mut body: hyper::body::Incoming, arrived: mpsc::Sender<Instant>) {
    while let Some(Ok(frame)) = body.frame().await {
        let now = Instant::now();
        let lines = frame.data_ref().map_or(0, |data| data.iter().filter(|byte| **byte == b'\n').count());
        for _ in 0..lines {
            if arrived.send(now).await.is_err() {
                return;
            }
        }
    }
}

/// One HTTP/2 connection, the server's address, and what the administrator's requests say.
fn connect(kapell: &Kapell) -> anyhow::Result<(Connection, String, String)> {
    let file = kube::config::Kubeconfig::read_from(kapell.data().join("kubeconfig"))?;
    let file = serde_json::to_value(&file)?;
    let text = |pointer: &str| file.pointer(pointer).and_then(|v| v.as_str()).with_context(|| pointer.to_owned());
    let authority = text("/clusters/0/cluster/certificate-authority-data")?;
    let mut roots = RootCertStore::empty();
    for certificate in pem_certificates(authority)? {
        roots.add(certificate)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http2().build();
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build(connector);
    let token = format!("Bearer {}", text("/users/0/user/token")?);
    Ok((client, text("/clusters/0/cluster/server")?.to_owned(), token))
}

fn pem_certificates(base64: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    use base64::Engine as _;
    use rustls::pki_types::pem::PemObject as _;
    let pem = base64::engine::general_purpose::STANDARD.decode(base64)?;
    Ok(CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>()?)
}
