//! The agent's end of a shim's socket.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kapell_shim::protocol::{Answer, Body, ContainerSpec, Executed, Op, PodState, Request, VERSION};
use kapell_shim::socket::Address;
use kapell_shim::{READY_LINE, layout};
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{oneshot, watch};

/// A shim answers within microseconds; one that does not is as good as dead.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Starting one takes milliseconds, more on a machine that is just booting.
const START_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ShimError {
    #[error("cannot start the shim {program:?}: {source}")]
    Spawn { program: OsString, source: io::Error },
    #[error("the shim did not come up; see {0}")]
    NotReady(String),
    #[error("cannot talk to the shim: {0}")]
    Io(#[from] io::Error),
    #[error("the shim has gone")]
    Gone,
    #[error("the shim refuses: {0}")]
    Refused(String),
}

/// A connection. When the shim dies, [`ShimClient::state`] closes and every request fails.
#[derive(Clone)]
pub(crate) struct ShimClient {
    shared: Arc<Shared>,
    state: watch::Receiver<PodState>,
}

struct Shared {
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    pending: Arc<Mutex<HashMap<u64, oneshot::Sender<Body>>>>,
    next_id: AtomicU64,
}

impl ShimClient {
    /// Connects to the shim of the pod directory, and starts one if there is none. A new shim takes over what a dead one
    /// left behind.
    pub(crate) async fn open(pod: &Path, command: &[OsString]) -> Result<Self, ShimError> {
        if let Ok(client) = Self::connect(pod).await {
            return Ok(client);
        }
        spawn(pod, command).await?;
        Self::connect(pod).await
    }

    /// Connects to a shim that is there already.
    pub(crate) async fn connect(pod: &Path) -> Result<Self, ShimError> {
        let address = Address::of(pod)?;
        let (reader, mut writer) = UnixStream::connect(address.path()).await?.into_split();
        let mut lines = BufReader::new(reader).lines();
        writer.write_all(&encode(0, Op::Subscribe)?).await?;
        let first = tokio::time::timeout(ANSWER_TIMEOUT, lines.next_line()).await.map_err(|_| ShimError::Gone)??;
        let answer: Answer = serde_json::from_str(&first.ok_or(ShimError::Gone)?).map_err(io::Error::from)?;
        let state = match answer.body {
            Body::State(state) => state,
            Body::Failed { message } => return Err(ShimError::Refused(message)),
            _ => return Err(ShimError::Gone),
        };
        let (sender, state) = watch::channel(state);
        let pending = Arc::new(Mutex::new(HashMap::new()));
        tokio::spawn(read(lines, sender, pending.clone()));
        let shared = Shared { writer: tokio::sync::Mutex::new(writer), pending, next_id: AtomicU64::new(1) };
        Ok(Self { shared: Arc::new(shared), state })
    }

    /// The latest state; closed when the shim is gone.
    pub(crate) fn state(&self) -> watch::Receiver<PodState> {
        self.state.clone()
    }

    pub(crate) async fn start(&self, spec: ContainerSpec) -> Result<PodState, ShimError> {
        match self.ask(Op::Start(Box::new(spec)), ANSWER_TIMEOUT).await? {
            Body::State(state) => Ok(state),
            other => Err(unexpected(other)),
        }
    }

    pub(crate) async fn stop(&self, container: &str, grace: Duration) -> Result<(), ShimError> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        match self.ask(Op::Stop { container: container.to_owned(), grace_ms }, ANSWER_TIMEOUT).await? {
            Body::Done => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Stops what runs and waits until nothing does, or the shim is gone.
    pub(crate) async fn stop_all(&self, grace: Duration) {
        let mut state = self.state();
        let running: Vec<String> = {
            let state = state.borrow_and_update();
            state.containers.iter().filter(|(_, c)| c.running.is_some()).map(|(name, _)| name.clone()).collect()
        };
        for name in running {
            let _ = self.stop(&name, grace).await;
        }
        let _ = state.wait_for(|state| state.containers.values().all(|c| c.running.is_none())).await;
    }

    pub(crate) async fn exec(
        &self,
        container: &str,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<Executed, ShimError> {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let op = Op::Exec { container: container.to_owned(), command, timeout_ms };
        match self.ask(op, timeout + ANSWER_TIMEOUT).await? {
            Body::Executed(executed) => Ok(executed),
            other => Err(unexpected(other)),
        }
    }

    pub(crate) async fn close_stdin(&self, container: &str) -> Result<(), ShimError> {
        match self.ask(Op::CloseStdin { container: container.to_owned() }, ANSWER_TIMEOUT).await? {
            Body::Done => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Returns when the shim has killed what was left.
    pub(crate) async fn shutdown(&self) -> Result<(), ShimError> {
        self.ask(Op::Shutdown, START_TIMEOUT).await.map(drop)
    }

    async fn ask(&self, op: Op, timeout: Duration) -> Result<Body, ShimError> {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.shared.pending.lock().insert(id, sender);
        let line = encode(id, op)?;
        let sent = self.shared.writer.lock().await.write_all(&line).await;
        let answer = match sent {
            Ok(()) => tokio::time::timeout(timeout, receiver).await.ok().and_then(Result::ok).ok_or(ShimError::Gone),
            Err(error) => Err(error.into()),
        };
        self.shared.pending.lock().remove(&id);
        answer
    }
}

fn unexpected(body: Body) -> ShimError {
    match body {
        Body::Failed { message } => ShimError::Refused(message),
        other => ShimError::Refused(format!("unexpected answer {other:?}")),
    }
}

fn encode(id: u64, op: Op) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&Request { v: VERSION, id, op })?;
    line.push(b'\n');
    Ok(line)
}

/// Distributes what comes until the connection ends; then everyone who waits learns it from their closed channel.
async fn read(
    mut lines: tokio::io::Lines<BufReader<OwnedReadHalf>>,
    state: watch::Sender<PodState>,
    pending: Arc<Mutex<HashMap<u64, oneshot::Sender<Body>>>>,
) {
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line,
            () = state.closed() => break,
        };
        let Ok(Some(line)) = line else { break };
        let Ok(answer) = serde_json::from_str::<Answer>(&line) else { break };
        if let Body::State(new) | Body::Changed(new) = &answer.body {
            state.send_replace(new.clone());
        }
        let waiting = pending.lock().remove(&answer.id);
        if let Some(waiting) = waiting {
            let _ = waiting.send(answer.body);
        }
    }
    pending.lock().clear();
}

/// Starts a shim and waits until it listens. `Command` without hooks uses `posix_spawn`: no copy of the agent is made.
async fn spawn(pod: &Path, command: &[OsString]) -> Result<(), ShimError> {
    let (program, arguments) = command.split_first().ok_or(ShimError::Gone)?;
    let log = layout::shim_log(pod);
    let stderr = OpenOptions::new().append(true).create(true).mode(0o600).open(&log)?;
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .arg(pod)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .current_dir("/")
        .spawn()
        .map_err(|source| ShimError::Spawn { program: program.clone(), source })?;
    let stdout = child.stdout.take();
    // Somebody has to collect its exit status, however long it lives.
    tokio::spawn(async move { child.wait().await });
    let mut line = String::new();
    if let Some(stdout) = stdout {
        let mut reader = BufReader::new(stdout);
        let read = tokio::time::timeout(START_TIMEOUT, reader.read_line(&mut line)).await;
        let _length = read.map_err(|_| ShimError::NotReady(log.display().to_string()))??;
    }
    if line.trim() == READY_LINE { Ok(()) } else { Err(ShimError::NotReady(log.display().to_string())) }
}
