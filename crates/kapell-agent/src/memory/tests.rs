use std::os::unix::fs::symlink;

use super::*;

#[test]
fn a_pods_directory_is_closed_and_goes_with_it() {
    let pod = tempfile::tempdir().unwrap();
    let pod = pod.path();
    remove(pod).unwrap();
    for _ in 0..2 {
        prepare(pod).unwrap();
    }
    assert_eq!(fs::metadata(directory(pod)).unwrap().mode() & 0o7777, CLOSED);
    fs::write(directory(pod).join("file"), "content").unwrap();
    remove(pod).unwrap();
    assert!(!directory(pod).exists());
}

#[test]
fn what_somebody_else_has_put_there_is_not_used() {
    let (pod, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(elsewhere.path(), directory(pod.path())).unwrap();
    assert_eq!(prepare(pod.path()).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    remove(pod.path()).unwrap();
    assert!(elsewhere.path().exists());
    fs::remove_file(directory(pod.path())).unwrap();
}
