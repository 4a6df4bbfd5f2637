//! Serves the API over the model store, for trying clients by hand: `cargo run -p kapell-apiserver --example serve DIR`
//! writes `DIR/kubeconfig` and serves until Ctrl-C. Nothing is kept.

use std::path::PathBuf;
use std::sync::Arc;

use kapell_api::net::LoopbackBlock;
use kapell_apiserver::{ApiServer, Config, pki::Pki};
use kapell_store::memory::MemoryStore;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = PathBuf::from(std::env::args().nth(1).ok_or("usage: serve DIR")?);
    let pki = Pki::load_or_create(&directory.join("pki"), jiff::Zoned::now().date(), &[])?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let mut config = Config::new(pki.admin_token());
    config.block = LoopbackBlock::new(77);
    config.advertise = Some(address);
    let server = ApiServer::new(config, Arc::new(MemoryStore::new())).await?;
    std::fs::write(directory.join("kubeconfig"), pki.kubeconfig(&format!("https://{address}")))?;
    eprintln!("ready on https://{address}");
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn({
        let (tls, shutdown) = (pki.server_config()?, shutdown.clone());
        async move { server.serve(listener, tls, shutdown).await }
    });
    tokio::signal::ctrl_c().await?;
    shutdown.cancel();
    serving.await??;
    Ok(())
}
