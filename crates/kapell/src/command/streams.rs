//! `kapell exec`, `attach` and `port-forward`: streams of a pod here.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess, TerminalSize};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{ContainerArgs, ExecArgs, PortForwardArgs};
use crate::cluster::{Cluster, kind_called, named};
use crate::error::{Exit, Failure, Outcome};
use crate::print;

use super::logs::pod_name;

/// Pieces of standard input; each becomes a message.
const PIECE: usize = 32 << 10;

pub(crate) async fn exec(cluster: &Cluster, args: &ExecArgs) -> Outcome {
    let pod = pod_name(cluster, &args.at.pod).await?;
    let container = container(cluster, &pod, args.at.container.as_deref()).await?;
    let tty = args.at.tty && terminal_here("-t")?;
    let params = AttachParams {
        container: Some(container),
        stdin: args.at.stdin,
        stdout: true,
        stderr: !tty,
        tty,
        ..AttachParams::default()
    };
    let process = cluster.pod_api().exec(&pod, args.command.clone(), &params).await?;
    carry(process, tty).await
}

pub(crate) async fn attach(cluster: &Cluster, args: &ContainerArgs) -> Outcome {
    let pod = pod_name(cluster, &args.pod).await?;
    let container = container(cluster, &pod, args.container.as_deref()).await?;
    let tty = args.tty && terminal_here("-t")?;
    let params = AttachParams {
        container: Some(container),
        stdin: args.stdin,
        stdout: true,
        stderr: !tty,
        tty,
        ..AttachParams::default()
    };
    carry(cluster.pod_api().attach(&pod, &params).await?, tty).await
}

/// The container that is named, else the pod's default one, else its first. Asked before anything is switched to streams,
/// whose refusals have no room for words.
async fn container(cluster: &Cluster, pod: &str, wanted: Option<&str>) -> Outcome<String> {
    let object = &cluster.get(&cluster.path(kind_called("pod")?, None, Some(pod))).await?;
    let of = |part: &'static str, lists: [&'static str; 3]| {
        lists.into_iter().flat_map(move |list| object[part][list].as_array().into_iter().flatten())
    };
    let names: Vec<&str> = of("spec", ["containers", "ephemeralContainers", "initContainers"])
        .filter_map(|c| c["name"].as_str())
        .collect();
    let default = object["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
    match wanted.or(default).or(names.first().copied()) {
        Some(name) if names.contains(&name) => {
            let lists = ["containerStatuses", "ephemeralContainerStatuses", "initContainerStatuses"];
            let status = of("status", lists).find(|status| status["name"] == name);
            if status.is_none_or(|status| status["state"]["running"].is_null()) {
                return Err(Failure::new(format!("container {name} of pod {pod} is not running"))
                    .hint(cluster.command(&format!("why pod/{pod}"))));
            }
            Ok(name.to_owned())
        }
        other => Err(Failure::new(format!("pod {pod} has no container {:?}", other.unwrap_or_default()))
            .hint(format!("-c {}", names.join("|")))),
    }
}

fn terminal_here(flag: &str) -> Outcome<bool> {
    if isatty(std::io::stdin()) {
        return Ok(true);
    }
    eprintln!("{flag} is left out: standard input is not a terminal");
    Ok(false)
}

/// Our own terminal, with every key going through; put back when dropped.
struct RawTerminal(Termios);

