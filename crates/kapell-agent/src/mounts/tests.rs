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

/// Between the lookup of a part and the making of links, a container can put a link in its place.
#[test]
fn nothing_is_made_below_a_part_of_a_volume() {
    let dir = tempfile::tempdir().unwrap();
    let (work, outside, part) = (dir.path().join("work"), dir.path().join("outside"), dir.path().join("part"));
    fs::create_dir(&work).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("b"), "theirs").unwrap();
    symlink(&outside, &part).unwrap();
    let mut links = Links::below(&work, None);
    links.close("./a").unwrap();
    let is_refused = |made: Result<(), MountError>| {
        assert!(matches!(made, Err(MountError::BelowPart { part, .. }) if part == "a"));
    };
    // Also before the part's own link is made.
    is_refused(links.link("a/b", dir.path()));
    links.link("a", &part).unwrap();
    is_refused(links.link("a/./b", dir.path()));
    is_refused(links.link("a/b/c", dir.path()));
    is_refused(links.directory("./a/d"));
    links.directory("a").unwrap();
    links.link("ab/c", dir.path()).unwrap();
    assert_eq!(fs::read_to_string(outside.join("b")).unwrap(), "theirs");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}
