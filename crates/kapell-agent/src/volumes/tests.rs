use super::*;

fn files(entries: &[(&str, &str)]) -> Files {
    let file = |text: &str| File { bytes: text.as_bytes().to_vec(), mode: 0o640, owner: None };
    entries.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
}

#[test]
fn new_content_appears_at_once_and_old_names_go() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("v");
    swap_files(&root, &files(&[("a", "1"), ("deep/b", "2")]), None).unwrap();
    assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "1");
    assert_eq!(fs::read_to_string(root.join("deep/b")).unwrap(), "2");
    // Whoever has opened the old data directory keeps seeing one consistent state until the switch.
    let before = fs::read_link(root.join(DATA)).unwrap();
    swap_files(&root, &files(&[("a", "1"), ("deep/b", "2")]), None).unwrap();
    assert_eq!(fs::read_link(root.join(DATA)).unwrap(), before, "nothing changed, nothing is written");
    swap_files(&root, &files(&[("a", "3")]), None).unwrap();
    assert_ne!(fs::read_link(root.join(DATA)).unwrap(), before);
    assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "3");
    assert!(!root.join("deep").is_symlink());
    let generations = fs::read_dir(&root).unwrap().flatten().filter(|e| e.file_type().unwrap().is_dir()).count();
    assert_eq!(generations, 1);
    assert_eq!(fs::metadata(root.join("a")).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn mounts_within_a_volume_of_files_outlive_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let (root, other) = (dir.path().join("v"), dir.path().join("other"));
    fs::create_dir(&other).unwrap();
    swap_files(&root, &files(&[("a", "1"), ("hidden", "1")]), None).unwrap();
    let mut links = crate::mounts::Links::below(&root, None);
    for path in ["b", "deep/b", "hidden"] {
        links.link(path, &other).unwrap();
    }
    for next in [&[("b", "2"), ("c", "2"), ("hidden", "2")][..], &[("d", "3")], &[]] {
        swap_files(&root, &files(next), None).unwrap();
        for path in ["b", "deep/b", "hidden"] {
            assert_eq!(fs::read_link(root.join(path)).unwrap(), other, "{path} {next:?}");
        }
    }
    let mut names: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let generation = fs::read_link(root.join(DATA)).unwrap().into_os_string();
    assert_eq!(names, [generation, DATA.into(), "b".into(), "deep".into(), "hidden".into()]);
}

#[test]
fn host_paths_have_the_type_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let check = |path: &str, kind: &str, expected: bool| {
        let content = Content::HostPath { path: dir.path().join(path), kind: kind.into() };
        assert_eq!(materialise("v", &content, Path::new("/unused"), None).is_ok(), expected, "{path} {kind}");
    };
    check("absent", "", true);
    check("absent", "Directory", false);
    check("made/deep", "DirectoryOrCreate", true);
    check("made", "Directory", true);
    check("made", "File", false);
    check("file", "FileOrCreate", true);
    check("file", "Socket", false);
    check("file", "NoSuchType", false);
}

#[test]
fn a_file_of_the_host_is_made_only_where_nothing_is() {
    let dir = tempfile::tempdir().unwrap();
    let prepare = |path: &str| {
        let content = Content::HostPath { path: dir.path().join(path), kind: "FileOrCreate".into() };
        materialise("v", &content, Path::new("/unused"), None)
    };
    // Opening one to write would wait for a reader.
    let fifo = dir.path().join("fifo");
    let mode = rustix::fs::Mode::from(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(matches!(prepare("fifo"), Err(VolumeError::WrongType { .. })));
    create_file(&fifo).unwrap();
    symlink(dir.path().join("elsewhere"), dir.path().join("link")).unwrap();
    assert!(matches!(prepare("link"), Err(VolumeError::WrongType { .. })));
    create_file(&dir.path().join("link")).unwrap();
    assert!(!dir.path().join("elsewhere").exists());
    fs::write(dir.path().join("file"), "kept").unwrap();
    prepare("file").unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "kept");
    assert!(matches!(prepare("none/file"), Err(VolumeError::Io { .. })));
}

#[test]
fn volumes_are_for_their_group() {
    use std::os::unix::fs::MetadataExt as _;
    // Whoever we are, this group is ours to give.
    let group = rustix::process::getegid().as_raw();
    let dir = tempfile::tempdir().unwrap();
    let look = |path: &str| {
        let meta = fs::metadata(dir.path().join(path)).unwrap();
        (meta.mode() & 0o7777, meta.gid())
    };
    for _ in 0..2 {
        materialise("e", &Content::Empty, &dir.path().join("e"), Some(group)).unwrap();
        let content = Content::Files(files(&[("a", "1"), ("deep/b", "2")]));
        materialise("f", &content, &dir.path().join("f"), Some(group)).unwrap();
    }
    assert_eq!(look("e"), (0o2777, group));
    assert_eq!([look("f"), look("f/deep")], [(0o2755, group); 2]);
    assert_eq!(look("f/deep/b"), (0o640, group));
}
