use std::fs;
use std::os::unix::fs::symlink;

use super::*;

#[test]
fn a_path_leads_to_its_target_and_may_lie_in_another_mount() {
    let dir = tempfile::tempdir().unwrap();
    let (work, volume) = (dir.path().join("work"), dir.path().join("volume"));
    fs::create_dir(&work).unwrap();
    fs::create_dir(&volume).unwrap();
    for _ in 0..2 {
        let mut links = Links::below(&work, None);
        links.link("./a/b", &volume).unwrap();
        links.link("a/b/inner", dir.path()).unwrap();
    }
    assert_eq!(fs::read_link(work.join("a/b")).unwrap(), volume);
    assert_eq!(fs::read_link(volume.join("inner")).unwrap(), dir.path());
    Links::below(&work, None).link("a/b", dir.path()).unwrap();
    assert_eq!(fs::read_link(work.join("a/b")).unwrap(), dir.path(), "another target replaces the link");
    for escaping in ["..", "a/../../b", "/etc/b", "", "."] {
        let refused = Links::below(&work, None).link(escaping, &volume);
        assert!(matches!(refused, Err(MountError::Escapes(_))), "{escaping}");
    }
}

#[test]
fn links_that_the_container_has_made_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (work, outside) = (dir.path().join("work"), dir.path().join("outside"));
    fs::create_dir(&work).unwrap();
    fs::create_dir(&outside).unwrap();
    symlink(&outside, work.join("a")).unwrap();
    assert!(matches!(Links::below(&work, None).link("a/b", dir.path()), Err(MountError::Io { .. })));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    // One in the very place of the link goes, and what it led to stays.
    Links::below(&work, None).link("a", dir.path()).unwrap();
    assert!(outside.is_dir());
    fs::write(work.join("file"), "theirs").unwrap();
    Links::below(&work, None).link("file", dir.path()).unwrap();
    assert_eq!(fs::read_link(work.join("file")).unwrap(), dir.path());
}