impl RawTerminal {
    fn enter() -> Outcome<Self> {
        let failed = |error| Failure::new(format!("the terminal cannot be used: {error}"));
        let before = tcgetattr(std::io::stdin()).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // There is nothing to be done for a terminal that has gone.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

fn terminal_size() -> Option<TerminalSize> {
    let size = tcgetwinsize(std::io::stdin()).ok()?;
    Some(TerminalSize { width: size.ws_col, height: size.ws_row })
}

/// Our streams to the process and back, until it has ended; its outcome is ours.
async fn carry(mut process: AttachedProcess, tty: bool) -> Outcome {
    let raw = if tty { Some(RawTerminal::enter()?) } else { None };
    let status = process.take_status();
    if let Some(mut stdin) = process.stdin() {
        tokio::spawn(async move {
            let Ok(mut ours) = own(std::io::stdin()) else { return };
            let mut buffer = vec![0; PIECE];
            while let Ok(length @ 1..) = ours.read(&mut buffer).await {
                if stdin.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
            }
            let _ = stdin.shutdown().await;
        });
    }
    if let Some(mut sizes) = process.terminal_size().filter(|_| tty) {
        tokio::spawn(async move {
            let Ok(mut changed) = signal(SignalKind::window_change()) else { return };
            loop {
                if let Some(size) = terminal_size()
                    && futures::SinkExt::send(&mut sizes, size).await.is_err()
                {
                    return;
                }
                changed.recv().await;
            }
        });
    }
    let (stdout, stderr) = (process.stdout(), process.stderr());
    let out = async {
        if let (Some(mut from), Ok(mut to)) = (stdout, own(std::io::stdout())) {
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.flush().await;
        }
    };
    let err = async {
        if let (Some(mut from), Ok(mut to)) = (stderr, own(std::io::stderr())) {
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.flush().await;
        }
    };
    tokio::join!(out, err);
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    drop(raw);
    let Some(status) = status else { return Err(Failure::new("the connection broke before the command had ended")) };
    if status.status.as_deref() == Some("Success") {
        return Ok(());
    }
    let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
    let exit = causes.into_iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    Err(match exit.and_then(|cause| cause.message?.parse().ok()) {
        Some(code) => {
            Failure { exit: Exit::Command(code), ..Failure::new(format!("command terminated with exit code {code}")) }
        }
        None => Failure::new(status.message.unwrap_or_else(|| "the command did not run".to_owned())),
    })
}

/// One of our standard streams as a file of the runtime's.
fn own(stream: impl AsFd) -> std::io::Result<tokio::fs::File> {
    Ok(tokio::fs::File::from_std(stream.as_fd().try_clone_to_owned()?.into()))
}

/// Which port here leads to which there.
struct Ports {
    local: u16,
    remote: String,
}

fn ports(word: &str) -> Outcome<Ports> {
    let (local, remote) = word.split_once(':').unwrap_or((word, word));
    let wrong = || Failure::usage(format!("{word:?} does not name ports")).hint("8080, 9090:8080 or :8080");
    let local = match (local, word.contains(':')) {
        ("", true) => 0,
        // A name has no port of its own here.
        (name, false) => name.parse().unwrap_or(0),
        (number, true) => number.parse().map_err(|_| wrong())?,
    };
    if remote.is_empty() { Err(wrong()) } else { Ok(Ports { local, remote: remote.to_owned() }) }
}

pub(crate) async fn port_forward(cluster: &Cluster, args: &PortForwardArgs) -> Outcome {
    let wanted: Vec<Ports> = args.ports.iter().map(|word| ports(word)).collect::<Outcome<_>>()?;
    let service = match args.target.split_once('/') {
        Some(_) => Some(named(std::slice::from_ref(&args.target))?).filter(|target| target.kind.kind == "Service"),
        None => None,
    };
    let service = match service {
        Some(service) => Some(cluster.get(&cluster.path_of(&service)).await?),
        None => None,
    };
    let pod = pod_name(cluster, &args.target).await?;
    let object = cluster.get(&cluster.path(kind_called("pod")?, None, Some(&pod))).await?;
    let mut tasks = tokio::task::JoinSet::new();
    for Ports { local, remote } in wanted {
        let remote = remote_port(service.as_ref(), &object, &remote)?;
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, local))).await;
        let listener = listener.map_err(|error| Failure::new(format!("cannot listen on port {local}: {error}")))?;
        let address = listener.local_addr().map_err(|error| Failure::new(error.to_string()))?;
        print::out(&format!("Forwarding from {address} -> {remote}\n"))?;
        tasks.spawn(forward(cluster.pod_api(), pod.clone(), remote, listener));
    }
    // Each goes on until we are interrupted.
    while tasks.join_next().await.is_some() {}
    Ok(())
}

async fn forward(api: Api<Pod>, pod: String, port: u16, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let (api, pod) = (api.clone(), pod.clone());
        tokio::spawn(async move {
            if let Err(why) = forward_one(&api, &pod, port, stream).await {
                eprintln!("port {port} of pod {pod}: {why}");
            }
        });
    }
}

async fn forward_one(api: &Api<Pod>, pod: &str, port: u16, mut stream: TcpStream) -> Result<(), String> {
    let mut forwarder = api.portforward(pod, &[port]).await.map_err(|error| error.to_string())?;
    let error = forwarder.take_error(port);
    if let Some(mut remote) = forwarder.take_stream(port) {
        // Either side may leave as it likes.
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut remote).await;
    }
    forwarder.abort();
    match error {
        Some(error) => error.await.map_or(Ok(()), Err),
        None => Ok(()),
    }
}

/// The pod's port behind a number or a name, of the Service if that is what was asked for.
fn remote_port(service: Option<&Value>, pod: &Value, wanted: &str) -> Outcome<u16> {
    let unknown = || Failure::new(format!("there is no port {wanted}"));
    let number = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
    let of_pod = |name: &str| {
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        let mut ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
        ports.find(|port| port["name"] == name).and_then(|port| number(&port["containerPort"]))
    };
    let Some(service) = service else {
        return wanted.parse().ok().or_else(|| of_pod(wanted)).ok_or_else(unknown);
    };
    let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let by_number: Option<u64> = wanted.parse().ok();
    let fits = |port: &&Value| port["name"] == wanted || by_number.is_some() && port["port"].as_u64() == by_number;
    let port = ports.find(fits).ok_or_else(unknown)?;
    let target = &port["targetPort"];
    let found = match target.as_str() {
        Some(name) => of_pod(name),
        None => number(target).or_else(|| number(&port["port"])),
    };
    found.ok_or_else(unknown)
}

#[cfg(test)]
mod tests;
