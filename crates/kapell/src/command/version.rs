//! `kapell version`.

use crate::cli::Target;
use crate::cluster::Cluster;
use crate::error::Outcome;
use crate::print;

pub(crate) async fn run(target: &Target) -> Outcome {
    print::out(&format!("kapell {}\n", env!("CARGO_PKG_VERSION")))?;
    match Cluster::connect(target).await {
        Ok(cluster) => {
            let version = cluster.get("/version").await?;
            print::out(&format!("server {}\n", version["gitVersion"].as_str().unwrap_or("unknown")))
        }
        Err(_) => print::out("server not running\n"),
    }
}
