//! What holds for any configurations.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A configuration of a Deployment's pods: labels, replicas, and containers with ports.
fn config() -> impl Strategy<Value = Value> {
    let ports = proptest::collection::btree_map(1u16..4, proptest::option::of("[ab]"), 0..3);
    let container = (proptest::option::of("[xy]"), ports).prop_map(|(image, ports)| {
        let ports: Vec<Value> = ports.into_iter().map(|(n, name)| json!({"containerPort": n, "name": name})).collect();
        json!({"image": image, "ports": ports})
    });
    let labels = proptest::collection::btree_map("[pqr]", "[01]", 0..3);
    let containers = proptest::collection::btree_map("[cde]", container, 0..3);
    (labels, proptest::option::of(1..3), containers).prop_map(|(labels, replicas, containers)| {
        let named = containers.into_iter().map(|(name, mut container)| {
            container["name"] = json!(name);
            container
        });
        let containers: Vec<Value> = named.collect();
        let mut config = json!({
            "metadata": {"labels": labels},
            "spec": {"replicas": replicas, "template": {"spec": {"containers": containers}}},
        });
        DEPLOYMENT.normalise(&mut config);
        config
    })
}

/// Every leaf of a value by its path. A list of keyed items is read by keys.
fn leaves(value: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    collect(value, String::new(), &mut found);
    found
}

fn collect(value: &Value, path: String, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| collect(v, format!("{path}.{k}"), found)),
        Value::Array(list) => list.iter().for_each(|item| {
            let key = if item["containerPort"].is_null() { &item["name"] } else { &item["containerPort"] };
            collect(item, format!("{path}[{key}]"), found);
        }),
        scalar => drop(found.insert(path, scalar.clone())),
    }
}

proptest! {
    #[test]
    fn applying_again_changes_nothing(first in config(), second in config()) {
        let mut story = Story::new(&DEPLOYMENT).apply("other", first);
        story.apply_with("a", true, &second).unwrap();
        let before = (story.live.clone(), story.owners.clone());
        story.apply_with("a", false, &second).unwrap();
        prop_assert_eq!((story.live, story.owners), before);
    }

    #[test]
    fn what_was_applied_is_there(steps in proptest::collection::vec((0..3, config()), 1..6)) {
        let mut story = Story::new(&DEPLOYMENT);
        for (who, config) in steps {
            story.apply_with(&format!("m{who}"), true, &config).unwrap();
            let live = leaves(&story.live);
            for (path, value) in leaves(&config) {
                prop_assert_eq!(live.get(&path), Some(&value), "{}", path);
            }
        }
    }

    /// Whatever one does without force, what the other applied stays as it was.
    #[test]
    fn two_appliers_never_lose_each_others_fields(steps in proptest::collection::vec((0..2usize, config()), 1..8)) {
        let mut story = Story::new(&DEPLOYMENT);
        let mut said: [Value; 2] = [json!({}), json!({})];
        for (who, config) in steps {
            if story.apply_with(&format!("m{who}"), false, &config).is_ok() {
                said[who] = config;
            }
            let live = leaves(&story.live);
            let expected: BTreeMap<String, Value> = said.iter().flat_map(leaves).collect();
            prop_assert_eq!(live, expected);
        }
    }

    #[test]
    fn notes_survive_writing_and_reading(steps in proptest::collection::vec((0..3, config()), 1..5)) {
        let mut story = Story::new(&DEPLOYMENT);
        for (who, config) in steps {
            story.apply_with(&format!("m{who}"), true, &config).unwrap();
        }
        let written = story.owners.to_managed_fields();
        prop_assert_eq!(Owners::from_managed_fields(&written), Ok(story.owners));
    }
}
