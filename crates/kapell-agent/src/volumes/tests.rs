use super::*;

fn files(entries: &[(&str, &str)]) -> Files {
    entries.iter().map(|(path, text)| ((*path).to_owned(), (text.as_bytes().to_vec(), 0o640))).collect()
}

#[test]
fn new_content_appears_at_once_and_old_names_go() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("v");
    swap_files(&root, &files(&[("a", "1"), ("deep/b", "2")])).unwrap();
    assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "1");
    assert_eq!(fs::read_to_string(root.join("deep/b")).unwrap(), "2");
    // Whoever has opened the old data directory keeps seeing one consistent state until the switch.
    let before = fs::read_link(root.join(DATA)).unwrap();
    swap_files(&root, &files(&[("a", "1"), ("deep/b", "2")])).unwrap();
    assert_eq!(fs::read_link(root.join(DATA)).unwrap(), before, "nothing changed, nothing is written");
    swap_files(&root, &files(&[("a", "3")])).unwrap();
    assert_ne!(fs::read_link(root.join(DATA)).unwrap(), before);
    assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "3");
    assert!(!root.join("deep").is_symlink());
    let generations = fs::read_dir(&root).unwrap().flatten().filter(|e| e.file_type().unwrap().is_dir()).count();
    assert_eq!(generations, 1);
    assert_eq!(fs::metadata(root.join("a")).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn host_paths_have_the_type_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let check = |path: &str, kind: &str, expected: bool| {
        let content = Content::HostPath { path: dir.path().join(path), kind: kind.into() };
        assert_eq!(materialise("v", &content, Path::new("/unused")).is_ok(), expected, "{path} {kind}");
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
