use serde_json::{Value, json};

use super::*;

const ACCESS: [u32; 2] = [900, 901];
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnot a line\nweb:x:1001:1002:Web:/srv/web:/bin/sh\n\
                      far:x:1003:2131329025:Far:/:/bin/sh\n";

fn root() -> Powers {
    Powers { uid: 0, gid: 0, groups: vec![0], capabilities: CapabilitySet::from_bits_retain(u64::MAX) }
}

fn somebody() -> Powers {
    Powers { uid: 1000, gid: 1000, groups: vec![1000, 50], capabilities: CapabilitySet::empty() }
}

fn pod(of_pod: Value, of_containers: &[Value]) -> Pod {
    let container =
        |(index, context): (usize, &Value)| json!({"name": format!("c{index}"), "securityContext": context});
    let list: Vec<Value> = of_containers.iter().enumerate().map(container).collect();
    let spec = json!({"securityContext": of_pod, "containers": list});
    let metadata = json!({"name": "p", "namespace": "ns", "uid": "u"});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

fn who(of_pod: Value, of_container: Value, powers: &Powers) -> Result<Person, IdentityError> {
    let pod = pod(of_pod, &[of_container]);
    person(&pod, &containers(&pod)[0], powers, &ACCESS, PASSWD)
}

fn ids(person: &Person) -> (Option<u32>, Option<u32>, Option<Vec<u32>>) {
    (person.identity.uid, person.identity.gid, person.identity.groups.clone())
}

#[test]
fn root_can_start_a_container_as_anybody() {
    let table = [
        (json!({}), json!({}), (None, None, None)),
        // A user of the host has its group, another one that of nobody.
        (json!({"runAsUser": 1001}), json!({}), (Some(1001), Some(1002), Some(vec![900, 901]))),
        (json!({"runAsUser": 65534}), json!({}), (Some(65534), Some(NOBODY), Some(vec![900, 901]))),
        (json!({"runAsUser": 1001, "runAsGroup": 7}), json!({}), (Some(1001), Some(7), Some(vec![900, 901]))),
        (
            json!({"runAsUser": 1, "runAsGroup": 2}),
            json!({"runAsUser": 3, "runAsGroup": 4}),
            (Some(3), Some(4), Some(vec![900, 901])),
        ),
        (
            json!({"runAsUser": 3, "supplementalGroups": [12, 11], "fsGroup": 11}),
            json!({}),
            (Some(3), Some(NOBODY), Some(vec![11, 12, 900, 901])),
        ),
        // Root stays root, which needs no way to be opened, in the groups that were asked for and no other.
        (json!({"runAsUser": 0, "fsGroup": 11}), json!({}), (None, None, Some(vec![11]))),
        (json!({"runAsGroup": 7}), json!({}), (None, Some(7), Some(vec![]))),
    ];
    for (of_pod, of_container, expected) in table {
        assert_eq!(ids(&who(of_pod.clone(), of_container, &root()).unwrap()), expected, "{of_pod}");
    }
    let account = |uid: u32| who(json!({"runAsUser": uid}), json!({}), &root()).unwrap().account.unwrap();
    assert_eq!(account(1001), Account { name: Some("web".into()), home: "/srv/web".into(), gid: 1002 });
    assert_eq!(account(5), Account { name: None, home: "/".into(), gid: NOBODY });
}

#[test]
fn others_can_only_be_themselves() {
    for own in [json!({"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 50, "supplementalGroups": [1000]}), json!({})]
    {
        assert_eq!(ids(&who(own, json!({}), &somebody()).unwrap()), (None, None, None));
    }
    for (of_pod, of_container, field, id) in [
        (json!({"runAsUser": 0}), json!({}), "spec.securityContext.runAsUser", 0),
        (json!({}), json!({"runAsUser": 1001}), "securityContext.runAsUser of container c0", 1001),
        (json!({"runAsGroup": 2}), json!({}), "spec.securityContext.runAsGroup", 2),
        (json!({"supplementalGroups": [50, 51]}), json!({}), "spec.securityContext.supplementalGroups", 51),
        (json!({"fsGroup": 51}), json!({}), "spec.securityContext.fsGroup", 51),
    ] {
        let expected = IdentityError::NotOurs { field: field.to_owned(), id, user: 1000 };
        assert_eq!(who(of_pod, of_container, &somebody()), Err(expected));
    }
    // Root in a container that lacks one of the powers is in the same position.
    let mut confined = root();
    confined.capabilities.remove(CapabilitySet::SETGID);
    assert!(matches!(who(json!({"runAsUser": 1}), json!({}), &confined), Err(IdentityError::NotOurs { .. })));
}

#[test]
fn nobody_gets_a_group_of_pods_by_asking() {
    let (first, last) = (*RESERVED.start(), *RESERVED.end());
    for (of_pod, of_container, field, id) in [
        (json!({"runAsGroup": first}), json!({}), "spec.securityContext.runAsGroup", first),
        (json!({"runAsUser": 0}), json!({"runAsGroup": last}), "securityContext.runAsGroup of container c0", last),
        (json!({"fsGroup": first}), json!({}), "spec.securityContext.fsGroup", first),
        (json!({"supplementalGroups": [5, last]}), json!({}), "spec.securityContext.supplementalGroups", last),
        (json!({"runAsUser": 1003}), json!({}), "spec.securityContext.runAsUser (group of user 1003)", 2_131_329_025),
    ] {
        let refused = who(of_pod, of_container, &root()).unwrap_err();
        assert_eq!(refused, IdentityError::Reserved { field: field.to_owned(), id });
        let told = format!("{field}: group {id} cannot be asked for: those from 1073741824 to 2147483647 are ");
        assert!(refused.to_string().starts_with(&told), "{refused}");
    }
    // Also where it is the server's own.
    let lucky = Powers { gid: first, groups: vec![first], ..somebody() };
    assert!(matches!(who(json!({"runAsGroup": first}), json!({}), &lucky), Err(IdentityError::Reserved { .. })));
    let beside = json!({"runAsUser": 1003, "runAsGroup": first - 1, "fsGroup": last + 1});
    who(beside, json!({}), &root()).unwrap();
    assert_eq!(ownership(&pod(json!({"fsGroup": first}), &[json!({})]), &root()).group, None);
}

#[test]
fn who_must_not_be_root_is_not() {
    let non_root = json!({"runAsNonRoot": true});
    let asked = who(non_root.clone(), json!({"runAsUser": 0}), &root()).unwrap_err();
    assert_eq!(asked.to_string(), "container's runAsUser breaks non-root policy (pod: \"p_ns(u)\", container: c0)");
    assert!(matches!(who(non_root.clone(), json!({}), &root()), Err(IdentityError::ServerIsRoot { .. })));
    who(non_root.clone(), json!({}), &somebody()).unwrap();
    who(non_root.clone(), json!({"runAsUser": 1}), &root()).unwrap();
    who(non_root, json!({"runAsNonRoot": false}), &root()).unwrap();
}

#[test]
fn capabilities_remain_as_far_as_nothing_takes_them() {
    let kept = |context: Value| who(json!({}), context, &root()).map(|person| person.identity.capabilities);
    let bits = |set: CapabilitySet| Ok(Some(set.bits()));
    assert_eq!(kept(json!({"privileged": true, "capabilities": {"add": ["NET_RAW"]}})), Ok(None));
    assert_eq!(kept(json!({"capabilities": {"drop": ["ALL"]}})), bits(CapabilitySet::empty()));
    let one = json!({"capabilities": {"drop": ["ALL"], "add": ["CAP_NET_BIND_SERVICE"]}});
    assert_eq!(kept(one), bits(CapabilitySet::NET_BIND_SERVICE));
    let most = CapabilitySet::from_bits_retain(!CapabilitySet::NET_RAW.bits());
    assert_eq!(kept(json!({"capabilities": {"drop": ["NET_RAW"]}})), bits(most));
    assert_eq!(kept(json!({"privileged": false})), bits(UNPRIVILEGED));
    let changed = json!({"privileged": false, "capabilities": {"add": ["NET_ADMIN"], "drop": ["KILL"]}});
    assert_eq!(kept(changed), bits((UNPRIVILEGED | CapabilitySet::NET_ADMIN) - CapabilitySet::KILL));
    let unknown = IdentityError::NoSuchCapability { container: "c0".into(), name: "FLY".into() };
    assert_eq!(kept(json!({"capabilities": {"drop": ["FLY"]}})), Err(unknown));
}

#[test]
fn privileges_are_not_regained() {
    let gains_none =
        |context: Value, powers: &Powers| who(json!({}), context, powers).unwrap().identity.no_new_privileges;
    assert!(gains_none(json!({"allowPrivilegeEscalation": false}), &somebody()));
    assert!(!gains_none(json!({"allowPrivilegeEscalation": true}), &root()));
    let drop = json!({"capabilities": {"drop": ["ALL"]}});
    assert!(!gains_none(drop.clone(), &root()), "the bounding set sees to it");
    assert!(gains_none(drop, &somebody()), "who may not set that one forbids it");
}

#[test]
fn volumes_belong_to_the_group_and_tokens_to_the_one_user() {
    let of = |of_pod: Value, containers: &[Value], powers: &Powers| {
        let Ownership { user, group, private } = ownership(&pod(of_pod, containers), powers);
        (user, group, private)
    };
    let user = |uid: u32| json!({"runAsUser": uid});
    assert_eq!(of(json!({}), &[json!({})], &root()), (None, None, false));
    assert_eq!(of(user(5), &[json!({}), user(5)], &root()), (Some(5), None, true));
    assert_eq!(of(user(5), &[json!({}), user(6)], &root()), (None, None, false));
    assert_eq!(of(json!({"fsGroup": 7}), &[user(5), json!({})], &root()), (None, Some(7), true));
    assert_eq!(of(json!({"fsGroup": 7}), &[json!({})], &somebody()), (None, None, true), "not ours to give");
    assert_eq!(of(json!({"fsGroup": 50}), &[user(1000)], &somebody()), (None, Some(50), true));
}
