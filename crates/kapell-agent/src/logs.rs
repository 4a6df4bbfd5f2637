//! Reading containers' logs: from the files, without the agent or the shim, and woken by inotify.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::Stream;
use jiff::{SignedDuration, Timestamp};
use kapell_shim::{layout, read_state};
use rustix::fs::inotify;
use tokio::net::unix::pipe;

/// As Kubernetes' `PodLogOptions`.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    pub follow: bool,
    /// When a followed log goes on although its container has ended.
    pub restarts: Restarts,
    pub tail_lines: Option<u64>,
    pub since_seconds: Option<i64>,
    pub since_time: Option<Timestamp>,
    /// Begin each line with its time.
    pub timestamps: bool,
    pub limit_bytes: Option<u64>,
    /// Of the start before the current one.
    pub previous: bool,
    /// Only what was written to this one.
    pub stream: Option<OutputStream>,
}

/// Where a process wrote something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputStream {
    Stdout,
    Stderr,
}

/// Which ends of a container are followed by another start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restarts {
    #[default]
    Never,
    OnFailure,
    Always,
}

impl Restarts {
    fn follow(self, exit_code: i32) -> bool {
        match self {
            Self::Never => false,
            Self::OnFailure => exit_code != 0,
            Self::Always => true,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("container \"{container}\" has not started yet")]
    NotStarted { container: String },
    #[error("previous terminated container \"{container}\" not found")]
    NoPrevious { container: String },
    #[error("cannot read the log of container \"{container}\"")]
    Io { container: String, source: io::Error },
}

/// The logs of all pods on this node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Logs {
    pods: PathBuf,
}

impl Logs {
    /// `data_dir` as in [`crate::AgentConfig`].
    pub fn new(data_dir: &Path) -> Self {
        Self { pods: data_dir.join("pods") }
    }

    /// What the container has written since it last ended a line: where somebody types, a prompt. Of a long line the end only.
    pub fn open_line(&self, pod_uid: &str, container: &str) -> Vec<u8> {
        let pod = self.pods.join(pod_uid);
        let state = read_state(&pod).ok().flatten();
        let attempt = state.and_then(|state| Some(state.containers.get(container)?.attempt));
        let line = attempt.and_then(|attempt| last_lines(&pod, container, attempt, 1).ok()).unwrap_or_default();
        if line.ends_with(b"\n") { Vec::new() } else { line[line.len().saturating_sub(LONGEST_PROMPT)..].to_vec() }
    }

