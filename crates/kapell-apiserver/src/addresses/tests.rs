use super::*;

fn pool() -> ServiceAddresses {
    ServiceAddresses::new(LoopbackBlock::new(9).unwrap())
}

fn service(name: &str, spec: Value) -> Value {
    json!({"metadata": {"namespace": "a", "name": name}, "spec": spec})
}

fn port(service: &Value) -> u64 {
    service["spec"]["ports"][0]["nodePort"].as_u64().unwrap_or(0)
}

#[test]
fn addresses_are_unique_stable_and_returned() {
    let pool = pool();
    let mut first = service("x", json!({}));
    pool.claim(&mut first, None).unwrap().keep();
    let address = first["spec"]["clusterIP"].clone();
    assert_eq!(first["spec"]["clusterIPs"], json!([address]));

    let mut other = service("y", json!({"clusterIP": address}));
    let problem = pool.claim(&mut other, None).err().unwrap();
    assert!(problem.message.contains("already allocated"), "{problem}");

    release(&pool.taken, &held_by(&first));
    let mut again = service("x", json!({}));
    pool.claim(&mut again, None).unwrap().keep();
    assert_eq!(again["spec"]["clusterIP"], address, "the same name gets the same address");
}

#[test]
fn a_claim_that_is_not_kept_is_free_again() {
    let pool = pool();
    let mut wanted =
        service("x", json!({"type": "NodePort", "clusterIP": "127.9.0.7", "ports": [{"port": 1, "nodePort": 30001}]}));
    drop(pool.claim(&mut wanted.clone(), None).unwrap());
    pool.claim(&mut wanted, None).unwrap().keep();
    assert_eq!((wanted["spec"]["clusterIP"].as_str(), port(&wanted)), (Some("127.9.0.7"), 30001));
}

#[test]
fn what_cannot_be_given_is_refused() {
    for (spec, field, part) in [
        (json!({"clusterIP": "10.0.0.1"}), "spec.clusterIPs", "valid range"),
        (json!({"clusterIP": "127.9.200.1"}), "spec.clusterIPs", "valid range"),
        (json!({"clusterIP": "here"}), "spec.clusterIPs", "not an IPv4 address"),
        (json!({"type": "NodePort", "ports": [{"nodePort": 80}]}), "spec.ports[0].nodePort", "valid range"),
    ] {
        let problem = pool().claim(&mut service("x", spec.clone()), None).err().unwrap();
        assert!(problem.field == field && problem.message.contains(part), "{spec}: {problem}");
    }
    let mut headless = service("x", json!({"clusterIP": "None"}));
    pool().claim(&mut headless, None).unwrap().keep();
    assert_eq!(headless["spec"]["clusterIP"], "None");
    let mut external = service("x", json!({"type": "ExternalName"}));
    pool().claim(&mut external, None).unwrap().keep();
    assert!(external["spec"]["clusterIP"].is_null());
}

#[test]
fn node_ports_are_given_kept_and_given_up() {
    let pool = pool();
    let mut first = service("x", json!({"type": "NodePort", "ports": [{"port": 80}]}));
    pool.claim(&mut first, None).unwrap().keep();
    assert!(NODE_PORTS.contains(&(port(&first) as u16)));

    let mut same = first.clone();
    pool.claim(&mut same, Some(&first)).unwrap().keep();
    assert_eq!(same, first);

    let mut internal = service("x", json!({"clusterIP": first["spec"]["clusterIP"], "ports": [{"port": 80}]}));
    pool.claim(&mut internal, Some(&first)).unwrap().keep();
    assert_eq!(port(&internal), 0);
    assert!(pool.taken.lock().ports.is_empty(), "a port that was given up is free");
}
