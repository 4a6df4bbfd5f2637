//! Binding the API's port, and saying who has it when it is taken.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;

use tokio::net::TcpListener;

#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    #[error("port {port} is in use{}; {} is free: --api-port {}", holder.as_deref().map(|who| format!(" by {who}")).unwrap_or_default(), free, free)]
    Busy { port: u16, holder: Option<String>, free: u16 },
    #[error("cannot listen on port {port}")]
    Other { port: u16, source: io::Error },
}

/// Listens on the loopback interface; port 0 takes any free one.
pub(crate) async fn bind(port: u16) -> Result<TcpListener, BindError> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(BindError::Busy { port, holder: holder(port), free: next_free(port).unwrap_or(0) })
        }
        Err(source) => Err(BindError::Other { port, source }),
    }
}

fn next_free(port: u16) -> Option<u16> {
    (port..u16::MAX)
        .skip(1)
        .find(|candidate| std::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, *candidate))).is_ok())
}

/// `name (pid 123)` of the process that listens on the port, as far as this user may see it (Linux only).
fn holder(port: u16) -> Option<String> {
    let inode = listening_inode(&std::fs::read_to_string("/proc/net/tcp").ok()?, port)?;
    let processes =
        std::fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in processes {
        let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        if descriptors.flatten().any(|fd| {
            std::fs::metadata(fd.path()).is_ok_and(|meta| meta.ino() == inode && meta.mode() & 0o170_000 == 0o140_000)
        }) {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return Some(format!("{} (pid {pid})", name.trim()));
        }
    }
    None
}

/// The socket's inode from the text of `/proc/net/tcp`: the line in state 0A (LISTEN) with this local port.
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local_port) = fields.get(1)?.split_once(':')?;
        let ours = fields.get(3) == Some(&"0A") && u16::from_str_radix(local_port, 16).ok()? == port;
        ours.then(|| fields.get(9)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests;