    /// The log from the requested place on, in pieces of whole lines. With `follow` it goes on across rotations until
    /// the container has ended, and with its next start if there will be one.
    pub fn open(
        &self,
        pod_uid: &str,
        container: &str,
        options: LogOptions,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static, LogError> {
        let name = || container.to_owned();
        let pod = self.pods.join(pod_uid);
        let state = read_state(&pod).ok().flatten();
        let state = state.as_ref().and_then(|state| state.containers.get(container));
        let attempt = state.ok_or_else(|| LogError::NotStarted { container: name() })?.attempt;
        let attempt = match (options.previous, attempt.checked_sub(1)) {
            (false, _) => attempt,
            (true, Some(before)) => before,
            (true, None) => return Err(LogError::NoPrevious { container: name() }),
        };
        let failed = |source| LogError::Io { container: name(), source };
        // Watch first, read then: nothing that comes between is missed.
        let follow = options.follow && !options.previous;
        let wakeup = if follow { Some(watch(&pod, container).map_err(failed)?) } else { None };
        let path = layout::log_file(&pod, container, attempt);
        let files = match open_files(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && options.previous => {
                return Err(LogError::NoPrevious { container: name() });
            }
            // A command that could not be executed has no log, which is an empty one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => VecDeque::new(),
            other => other.map_err(failed)?,
        };
        // Whoever wants nothing of what is there wants everything from now on, not from when he reads first.
        let (files, tail) = match options.tail_lines {
            Some(0) => (newest_at_end(files).map_err(failed)?, None),
            tail => (files, tail),
        };
        let since = options.since_seconds.and_then(|s| Timestamp::now().checked_sub(SignedDuration::from_secs(s)).ok());
        let reader = Reader {
            since: options.since_time.or(since),
            stream: options.stream.map(|stream| match stream {
                OutputStream::Stdout => &b"stdout"[..],
                OutputStream::Stderr => b"stderr",
            }),
            timestamps: options.timestamps,
            left: options.limit_bytes,
            tail,
            restarts: options.restarts,
            wakeup,
            ..Reader::of(&pod, container, attempt, files)
        };
        Ok(futures::stream::try_unfold(reader, |mut reader| async move {
            Ok(reader.next().await?.map(|piece| (piece, reader)))
        }))
    }
}

/// The last lines of one start's log, of what its files hold in their last [`END`] bytes: however much was written, this
/// takes no longer.
pub(crate) fn last_lines(pod: &Path, container: &str, attempt: u32, lines: u64) -> io::Result<Vec<u8>> {
    let mut files = match open_files(&layout::log_file(pod, container, attempt)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => VecDeque::new(),
        other => other?,
    };
    let mut ends = VecDeque::new();
    while let Some(mut file) = files.pop_back() {
        let length = file.get_ref().metadata()?.len();
        if length > END {
            file.seek(SeekFrom::Start(length - END))?;
            file.skip_until(b'\n')?;
            files.clear();
        }
        ends.push_front(file);
    }
    Reader::of(pod, container, attempt, ends).read_tail(lines)
}

/// Woken by new output, by rotation, and by a change of the pod's state.
fn watch(pod: &Path, container: &str) -> io::Result<pipe::Receiver> {
    let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let changes = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    inotify::add_watch(&fd, layout::log_dir(pod, container), changes | inotify::WatchFlags::DELETE_SELF)?;
    // state.json is replaced by a rename; the end of the pod removes the directory.
    inotify::add_watch(
        &fd,
        pod,
        inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::DELETE | inotify::WatchFlags::DELETE_SELF,
    )?;
    // Not a pipe, but read and polled like one.
    pipe::Receiver::from_owned_fd_unchecked(fd)
}

/// The pieces of one start's log, oldest first.
fn open_files(path: &Path) -> io::Result<VecDeque<BufReader<File>>> {
    let mut files = VecDeque::from([BufReader::new(File::open(path)?)]);
    for index in 1.. {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{index}"));
        match File::open(PathBuf::from(name)) {
            Ok(file) => files.push_front(BufReader::new(file)),
            Err(_) => break,
        }
    }
    Ok(files)
}

/// Only the newest, from its end on, or from the beginning of the record that is being written.
fn newest_at_end(mut files: VecDeque<BufReader<File>>) -> io::Result<VecDeque<BufReader<File>>> {
    let Some(mut file) = files.pop_back() else { return Ok(files) };
    let mut end = file.get_ref().metadata()?.len();
    let mut block = [0; 4096];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let block = &mut block[..(end - start) as usize];
        file.get_ref().read_exact_at(block, start)?;
        if let Some(newline) = block.iter().rposition(|byte| *byte == b'\n') {
            end = start + newline as u64 + 1;
            break;
        }
        end = start;
    }
    file.seek(SeekFrom::Start(end))?;
    Ok(VecDeque::from([file]))
}

/// Several of the longest records.
const END: u64 = 128 << 10;

/// More than fits on a line of any terminal.
const LONGEST_PROMPT: usize = 4 << 10;

/// Output that is handed on in one piece.
const PIECE: usize = 64 << 10;

/// What a log that is followed waits for at its end.
enum After {
    Nothing,
    More,
    Start(u32),
}

struct Reader {
    pod: PathBuf,
    container: String,
    attempt: u32,
    path: PathBuf,
    /// What is still to be read; the last one may grow.
    files: VecDeque<BufReader<File>>,
    /// The beginning of a record whose end has not been written yet.
    partial: Vec<u8>,
    since: Option<Timestamp>,
    /// As records name it.
    stream: Option<&'static [u8]>,
    timestamps: bool,
    at_line_start: bool,
    left: Option<u64>,
    tail: Option<u64>,
    restarts: Restarts,
    wakeup: Option<pipe::Receiver>,
    done: bool,
}

