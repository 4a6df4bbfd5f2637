use serde_json::{Value, json};

use super::*;

#[derive(Default)]
struct Fixture {
    config_maps: Vec<ConfigMap>,
    secrets: Vec<Secret>,
    services: Vec<Service>,
}

impl Sources for Fixture {
    fn config_map(&self, _namespace: &str, name: &str) -> Option<Arc<ConfigMap>> {
        self.config_maps.iter().find(|map| map.metadata.name.as_deref() == Some(name)).cloned().map(Arc::new)
    }

    fn secret(&self, _namespace: &str, name: &str) -> Option<Arc<Secret>> {
        self.secrets.iter().find(|secret| secret.metadata.name.as_deref() == Some(name)).cloned().map(Arc::new)
    }

    fn service(&self, _namespace: &str, name: &str) -> Option<Arc<Service>> {
        self.services.iter().find(|service| service.metadata.name.as_deref() == Some(name)).cloned().map(Arc::new)
    }

    fn services(&self, _namespace: &str) -> Vec<Arc<Service>> {
        self.services.iter().cloned().map(Arc::new).collect()
    }
}

fn fixture() -> Fixture {
    let config = json!({ "metadata": { "name": "config" }, "data": { "colour": "red", "size": "3" } });
    let secret = json!({ "metadata": { "name": "secret" }, "data": { "password": "aHVudGVyMg==", "raw": "/w==" } });
    let service = json!({
        "metadata": { "name": "user-api", "annotations": { "kapell.dev/listen": "http=127.9.0.4:41234,admin=127.9.0.4:9000" } },
        "spec": { "clusterIP": "127.9.0.4", "ports": [{ "name": "http", "port": 80 }, { "name": "admin", "port": 9000 }] },
    });
    Fixture {
        config_maps: vec![serde_json::from_value(config).unwrap()],
        secrets: vec![serde_json::from_value(secret).unwrap()],
        services: vec![serde_json::from_value(service).unwrap()],
    }
}

fn compute(container: Value) -> Result<BTreeMap<String, String>, ConfigError> {
    let pod = json!({ "metadata": { "name": "p", "namespace": "default", "uid": "u", "labels": { "app": "x" } }, "spec": { "nodeName": "n", "containers": [] } });
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let mut object = json!({ "name": "main" });
    for (key, value) in container.as_object().unwrap() {
        object[key] = value.clone();
    }
    let container: Container = serde_json::from_value(object).unwrap();
    let host_env = BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]);
    let place = Place {
        pod_ip: Ipv4Addr::new(127, 9, 128, 1),
        host_ip: Ipv4Addr::LOCALHOST,
        port: 8080,
        host_env: &host_env,
        volumes: &BTreeMap::from([("my-data".to_owned(), "/d".to_owned())]),
        termination_log: "/t",
        kubeconfig: Some("/k"),
    };
    environment(&pod, &container, &place, &fixture())
}

