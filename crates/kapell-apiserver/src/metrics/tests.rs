use super::*;

#[test]
fn text_has_cumulative_buckets_and_one_head_for_each_name() {
    let metrics = Metrics::default();
    let series = Series { verb: "POST", version: "v1", resource: "pods", scope: "resource", ..Series::default() };
    for milliseconds in [1, 3, 20_000] {
        metrics.answered(series, 201, Some(Duration::from_millis(milliseconds)));
    }
    metrics.answered(series, 403, None);
    metrics.add_source(Arc::new(|| "other_total 1".to_owned()));
    let mut text = String::new();
    metrics.write(&mut text);
    const LABELS: &str = r#"verb="POST",group="",version="v1",resource="pods",subresource="",scope="resource""#;
    for line in [
        &format!("apiserver_request_total{{{LABELS},code=\"201\"}} 3"),
        &format!("apiserver_request_total{{{LABELS},code=\"403\"}} 1"),
        &format!("apiserver_request_duration_seconds_bucket{{{LABELS},le=\"0.001\"}} 1"),
        &format!("apiserver_request_duration_seconds_bucket{{{LABELS},le=\"0.005\"}} 2"),
        &format!("apiserver_request_duration_seconds_bucket{{{LABELS},le=\"+Inf\"}} 3"),
        &format!("apiserver_request_duration_seconds_count{{{LABELS}}} 3"),
        "other_total 1",
    ] {
        assert!(text.lines().any(|have| have == line), "{line} is missing in\n{text}");
    }
    let types: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let unique: std::collections::BTreeSet<&&str> = types.iter().collect();
    assert_eq!(types.len(), unique.len());
}
