use serde_json::json;

use crate::kinds::tests::{cells, check_problems, check_updates, defaulted, sample, warnings, with};

#[test]
fn deployments_get_upstreams_defaults() {
    let deployment = defaulted("Deployment", sample("Deployment"));
    let mut spec = deployment["spec"].clone();
    let template = spec["template"].take();
    assert_eq!(
        spec,
        json!({
            "selector": { "matchLabels": { "app": "web" } },
            "template": null,
            "replicas": 1,
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": "25%", "maxSurge": "25%" } },
        })
    );
    assert_eq!(
        template["spec"],
        json!({
            "containers": [{
                "name": "web", "image": "web:1", "imagePullPolicy": "IfNotPresent", "resources": {},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            }],
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
            "terminationGracePeriodSeconds": 30, "securityContext": {},
        })
    );
    let recreate =
        with(&sample("Deployment"), json!({ "spec": { "replicas": 0, "strategy": { "type": "Recreate" } } }));
    let recreate = defaulted("Deployment", recreate);
    assert_eq!(recreate["spec"]["strategy"], json!({ "type": "Recreate" }));
    assert_eq!(recreate["spec"]["replicas"], 0);
}

#[test]
fn selector_and_template_have_to_agree() {
    let cases = &[
        (json!({ "spec": { "selector": null } }), &["spec.selector: Required value"][..]),
        (
            json!({ "spec": { "template": { "metadata": { "labels": { "app": "other" } } } } }),
            &["spec.template.metadata.labels: Invalid value: {\"app\":\"other\"}: `selector` does not match template \
             `labels`"],
        ),
        (
            json!({ "spec": { "template": { "metadata": null } } }),
            &["spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`"],
        ),
        (
            json!({ "spec": { "replicas": -1 } }),
            &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            json!({ "spec": { "template": { "spec": { "restartPolicy": "Never" } } } }),
            &["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""],
        ),
        (
            json!({ "spec": { "selector": { "matchExpressions": [{ "key": "app", "operator": "In" }] } } }),
            &[
                "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or \
             'NotIn'",
            ],
        ),
        (
            json!({ "spec": { "template": { "spec": { "containers": [{ "name": "web" }] } } } }),
            &["spec.template.spec.containers[0].image: Required value"],
        ),
    ];
    check_problems("Deployment", &sample("Deployment"), cases);
    check_problems("ReplicaSet", &sample("ReplicaSet"), cases);
    let empty = json!({ "spec": { "selector": { "matchLabels": null } } });
    check_problems(
        "Deployment",
        &sample("Deployment"),
        &[(empty, &["spec.selector: Invalid value: {}: empty selector is invalid for deployment"])],
    );
}

#[test]
fn a_rolling_update_has_to_be_able_to_move() {
    let rolling = |surge, unavailable| json!({ "spec": { "strategy": { "rollingUpdate": { "maxSurge": surge, "maxUnavailable": unavailable } } } });
    check_problems(
        "Deployment",
        &sample("Deployment"),
        &[
            (rolling(json!(1), json!(0)), &[]),
            (
                rolling(json!("0%"), json!(0)),
                &["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"],
            ),
            (
                rolling(json!(1), json!("150%")),
                &["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"150%\": must not be greater than 100%"],
            ),
            (
                rolling(json!("many"), json!(1)),
                &[
                    "spec.strategy.rollingUpdate.maxSurge: Invalid value: \"many\": a valid percent string must be a numeric \
             string followed by an ending '%' (e.g. '1%' or '93%')",
                ],
            ),
            (
                json!({ "spec": { "strategy": { "type": "Recreate", "rollingUpdate": {} } } }),
                &["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
            ),
            (
                json!({ "spec": { "strategy": { "type": "BlueGreen" } } }),
                &[
                    "spec.strategy.type: Unsupported value: \"BlueGreen\": supported values: \"Recreate\", \"RollingUpdate\"",
                ],
            ),
            (
                json!({ "spec": { "progressDeadlineSeconds": 5, "minReadySeconds": 5 } }),
                &["spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds"],
            ),
        ],
    );
}

#[test]
fn the_selector_stays() {
    for kind in ["Deployment", "ReplicaSet"] {
        check_updates(
            kind,
            &sample(kind),
            &[
                (json!({ "spec": { "replicas": 3 } }), &[]),
                (
                    json!({ "spec": { "selector": { "matchLabels": { "app": "web", "tier": "x" } } } }),
                    &[
                        "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"web\",\"tier\":\"x\"}}: field is immutable",
                    ],
                ),
            ],
        );
    }
}

#[test]
fn columns_count_replicas() {
    let status = json!({
        "metadata": { "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "replicas": 3 },
        "status": { "replicas": 4, "readyReplicas": 2, "updatedReplicas": 1, "availableReplicas": 2 },
    });
    let deployment = with(&defaulted("Deployment", sample("Deployment")), status.clone());
    assert_eq!(cells("Deployment", &deployment), ["web", "2/3", "1", "2", "60m", "web", "web:1", "app=web"]);
    let set = with(&defaulted("ReplicaSet", sample("ReplicaSet")), status);
    assert_eq!(cells("ReplicaSet", &set), ["web", "3", "4", "2", "60m", "web", "web:1", "app=web"]);
}

#[test]
fn selectors_are_shown_in_their_string_form() {
    let selector = json!({ "spec": { "selector": { "matchExpressions": [
        { "key": "tier", "operator": "In", "values": ["b", "a"] },
        { "key": "old", "operator": "DoesNotExist" },
    ] } } });
    let deployment = with(&sample("Deployment"), selector);
    assert_eq!(cells("Deployment", &deployment)[7], "app=web,!old,tier in (a,b)");
}

#[test]
fn warnings_name_the_path_in_the_template() {
    let process = json!({ "spec": { "template": { "spec": {
        "runtimeClassName": "process",
        "hostname": "x",
        "containers": [{ "name": "web", "command": ["web"] }],
    } } } });
    let deployment = with(&sample("Deployment"), process);
    assert_eq!(
        warnings("Deployment", deployment),
        ["spec.template.spec.hostname: ignored; a process pod has the host's name"]
    );
}
