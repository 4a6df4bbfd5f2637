use serde_json::json;

use crate::kinds::tests::{cells, check_problems, defaulted, sample, with};

#[test]
fn ingresses_lead_to_a_port_of_a_service() {
    let path = |path| json!({ "spec": { "rules": [{ "http": { "paths": [path] } }] } });
    let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    check_problems(
        "Ingress",
        &sample("Ingress"),
        &[
            (
                path(json!({ "path": "a", "pathType": "Prefix", "backend": backend })),
                &["spec.rules[0].http.paths[0].path: Invalid value: \"a\": must be an absolute path"],
            ),
            (
                path(json!({ "path": "/", "backend": backend })),
                &["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"],
            ),
            (
                path(json!({ "path": "/", "pathType": "Exact", "backend": { "service": { "name": "web" } } })),
                &["spec.rules[0].http.paths[0].backend.service.port: Required value: port name or number is required"],
            ),
            (
                json!({ "spec": { "rules": null } }),
                &["spec: Invalid value: {}: either `defaultBackend` or `rules` must be specified"],
            ),
            (json!({ "spec": { "rules": [{ "host": "*.shop.example" }] } }), &[]),
            (
                json!({ "spec": { "rules": [{ "host": "127.0.0.1" }] } }),
                &["spec.rules[0].host: Invalid value: \"127.0.0.1\": must be a DNS name, not an IP address"],
            ),
        ],
    );
    let ingress = with(&sample("Ingress"), json!({ "spec": { "ingressClassName": "web", "tls": [{}] } }));
    assert_eq!(cells("Ingress", &ingress), ["web", "web", "shop.example", "", "80, 443", "<unknown>"]);
}

#[test]
fn policies_say_their_types() {
    let policy = defaulted("NetworkPolicy", with(&sample("NetworkPolicy"), json!({ "spec": { "egress": [{}] } })));
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    assert_eq!(policy["spec"]["ingress"][0]["ports"][0]["protocol"], "TCP");
    check_problems(
        "NetworkPolicy",
        &sample("NetworkPolicy"),
        &[
            (
                json!({ "spec": { "ingress": [{ "from": [{}] }] } }),
                &["spec.ingress[0].from[0]: Required value: must specify a peer"],
            ),
            (
                json!({ "spec": { "ingress": [{ "from": [{ "ipBlock": { "cidr": "10.0.0.0/33" } }] }] } }),
                &[
                    "spec.ingress[0].from[0].ipBlock.cidr: Invalid value: \"10.0.0.0/33\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                ],
            ),
        ],
    );
}
