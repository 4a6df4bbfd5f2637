use serde_json::json;

use super::*;

#[tokio::test]
async fn the_next_commands_fit_what_was_brought_up() {
    let cluster = Cluster::nowhere(" --data /tmp/d");
    let deployment = json!({"kind": "Deployment", "metadata": {"name": "order", "namespace": "shop"}});
    let workflow = |metadata| json!({"kind": "Workflow", "metadata": {"name": "w", "namespace": "default"}, "spec": {"document": {"metadata": metadata}}});
    let cases = [
        (vec![], vec!["kapell get pods -A --data /tmp/d"]),
        (
            vec![deployment, workflow(json!({"kapell.dev/v1": {"exampleInput": {"a": "it's"}}}))],
            vec![
                "kapell get pods,services -n shop --data /tmp/d",
                "kapell logs -f deployment/order -n shop --data /tmp/d",
                r#"kapell workflow run w --wait --input '{"a":"it'\''s"}' --data /tmp/d"#,
            ],
        ),
        (
            vec![workflow(json!({}))],
            vec!["kapell get pods -A --data /tmp/d", "kapell workflow run w --wait --data /tmp/d"],
        ),
    ];
    for (objects, expected) in cases {
        assert_eq!(next(&cluster, &objects), expected);
    }
}
