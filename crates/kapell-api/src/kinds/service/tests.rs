use serde_json::{Value, json};

use crate::kinds::tests::{
    cells, check_problems, check_updates, defaulted, row, sample, update_problems, warnings, with,
};

fn service(spec: Value) -> Value {
    with(&sample("Service"), json!({ "spec": spec }))
}

#[test]
fn services_get_upstreams_defaults() {
    let plain = defaulted("Service", sample("Service"));
    assert_eq!(
        plain["spec"],
        json!({
            "selector": { "app": "web" },
            "ports": [{ "port": 80, "protocol": "TCP", "targetPort": 80 }],
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster",
            "ipFamilyPolicy": "SingleStack",
            "ipFamilies": ["IPv4"],
        })
    );
    let balanced = defaulted("Service", service(json!({ "type": "LoadBalancer", "clusterIP": "127.9.0.2" })));
    assert_eq!(balanced["spec"]["allocateLoadBalancerNodePorts"], true);
    assert_eq!(balanced["spec"]["externalTrafficPolicy"], "Cluster");
    assert_eq!(balanced["spec"]["clusterIPs"], json!(["127.9.0.2"]));
    let sticky = defaulted("Service", service(json!({ "sessionAffinity": "ClientIP" })));
    assert_eq!(sticky["spec"]["sessionAffinityConfig"], json!({ "clientIP": { "timeoutSeconds": 10800 } }));
    let named = service(json!({ "type": "ExternalName", "externalName": "example.com", "ports": null }));
    let named = defaulted("Service", named);
    assert_eq!(named["spec"]["ipFamilies"], Value::Null);
}

