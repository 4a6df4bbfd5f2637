//! One instance called directly, through its Service, and through other proxies where the machine has them: the same
//! client, the same 64 connections, the same instance, one after another. nginx and HAProxy are set up to do as much
//! as the gateway does: keep-alive to the instance, `X-Forwarded-For`, no access log.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kapell_e2e::{Kapell, eventually};

use crate::hammer::{Rates, Rounds, hammer};
use crate::process::family_cpu_nanos;
use crate::row;

const CONNECTIONS: usize = 64;

pub(crate) async fn measure() -> anyhow::Result<()> {
    let kapell = Kapell::start();
    kapell.cli_with_input(&["apply", "-f", "-"], include_str!("../../tests/files/web.yaml")).ok();
    kapell.cli(&["scale", "deployment/web", "--replicas=1"]).ok();
    kapell.cli(&["rollout", "status", "deployment/web"]).ok();
    // The second pod may still be leaving.
    let address = eventually("one pod", || {
        let pods = kapell.pods("default", "app=web");
        let [pod] = pods.as_slice() else { return None };
        pod["status"]["podIP"].as_str().map(|address| format!("{address}:8080"))
    });
    let service = kapell.object("default", "service/web");
    let cluster_ip = service["spec"]["clusterIP"].as_str().context("the Service has no address")?;

    let direct = load(&address, kapell.pid()).await?;
    row("HTTP requests to an instance directly, 64 connections", &direct.to_string(), "");
    let ours = load(&format!("{cluster_ip}:8080"), kapell.pid()).await?;
    row("– through its Service", &ours.to_string(), "≤ nginx's CPU and p99");
    for proxy in [nginx, haproxy] {
        let directory = tempfile::tempdir()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let (name, command) = proxy(directory.path(), port, &address)?;
        let Some(running) = Peer::start(command) else {
            eprintln!("{name} is not installed, so it is not compared");
            continue;
        };
        eventually(name, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        let theirs = load(&format!("127.0.0.1:{port}"), running.0.id()).await?;
        row(&format!("– through {name}, 2 workers"), &theirs.to_string(), "");
    }
    Ok(())
}

async fn load(address: &str, charged: u32) -> anyhow::Result<Rates> {
    let client: Client<HttpConnector, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(CONNECTIONS).build_http();
    let url = format!("http://{address}/");
    hammer(
        Rounds::ALL,
        CONNECTIONS,
        || family_cpu_nanos(charged),
        move |_, _| {
            let (client, url) = (client.clone(), url.clone());
            async move {
                let response = client.request(Request::get(url).body(Full::default())?).await?;
                anyhow::ensure!(response.status().is_success(), "{}", response.status());
                response.into_body().collect().await?;
                Ok(())
            }
        },
    )
    .await
}

/// Another proxy; ended with this value.
struct Peer(Child);

impl Peer {
    fn start(mut command: Command) -> Option<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().ok().map(Self)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // SIGTERM, so that a master takes its workers along.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.0.id() as i32), nix::sys::signal::SIGTERM);
        let _ = self.0.wait();
    }
}

fn nginx(directory: &Path, port: u16, instance: &str) -> anyhow::Result<(&'static str, Command)> {
    let at = |name: &str| directory.join(name).display().to_string();
    let configuration = format!(
        "daemon off; worker_processes 2; pid {pid}; error_log stderr crit;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n  access_log off; keepalive_requests 1000000000;\n\
         \x20 client_body_temp_path {temp}; proxy_temp_path {temp}; fastcgi_temp_path {temp}; uwsgi_temp_path {temp}; scgi_temp_path {temp};\n\
         \x20 upstream web {{ server {instance}; keepalive 128; keepalive_requests 1000000000; }}\n\
         \x20 server {{\n    listen 127.0.0.1:{port};\n    location / {{\n      proxy_pass http://web; proxy_http_version 1.1;\n\
         \x20     proxy_set_header Connection \"\"; proxy_set_header Host $host;\n\
         \x20     proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n    }}\n  }}\n}}\n",
        pid = at("nginx.pid"),
        temp = at("temporary"),
    );
    let file = directory.join("nginx.conf");
    std::fs::write(&file, configuration)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(directory).arg("-c").arg(file);
    Ok(("nginx", command))
}

fn haproxy(directory: &Path, port: u16, instance: &str) -> anyhow::Result<(&'static str, Command)> {
    let configuration = format!(
        "global\n  nbthread 2\n  maxconn 1024\n\
         defaults\n  mode http\n  option forwardfor\n  http-reuse always\n  timeout connect 1s\n  timeout client 60s\n  timeout server 60s\n\
         frontend f\n  bind 127.0.0.1:{port}\n  default_backend b\n\
         backend b\n  server one {instance}\n"
    );
    let file = directory.join("haproxy.cfg");
    std::fs::write(&file, configuration)?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(file);
    Ok(("HAProxy", command))
}
