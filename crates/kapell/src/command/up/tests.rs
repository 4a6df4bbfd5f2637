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
                r#"kapell workflow run w --data /tmp/d --wait --input '{"a":"it'\''s"}'"#,
            ],
        ),
        (
            vec![workflow(json!({}))],
            vec!["kapell get pods -A --data /tmp/d", "kapell workflow run w --data /tmp/d --wait"],
        ),
    ];
    for (objects, expected) in cases {
        assert_eq!(next(&cluster, &objects), expected);
    }
}

#[test]
fn addresses_are_those_that_face_outwards() {
    let service = |type_: &str, listen: &str| {
        json!({"kind": "Service", "metadata": {"name": "web", "namespace": "shop", "annotations": {"kapell.dev/listen": listen}},
            "spec": {"type": type_}})
    };
    let cases = [
        (service("ClusterIP", "http=127.1.0.2:80"), vec![]),
        (
            service("LoadBalancer", "http=127.1.0.2:80,admin=127.1.0.2:81"),
            vec!["  service/web -n shop http://127.1.0.2:80", "  service/web -n shop http://127.1.0.2:81"],
        ),
        (service("NodePort", ""), vec![]),
        (json!({"kind": "Pod"}), vec![]),
    ];
    for (object, expected) in cases {
        let rows: Vec<String> = addresses(&[object]).iter().map(|row| row.join(" ")).collect();
        assert_eq!(rows, expected);
    }
}
