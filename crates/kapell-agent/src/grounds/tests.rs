use super::*;

const SERVER: u32 = 0x7f09_0000;
const POD: u32 = 0x4000_8001;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn groups_are_reserved_and_pods_have_none_of_a_server() {
    assert_eq!(server_group(LoopbackBlock::new(9).unwrap()), SERVER);
    assert!(RESERVED.contains(&SERVER) && is_ours(SERVER) && !is_ours(0) && !is_ours(65_534));
    assert_eq!(pod_group(0x8001), POD);
    for random in [0, 1, 0x3eff_ffff, 0x3f00_0000, 0x7f09_0000, u32::MAX] {
        let group = pod_group(random);
        assert!(RESERVED.contains(&group) && !is_ours(group), "{random:x}");
    }
}

#[test]
fn who_may_pass_is_told_by_owner_group_and_mode() {
    let dir = tempfile::tempdir().unwrap();
    let meta = fs::metadata(dir.path()).unwrap();
    let of = |uid: u32, gid: u32, groups: Vec<u32>| Identity {
        uid: Some(uid),
        gid: Some(gid),
        groups: Some(groups),
        ..Identity::default()
    };
    let (owner, group) = (of(meta.uid(), 9, vec![]), of(7, 9, vec![meta.gid()]));
    for (mode, expected) in [(0o700, [true, false, false]), (0o710, [true, true, false]), (0o001, [false, false, true])]
    {
        set_mode(dir.path(), mode).unwrap();
        let found = [&owner, &group, &of(7, 9, vec![])].map(|who| passes(dir.path(), who).unwrap());
        assert_eq!(found, expected, "{mode:o}");
    }
    set_mode(dir.path(), 0o700).unwrap();
}

/// Changing groups needs root; elsewhere no such container is started.
#[test]
fn a_way_is_opened_for_the_pods_group_only() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let pod = data.join("pods/u");
    fs::create_dir_all(layout::work_dir(&pod, "main")).unwrap();
    fs::create_dir(pod.join("volumes")).unwrap();
    for closed in [&data, &data.join("pods"), &pod] {
        set_mode(closed, 0o700).unwrap();
    }
    let identity =
        Identity { uid: Some(1001), gid: Some(2002), groups: Some(vec![SERVER, POD]), ..Identity::default() };
    let open = || open(&data, &pod, "main", (SERVER, POD), &identity);
    // What is above the data directory is not ours.
    set_mode(dir.path(), 0o700).unwrap();
    assert!(matches!(open(), Err(GroundsError::Closed { uid: 1001, directory }) if directory == dir.path()));
    assert_eq!(mode(&data), 0o700);
    set_mode(dir.path(), 0o711).unwrap();
    for _ in 0..2 {
        open().unwrap();
    }
    for (directory, group) in [(&data, SERVER), (&data.join("pods"), SERVER), (&pod, POD)] {
        assert_eq!(
            (mode(directory), fs::metadata(directory).unwrap().gid()),
            (0o710, group),
            "{}",
            directory.display()
        );
    }
    assert_eq!((mode(&pod.join("containers")), mode(&pod.join("volumes"))), (0o711, 0o711));
    let work = fs::metadata(layout::work_dir(&pod, "main")).unwrap();
    assert_eq!((work.uid(), work.gid(), work.mode() & 0o777), (1001, 2002, 0o755));
    // A group that somebody has given rights keeps them.
    chown(&data, None, Some(50)).unwrap();
    set_mode(&data, 0o750).unwrap();
    assert!(matches!(open(), Err(GroundsError::Closed { directory, .. }) if directory == data));
    // The server has got another block.
    chown(&data, None, Some(SERVER + 0x1_0000)).unwrap();
    open().unwrap();
    assert_eq!((mode(&data), fs::metadata(&data).unwrap().gid()), (0o710, SERVER));
}
