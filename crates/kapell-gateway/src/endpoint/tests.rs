use super::*;

#[test]
fn probes_back_off_and_stay_frequent_enough() {
    let pauses = |failures| probe_pauses(failures).take(6).map(|pause| pause.as_millis()).collect::<Vec<_>>();
    assert_eq!(pauses(0), [100, 200, 400, 800, 1600, 1600]);
    assert_eq!(pauses(40), [1600; 6]);
}
