//! What a pod gets to see of secrets.

use std::collections::BTreeMap;

use serde_json::json;

use super::environment;
use crate::core::running::Process;
use crate::program::process::Returns;
use crate::secrets::Sealed;

#[test]
fn tokens_become_references() {
    let keys = BTreeMap::from([("db".to_owned(), vec!["password".to_owned(), "user".to_owned()])]);
    let sealed = Sealed::new(keys);
    let other = Sealed::new(sealed.keys.clone());
    let token = |sealed: &Sealed, key: &str| {
        sealed.argument().get("db").and_then(|db| db.get(key)?.as_str().map(str::to_owned)).unwrap()
    };
    let (user, password) = (token(&sealed, "user"), token(&sealed, "password"));
    let foreign = token(&other, "user");
    let variable = |name: &str, value: String| (name.to_owned(), value);
    let process = Process {
        command: Vec::new(),
        environment: vec![
            variable("PLAIN", "costs $(HOME) and $$".to_owned()),
            variable("PASSWORD", password.clone()),
            variable("URL", format!("db://{user}:{password}@db/$(x)?again={user}")),
            variable("FOREIGN", foreign.clone()),
        ],
        returns: Returns::None,
        sealed: Some(sealed.nonce.clone()),
    };
    let from = |key: &str| json!({ "secretKeyRef": { "name": "db", "key": key } });
    let expected = json!([
        { "name": "PLAIN", "value": "costs $$(HOME) and $$" },
        { "name": "PASSWORD", "valueFrom": from("password") },
        { "name": "KAPELL_SECRET_1", "valueFrom": from("user") },
        { "name": "KAPELL_SECRET_2", "valueFrom": from("password") },
        { "name": "URL", "value": "db://$(KAPELL_SECRET_1):$(KAPELL_SECRET_2)@db/$$(x)?again=$(KAPELL_SECRET_1)" },
        // A token of another run stands for nothing.
        { "name": "FOREIGN", "value": foreign },
    ]);
    assert_eq!(json!(environment(&process)), expected);
}
