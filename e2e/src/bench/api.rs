//! Durable writes through HTTPS: authentication, defaulting, validation and a synced commit for each.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kapell_e2e::Kapell;
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::hammer::hammer;
use crate::process::{Memory, cpu_nanos};
use crate::row;

pub(crate) async fn measure() -> anyhow::Result<()> {
    for (clients, aim) in [(1, "etcd: 3,400/s, p50 0.27 ms"), (64, "etcd: 19,600/s, 64 µs")] {
        let kapell = Kapell::start();
        let mut connections = Vec::new();
        for _ in 0..clients {
            connections.push(Api::<ConfigMap>::default_namespaced(kapell.client().await));
        }
        let (connections, pid) = (Arc::new(connections), kapell.pid());
        let rates = hammer(
            clients,
            || cpu_nanos(pid),
            move |client, number| {
                let connections = connections.clone();
                async move {
                    let name = format!("c{number}");
                    let object: ConfigMap =
                        serde_json::from_value(json!({"metadata": {"name": name}, "data": {"key": "x".repeat(300)}}))?;
                    connections[client].create(&PostParams::default(), &object).await?;
                    Ok(())
                }
            },
        )
        .await?;
        row(&format!("ConfigMaps created through HTTPS, {clients} client(s)"), &rates.to_string(), aim);
        row("– memory afterwards", &Memory::of(pid)?.to_string(), "");
    }
    Ok(())
}