#[test]
fn references_are_expanded_as_kubernetes_does() {
    let env = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("B".to_owned(), "two".to_owned())]);
    for (text, expected) in [
        ("plain", "plain"),
        ("$(A)", "1"),
        ("x$(A)y$(B)z", "x1ytwoz"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A", "$(A"),
        ("$()", "$()"),
    ] {
        assert_eq!(expand(text, &env), expected, "{text}");
    }
}

#[test]
fn every_source_of_variables() {
    let env = compute(json!({
        "resources": { "limits": { "cpu": "1500m", "memory": "64Mi" } },
        "envFrom": [
            { "configMapRef": { "name": "config" }, "prefix": "C_" },
            { "secretRef": { "name": "secret" } },
            { "configMapRef": { "name": "absent", "optional": true } },
        ],
        "env": [
            { "name": "LITERAL", "value": "$(C_colour) at $(HOST):$(PORT)" },
            { "name": "KEY", "valueFrom": { "configMapKeyRef": { "name": "config", "key": "size" } } },
            { "name": "SECRET", "valueFrom": { "secretKeyRef": { "name": "secret", "key": "password" } } },
            { "name": "LABEL", "valueFrom": { "fieldRef": { "fieldPath": "metadata.labels['app']" } } },
            { "name": "NODE", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } },
            { "name": "CPU", "valueFrom": { "resourceFieldRef": { "resource": "limits.cpu" } } },
            { "name": "CPU_MILLI", "valueFrom": { "resourceFieldRef": { "resource": "limits.cpu", "divisor": "1m" } } },
            { "name": "MEMORY", "valueFrom": { "resourceFieldRef": { "resource": "limits.memory", "divisor": "1Mi" } } },
            { "name": "MAYBE", "valueFrom": { "configMapKeyRef": { "name": "config", "key": "no", "optional": true } } },
        ],
    }))
    .unwrap();
    for (name, expected) in [
        ("LITERAL", "red at 127.9.128.1:8080"),
        ("KEY", "3"),
        ("SECRET", "hunter2"),
        ("password", "hunter2"),
        ("LABEL", "x"),
        ("NODE", "n"),
        ("CPU", "2"),
        ("CPU_MILLI", "1500"),
        ("MEMORY", "64"),
        ("PATH", "/bin"),
        ("KAPELL_VOLUME_MY_DATA", "/d"),
        ("USER_API_SERVICE_HOST", "127.9.0.4"),
        ("USER_API_SERVICE_PORT", "41234"),
        ("USER_API_SERVICE_PORT_ADMIN", "9000"),
        ("USER_API_PORT_80_TCP", "tcp://127.9.0.4:41234"),
    ] {
        assert_eq!(env.get(name).map(String::as_str), Some(expected), "{name}");
    }
    assert!(!env.contains_key("MAYBE"));
    assert!(!env.contains_key("raw"), "a value that is no text cannot be a variable");
}

#[test]
fn what_is_missing_is_named() {
    for (reference, expected) in [
        (json!({ "configMapKeyRef": { "name": "no", "key": "k" } }), "configmap \"no\" not found"),
        (json!({ "secretKeyRef": { "name": "secret", "key": "k" } }), "key \"k\" not found in secret \"secret\""),
        (json!({ "fieldRef": { "fieldPath": "spec.nothing" } }), "fieldRef: field \"spec.nothing\" is not supported"),
    ] {
        let error = compute(json!({ "env": [{ "name": "X", "valueFrom": reference }] })).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn containers_wait_for_the_listeners_of_new_services_only() {
    let created: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
    let service = |ip: &str, listen: Option<&str>| {
        let annotations = listen.map(|listen| BTreeMap::from([(LISTEN_ANNOTATION.to_owned(), listen.to_owned())]));
        let value = serde_json::json!({
            "metadata": { "name": "s", "creationTimestamp": "2026-01-01T00:00:10Z", "annotations": annotations },
            "spec": { "clusterIP": ip },
        });
        Arc::new(serde_json::from_value::<Service>(value).unwrap())
    };
    let after = |millis: i64| created.saturating_add(SignedDuration::from_millis(millis)).unwrap();
    for (what, services, now, expected) in [
        ("silent and new", vec![service("127.9.0.1", None)], after(500), Some(after(3000))),
        ("silent and old", vec![service("127.9.0.1", None)], after(3000), None),
        ("listening", vec![service("127.9.0.1", Some("http=127.9.0.1:80"))], after(500), None),
        ("headless", vec![service("None", None)], after(500), None),
        ("not allocated", vec![service("", None)], after(500), None),
        ("one of two", vec![service("127.9.0.1", Some("")), service("127.9.0.2", None)], after(0), Some(after(3000))),
        ("none", vec![], after(0), None),
    ] {
        assert_eq!(listeners_due(&services, now), expected, "{what}");
    }
}
