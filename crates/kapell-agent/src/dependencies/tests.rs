use serde_json::json;

use super::*;

#[test]
fn every_place_that_can_name_an_object_counts() {
    let pod = json!({
        "metadata": { "name": "pod", "namespace": "ns" },
        "spec": {
            "volumes": [
                { "name": "1", "configMap": { "name": "volume-map" } },
                { "name": "2", "secret": { "secretName": "volume-secret" } },
                { "name": "3", "projected": { "sources": [
                    { "configMap": { "name": "projected-map" } },
                    { "secret": { "name": "projected-secret" } },
                ] } },
                { "name": "4", "emptyDir": {} },
            ],
            "initContainers": [{ "name": "i", "envFrom": [
                { "configMapRef": { "name": "from-map" } },
                { "secretRef": { "name": "from-secret" } },
            ] }],
            "containers": [{ "name": "c", "env": [
                { "name": "A", "valueFrom": { "configMapKeyRef": { "name": "key-map", "key": "k" } } },
                { "name": "B", "valueFrom": { "secretKeyRef": { "name": "key-secret", "key": "k" } } },
                { "name": "C", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
            ] }],
        },
    });
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let key = |name: &&str| ObjectKey::new("ns", *name);
    let maps = ["volume-map", "projected-map", "from-map", "key-map"];
    let secrets = ["volume-secret", "projected-secret", "from-secret", "key-secret"];
    let expected: BTreeSet<Dependency> = (maps.iter().map(|name| Dependency::ConfigMap(key(name))))
        .chain(secrets.iter().map(|name| Dependency::Secret(key(name))))
        .collect();
    assert_eq!(dependencies(&pod), expected);
}
