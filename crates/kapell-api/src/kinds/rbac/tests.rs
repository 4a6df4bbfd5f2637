use serde_json::json;

use crate::kinds::tests::{cells, check_problems, check_updates, defaulted, sample, with};

#[test]
fn rules_name_verbs_and_what_they_are_about() {
    let rules = |rule| json!({ "rules": [rule] });
    let cases = &[
        (rules(json!({ "verbs": ["get"], "apiGroups": [""], "resources": ["pods"] })), &[][..]),
        (
            rules(json!({})),
            &[
                "rules[0].verbs: Required value: verbs must contain at least one value",
                "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[0].resources: Required value: resource rules must supply at least one resource",
            ][..],
        ),
    ];
    check_problems("Role", &sample("Role"), cases);
    check_problems("ClusterRole", &sample("ClusterRole"), cases);
    let url = rules(json!({ "verbs": ["get"], "nonResourceURLs": ["/metrics"] }));
    check_problems("ClusterRole", &sample("ClusterRole"), &[(url.clone(), &[])]);
    check_problems(
        "Role",
        &sample("Role"),
        &[(
            url,
            &[
                "rules[0].nonResourceURLs: Invalid value: [\"/metrics\"]: namespaced rules cannot apply to non-resource URLs",
            ],
        )],
    );
    check_problems(
        "ClusterRole",
        &sample("ClusterRole"),
        &[(
            json!({ "aggregationRule": {} }),
            &["aggregationRule.clusterRoleSelectors: Required value: at least one selector is needed to aggregate by"],
        )],
    );
}

#[test]
fn bindings_default_groups_and_keep_their_role() {
    let binding = defaulted(
        "RoleBinding",
        with(
            &sample("RoleBinding"),
            json!({ "subjects": [
                { "kind": "User", "name": "ann" },
                { "kind": "ServiceAccount", "name": "ci", "namespace": "shop" },
                { "kind": "Group", "name": "ops" },
            ] }),
        ),
    );
    assert_eq!(binding["roleRef"]["apiGroup"], "rbac.authorization.k8s.io");
    assert_eq!(binding["subjects"][0]["apiGroup"], "rbac.authorization.k8s.io");
    assert!(binding["subjects"][1].get("apiGroup").is_none());
    assert_eq!(cells("RoleBinding", &binding), ["web", "ClusterRole/view", "<unknown>", "ann", "ops", "shop/ci"]);
    for kind in ["RoleBinding", "ClusterRoleBinding"] {
        check_updates(
            kind,
            &sample(kind),
            &[
                (json!({ "subjects": [] }), &[]),
                (
                    json!({ "roleRef": { "name": "edit" } }),
                    &[
                        "roleRef: Invalid value: {\"kind\":\"ClusterRole\",\"name\":\"edit\",\"apiGroup\":\"rbac.authorization.k8s.io\"}: cannot change roleRef",
                    ],
                ),
            ],
        );
    }
}

#[test]
fn subjects_are_named_in_full() {
    check_problems(
        "ClusterRoleBinding",
        &sample("ClusterRoleBinding"),
        &[
            (
                json!({ "roleRef": { "kind": "Role" } }),
                &["roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\""],
            ),
            (
                json!({ "subjects": [{ "kind": "ServiceAccount", "name": "ci" }] }),
                &["subjects[0].namespace: Required value"],
            ),
            (
                json!({ "subjects": [{ "kind": "Robot", "name": "ci" }] }),
                &[
                    "subjects[0].kind: Unsupported value: \"Robot\": supported values: \"ServiceAccount\", \"User\", \"Group\"",
                ],
            ),
            (json!({ "metadata": { "name": "system:a b" } }), &[]),
            (json!({ "metadata": { "name": "a/b" } }), &["metadata.name: Invalid value: \"a/b\": may not contain '/'"]),
        ],
    );
}
