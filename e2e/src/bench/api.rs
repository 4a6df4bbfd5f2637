//! Durable writes through HTTPS: authentication, defaulting, validation and a synced commit for each.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kapell_e2e::Kapell;
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::hammer::{Rates, Rounds, hammer};
use crate::process::{Memory, cpu_nanos};
use crate::row;

/// A write of each client, one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    /// New objects.
    Creates,
    /// The client's own object, again and again.
    Updates,
}

pub(crate) async fn measure() -> anyhow::Result<()> {
    for (clients, aim) in [(1, "etcd: 3,400/s, p50 0.27 ms"), (16, ""), (64, "etcd: 19,600/s, 64 µs")] {
        let kapell = Kapell::start();
        let rates =
            hammer(Rounds::ALL, clients, charged(&kapell), work(&kapell, Writes::Creates, clients).await?).await?;
        row(&format!("ConfigMaps created through HTTPS, {clients} client(s)"), &rates.to_string(), aim);
        row("– memory afterwards", &Memory::of(kapell.pid())?.to_string(), "");
        let rates =
            hammer(Rounds::ALL, clients, charged(&kapell), work(&kapell, Writes::Updates, clients).await?).await?;
        row(&format!("ConfigMaps replaced through HTTPS, {clients} client(s)"), &rates.to_string(), "");
    }
    Ok(())
}

/// One run on a server of its own.
pub(crate) async fn run(writes: Writes, clients: usize, length: Duration) -> anyhow::Result<Rates> {
    let kapell = Kapell::start();
    hammer(Rounds::one(length), clients, charged(&kapell), work(&kapell, writes, clients).await?).await
}

fn charged(kapell: &Kapell) -> impl Fn() -> anyhow::Result<f64> {
    let pid = kapell.pid();
    move || cpu_nanos(pid)
}

/// What a client does: each has a connection of its own.
async fn work(
    kapell: &Kapell,
    writes: Writes,
    clients: usize,
) -> anyhow::Result<impl Fn(usize, usize) -> futures::future::BoxFuture<'static, anyhow::Result<()>> + Clone + use<>> {
    let mut connections = Vec::new();
    for client in 0..clients {
        let api = Api::<ConfigMap>::default_namespaced(kapell.client().await);
        if writes == Writes::Updates {
            api.create(&PostParams::default(), &config_map(&mine(client), 0)?).await?;
        }
        connections.push(api);
    }
    let connections = Arc::new(connections);
    Ok(move |client: usize, number: usize| -> futures::future::BoxFuture<'static, anyhow::Result<()>> {
        let connections = connections.clone();
        Box::pin(async move {
            let (api, params) = (&connections[client], PostParams::default());
            match writes {
                Writes::Creates => api.create(&params, &config_map(&format!("c{number}"), number)?).await?,
                Writes::Updates => api.replace(&mine(client), &params, &config_map(&mine(client), number)?).await?,
            };
            Ok(())
        })
    })
}

fn mine(client: usize) -> String {
    format!("mine-{client}")
}

/// 300 bytes of data, another one for each number.
pub(crate) fn config_map(name: &str, number: usize) -> anyhow::Result<ConfigMap> {
    let data = format!("{number:x<300}");
    Ok(serde_json::from_value(json!({"metadata": {"name": name}, "data": {"key": data}}))?)
}
