use super::detect::{Mounts, mounts};
use super::*;

const HYBRID_MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";

#[test]
fn hybrid_hierarchies_are_found_with_our_own_groups() {
    let own = "9:name=systemd:/\n6:freezer:/\n4:memory:/outer/inner\n2:cpu,cpuacct:/\n0::/leaf";
    let expected = Mounts {
        v2: Some(("/sys/fs/cgroup/unified".into(), "/sys/fs/cgroup/unified/leaf".into())),
        v1: BTreeMap::from([
            ("cpu".into(), "/sys/fs/cgroup/cpu,cpuacct".into()),
            ("memory".into(), "/sys/fs/cgroup/memory/outer/inner".into()),
            ("freezer".into(), "/sys/fs/cgroup/freezer".into()),
        ]),
    };
    assert_eq!(mounts(HYBRID_MOUNTS, own), expected);
}

#[test]
fn a_bind_mounted_part_of_the_tree_is_taken_off_the_path() {
    let mountinfo = "30 1 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw";
    let found = mounts(mountinfo, "0::/docker/abc/leaf");
    assert_eq!(found.v2, Some(("/sys/fs/cgroup".into(), "/sys/fs/cgroup/leaf".into())));
}

#[test]
fn backend_follows_from_what_is_usable() {
    let v1 = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), PathBuf::new())).collect();
    let v2 = Some(PathBuf::from("/"));
    for (v2, names, expected) in [
        (v2.clone(), &[][..], Backend::V2),
        (v2, &["cpu"][..], Backend::Hybrid),
        (None, &["cpu", "freezer"][..], Backend::V1),
        (None, &["cpu"][..], Backend::None),
        (None, &[][..], Backend::None),
    ] {
        assert_eq!(Hierarchies { v2, v1: v1(names), ..Default::default() }.backend(), expected);
    }
}

#[test]
fn limits_in_the_words_of_both_versions() {
    let limits =
        Limits { cpu_milli: Some(250), memory_bytes: Some(1 << 20), pids: Some(7), cpu_request_milli: Some(500) };
    let v2: Vec<String> = v2_settings(&limits).into_iter().map(|(file, value)| format!("{file}={value}")).collect();
    let expected = [
        "cpu.max=25000 100000",
        "cpu.weight=50",
        "memory.max=1048576",
        "memory.swap.max=0",
        "memory.oom.group=1",
        "pids.max=7",
    ];
    assert_eq!(v2, expected);
    assert_eq!(v1_settings("cpu", &limits), [("cpu.cfs_quota_us", "25000".into()), ("cpu.shares", "512".into())]);
    assert_eq!(v1_settings("freezer", &limits), []);
}
