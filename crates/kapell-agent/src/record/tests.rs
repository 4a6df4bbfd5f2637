use super::*;

#[test]
fn a_pod_keeps_its_group_and_an_earlier_one_gets_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut record = PodRecord::new("ns".into(), "pod".into(), Ipv4Addr::LOCALHOST, 1, 7);
    assert_eq!(record.group(dir.path(), 8).unwrap(), 7);
    let earlier = r#"{"version": 1, "namespace": "ns", "name": "pod", "podIp": "127.0.0.1", "graceSeconds": 1}"#;
    fs::write(file(dir.path()), earlier).unwrap();
    for new in [8, 9] {
        let mut record = PodRecord::read(dir.path()).unwrap();
        assert_eq!(record.group(dir.path(), new).unwrap(), 8);
        assert_eq!(record.group(dir.path(), 10).unwrap(), 8);
    }
    // One that was not noted would be another after a restart.
    let mut record: PodRecord = serde_json::from_str(earlier).unwrap();
    assert!(record.group(&dir.path().join("gone"), 8).is_err());
    assert_eq!(record.group(dir.path(), 9).unwrap(), 9);
}
