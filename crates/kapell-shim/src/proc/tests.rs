use super::*;

#[test]
fn stat_survives_strange_names() {
    let line = "42 (a) b (c)) S 7 40 39 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 1000 10 18446744073709551615";
    let expected = Stat { pid: 42, state: 'S', ppid: 7, pgrp: 40, session: 39, start_time: 123_456 };
    assert_eq!(parse_stat(line), Some(expected));
    assert_eq!(parse_stat("42 (truncated"), None);
}

#[test]
fn members_are_session_group_descendants_and_marked() {
    let process = |pid, ppid, pgrp, session, start_time| Stat { pid, state: 'S', ppid, pgrp, session, start_time };
    let all = [
        process(1, 0, 1, 1, 0),
        process(50, 1, 50, 50, 90),                              // the shim
        process(100, 50, 100, 100, 100),                         // main
        process(101, 100, 100, 100, 101),                        // its child
        process(102, 50, 102, 100, 102),                         // same session, other group, orphaned
        process(103, 101, 103, 103, 103),                        // grandchild with a session of its own
        process(104, 1, 104, 104, 104),                          // daemonised, recognised by its environment
        process(105, 104, 105, 105, 105),                        // and its child, which cleared its environment
        process(106, 1, 106, 106, 106),                          // a stranger
        process(107, 1, 107, 100, 10),                           // an older process whose session number was the same
        process(109, 50, 109, 109, 109),                         // an orphan that has lost every sign of its origin
        Stat { state: 'Z', ..process(108, 100, 100, 100, 107) }, // already dead
    ];
    let main = ProcessId { pid: 100, start_time: 100 };
    for (only, expected) in [(false, &[100, 101, 102, 103, 104, 105][..]), (true, &[100, 101, 102, 103, 104, 105, 109])]
    {
        let mut found = members(main, &all, 50, only, |pid| pid == 104);
        found.sort_unstable();
        assert_eq!(found, expected);
    }
}