impl Reader {
    /// Of one start, to its present end.
    fn of(pod: &Path, container: &str, attempt: u32, files: VecDeque<BufReader<File>>) -> Self {
        Self {
            pod: pod.to_owned(),
            container: container.to_owned(),
            attempt,
            path: layout::log_file(pod, container, attempt),
            files,
            partial: Vec::new(),
            since: None,
            stream: None,
            timestamps: false,
            at_line_start: true,
            left: None,
            tail: None,
            restarts: Restarts::Never,
            wakeup: None,
            done: false,
        }
    }

    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(lines) = self.tail.take() {
            let piece = self.read_tail(lines)?;
            if !piece.is_empty() {
                return Ok(Some(self.limit(piece)));
            }
        }
        loop {
            if self.done || self.left == Some(0) {
                return Ok(None);
            }
            // Asked before reading: what was written before the end is read after this question.
            let after = if self.wakeup.is_none() { After::Nothing } else { self.after() };
            let piece = self.read_piece(PIECE)?;
            if !piece.is_empty() {
                return Ok(Some(self.limit(piece)));
            }
            if self.follow_rotation()? {
                continue;
            }
            match after {
                After::Nothing => {
                    self.done = true;
                    return Ok(None);
                }
                After::Start(attempt) => self.begin(attempt)?,
                After::More => self.wait().await?,
            }
        }
    }

    fn limit(&mut self, mut piece: Vec<u8>) -> Bytes {
        if let Some(left) = &mut self.left {
            piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= piece.len() as u64;
        }
        piece.into()
    }

    /// What comes after that which has been written by now.
    fn after(&self) -> After {
        let state = read_state(&self.pod).ok().flatten();
        // The pod has gone.
        let Some(state) = state.as_ref().and_then(|state| state.containers.get(&self.container)) else {
            return After::Nothing;
        };
        if state.attempt != self.attempt {
            let follows = self.restarts != Restarts::Never && state.attempt > self.attempt;
            return if follows { After::Start(state.attempt) } else { After::Nothing };
        }
        let goes_on = match (&state.running, &state.exit) {
            (Some(_), _) => true,
            (None, Some(exit)) => self.restarts.follow(exit.code),
            (None, None) => self.restarts != Restarts::Never,
        };
        if goes_on { After::More } else { After::Nothing }
    }

    /// Goes on with another start of the container.
    fn begin(&mut self, attempt: u32) -> io::Result<()> {
        self.attempt = attempt;
        self.path = layout::log_file(&self.pod, &self.container, attempt);
        self.partial.clear();
        self.at_line_start = true;
        self.files = match open_files(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => VecDeque::new(),
            other => other?,
        };
        Ok(())
    }

    async fn wait(&self) -> io::Result<()> {
        let Some(wakeup) = &self.wakeup else { return Ok(()) };
        wakeup.readable().await?;
        let mut buffer = [0; 4096];
        while wakeup.try_read(&mut buffer).is_ok_and(|length| length > 0) {}
        Ok(())
    }

    /// Everything there is, of which the last so many lines remain. Only those are held in memory.
    fn read_tail(&mut self, lines: u64) -> io::Result<Vec<u8>> {
        let lines = usize::try_from(lines).unwrap_or(usize::MAX);
        let mut tail: VecDeque<Vec<u8>> = VecDeque::new();
        let mut open = false;
        loop {
            let piece = self.read_piece(1)?;
            if piece.is_empty() {
                return Ok(tail.into_iter().flatten().collect());
            }
            let ends = piece.ends_with(b"\n");
            match tail.back_mut() {
                Some(last) if open => last.extend(piece),
                _ => tail.push_back(piece),
            }
            open = !ends;
            if tail.len() > lines {
                tail.pop_front();
            }
        }
    }

    /// Records as output, until at least `enough` bytes have come together or the files are read to their end.
    fn read_piece(&mut self, enough: usize) -> io::Result<Vec<u8>> {
        let mut piece = Vec::new();
        while piece.len() < enough {
            let Some(file) = self.files.front_mut() else { break };
            let length = file.read_until(b'\n', &mut self.partial)?;
            if length == 0 {
                if self.files.len() == 1 {
                    break;
                }
                self.files.pop_front();
                continue;
            }
            if self.partial.ends_with(b"\n") {
                let record = std::mem::take(&mut self.partial);
                self.push_record(&record, &mut piece);
            }
        }
        Ok(piece)
    }

    fn push_record(&mut self, record: &[u8], piece: &mut Vec<u8>) {
        let record = record.strip_suffix(b"\n").unwrap_or(record);
        let mut fields = record.splitn(4, |byte| *byte == b' ');
        let (Some(time), Some(stream), Some(tag), Some(content)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return;
        };
        if self.stream.is_some_and(|wanted| wanted != stream) {
            return;
        }
        if let Some(since) = self.since {
            let time = std::str::from_utf8(time).ok().and_then(|time| time.parse::<Timestamp>().ok());
            if time.is_some_and(|time| time < since) {
                return;
            }
        }
        if self.timestamps && self.at_line_start {
            piece.extend_from_slice(time);
            piece.push(b' ');
        }
        piece.extend_from_slice(content);
        self.at_line_start = tag == b"F";
        if self.at_line_start {
            piece.push(b'\n');
        }
    }

    /// After the end of the youngest file that we have open: opens the ones that have come after it.
    fn follow_rotation(&mut self) -> io::Result<bool> {
        let current = match fs::metadata(&self.path) {
            Ok(meta) => meta.ino(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let own = self.files.back().map(|file| file.get_ref().metadata()).transpose()?.map(|meta| meta.ino());
        if own == Some(current) {
            return Ok(false);
        }
        let mut files = open_files(&self.path)?;
        let inode = |file: &BufReader<File>| file.get_ref().metadata().map(|meta| meta.ino()).ok();
        if let Some(position) = files.iter().position(|file| own.is_some() && inode(file) == own) {
            files.drain(..=position);
        }
        // The one that was read to its end stays in front: it may have grown until the moment of its rotation.
        self.files.extend(files);
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
