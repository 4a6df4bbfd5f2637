use super::*;

/// What a file is read as: the labels of its objects, or the complaints.
fn read_text(text: &str) -> Result<Vec<String>, Vec<String>> {
    let (mut manifests, mut complaints) = (Vec::new(), Vec::new());
    read_file("f.yaml", text.as_bytes(), &mut manifests, &mut complaints);
    if complaints.is_empty() { Ok(manifests.iter().map(Manifest::label).collect()) } else { Err(complaints) }
}

const WORKFLOW: &str = "document: {dsl: 1.0.1, namespace: shop, name: order, version: 1.0.0}\ndo:\n  - a: {set: {}}\n";

#[test]
fn objects_lists_and_workflow_documents_are_read() {
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    let list = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: p}}\n";
    let cases = [
        (String::new(), vec![]),
        (map.to_owned(), vec!["configmap/a"]),
        (format!("{map}---\n{WORKFLOW}---\n{list}"), vec!["configmap/a", "workflow.kapell.dev/order", "pod/p"]),
    ];
    for (text, expected) in cases {
        let expected = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(read_text(&text), Ok(expected), "{text}");
    }
}

#[test]
fn complaints_name_file_line_and_column() {
    let cases = [
        ("a: b\n c: d\n", vec!["f.yaml:2:"]),
        ("hello: world\n", vec!["f.yaml:1:1: not an object: kind is missing"]),
        (
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n",
            vec!["f.yaml:2:1: apiextensions.k8s.io/v1 CustomResourceDefinition is not supported yet"],
        ),
        (
            "apiVersion: v1\nkind: Deployment\n",
            vec!["f.yaml:2:1: v1 Deployment is not supported yet; supported is apps/v1"],
        ),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  name: b\ndta: {}\n",
            vec![
                "f.yaml:5:3: metadata.name: the key stands twice",
                "f.yaml:6:1: dta: unknown field, did you mean \"data\"?",
            ],
        ),
        ("apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, data: {a: 1}}\n", vec!["f.yaml:4:"]),
    ];
    for (text, expected) in cases {
        let complaints = read_text(text).expect_err(text);
        assert_eq!(complaints.len(), expected.len(), "{complaints:?}");
        for (complaint, start) in complaints.iter().zip(expected) {
            assert!(complaint.starts_with(start), "{complaint:?} should start with {start:?}");
            assert!(!complaint.contains("at line"), "the place is said once: {complaint}");
        }
    }
}

#[test]
fn the_servers_complaints_are_found_in_the_document() {
    let (mut manifests, mut complaints) = (Vec::new(), Vec::new());
    read_file("w.yaml", WORKFLOW.as_bytes(), &mut manifests, &mut complaints);
    let failure = Failure {
        fields: vec![("spec.do[0].a".to_owned(), "no".to_owned()), ("spec.document.name".to_owned(), "bad".to_owned())],
        ..Failure::new("refused")
    };
    let located = manifests[0].locate(failure);
    assert_eq!(located.message, "w.yaml:3:5: spec.do[0].a: no\n       w.yaml:1:41: spec.document.name: bad");
}
