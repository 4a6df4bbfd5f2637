use std::io::Write as _;
use std::pin::pin;

use futures::StreamExt as _;
use kapell_shim::cgroup::Backend;
use kapell_shim::proc::ProcessId;
use kapell_shim::protocol::{ContainerState, PodState, Running, VERSION};

use super::*;

struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new(running: bool) -> Self {
        let fixture = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir_all(layout::log_dir(&fixture.pod(), "main")).unwrap();
        fixture.set_state(running);
        fixture
    }

    fn pod(&self) -> PathBuf {
        self.dir.path().join("pods/u")
    }

    fn set_state(&self, running: bool) {
        let process = ProcessId { pid: 1, start_time: 1 };
        let running = running.then(|| Running { process, started_at: 0, stopping: false, cgroups: Vec::new() });
        let main = ContainerState { attempt: 1, running, ..Default::default() };
        let containers = [("main".to_owned(), main)].into();
        let state = PodState {
            version: VERSION,
            boot_id: String::new(),
            shim: process,
            cgroup: Backend::None,
            identities: true,
            containers,
        };
        let new = self.pod().join("new");
        fs::write(&new, serde_json::to_vec(&state).unwrap()).unwrap();
        fs::rename(new, layout::state_file(&self.pod())).unwrap();
    }

    fn file(&self, attempt: u32) -> PathBuf {
        layout::log_file(&self.pod(), "main", attempt)
    }

    fn write(&self, attempt: u32, lines: std::ops::Range<u32>) {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(self.file(attempt)).unwrap();
        for line in lines {
            writeln!(file, "2026-01-01T00:00:{line:02}.000000000Z stdout F line {line}").unwrap();
        }
    }

    /// Output without an end of line, as a terminal has it.
    fn write_pieces(&self, pieces: usize) {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(self.file(1)).unwrap();
        for _ in 0..pieces {
            writeln!(file, "2026-01-01T00:00:00.000000000Z stdout P {}", "x".repeat(1000)).unwrap();
        }
        writeln!(file, "2026-01-01T00:00:00.000000000Z stdout P $ ").unwrap();
    }

    async fn read(&self, options: LogOptions) -> String {
        let stream = Logs::new(self.dir.path()).open("u", "main", options).unwrap();
        let pieces: Vec<_> = stream.map(Result::unwrap).collect().await;
        String::from_utf8(pieces.concat()).unwrap()
    }
}

#[tokio::test]
async fn options_select_what_is_read() {
    let fixture = Fixture::new(false);
    fixture.write(0, 0..2);
    fixture.write(1, 0..3);
    fs::rename(fixture.file(1), fixture.file(1).with_extension("log.1")).unwrap();
    fixture.write(1, 3..5);
    let all = LogOptions::default();
    for (options, expected) in [
        (all.clone(), "line 0\nline 1\nline 2\nline 3\nline 4\n"),
        (LogOptions { tail_lines: Some(3), ..all.clone() }, "line 2\nline 3\nline 4\n"),
        (LogOptions { tail_lines: Some(0), ..all.clone() }, ""),
        (LogOptions { limit_bytes: Some(9), ..all.clone() }, "line 0\nli"),
        (LogOptions { since_time: "2026-01-01T00:00:04Z".parse().ok(), ..all.clone() }, "line 4\n"),
        (LogOptions { previous: true, ..all.clone() }, "line 0\nline 1\n"),
        (LogOptions { timestamps: true, tail_lines: Some(1), ..all }, "2026-01-01T00:00:04.000000000Z line 4\n"),
    ] {
        assert_eq!(fixture.read(options.clone()).await, expected, "{options:?}");
    }
}

#[tokio::test]
async fn following_crosses_rotations_and_ends_with_the_container() {
    let fixture = Fixture::new(true);
    fixture.write(1, 0..1);
    let logs = Logs::new(fixture.dir.path());
    let mut stream = pin!(logs.open("u", "main", LogOptions { follow: true, ..Default::default() }).unwrap());
    assert_eq!(stream.next().await.unwrap().unwrap(), "line 0\n");
    fixture.write(1, 1..2);
    assert_eq!(stream.next().await.unwrap().unwrap(), "line 1\n");
    fixture.write(1, 2..3);
    fs::rename(fixture.file(1), fixture.file(1).with_extension("log.1")).unwrap();
    fixture.write(1, 3..4);
    let mut rest = String::new();
    while rest != "line 2\nline 3\n" {
        rest += std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap();
    }
    fixture.write(1, 4..5);
    fixture.set_state(false);
    assert_eq!(stream.next().await.unwrap().unwrap(), "line 4\n");
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_tail_of_nothing_begins_when_it_is_opened() {
    let fixture = Fixture::new(true);
    let long = format!("2026-01-01T00:00:00.000000000Z stdout F {}", "x".repeat(10_000));
    for unfinished in ["", "2026-01-01T00:00:01.000000000Z stdout F line ", &long] {
        fixture.write(1, 0..3);
        let append = |text: &str| {
            let mut file = fs::OpenOptions::new().append(true).open(fixture.file(1)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        append(unfinished);
        let options = LogOptions { follow: true, tail_lines: Some(0), ..Default::default() };
        let mut stream = pin!(Logs::new(fixture.dir.path()).open("u", "main", options).unwrap());
        // Comes between opening and reading.
        append(if unfinished.is_empty() { "2026-01-01T00:00:02.000000000Z stdout F reply\n" } else { "reply\n" });
        let heard = stream.next().await.unwrap().unwrap();
        assert!(heard.ends_with(b"reply\n"), "{heard:?}");
        let lines = heard.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(lines, 1, "{heard:?}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let fixture = Fixture::new(false);
    let logs = Logs::new(fixture.dir.path());
    let error = |container: &str, previous| {
        logs.open("u", container, LogOptions { previous, ..Default::default() }).err().map(|error| error.to_string())
    };
    assert_eq!(error("other", false).unwrap(), "container \"other\" has not started yet");
    assert_eq!(error("main", true).unwrap(), "previous terminated container \"main\" not found");
}

#[test]
fn of_a_line_that_does_not_end_only_its_end_is_a_prompt() {
    let fixture = Fixture::new(true);
    let line = || Logs::new(fixture.dir.path()).open_line("u", "main");
    assert_eq!(line(), b"");
    fixture.write(1, 0..3);
    assert_eq!(line(), b"", "nothing is open");
    fixture.write_pieces(0);
    assert_eq!(line(), b"$ ");
    fixture.write_pieces(2000);
    assert!(line().len() == LONGEST_PROMPT && line().ends_with(b"x$ "));
}
