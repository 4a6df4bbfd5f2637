use serde_json::json;

use super::*;

#[test]
fn objects_are_ready_when_they_are_what_their_file_says() {
    let deployment = |status: Value| json!({"kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": status});
    let pod = |status: Value| json!({"kind": "Pod", "status": status});
    let service = |ip: &str, listen: Value| json!({"kind": "Service", "metadata": {"annotations": {"kapell.dev/listen": listen}}, "spec": {"clusterIP": ip}});
    let waiting = |why: &str| Readiness::Waiting(why.to_owned());
    let cases = [
        (deployment(json!({"observedGeneration": 1})), waiting("not yet seen by its controller")),
        (deployment(json!({"observedGeneration": 2, "updatedReplicas": 1})), waiting("1 of 2 replicas updated")),
        (
            deployment(json!({"observedGeneration": 2, "updatedReplicas": 2, "replicas": 3})),
            waiting("1 old replicas to end"),
        ),
        (
            deployment(json!({"observedGeneration": 2, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 1})),
            waiting("1 of 2 replicas ready"),
        ),
        (
            deployment(json!({"observedGeneration": 2, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 2})),
            Readiness::Ready,
        ),
        (
            deployment(
                json!({"observedGeneration": 2, "conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "late"}]}),
            ),
            Readiness::Failed("late".to_owned()),
        ),
        (pod(json!({"phase": "Pending"})), waiting("not ready")),
        (pod(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})), Readiness::Ready),
        (pod(json!({"phase": "Succeeded"})), Readiness::Ready),
        (pod(json!({"phase": "Failed"})), Readiness::Failed("it has failed".to_owned())),
        (service("127.1.0.2", Value::Null), waiting("its address does not listen yet")),
        (service("127.1.0.2", json!("http=127.1.0.2:80")), Readiness::Ready),
        (service("None", Value::Null), Readiness::Ready),
        (json!({"kind": "ConfigMap"}), Readiness::Ready),
    ];
    for (object, expected) in cases {
        assert_eq!(readiness(&object), expected, "{object}");
    }
}
