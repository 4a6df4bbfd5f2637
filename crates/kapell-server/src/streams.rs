//! `exec`, `attach` and `portforward`: between the client's channels, which the API server knows, and the pod's streams,
//! which the agent knows.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use kapell_agent::{
    Ended, ExecOptions, Input, LogOptions, Logs, OutputStream, Session, SessionError, Sessions, Terminal,
};
use kapell_api::net::LoopbackBlock;
use kapell_api::status::Status;
use kapell_apiserver::{
    Channel, ChannelReader, ChannelWriter, Connect, ConnectRequest, Dial, Frame, Query, RemoteCommand, outcome,
    port_forward, remote_command,
};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::net::unix::pipe;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::handles::container;

/// A pod on this machine answers within microseconds, or its queue is full.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// One read of a command's output; as much as a pipe holds.
const PIECE: usize = 64 << 10;

/// More than a pipe or a terminal holds: what a command has written when it ends.
const MOST_LEFT: usize = 2 * PIECE;

/// A client has this long to take the end of a session.
const LAST_WORDS: Duration = Duration::from_secs(60);

/// Which streams the client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

/// # Errors
/// As upstream: nothing is wanted, or a terminal's errors apart from its output.
fn wanted(query: &Query) -> Result<Wanted, Status> {
    let [stdin, stdout, stderr, tty] = ["stdin", "stdout", "stderr", "tty"].map(|name| query.flag(name));
    if !(stdin || stdout || stderr) {
        return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    if tty && stderr {
        return Err(Status::bad_request("tty and stderr cannot both be true: a terminal has one stream"));
    }
    Ok(Wanted { stdin, stdout, stderr, tty })
}

fn refused(pod: &str, error: &SessionError) -> Status {
    match error {
        SessionError::NotRunning { .. } | SessionError::NoStdin { .. } => {
            Status::bad_request(format!("pod \"{pod}\": {error}"))
        }
        _ => Status::internal(format!("pod \"{pod}\": {error}")),
    }
}

fn uid(request: &ConnectRequest) -> &str {
    request.object["metadata"]["uid"].as_str().unwrap_or_default()
}

/// `pods/NAME/exec`.
pub(crate) struct PodExec(pub(crate) Sessions);

#[async_trait]
impl Connect for PodExec {
    async fn connect(&self, mut request: ConnectRequest) -> Result<http::Response<Body>, Status> {
        let container = container(&request.object, request.query.get("container"))?;
        let wanted = wanted(&request.query)?;
        let command: Vec<String> = request.query.all("command").map(str::to_owned).collect();
        if command.is_empty() {
            return Err(Status::bad_request("you must specify at least 1 command for the container"));
        }
        let Wanted { stdin, stdout, stderr, tty } = wanted;
        let options = ExecOptions { command, stdin, stdout, stderr, terminal: tty };
        // First the WebSocket: a client that cannot have one must not start anything.
        let (response, streams) = remote_command(&mut request)?;
        let session =
            self.0.exec(uid(&request), &container, &options).await.map_err(|error| refused(&request.name, &error))?;
        let shutdown = request.shutdown.clone();
        tokio::spawn(async move {
            match streams.await {
                Ok(streams) => run(session, streams, shutdown).await,
                Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "exec without a client"),
            }
        });
        Ok(response)
    }
}

/// Carries a command's streams until it or its client ends. Dropping the session hangs the command up.
async fn run(session: Session, streams: RemoteCommand, shutdown: CancellationToken) {
    let RemoteCommand { mut reader, writer } = streams;
    let Session { stdin, stdout, stderr, terminal, mut end } = session;
    let exited = CancellationToken::new();
    let mut outputs = JoinSet::new();
    let error_channel = if stderr.is_some() { Channel::Stderr } else { Channel::Stdout };
    for (output, channel) in [(stdout, Channel::Stdout), (stderr, Channel::Stderr)] {
        if let Some(output) = output {
            outputs.spawn(carry_output(output, channel, writer.clone(), exited.clone()));
        }
    }
    let resize = |columns, rows| {
        if let Some(terminal) = &terminal {
            terminal.resize(columns, rows);
        }
    };
    let ended = tokio::select! {
        ended = end.wait() => ended,
        () = carry_input(&mut reader, stdin, resize) => return,
        () = writer.gone() => return,
        () = shutdown.cancelled() => Err(SessionError::Refused("the server is stopping".to_owned())),
    };
    exited.cancel();
    let last_words = async {
        while outputs.join_next().await.is_some() {}
        tell_end(RemoteCommand { reader, writer }, error_channel, ended).await;
    };
    if tokio::time::timeout(LAST_WORDS, last_words).await.is_err() {
        tracing::debug!("the client does not take the end of its session");
    }
}

