//! `kapell scale`.

use kapell_api::kind::Subresource;
use serde_json::json;

use crate::cli::ScaleArgs;
use crate::cluster::{Cluster, named};
use crate::error::{Failure, Outcome};
use crate::print;

pub(crate) async fn run(cluster: &Cluster, args: &ScaleArgs) -> Outcome {
    let target = named(&args.target)?;
    if !target.kind.subresources.iter().any(|subresource| matches!(subresource, Subresource::Scale(_))) {
        return Err(Failure::usage(format!("a {} has no replicas to scale", target.kind.kind)));
    }
    let path = format!("{}/scale", cluster.path_of(&target));
    cluster.merge_patch(&path, &json!({"spec": {"replicas": args.replicas}})).await?;
    print::out(&format!("{}/{} scaled to {}\n", target.kind.singular, target.name, args.replicas))
}
