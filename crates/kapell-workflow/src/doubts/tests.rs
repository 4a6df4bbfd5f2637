use serde_json::json;

use super::doubts;

#[test]
fn texts_that_look_like_expressions_are_doubtful() {
    let document = |mode: &str| {
        json!({
            "document": { "title": ".title" },
            "evaluate": { "mode": mode },
            "do": [
                { "a": { "set": { "x": ".order.id", "y": "$context.n", "z": ["${ .fine }", ".5", "..", "plain", ".a b"] } } },
                { "b": { "if": ".fine", "for": { "in": ".items" }, "do": [{ "c": { "set": {}, "output": { "as": ".x" } } }] } },
            ],
        })
    };
    let found: Vec<String> = doubts(&document("strict")).iter().map(|problem| problem.field.clone()).collect();
    assert_eq!(found, ["spec.do[0].a.set.x", "spec.do[0].a.set.y"]);
    assert!(doubts(&document("loose")).is_empty());
}

#[test]
fn endpoints_that_nobody_asks_are_doubtful() {
    let endpoints = json!({ "token": "/t", "revocation": "/r", "introspection": "/i" });
    let document = json!({ "use": { "authentications": { "a": { "oauth2": { "endpoints": endpoints } } } } });
    let found: Vec<String> = doubts(&document).iter().map(|problem| problem.field.clone()).collect();
    let endpoints = "spec.use.authentications.a.oauth2.endpoints";
    assert_eq!(found, [format!("{endpoints}.introspection"), format!("{endpoints}.revocation")]);
}
