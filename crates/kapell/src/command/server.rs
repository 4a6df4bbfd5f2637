//! `kapell server`, and the servers that `up` starts and `down` stops.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use kapell_server::data::Running;
use kapell_server::{Config, Pods, Server};

use crate::cli::{ServerArgs, Target, UpArgs, WorkflowSettings};
use crate::cluster::Cluster;
use crate::error::{Failure, Outcome};

/// How long a server that was started in the background may take until its API answers.
const START_LIMIT: Duration = Duration::from_secs(20);

fn data_dir(target: &Target) -> PathBuf {
    target.data.clone().unwrap_or_else(kapell_server::data::default_dir)
}

pub(crate) async fn run(target: &Target, args: &ServerArgs) -> Outcome {
    let config = Config {
        data: data_dir(target),
        api_port: args.api_port,
        node_name: args.node_name.clone(),
        workflows: args.workflows.settings(),
        event_ttl: Duration::from_secs(args.event_ttl.into()),
    };
    let mut server = Server::start(config).await.map_err(not_started)?;
    announce(&server);
    let ended = tokio::select! {
        () = interrupted() => Ok(()),
        failure = server.failed() => Err(Failure::new(failure)),
    };
    server.stop(Pods::Keep).await;
    ended
}

fn announce(server: &Server) {
    eprintln!("kapell {}", env!("CARGO_PKG_VERSION"));
    eprintln!("  api         https://{}", server.api_address());
    eprintln!("  data        {}", server.data().display());
    eprintln!("  kubeconfig  {}", server.kubeconfig().display());
    eprintln!("ready");
}

fn not_started(error: anyhow::Error) -> Failure {
    Failure::new(format!("the server cannot start: {error:#}"))
}

/// Resolves at SIGINT or SIGTERM.
pub(crate) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}

/// A server that `up` talks to, and the server itself if `up` had to start it.
pub(crate) struct Session {
    pub(crate) cluster: Cluster,
    pub(crate) data: PathBuf,
    ours: Option<Server>,
}

impl Session {
    pub(crate) fn is_ours(&self) -> bool {
        self.ours.is_some()
    }

    pub(crate) async fn until_interrupted(&mut self) -> Outcome {
        let Some(server) = &mut self.ours else { return Ok(()) };
        tokio::select! {
            () = interrupted() => Ok(()),
            failure = server.failed() => Err(Failure::new(failure)),
        }
    }

    /// Stops what `up` started; a server that ran before goes on.
    pub(crate) async fn stop(self) -> Outcome {
        if let Some(server) = self.ours {
            eprintln!("stopping");
            server.stop(Pods::Stop).await;
        }
        Ok(())
    }
}

/// The server that `--kubeconfig` names or that runs on the data directory; else starts one.
pub(crate) async fn find_or_start(target: &Target, args: &UpArgs) -> Outcome<Session> {
    let data = data_dir(target);
    if target.kubeconfig.is_some() {
        return Ok(Session { cluster: Cluster::connect(target).await?, data, ours: None });
    }
    if let Some(cluster) = running(&data, target).await {
        return Ok(Session { cluster, data, ours: None });
    }
    let api_port = match args.api_port {
        Some(port) => port,
        None => port_of_last_time(&data),
    };
    if args.detach {
        start_detached(&data, api_port, &args.workflows).await?;
        let cluster =
            running(&data, target).await.ok_or_else(|| Failure::new("the server ended right after its start"))?;
        return Ok(Session { cluster, data, ours: None });
    }
    let workflows = args.workflows.settings();
    let event_ttl = Config::EVENT_TTL;
    let config = Config { data: data.clone(), api_port, node_name: None, workflows, event_ttl };
    let server = Server::start(config).await.map_err(not_started)?;
    announce(&server);
    let cluster = Cluster::from_file(server.kubeconfig(), target).await?;
    Ok(Session { cluster, data, ours: Some(server) })
}

/// Keeps the port, so that a kubeconfig that was copied elsewhere stays true, as long as nobody else has taken it.
fn port_of_last_time(data: &std::path::Path) -> u16 {
    let port = Running::read(data).map_or(6443, |running| running.api.port());
    let free = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).is_ok();
    if free { port } else { 0 }
}

async fn running(data: &std::path::Path, target: &Target) -> Option<Cluster> {
    Running::read(data)?;
    let cluster = Cluster::from_file(&data.join("kubeconfig"), target).await.ok()?;
    cluster.get("/version").await.ok().map(|_| cluster)
}

async fn start_detached(data: &std::path::Path, api_port: u16, workflows: &WorkflowSettings) -> Outcome {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    use std::os::unix::process::CommandExt as _;

    // Objects may hold secrets: a directory that we make is its owner's alone.
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data);
    made.map_err(|error| Failure::new(format!("cannot create the data directory {}: {error}", data.display())))?;
    let log = data.join("server.log");
    let file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&log)?;
    let begun = file.metadata()?.len();
    let mut child = std::process::Command::new(std::env::current_exe()?)
        .args(["server", "--api-port", &api_port.to_string(), "--data"])
        .arg(data)
        .args(workflows.arguments())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .process_group(0)
        .spawn()?;
    let deadline = Instant::now() + START_LIMIT;
    loop {
        let said = std::fs::read(&log).unwrap_or_default();
        let said = String::from_utf8_lossy(said.get(begun as usize..).unwrap_or_default()).into_owned();
        if said.lines().any(|line| line == "ready") {
            return Ok(());
        }
        if child.try_wait()?.is_some() || Instant::now() > deadline {
            let words = said.trim().trim_start_matches("error: ").to_owned();
            return Err(Failure::new(if words.is_empty() {
                format!("the server did not start, see {}", log.display())
            } else {
                words
            }));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Stops the server of the data directory and its pods.
pub(crate) async fn stop_running(target: &Target) -> Outcome {
    let data = data_dir(target);
    let stopped = kapell_server::stop(&data).await.map_err(|error| Failure::new(format!("{error:#}")))?;
    eprintln!("{stopped}; the data stays in {}", data.display());
    Ok(())
}
