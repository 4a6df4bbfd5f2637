use super::*;

#[test]
fn a_rate_is_the_difference_of_two_readings_that_are_far_enough_apart() {
    let begin = Instant::now();
    let after = |millis| begin + Duration::from_millis(millis);
    let first = advance(None, begin, 5_000_000_000);
    assert_eq!(first.rate, None);
    assert_eq!(advance(Some(first), after(100), 6_000_000_000).rate, None, "too close: ask again");
    let second = advance(Some(first), after(2000), 6_000_000_000);
    assert_eq!(second.rate, Some((500_000_000, Duration::from_secs(2))), "one second of two");
    assert_eq!(advance(Some(second), after(2100), 7_000_000_000).rate, second.rate, "too close: as before");
    assert_eq!(advance(Some(second), after(4000), 0).rate.unwrap().0, 0, "a counter that fell is no use");
}

#[test]
fn cgroups_of_both_versions_are_understood() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("cpu.stat", "usage_usec 1500\nuser_usec 1000\n");
    write("memory.current", "5000\n");
    write("memory.stat", "anon 1\ninactive_file 1000\nactive_file 7\n");
    let group = dir.path();
    assert_eq!((cgroup_cpu(group), cgroup_memory(group)), (Some(1_500_000), Some(4000)));
    fs::remove_file(group.join("memory.current")).unwrap();
    fs::remove_file(group.join("cpu.stat")).unwrap();
    write("cpu.stat", "nr_periods 0\n");
    write("cpuacct.usage", "77\n");
    write("memory.usage_in_bytes", "9000\n");
    write("memory.stat", "inactive_file 1\ntotal_inactive_file 2000\n");
    assert_eq!((cgroup_cpu(group), cgroup_memory(group)), (Some(77), Some(7000)));
}

#[test]
fn without_cgroups_the_processes_are_counted() {
    let own = ProcessId::own().unwrap();
    let all = proc::all();
    assert!(family(own, &all).contains(&own.pid));
    let found = counters(&[], own, || &all);
    assert!(found.memory_bytes > 100_000, "{found:?}");
    assert!(node_counters().unwrap().memory_bytes > found.memory_bytes);
}
