//! Runs of workflows, from the `WorkflowRun`'s create through HTTPS to its final status on a watch.

use std::sync::Arc;

use kapell_e2e::{Kapell, shop};
use serde_json::{Value, json};

use crate::hammer::{Rounds, hammer};
use crate::process::{Memory, cpu_nanos};
use crate::row;

/// An HTTP step's service is a process of its own, as in life; its CPU is not charged.
const TEN_STEPS: &str = include_str!("ten.workflow.yaml");

pub(crate) async fn measure() -> anyhow::Result<()> {
    let kapell = Kapell::start();
    shop::up(&kapell);
    kapell.cli_with_input(&["apply", "-f", "-"], include_str!("../../tests/files/web.yaml")).ok();
    kapell.cli(&["rollout", "status", "deployment/web"]).ok();
    kapell.cli_with_input(&["apply", "-f", "-"], TEN_STEPS).ok();
    for (clients, aim) in [(1, "p50 < 3 ms"), (64, "2,310/s (3 × Restate), p50 82 ms")] {
        runs(&kapell, "default", "ten", clients, aim, |_| json!({})).await?;
    }
    for clients in [1, 64] {
        runs(&kapell, "shop", "order", clients, "", |name| shop::order_input(name, "ann", "lamp", 1)).await?;
    }
    row("– memory afterwards", &Memory::of(kapell.pid())?.to_string(), "< 150 MB");
    Ok(())
}

async fn runs(
    kapell: &Kapell,
    namespace: &str,
    workflow: &'static str,
    clients: usize,
    aim: &str,
    input: fn(&str) -> Value,
) -> anyhow::Result<()> {
    let runs = Arc::new(shop::Runs::new(kapell.client().await, namespace));
    let pid = kapell.pid();
    let rates = hammer(
        Rounds::ALL,
        clients,
        || cpu_nanos(pid),
        move |_, number| {
            let runs = runs.clone();
            async move {
                let name = format!("bench-{clients}-{number}");
                let status = runs.finish(workflow, &name, input(&name)).await?;
                anyhow::ensure!(status["phase"] == "Completed", "{name}: {status}");
                Ok(())
            }
        },
    )
    .await?;
    let what = if workflow == "ten" { "runs of ten HTTP steps" } else { "order runs of the shop (5 HTTP steps)" };
    row(&format!("{what}, {clients} at a time"), &rates.to_string(), aim);
    Ok(())
}
