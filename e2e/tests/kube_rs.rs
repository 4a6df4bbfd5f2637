//! The Rust client `kube`: its reflector in both ways of listing, server-side apply, and leader election by Lease.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kapell_e2e::{Kapell, eventually_async};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use serde_json::json;

fn settings(name: &str, colour: &str) -> ConfigMap {
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"colour": colour},
    }))
    .unwrap()
}

async fn follows(config: watcher::Config) {
    let mut kapell = Kapell::start();
    let api = Api::<ConfigMap>::default_namespaced(kapell.client().await);
    api.create(&PostParams::default(), &settings("before", "red")).await.unwrap();

    let (reader, writer) = reflector::store();
    let stream = watcher(api.clone(), config).default_backoff().reflect(writer);
    let follower = tokio::spawn(stream.for_each(|_| std::future::ready(())));
    reader.wait_until_ready().await.unwrap();
    let copy = || -> BTreeMap<String, String> {
        let pair = |map: &ConfigMap| Some((map.metadata.name.clone()?, map.data.as_ref()?.get("colour")?.clone()));
        reader.state().iter().filter_map(|map| pair(map)).collect()
    };
    let is = async |wanted: &[(&str, &str)]| {
        let wanted: BTreeMap<_, _> = wanted.iter().map(|(name, colour)| ((*name).into(), (*colour).into())).collect();
        eventually_async(&format!("the copy is {wanted:?}"), || async { (copy() == wanted).then_some(()) }).await;
    };
    is(&[("before", "red")]).await;
    api.create(&PostParams::default(), &settings("after", "blue")).await.unwrap();
    api.patch("before", &PatchParams::default(), &Patch::Merge(json!({"data": {"colour": "green"}}))).await.unwrap();
    is(&[("after", "blue"), ("before", "green")]).await;
    api.delete("after", &DeleteParams::default()).await.unwrap();
    is(&[("before", "green")]).await;

    // The API server is somewhere else after a restart, so what is told here is that the watch ends and says so.
    kapell.kill();
    follower.abort();
}

/// Row: kube-rs | reflector over paged lists
#[tokio::test(flavor = "multi_thread")]
async fn a_reflector_that_lists_in_pages_follows() {
    follows(watcher::Config::default().page_size(1)).await;
}

/// Row: kube-rs | reflector over streaming lists
#[tokio::test(flavor = "multi_thread")]
async fn a_reflector_that_streams_its_list_follows() {
    follows(watcher::Config::default().streaming_lists()).await;
}

/// Row: kube-rs | server-side apply
#[tokio::test(flavor = "multi_thread")]
async fn server_side_apply_owns_conflicts_and_is_forced() {
    let kapell = Kapell::start();
    let api = Api::<ConfigMap>::default_namespaced(kapell.client().await);
    let apply = async |manager: &str, colour: &str, force: bool| {
        let params = PatchParams { force, ..PatchParams::apply(manager) };
        api.patch("settings", &params, &Patch::Apply(settings("settings", colour))).await
    };
    let first = apply("ours", "red", false).await.unwrap();
    let again = apply("ours", "red", false).await.unwrap();
    assert_eq!(first.metadata.resource_version, again.metadata.resource_version, "nothing changed");
    let refused = apply("theirs", "blue", false).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 409), "{refused}");
    assert!(refused.to_string().contains(".data.colour"), "{refused}");
    apply("theirs", "blue", true).await.unwrap();
    let owners = api.get("settings").await.unwrap().metadata.managed_fields.unwrap();
    let names: Vec<_> = owners.iter().filter_map(|owner| owner.manager.as_deref()).collect();
    assert_eq!(names, ["theirs"]);
}

/// Row: kube-rs | leases: of two who take one, one gets it
#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_take_a_lease_one_gets_it() {
    let kapell = Kapell::start();
    let api = Api::<Lease>::default_namespaced(kapell.client().await);
    let lease: Lease = serde_json::from_value(json!({
        "metadata": {"name": "leader"}, "spec": {"leaseDurationSeconds": 15},
    }))
    .unwrap();
    let free = api.create(&PostParams::default(), &lease).await.unwrap();
    let take = async |who: &str| {
        let mut mine = free.clone();
        let spec = mine.spec.get_or_insert_default();
        spec.holder_identity = Some(who.to_owned());
        spec.acquire_time = Some(MicroTime(Timestamp::now()));
        api.replace("leader", &PostParams::default(), &mine).await
    };
    let (a, b) = tokio::join!(take("a"), take("b"));
    assert_eq!([a.is_ok(), b.is_ok()].iter().filter(|won| **won).count(), 1, "{a:?} {b:?}");
    let lost = a.and(b).unwrap_err();
    assert!(matches!(&lost, kube::Error::Api(status) if status.code == 409), "{lost}");
}
