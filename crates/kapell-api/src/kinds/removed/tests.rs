use serde_json::{Value, json};

use super::*;

fn stored(row: &Kind, mut object: Value) -> Value {
    (row.view.expect("a view").to_stored)(&mut object);
    object
}

fn of(group: &str, kind: &str) -> &'static Kind {
    let row = crate::kinds::VIEWS.iter().find(|row| row.group == group && row.kind == kind && row.version == "v1beta1");
    row.expect("a removed version")
}

#[test]
fn old_ingresses_become_new_ones_and_come_back() {
    let row = of("networking.k8s.io", "Ingress");
    let old = json!({ "spec": {
        "backend": { "serviceName": "web", "servicePort": "http" },
        "rules": [{ "host": "a.example", "http": { "paths": [
            { "path": "/", "pathType": "Prefix", "backend": { "serviceName": "api", "servicePort": 8080 } },
        ] } }],
    } });
    let new = stored(row, old.clone());
    assert_eq!(new["spec"]["defaultBackend"], json!({ "service": { "name": "web", "port": { "name": "http" } } }));
    assert_eq!(
        new["spec"]["rules"][0]["http"]["paths"][0],
        json!({ "path": "/", "pathType": "Prefix", "backend": { "service": { "name": "api", "port": { "number": 8080 } } } })
    );
    let mut back = new;
    (row.view.unwrap().from_stored)(&mut back);
    assert!(crate::kinds::field::same(&back, &old), "{back}");
    let untyped = json!({ "spec": { "rules": [{ "http": { "paths": [{ "backend": {} }] } }] } });
    let path = stored(row, untyped)["spec"]["rules"][0]["http"]["paths"][0].clone();
    assert_eq!(path["pathType"], "ImplementationSpecific");
}

#[test]
fn old_defaults_stay_with_the_old_versions() {
    let template = json!({ "metadata": { "labels": { "app": "web" } } });
    let deployment = stored(of("extensions", "Deployment"), json!({ "spec": { "template": template } }));
    assert_eq!(deployment["spec"]["selector"], json!({ "matchLabels": { "app": "web" } }));
    assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"], json!({ "maxUnavailable": 1, "maxSurge": 1 }));
    let set = stored(of("extensions", "DaemonSet"), json!({ "spec": { "template": template } }));
    assert_eq!(set["spec"]["updateStrategy"]["type"], "OnDelete");
    let nobody = stored(of("policy", "PodDisruptionBudget"), json!({ "spec": { "selector": {} } }));
    assert_eq!(nobody, json!({ "spec": {} }));
}

#[test]
fn every_view_has_the_names_of_what_it_shows() {
    for row in crate::kinds::VIEWS {
        let view = row.view.expect("a view");
        let kept = crate::kinds::find(view.of.0, view.of.1, row.plural).expect("a row that is kept");
        assert_eq!((kept.kind, kept.namespaced, kept.view.is_none()), (row.kind, row.namespaced, true));
        let schema = crate::schema::Schema::compile(&(row.schema)());
        assert_eq!(schema.check(&json!({ "metadata": { "name": "x" } })), crate::schema::Findings::default());
    }
}
