use super::*;

fn range(limit: Value) -> Value {
    json!({"spec": {"limits": [limit]}})
}

fn pod(resources: &[Value]) -> Value {
    let containers: Vec<Value> =
        resources.iter().enumerate().map(|(i, r)| json!({"name": format!("c{i}"), "resources": r})).collect();
    json!({"metadata": {"name": "web"}, "spec": {"containers": containers}})
}

#[test]
fn containers_get_what_they_leave_out() {
    let ranges = [range(json!({
        "type": "Container", "default": {"cpu": "500m", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"},
    }))];
    let mut pod = pod(&[json!({}), json!({"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}), Value::Null]);
    apply_defaults(&mut pod, &ranges);
    let resources = |i: usize| pod["spec"]["containers"][i]["resources"].clone();
    assert_eq!(resources(0), json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "500m", "memory": "1Gi"}}));
    assert_eq!(resources(1), json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2", "memory": "1Gi"}}));
    assert_eq!(resources(2), resources(0));
    assert_eq!(
        pod["metadata"]["annotations"][ANNOTATION],
        "LimitRanger plugin set: cpu request for container c0; cpu, memory limit for container c0; memory limit for container \
         c1; cpu request for container c2; cpu, memory limit for container c2"
    );
    let before = pod.clone();
    apply_defaults(&mut pod, &ranges);
    assert_eq!(pod, before);
}

#[test]
fn bounds_hold_for_containers_and_pods() {
    let small = json!({"requests": {"cpu": "50m"}, "limits": {"cpu": "1"}});
    for (limit, resources, expected) in [
        (
            json!({"type": "Container", "min": {"cpu": "100m"}}),
            std::slice::from_ref(&small),
            &["minimum cpu usage per Container is 100m, but request is 50m"][..],
        ),
        (json!({"type": "Container", "min": {"cpu": "50m"}, "max": {"cpu": "1"}}), std::slice::from_ref(&small), &[]),
        (
            json!({"type": "Container", "max": {"cpu": "500m", "memory": "1Gi"}}),
            std::slice::from_ref(&small),
            &[
                "maximum cpu usage per Container is 500m, but limit is 1",
                "maximum memory usage per Container is 1Gi.  No limit is specified",
            ],
        ),
        (
            json!({"type": "Container", "min": {"memory": "1Mi"}}),
            std::slice::from_ref(&small),
            &["minimum memory usage per Container is 1Mi.  No request is specified"],
        ),
        (
            json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "10"}}),
            std::slice::from_ref(&small),
            &["cpu max limit to request ratio per Container is 10, but provided ratio is 20.000000"],
        ),
        (json!({"type": "Pod", "max": {"cpu": "1500m"}}), std::slice::from_ref(&small), &[]),
        (
            json!({"type": "Pod", "max": {"cpu": "1500m"}}),
            &[small.clone(), small.clone()],
            &["maximum cpu usage per Pod is 1500m, but limit is 2"],
        ),
    ] {
        assert_eq!(pod_violations(&pod(resources), &[range(limit.clone())]), expected, "{limit}");
    }
}

#[test]
fn claims_are_bounded_by_what_they_request() {
    let ranges =
        [range(json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "5Gi"}}))];
    for (storage, expected) in [
        ("500Mi", &["minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 500Mi"][..]),
        ("5Gi", &[]),
        ("6Gi", &["maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 6Gi"]),
    ] {
        let claim = json!({"spec": {"resources": {"requests": {"storage": storage}}}});
        assert_eq!(claim_violations(&claim, &ranges), expected, "{storage}");
    }
}
