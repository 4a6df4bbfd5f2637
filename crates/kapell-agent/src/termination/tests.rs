use std::os::unix::fs::symlink;

use serde_json::json;

use super::*;

fn container(policy: &str) -> Container {
    serde_json::from_value(json!({ "name": "main", "terminationMessagePolicy": policy })).unwrap()
}

fn ended(attempt: u32, code: i32) -> ContainerState {
    ContainerState { attempt, exit: Some(Exit { attempt, code, ..Exit::default() }), ..ContainerState::default() }
}

fn said(pod: &Path, policy: &str, code: i32) -> String {
    let mut messages = BTreeMap::new();
    keep(&mut messages, pod, &container(policy), &ended(0, code), share(1));
    messages.remove(&0).unwrap()
}

fn log(pod: &Path, lines: impl Iterator<Item = String>) {
    let records: String = lines.map(|line| format!("2026-01-01T00:00:00.000000000Z stdout F {line}\n")).collect();
    fs::create_dir_all(layout::log_dir(pod, "main")).unwrap();
    fs::write(layout::log_file(pod, "main", 0), records).unwrap();
}

#[test]
fn the_end_of_the_file_is_the_message() {
    let dir = tempfile::tempdir().unwrap();
    let file = prepare(dir.path(), "main", 0).unwrap();
    assert_eq!(said(dir.path(), "File", 1), "");
    fs::write(&file, "DONE").unwrap();
    assert_eq!(said(dir.path(), "File", 0), "DONE");
    fs::write(&file, format!("a{}", "b".repeat(MOST_OF_FILE as usize))).unwrap();
    assert_eq!(said(dir.path(), "File", 0), "b".repeat(MOST_OF_FILE as usize));
}

#[test]
fn the_log_speaks_for_who_fails_without_a_word_and_asks_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = prepare(dir.path(), "main", 0).unwrap();
    log(dir.path(), (0..100).map(|number| number.to_string()));
    assert_eq!(said(dir.path(), "FallbackToLogsOnError", 0), "");
    assert_eq!(said(dir.path(), "File", 1), "");
    let last: String = (20..100).map(|number| format!("{number}\n")).collect();
    assert_eq!(said(dir.path(), "FallbackToLogsOnError", 1), last);
    // Far more than is read.
    log(dir.path(), (0..200).map(|_| "x".repeat(1 << 10)));
    let long = said(dir.path(), "FallbackToLogsOnError", 1);
    assert_eq!((long.len(), long.lines().last().map(str::len)), (MOST_OF_LOG, Some(1 << 10)));
    fs::write(&file, "own word").unwrap();
    assert_eq!(said(dir.path(), "FallbackToLogsOnError", 1), "own word");
}

#[test]
fn each_start_has_its_own_word() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(prepare(dir.path(), "main", 0).unwrap(), "first").unwrap();
    let second = prepare(dir.path(), "main", 1).unwrap();
    let previous = Some(Exit::default());
    let state = ContainerState { previous, ..ended(1, 0) };
    let mut messages = BTreeMap::new();
    keep(&mut messages, dir.path(), &container("File"), &state, share(1));
    assert_eq!(messages, BTreeMap::from([(0, "first".to_owned()), (1, String::new())]));
    // What was reported does not change any more, and what nothing tells of is forgotten.
    fs::write(second, "late").unwrap();
    prepare(dir.path(), "main", 2).unwrap();
    keep(&mut messages, dir.path(), &container("File"), &ended(1, 0), share(1));
    assert_eq!(messages, BTreeMap::from([(1, String::new())]));
    assert!(!layout::termination_file(dir.path(), "main", 0).exists());
}

#[test]
fn only_plain_files_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = dir.path().join("foreign");
    fs::write(&foreign, "a secret").unwrap();
    let file = layout::termination_file(dir.path(), "main", 0);
    let fifo = |path: &Path| {
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, path, fifo, rustix::fs::Mode::from(0o600), 0).unwrap();
    };
    let link = |path: &Path| symlink(&foreign, path).unwrap();
    let directory = |path: &Path| fs::create_dir(path).unwrap();
    let makes: [&dyn Fn(&Path); 3] = [&fifo, &link, &directory];
    for (make, why) in makes.into_iter().zip(["no plain file", "a symbolic link", "no plain file"]) {
        prepare(dir.path(), "main", 0).unwrap();
        fs::remove_file(&file).unwrap();
        make(&file);
        let message = said(dir.path(), "File", 0);
        assert!(message.contains(why) && !message.contains("a secret"), "{message}");
    }
    prepare(dir.path(), "main", 0).unwrap();
    assert_eq!(said(dir.path(), "File", 0), "", "the next start begins with a plain file again");
    assert_eq!(fs::read_to_string(&foreign).unwrap(), "a secret");
}

#[test]
fn a_pods_containers_share_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(prepare(dir.path(), "main", 0).unwrap(), "ä".repeat(2000)).unwrap();
    let mut messages = BTreeMap::new();
    keep(&mut messages, dir.path(), &container("File"), &ended(0, 0), share(12));
    assert_eq!(messages[&0], "ä".repeat(512), "1,024 bytes each");
    assert_eq!(cut("aä", 2), "a");
}