#[test]
fn ports_and_addresses_are_checked() {
    let two = |a: Value, b: Value| json!({ "spec": { "ports": [a, b] } });
    check_problems(
        "Service",
        &sample("Service"),
        &[
            (json!({ "spec": { "ports": null } }), &["spec.ports: Required value"]),
            (json!({ "spec": { "ports": null, "clusterIP": "None" } }), &[]),
            (
                json!({ "spec": { "type": "Magic" } }),
                &["spec.type: Unsupported value: \"Magic\": supported values: \"ClusterIP\", \"ExternalName\", \
             \"LoadBalancer\", \"NodePort\""],
            ),
            (json!({ "spec": { "type": "ExternalName" } }), &["spec.externalName: Required value"]),
            (
                two(json!({ "port": 80, "name": "a" }), json!({ "port": 81, "name": "a" })),
                &["spec.ports[1].name: Duplicate value: \"a\""],
            ),
            (two(json!({ "port": 80, "name": "a" }), json!({ "port": 81 })), &["spec.ports[1].name: Required value"]),
            (
                two(json!({ "port": 80, "name": "a", "targetPort": 1 }), json!({ "port": 80, "name": "b" })),
                &[
                    "spec.ports[1]: Duplicate value: {\"port\":80,\"name\":\"b\",\"protocol\":\"TCP\",\"targetPort\":80}",
                ],
            ),
            (
                json!({ "spec": { "ports": [{ "port": 70000, "targetPort": 80 }] } }),
                &["spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive"],
            ),
            (
                json!({ "spec": { "ports": [{ "port": 80, "nodePort": 30080 }] } }),
                &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
            ),
            (json!({ "spec": { "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30080 }] } }), &[]),
            (
                json!({ "spec": { "clusterIP": "here" } }),
                &["spec.clusterIP: Invalid value: \"here\": must be empty, 'None', or a valid IPv4 address"],
            ),
            (
                json!({ "spec": { "type": "NodePort", "clusterIP": "None" } }),
                &["spec.clusterIP: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
            ),
            (
                json!({ "spec": { "ipFamilies": ["IPv6"] } }),
                &["spec.ipFamilies[0]: Forbidden: not supported yet: this server has IPv4 addresses only"],
            ),
            (
                json!({ "spec": { "externalTrafficPolicy": "Local" } }),
                &[
                    "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
                ],
            ),
            (
                json!({ "spec": { "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 5 } } } }),
                &["spec.sessionAffinityConfig: Forbidden: must not be set when session affinity is None"],
            ),
        ],
    );
}

#[test]
fn a_file_applied_again_keeps_what_was_allocated() {
    let allocated = json!({
        "type": "NodePort", "clusterIP": "127.9.0.2", "clusterIPs": ["127.9.0.2"],
        "ports": [{ "port": 80, "protocol": "TCP", "targetPort": 80, "nodePort": 30080 }],
    });
    let old = with(&defaulted("Service", service(allocated)), json!({ "status": { "loadBalancer": {} } }));
    let mut again = service(json!({ "type": "NodePort" }));
    (row("Service").prepare_update)(&mut again, &old);
    assert_eq!(defaulted("Service", again), old);

    let mut plain = service(json!({}));
    (row("Service").prepare_update)(&mut plain, &old);
    let plain = defaulted("Service", plain);
    assert_eq!(plain["spec"]["clusterIP"], "127.9.0.2");
    assert_eq!(plain["spec"]["ports"], json!([{ "port": 80, "protocol": "TCP", "targetPort": 80 }]));

    // The whole object with nothing but its type changed, as `kubectl patch` sends it.
    let mut patched = with(&old, json!({ "spec": { "type": "ClusterIP" } }));
    (row("Service").prepare_update)(&mut patched, &old);
    assert_eq!((row("Service").validate)(&defaulted("Service", patched.clone())), []);
    assert_eq!(patched["spec"]["ports"][0].get("nodePort"), None);
}

#[test]
fn the_cluster_ip_stays_as_long_as_there_is_one() {
    let old = service(json!({ "clusterIP": "127.9.0.2" }));
    check_updates(
        "Service",
        &old,
        &[
            (json!({ "spec": { "type": "NodePort" } }), &[]),
            (
                json!({ "spec": { "clusterIP": "127.9.0.3", "clusterIPs": null } }),
                &["spec.clusterIP: Invalid value: \"127.9.0.3\": field is immutable"],
            ),
            (
                json!({ "spec": { "clusterIP": "None", "clusterIPs": null } }),
                &["spec.clusterIP: Invalid value: \"None\": field is immutable"],
            ),
            (json!({ "spec": { "type": "ExternalName", "externalName": "example.com" } }), &[]),
        ],
    );
    let named = service(json!({ "type": "ExternalName", "externalName": "example.com" }));
    let back = service(json!({ "type": "ClusterIP", "clusterIP": "127.9.0.2" }));
    assert_eq!(update_problems("Service", back, &named), [""; 0]);
}

#[test]
fn turning_into_a_name_releases_the_address() {
    let old = defaulted("Service", service(json!({ "clusterIP": "127.9.0.2" })));
    let mut named = with(&old, json!({ "spec": { "type": "ExternalName", "externalName": "example.com" } }));
    (row("Service").prepare_update)(&mut named, &old);
    assert_eq!((row("Service").validate)(&defaulted("Service", named)), []);
}

#[test]
fn the_stickiness_of_a_service_that_stops_being_sticky_goes_with_it() {
    let old = defaulted("Service", service(json!({ "sessionAffinity": "ClientIP" })));
    let mut new = with(&old, json!({ "spec": { "sessionAffinity": "None" } }));
    (row("Service").prepare_update)(&mut new, &old);
    assert_eq!((row("Service").validate)(&defaulted("Service", new)), []);
    // Who says how sticky and not to be so at once has made a mistake.
    let mut both = with(
        &old,
        json!({ "spec": { "sessionAffinity": "None", "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 9 } } } }),
    );
    (row("Service").prepare_update)(&mut both, &old);
    assert_eq!((row("Service").validate)(&defaulted("Service", both)).len(), 1);
}

#[test]
fn every_change_of_type_is_possible_with_the_type_alone() {
    let types = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"];
    for from in types {
        let mut spec = json!({ "type": from });
        match from {
            "ExternalName" => spec["externalName"] = "example.com".into(),
            _ => spec["clusterIP"] = "127.9.0.2".into(),
        }
        if matches!(from, "NodePort" | "LoadBalancer") {
            spec["ports"] = json!([{ "port": 80, "nodePort": 30080 }]);
        }
        let old = defaulted("Service", service(spec));
        for to in types {
            let mut new = with(&old, json!({ "spec": { "type": to } }));
            if to == "ExternalName" {
                new["spec"]["externalName"] = "example.com".into();
            }
            (row("Service").prepare_update)(&mut new, &old);
            let new = defaulted("Service", new);
            assert_eq!((row("Service").validate)(&new), [], "{from} to {to}");
            assert_eq!((row("Service").validate_update)(&new, &old), [], "{from} to {to}");
        }
    }
}

#[test]
fn columns_show_addresses_and_ports() {
    let shown = |spec: Value, ingress: Value| {
        let object = with(&defaulted("Service", service(spec)), json!({ "status": { "loadBalancer": ingress } }));
        cells("Service", &object)[1..5].to_vec()
    };
    let none = json!({});
    assert_eq!(shown(json!({ "clusterIP": "None" }), none.clone()), ["ClusterIP", "None", "<none>", "80/TCP"]);
    assert_eq!(
        shown(json!({ "ports": [], "externalIPs": ["10.0.0.1", "10.0.0.2"] }), none.clone()),
        ["ClusterIP", "<none>", "10.0.0.1,10.0.0.2", "<none>",]
    );
    let ports = json!([{ "port": 80, "nodePort": 30080 }, { "port": 53, "protocol": "UDP" }]);
    let balanced = json!({ "type": "LoadBalancer", "clusterIP": "127.9.0.2", "ports": ports });
    assert_eq!(shown(balanced.clone(), none.clone())[2..], ["<pending>", "80:30080/TCP,53/UDP"]);
    let ingress = json!({ "ingress": [{ "ip": "127.9.0.2" }, { "hostname": "a.example" }] });
    assert_eq!(shown(balanced, ingress)[2], "127.9.0.2,a.example");
    let named = json!({ "type": "ExternalName", "externalName": "example.com" });
    assert_eq!(shown(named, none)[..3], ["ExternalName", "<none>", "example.com"]);
}

#[test]
fn what_the_gateway_does_not_do_is_said() {
    assert_eq!(warnings("Service", sample("Service")), [""; 0]);
    let paths: Vec<String> = warnings(
        "Service",
        service(json!({
            "type": "LoadBalancer",
            "externalIPs": ["10.0.0.1"],
            "loadBalancerSourceRanges": ["10.0.0.0/8"],
            "externalTrafficPolicy": "Local",
            "ports": [{ "port": 80 }, { "port": 53, "protocol": "UDP" }],
        })),
    )
    .iter()
    .map(|warning| warning.split(':').next().unwrap_or_default().to_owned())
    .collect();
    assert_eq!(
        paths,
        ["spec.externalIPs", "spec.loadBalancerSourceRanges", "spec.externalTrafficPolicy", "spec.ports[1].protocol",]
    );
}
