use super::*;

#[test]
fn probes_back_off_and_stay_frequent_enough() {
    let pauses = |failure: Failure, failures| {
        failure.probe_pauses(failures).take(6).map(|pause| pause.as_millis()).collect::<Vec<_>>()
    };
    assert_eq!(pauses(Failure::Refused, 0), [100, 200, 400, 800, 1600, 1600]);
    assert_eq!(pauses(Failure::Refused, 40), [1600; 6]);
    assert_eq!(pauses(Failure::Silent(Version::Http1), 0), [1000, 2000, 4000, 8000, 16_000, 30_000]);
}