async fn tell_end(client: RemoteCommand, error_channel: Channel, ended: Result<Ended, SessionError>) {
    let outcome = match ended {
        Ok(ended) => {
            if let Some(error) = ended.start_error {
                // As a shell would say it; the outcome below has room for the code only.
                let _ = client.writer.send(error_channel as u8, format!("{error}\n").as_bytes()).await;
            }
            outcome(ended.code)
        }
        Err(error) => failure(&error),
    };
    client.finish(&outcome).await;
}

/// The outcome of a session that has broken.
fn failure(error: &dyn std::error::Error) -> Value {
    serde_json::to_value(Status::internal(error.to_string())).unwrap_or(Value::Null)
}

/// What the command writes, until it closes the stream; once it has ended, what is there.
async fn carry_output(mut output: pipe::Receiver, channel: Channel, writer: ChannelWriter, exited: CancellationToken) {
    let mut buffer = vec![0; PIECE];
    let mut left = MOST_LEFT;
    while left > 0 {
        // What it left in the background may hold the stream open for ever, and fill it.
        let (length, has_exited) = tokio::select! {
            biased;
            () = exited.cancelled() => (rustix::io::read(&output, &mut buffer[..]).unwrap_or(0), true),
            // A terminal whose other side is closed fails to be read.
            length = output.read(&mut buffer) => (length.unwrap_or(0), false),
        };
        if length == 0 || writer.send(channel as u8, &buffer[..length]).await.is_err() {
            return;
        }
        if has_exited {
            left = left.saturating_sub(length);
        }
    }
}

/// What the client says, until it leaves.
async fn carry_input(reader: &mut ChannelReader, mut stdin: Option<Input>, resize: impl Fn(u16, u16)) {
    const STDIN: u8 = Channel::Stdin as u8;
    const RESIZE: u8 = Channel::Resize as u8;
    while let Some(frame) = reader.next().await {
        match frame {
            Frame::Data { channel: STDIN, data } => {
                if let Some(input) = &mut stdin
                    && input.write_all(&data).await.is_err()
                {
                    // The command does not read any more, which is its right.
                    stdin = None;
                }
            }
            Frame::Closed { channel: STDIN } => {
                if let Some(input) = stdin.take() {
                    input.finish().await;
                }
            }
            Frame::Data { channel: RESIZE, data } => {
                let size: Value = serde_json::from_slice(&data).unwrap_or_default();
                let side = |name: &str| size[name].as_u64().and_then(|side| u16::try_from(side).ok());
                if let (Some(columns), Some(rows)) = (side("Width"), side("Height")) {
                    resize(columns, rows);
                }
            }
            _ => {}
        }
    }
}

/// A container of any sort, or nothing.
fn spec_of(pod: &Value, container: &str) -> Value {
    let lists = ["containers", "initContainers", "ephemeralContainers"].map(|list| &pod["spec"][list]);
    let mut specs = lists.into_iter().filter_map(Value::as_array).flatten();
    specs.find(|spec| spec["name"] == container).cloned().unwrap_or_default()
}

/// `pods/NAME/attach`: the output that comes from now on, and standard input where the container keeps it open.
pub(crate) struct PodAttach {
    pub(crate) sessions: Sessions,
    pub(crate) logs: Logs,
}

#[async_trait]
impl Connect for PodAttach {
    async fn connect(&self, mut request: ConnectRequest) -> Result<http::Response<Body>, Status> {
        let container = container(&request.object, request.query.get("container"))?;
        let wanted = wanted(&request.query)?;
        let spec = spec_of(&request.object, &container);
        if wanted.tty && spec["tty"] != true {
            let detail = "has no terminal (tty: true in its specification): attach without -t, or use exec -t";
            return Err(Status::bad_request(format!("container \"{container}\" {detail}")));
        }
        let uid = uid(&request).to_owned();
        let (response, streams) = remote_command(&mut request)?;
        let refused = |error: SessionError| refused(&request.name, &error);
        let stdin = if wanted.stdin { Some(self.sessions.stdin(&uid, &container).map_err(refused)?) } else { None };
        let terminal = self.sessions.terminal(&uid, &container).filter(|_| wanted.tty);
        let once = stdin.is_some() && spec["stdinOnce"] == true;
        let mut outputs = Vec::new();
        for (channel, stream, wanted) in [
            (Channel::Stdout, OutputStream::Stdout, wanted.stdout),
            (Channel::Stderr, OutputStream::Stderr, wanted.stderr),
        ] {
            if wanted {
                let options =
                    LogOptions { follow: true, tail_lines: Some(0), stream: Some(stream), ..LogOptions::default() };
                let log = self.logs.open(&uid, &container, options);
                outputs.push((channel, log.map_err(|error| Status::bad_request(error.to_string()))?));
            }
        }
        let prompt = if wanted.tty { self.logs.open_line(&uid, &container) } else { Vec::new() };
        let (sessions, shutdown) = (self.sessions.clone(), request.shutdown.clone());
        tokio::spawn(async move {
            match streams.await {
                Ok(streams) => attach(streams, prompt, stdin, terminal, outputs, shutdown).await,
                Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "attach without a client"),
            }
            if once && let Err(error) = sessions.close_stdin(&uid, &container).await {
                tracing::debug!(error = &error as &dyn std::error::Error, "standard input not closed");
            }
        });
        Ok(response)
    }
}

