//! Start order: `shop wait inventory payment` in an init container ends when these services answer.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Between two attempts. It delays the start by at most this.
const PAUSE: Duration = Duration::from_millis(25);

/// A service's address comes from the environment, which is fixed at the container's start. After this long the container
/// ends with an error, to be started again with a fresh one.
const PATIENCE: Duration = Duration::from_secs(15);

/// A service that holds the connection without answering is not ready.
const ANSWER: Duration = Duration::from_secs(1);

pub(crate) fn run(names: &[String]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let end = Instant::now() + PATIENCE;
        for name in names {
            let address = address(name)?;
            eprintln!("waiting for {name} at {address}");
            while let Err(error) = check(&address).await {
                if Instant::now() > end {
                    return Err(error.context(format!("{name} is not ready")));
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    })
}

fn address(name: &str) -> anyhow::Result<String> {
    let prefix = name.to_uppercase().replace('-', "_");
    let variable = |suffix: &str| {
        let variable = format!("{prefix}_SERVICE_{suffix}");
        std::env::var(&variable)
            .with_context(|| format!("${variable} is not set: was Service {name} made before this pod?"))
    };
    Ok(format!("{}:{}", variable("HOST")?, variable("PORT")?))
}

async fn check(address: &str) -> anyhow::Result<()> {
    let head = tokio::time::timeout(ANSWER, async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await?;
        Ok::<_, std::io::Error>(head)
    });
    let head = head.await.context("no answer")?.with_context(|| format!("cannot ask {address}"))?;
    anyhow::ensure!(&head == b"HTTP/1.1 200", "{address} answers {}", String::from_utf8_lossy(&head[9..]));
    Ok(())
}
