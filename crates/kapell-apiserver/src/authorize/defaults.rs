//! The roles and bindings that every server has, with upstream's names and contents, for the kinds that it serves.
//!
//! They are made at start and brought up to date: what is missing is added, what an administrator added stays, and an object whose
//! annotation `rbac.authorization.kubernetes.io/autoupdate` is `"false"` is left alone. Roles of upstream's own components
//! are left out: ours run inside the server.

use serde_json::{Value, json};

use super::rule::Rule;

pub(crate) const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const BOOTSTRAPPING: &str = "kubernetes.io/bootstrapping";
const API_VERSION: &str = "rbac.authorization.k8s.io/v1";

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// A ClusterRole of the table.
struct Default {
    name: &'static str,
    /// The last part of the label by which another role takes its rules.
    aggregate_to: Option<&'static str>,
    content: Content,
}

enum Content {
    Rules(fn() -> Vec<Rule>),
    /// The rules of all roles that are labelled for this name.
    Aggregates(&'static str),
}

const ROLES: &[Default] = &[
    Default { name: "cluster-admin", aggregate_to: None, content: Content::Rules(|| Rule::everything().to_vec()) },
    Default { name: "admin", aggregate_to: None, content: Content::Aggregates("admin") },
    Default { name: "edit", aggregate_to: Some("admin"), content: Content::Aggregates("edit") },
    Default { name: "view", aggregate_to: Some("edit"), content: Content::Aggregates("view") },
    Default { name: "system:aggregate-to-admin", aggregate_to: Some("admin"), content: Content::Rules(admin) },
    Default { name: "system:aggregate-to-edit", aggregate_to: Some("edit"), content: Content::Rules(edit) },
    Default { name: "system:aggregate-to-view", aggregate_to: Some("view"), content: Content::Rules(view) },
    Default { name: "system:basic-user", aggregate_to: None, content: Content::Rules(basic_user) },
    Default {
        name: "system:discovery",
        aggregate_to: None,
        content: Content::Rules(|| {
            let paths = [
                "/api",
                "/api/*",
                "/apis",
                "/apis/*",
                "/healthz",
                "/livez",
                "/openapi",
                "/openapi/*",
                "/readyz",
                "/version",
                "/version/",
            ];
            vec![Rule::on_paths(&paths, &["get"])]
        }),
    },
    Default {
        name: "system:public-info-viewer",
        aggregate_to: None,
        content: Content::Rules(|| {
            vec![Rule::on_paths(&["/healthz", "/livez", "/readyz", "/version", "/version/"], &["get"])]
        }),
    },
    Default {
        name: "system:monitoring",
        aggregate_to: None,
        content: Content::Rules(|| {
            let paths =
                ["/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/slis", "/readyz", "/readyz/*"];
            vec![Rule::on_paths(&paths, &["get"])]
        }),
    },
    Default {
        name: "system:service-account-issuer-discovery",
        aggregate_to: None,
        content: Content::Rules(|| {
            let paths = [
                "/.well-known/openid-configuration",
                "/.well-known/openid-configuration/",
                "/openid/v1/jwks",
                "/openid/v1/jwks/",
            ];
            vec![Rule::on_paths(&paths, &["get"])]
        }),
    },
    Default {
        name: "system:auth-delegator",
        aggregate_to: None,
        content: Content::Rules(|| {
            vec![
                Rule::on_resources(&["authentication.k8s.io"], &["tokenreviews"], &["create"]),
                Rule::on_resources(&["authorization.k8s.io"], &["subjectaccessreviews"], &["create"]),
            ]
        }),
    },
    Default {
        name: "system:certificates.k8s.io:kube-apiserver-client-approver",
        aggregate_to: None,
        content: Content::Rules(|| approver("kubernetes.io/kube-apiserver-client")),
    },
    Default {
        name: "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
        aggregate_to: None,
        content: Content::Rules(|| approver("kubernetes.io/kube-apiserver-client-kubelet")),
    },
    Default {
        name: "system:certificates.k8s.io:kubelet-serving-approver",
        aggregate_to: None,
        content: Content::Rules(|| approver("kubernetes.io/kubelet-serving")),
    },
    Default {
        name: "system:certificates.k8s.io:legacy-unknown-approver",
        aggregate_to: None,
        content: Content::Rules(|| approver("kubernetes.io/legacy-unknown")),
    },
];

/// May approve requests to this signer.
fn approver(signer: &str) -> Vec<Rule> {
    let rule = Rule::on_resources(&["certificates.k8s.io"], &["signers"], &["approve"]);
    vec![Rule { resource_names: vec![signer.to_owned()], ..rule }]
}

/// Bindings of these roles to groups; each is named like its role.
const BINDINGS: &[(&str, &[&str])] = &[
    ("cluster-admin", &["system:masters"]),
    ("system:basic-user", &[AUTHENTICATED]),
    ("system:discovery", &[AUTHENTICATED]),
    ("system:monitoring", &["system:monitoring"]),
    ("system:public-info-viewer", &[AUTHENTICATED, UNAUTHENTICATED]),
    ("system:service-account-issuer-discovery", &["system:serviceaccounts"]),
];

fn basic_user() -> Vec<Rule> {
    vec![
        Rule::on_resources(
            &["authorization.k8s.io"],
            &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
            &["create"],
        ),
        Rule::on_resources(&["authentication.k8s.io"], &["selfsubjectreviews"], &["create"]),
    ]
}

fn admin() -> Vec<Rule> {
    vec![
        Rule::on_resources(&["authorization.k8s.io"], &["localsubjectaccessreviews"], &["create"]),
        Rule::on_resources(&["rbac.authorization.k8s.io"], &["roles", "rolebindings"], ALL),
    ]
}

fn edit() -> Vec<Rule> {
    vec![
        Rule::on_resources(
            &[""],
            &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"],
            READ,
        ),
        Rule::on_resources(&[""], &["serviceaccounts"], &["impersonate"]),
        Rule::on_resources(&[""], &["pods", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy"], WRITE),
        Rule::on_resources(&[""], &["pods/eviction"], &["create"]),
        Rule::on_resources(
            &[""],
            &[
                "configmaps",
                "events",
                "persistentvolumeclaims",
                "replicationcontrollers",
                "replicationcontrollers/scale",
                "secrets",
                "serviceaccounts",
                "services",
                "services/proxy",
            ],
            WRITE,
        ),
        Rule::on_resources(&[""], &["serviceaccounts/token"], &["create"]),
        Rule::on_resources(
            &["apps"],
            &[
                "daemonsets",
                "deployments",
                "deployments/rollback",
                "deployments/scale",
                "replicasets",
                "replicasets/scale",
                "statefulsets",
                "statefulsets/scale",
            ],
            WRITE,
        ),
        Rule::on_resources(&["autoscaling"], &["horizontalpodautoscalers"], WRITE),
        Rule::on_resources(&["batch"], &["cronjobs", "jobs"], WRITE),
        Rule::on_resources(&["coordination.k8s.io"], &["leases"], ALL),
        Rule::on_resources(
            &["extensions"],
            &[
                "daemonsets",
                "deployments",
                "deployments/rollback",
                "deployments/scale",
                "ingresses",
                "networkpolicies",
                "replicasets",
                "replicasets/scale",
            ],
            WRITE,
        ),
        Rule::on_resources(&["networking.k8s.io"], &["ingresses", "networkpolicies"], WRITE),
        Rule::on_resources(&["policy"], &["poddisruptionbudgets"], WRITE),
        Rule::on_resources(&["kapell.dev"], &["eventsinks", "workflows", "workflowruns"], WRITE),
        Rule::on_resources(&["kapell.dev"], &["cloudevents"], &["create"]),
    ]
}

fn view() -> Vec<Rule> {
    vec![
        Rule::on_resources(
            &[""],
            &[
                "bindings",
                "configmaps",
                "endpoints",
                "events",
                "limitranges",
                "namespaces",
                "namespaces/status",
                "persistentvolumeclaims",
                "persistentvolumeclaims/status",
                "pods",
                "pods/log",
                "pods/status",
                "replicationcontrollers",
                "replicationcontrollers/scale",
                "replicationcontrollers/status",
                "resourcequotas",
                "resourcequotas/status",
                "serviceaccounts",
                "services",
                "services/status",
            ],
            READ,
        ),
        Rule::on_resources(
            &["apps"],
            &[
                "controllerrevisions",
                "daemonsets",
                "daemonsets/status",
                "deployments",
                "deployments/scale",
                "deployments/status",
                "replicasets",
                "replicasets/scale",
                "replicasets/status",
                "statefulsets",
                "statefulsets/scale",
                "statefulsets/status",
            ],
            READ,
        ),
        Rule::on_resources(&["autoscaling"], &["horizontalpodautoscalers", "horizontalpodautoscalers/status"], READ),
        Rule::on_resources(&["batch"], &["cronjobs", "cronjobs/status", "jobs", "jobs/status"], READ),
        Rule::on_resources(&["discovery.k8s.io"], &["endpointslices"], READ),
        Rule::on_resources(&["events.k8s.io"], &["events"], READ),
        Rule::on_resources(
            &["extensions"],
            &[
                "daemonsets",
                "daemonsets/status",
                "deployments",
                "deployments/scale",
                "deployments/status",
                "ingresses",
                "ingresses/status",
                "networkpolicies",
                "replicasets",
                "replicasets/scale",
                "replicasets/status",
            ],
            READ,
        ),
        Rule::on_resources(&["metrics.k8s.io"], &["pods", "nodes"], READ),
        Rule::on_resources(&["networking.k8s.io"], &["ingresses", "ingresses/status", "networkpolicies"], READ),
        Rule::on_resources(&["policy"], &["poddisruptionbudgets", "poddisruptionbudgets/status"], READ),
        Rule::on_resources(
            &["kapell.dev"],
            &[
                "eventsinks",
                "eventsinks/status",
                "workflows",
                "workflows/status",
                "workflowruns",
                "workflowruns/status",
                "workflowruns/timeline",
                "cloudevents",
            ],
            READ,
        ),
    ]
}

fn aggregation_label(to: &str) -> String {
    format!("rbac.authorization.k8s.io/aggregate-to-{to}")
}

/// The rules of all roles that give theirs to `name`, those that these take from others included.
fn collected(name: &str) -> Vec<Rule> {
    let mut givers: Vec<&Default> = ROLES.iter().filter(|role| role.aggregate_to == Some(name)).collect();
    // In the order of the index, so that the first start has nothing to rewrite.
    givers.sort_by_key(|role| role.name);
    let mut rules: Vec<Rule> = Vec::new();
    for giver in givers {
        let more = match &giver.content {
            Content::Rules(rules) => rules(),
            Content::Aggregates(name) => collected(name),
        };
        rules.extend(more.into_iter().filter(|rule| !rules.contains(rule)).collect::<Vec<_>>());
    }
    rules
}

/// All ClusterRoles.
pub(crate) fn cluster_roles() -> Vec<Value> {
    let object = |role: &Default| {
        let mut metadata = metadata(role.name);
        if let Some(to) = role.aggregate_to {
            metadata["labels"][aggregation_label(to)] = json!("true");
        }
        let mut object = json!({"apiVersion": API_VERSION, "kind": "ClusterRole", "metadata": metadata});
        match &role.content {
            Content::Rules(rules) => object["rules"] = json!(rules()),
            Content::Aggregates(name) => {
                let selector = json!({"matchLabels": {aggregation_label(name): "true"}});
                object["aggregationRule"] = json!({"clusterRoleSelectors": [selector]});
                object["rules"] = json!(collected(name));
            }
        }
        object
    };
    ROLES.iter().map(object).collect()
}

/// All ClusterRoleBindings.
pub(crate) fn cluster_role_bindings() -> Vec<Value> {
    let object = |(name, groups): &(&str, &[&str])| {
        let subject = |group: &&str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group});
        json!({
            "apiVersion": API_VERSION, "kind": "ClusterRoleBinding", "metadata": metadata(name),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": groups.iter().map(subject).collect::<Vec<_>>(),
        })
    };
    BINDINGS.iter().map(object).collect()
}

fn metadata(name: &str) -> Value {
    json!({"name": name, "annotations": {AUTOUPDATE: "true"}, "labels": {BOOTSTRAPPING: "rbac-defaults"}})
}

/// A present default with what it lacks; `None` when it lacks nothing or is not to be touched.
pub(crate) fn completed(present: &Value, wanted: &Value) -> Option<Value> {
    if present["metadata"]["annotations"][AUTOUPDATE] == "false" {
        return None;
    }
    let mut new = present.clone();
    // Aggregated rules follow from other roles.
    if wanted["aggregationRule"].is_null() && wanted["rules"].is_array() {
        let read = |object: &Value| serde_json::from_value::<Vec<Rule>>(object["rules"].clone()).unwrap_or_default();
        let mut rules = read(present);
        rules.extend(super::rule::not_covered(&rules.clone(), &read(wanted)));
        if rules != read(present) {
            new["rules"] = json!(rules);
        }
    }
    for subject in wanted["subjects"].as_array().into_iter().flatten() {
        if !new["subjects"].is_array() {
            new["subjects"] = json!([]);
        }
        if let Some(subjects) = new["subjects"].as_array_mut().filter(|subjects| !subjects.contains(subject)) {
            subjects.push(subject.clone());
        }
    }
    for (label, value) in wanted["metadata"]["labels"].as_object().into_iter().flatten() {
        new["metadata"]["labels"][label] = value.clone();
    }
    (new != *present).then_some(new)
}
