//! SIG API Machinery: watches.

use kapell_e2e::conformance::Case;
use serde_json::{Value, json};

fn map(name: &str, label: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"watch": label}}, "data": {"mutation": "0"}})
}

fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().expect("a version").to_owned()
}

fn mutation(number: u32) -> Value {
    json!({"data": {"mutation": number.to_string()}})
}

/// Conformance: [sig-api-machinery] Watchers should observe add, update, and delete watch notifications on configmaps
#[tokio::test]
async fn changes_are_told_to_those_whom_they_concern() {
    let case = Case::new().await;
    let maps = case.path("v1", "configmaps");
    let mut a = case.watch(&maps, "&labelSelector=watch%3Da").await;
    let mut b = case.watch(&maps, "&labelSelector=watch%3Db").await;
    let mut both = case.watch(&maps, "&labelSelector=watch+in+(a,b)").await;
    for name in ["a", "b"] {
        let (one, own) = (format!("{maps}/{name}"), if name == "a" { &mut a } else { &mut b });
        case.post(&maps, &map(name, name)).await.expect(201);
        case.merge(&one, &mutation(1)).await.expect(200);
        case.merge(&one, &mutation(2)).await.expect(200);
        case.delete(&one).await.expect(200);
        for watch in [own, &mut both] {
            for what in ["ADDED", "MODIFIED", "MODIFIED", "DELETED"] {
                assert_eq!(watch.told().await, format!("{what} {name}"));
            }
        }
    }
    a.quiet().await;
    b.quiet().await;
}

/// Conformance: [sig-api-machinery] Watchers should be able to start watching from a specific resource version
#[tokio::test]
async fn a_watch_starts_after_the_version_that_it_names() {
    let case = Case::new().await;
    let maps = case.path("v1", "configmaps");
    case.post(&maps, &map("m", "x")).await.expect(201);
    let first = case.merge(&format!("{maps}/m"), &mutation(1)).await.expect(200);
    case.merge(&format!("{maps}/m"), &mutation(2)).await.expect(200);
    case.delete(&format!("{maps}/m")).await.expect(200);
    let from = format!("&labelSelector=watch%3Dx&resourceVersion={}", version(&first));
    let mut watch = case.watch(&maps, &from).await;
    let second = watch.next().await;
    assert_eq!((&second["type"], &second["object"]["data"]["mutation"]), (&json!("MODIFIED"), &json!("2")));
    assert_eq!(watch.told().await, "DELETED m");
}

/// Conformance: [sig-api-machinery] Watchers should be able to restart watching from the last resource version observed by the previous watch
#[tokio::test]
async fn a_watch_goes_on_where_another_ended() {
    let case = Case::new().await;
    let maps = case.path("v1", "configmaps");
    let mut first = case.watch(&maps, "&labelSelector=watch%3Dx").await;
    case.post(&maps, &map("m", "x")).await.expect(201);
    case.merge(&format!("{maps}/m"), &mutation(1)).await.expect(200);
    assert_eq!(first.told().await, "ADDED m");
    let last = version(&first.next().await["object"]);
    drop(first);
    case.merge(&format!("{maps}/m"), &mutation(2)).await.expect(200);
    case.delete(&format!("{maps}/m")).await.expect(200);
    let mut second = case.watch(&maps, &format!("&labelSelector=watch%3Dx&resourceVersion={last}")).await;
    assert_eq!(second.told().await, "MODIFIED m");
    assert_eq!(second.told().await, "DELETED m");
}

/// Conformance: [sig-api-machinery] Watchers should observe an object deletion if it stops meeting the requirements of the selector
#[tokio::test]
async fn what_leaves_the_selection_is_told_as_deleted() {
    let case = Case::new().await;
    let maps = case.path("v1", "configmaps");
    let one = format!("{maps}/m");
    let mut watch = case.watch(&maps, "&labelSelector=watch%3Dx").await;
    case.post(&maps, &map("m", "x")).await.expect(201);
    case.merge(&one, &mutation(1)).await.expect(200);
    case.merge(&one, &json!({"metadata": {"labels": {"watch": "y"}}})).await.expect(200);
    for expected in ["ADDED m", "MODIFIED m", "DELETED m"] {
        assert_eq!(watch.told().await, expected);
    }
    case.merge(&one, &mutation(2)).await.expect(200);
    watch.quiet().await;
    case.merge(&one, &json!({"metadata": {"labels": {"watch": "x"}}})).await.expect(200);
    case.merge(&one, &mutation(3)).await.expect(200);
    case.delete(&one).await.expect(200);
    let back = watch.next().await;
    assert_eq!((&back["type"], &back["object"]["data"]["mutation"]), (&json!("ADDED"), &json!("2")));
    assert_eq!(watch.told().await, "MODIFIED m");
    assert_eq!(watch.told().await, "DELETED m");
}

/// Conformance: [sig-api-machinery] Watchers should receive events on concurrent watches in same order
#[tokio::test]
async fn all_watches_tell_the_same_order() {
    let case = Case::new().await;
    let maps = case.path("v1", "configmaps");
    let begin = version(&case.get(&maps).await.expect(200));
    let writes = async {
        for round in 0..20 {
            let name = format!("m{}", round % 4);
            match round / 4 % 3 {
                0 => drop(case.post(&maps, &map(&name, "x")).await.expect(201)),
                1 => drop(case.merge(&format!("{maps}/{name}"), &mutation(round)).await.expect(200)),
                _ => drop(case.delete(&format!("{maps}/{name}")).await.expect(200)),
            }
        }
    };
    let versions = |from: String, count: usize| {
        let (case, maps) = (&case, &maps);
        async move {
            let mut watch = case.watch(maps, &format!("&resourceVersion={from}")).await;
            let mut versions = Vec::new();
            while versions.len() < count {
                versions.push(version(&watch.next().await["object"]));
            }
            versions
        }
    };
    let (first, ()) = tokio::join!(versions(begin, 20), writes);
    // Each of the others begins at a version that the first has seen, and sees what is left.
    let later = first.iter().enumerate().map(|(seen, from)| versions(from.clone(), first.len() - seen - 1));
    for (seen, told) in futures::future::join_all(later).await.into_iter().enumerate() {
        assert_eq!(told, first[seen + 1..]);
    }
}
