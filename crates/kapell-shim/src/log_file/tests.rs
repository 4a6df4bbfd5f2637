use super::*;

fn content(path: &Path) -> Vec<(String, String, String)> {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| {
            let mut fields = line.splitn(4, ' ').skip(1).map(str::to_owned);
            (fields.next().unwrap(), fields.next().unwrap(), fields.next().unwrap())
        })
        .collect()
}

fn record(stream: &str, tag: &str, text: &str) -> (String, String, String) {
    (stream.into(), tag.into(), text.into())
}

#[test]
fn lines_are_whole_whatever_the_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    let mut log = LogFile::open(path.clone(), LogLimits::default()).unwrap();
    log.append(Stream::Stdout, b"one\ntw");
    log.append(Stream::Stderr, b"mixed in\n\n");
    log.append(Stream::Stdout, b"o\nno end");
    log.finish();
    let expected = [
        record("stdout", "F", "one"),
        record("stderr", "F", "mixed in"),
        record("stderr", "F", ""),
        record("stdout", "F", "two"),
        record("stdout", "P", "no end"),
    ];
    assert_eq!(content(&path), expected);
}

#[test]
fn the_prompt_of_a_terminal_does_not_wait_for_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    let mut log = LogFile::open(path.clone(), LogLimits::default()).unwrap().of_terminal();
    log.append(Stream::Stdout, b"up\n$ ");
    assert_eq!(content(&path), [record("stdout", "F", "up"), record("stdout", "P", "$ ")]);
    log.append(Stream::Stdout, b"ls\n");
    assert_eq!(content(&path)[2..], [record("stdout", "F", "ls")]);
}

#[test]
fn long_lines_are_split_and_marked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    let mut log = LogFile::open(path.clone(), LogLimits::default()).unwrap();
    log.append(Stream::Stdout, &[b'x'; LONGEST_RECORD + 3]);
    log.append(Stream::Stdout, b"\n");
    let expected = [record("stdout", "P", &"x".repeat(LONGEST_RECORD)), record("stdout", "F", "xxx")];
    assert_eq!(content(&path), expected);
}

#[test]
fn rotation_keeps_so_many_files_and_loses_no_line_between_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0.log");
    let mut log = LogFile::open(path.clone(), LogLimits { max_bytes: 100, max_files: 3 }).unwrap();
    for number in 0..20 {
        log.append(Stream::Stdout, format!("{number}\n").as_bytes());
    }
    let files = [rotated(&path, 2), rotated(&path, 1), path.clone()];
    let numbers: Vec<u32> = files.iter().flat_map(|file| content(file)).map(|(_, _, n)| n.parse().unwrap()).collect();
    assert_eq!(numbers.last(), Some(&19));
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    assert!(!rotated(&path, 3).exists());
}