async fn attach<S: Stream<Item = io::Result<Bytes>> + Send + 'static>(
    streams: RemoteCommand,
    prompt: Vec<u8>,
    stdin: Option<Input>,
    terminal: Option<Terminal>,
    outputs: Vec<(Channel, S)>,
    shutdown: CancellationToken,
) {
    let RemoteCommand { mut reader, writer } = streams;
    let send = |channel: Channel, piece: Bytes| {
        let writer = &writer;
        async move { writer.send(channel as u8, &piece).await }
    };
    let resize = |columns, rows| {
        if let Some(terminal) = &terminal {
            terminal.resize(columns, rows);
        }
    };
    if !prompt.is_empty() && send(Channel::Stdout, prompt.into()).await.is_err() {
        return;
    }
    let outcome = tokio::select! {
        ended = carry_logs(outputs, send) => ended.map_or_else(|error| failure(&error), |()| outcome(0)),
        () = carry_input(&mut reader, stdin, resize) => return,
        () = writer.gone() => return,
        () = shutdown.cancelled() => failure(&io::Error::other("the server is stopping")),
    };
    let last_words = RemoteCommand { reader, writer }.finish(&outcome);
    if tokio::time::timeout(LAST_WORDS, last_words).await.is_err() {
        tracing::debug!("the client does not take the end of its session");
    }
}

/// What the logs say, until all have ended or one cannot be read. A client that takes no more ends it, too.
async fn carry_logs<S, F>(outputs: Vec<(Channel, S)>, send: impl Fn(Channel, Bytes) -> F) -> io::Result<()>
where
    S: Stream<Item = io::Result<Bytes>>,
    F: Future<Output = io::Result<()>>,
{
    let send = &send;
    let carried = outputs.into_iter().map(|(channel, output)| async move {
        let mut output = std::pin::pin!(output);
        while let Some(piece) = output.next().await {
            send(channel, piece?).await?;
        }
        Ok(())
    });
    futures::future::try_join_all(carried).await.map(drop)
}

/// The address of a pod, if it is one of those that this server gives: what else somebody may have written into the status must
/// not be reached from here.
pub(crate) fn pod_address(request: &ConnectRequest, block: LoopbackBlock) -> Option<IpAddr> {
    let ip: Ipv4Addr = request.object["status"]["podIP"].as_str()?.parse().ok()?;
    let (first, last) = block.pods();
    (first..=last).contains(&ip).then_some(ip.into())
}

/// `pods/NAME/portforward`, to the pod's own address.
pub(crate) struct PodPortForward(pub(crate) LoopbackBlock);

#[async_trait]
impl Connect for PodPortForward {
    async fn connect(&self, mut request: ConnectRequest) -> Result<http::Response<Body>, Status> {
        let ip = pod_address(&request, self.0);
        let running = request.object["status"]["phase"] == "Running";
        let ip = ip.filter(|_| running).ok_or_else(|| {
            Status::bad_request(format!("unable to forward port because pod \"{}\" is not running", request.name))
        })?;
        let dial: Dial = Arc::new(move |port| Box::pin(dial(SocketAddr::new(ip, port))));
        port_forward(&mut request, dial)
    }
}

/// Connects, or says in which way that fails.
pub(crate) async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let named = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::ConnectionRefused => "; a process pod has to listen on $HOST",
            _ => "",
        };
        io::Error::new(error.kind(), format!("{address}: {error}{hint}"))
    };
    let stream = connected.map_err(io::Error::from).and_then(|stream| stream).map_err(named)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests;
