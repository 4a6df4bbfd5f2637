//! Choosing the loopback block of a server, and holding it against other servers on this machine.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use kapell_api::net::LoopbackBlock;
use rand::seq::SliceRandom as _;

use crate::data::write_private;

/// Any number does, as long as all servers agree: the claim is an exclusive bind of this port on the block's own address.
const CLAIM_PORT: u16 = 47_100;

/// A block that no other server on this machine can take while this value lives.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) block: LoopbackBlock,
    _claim: TcpListener,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum BlockError {
    #[error(
        "the addresses 127.{0}.0.0/16, which the Services of this data directory have, are held by another server on this machine; stop it first"
    )]
    Held(u8),
    #[error(
        "no free block of loopback addresses: 127.1.0.0/16 to 127.254.0.0/16 are all held or cannot be bound ({0})"
    )]
    NoneFree(io::Error),
    #[error("cannot keep the choice of loopback addresses in {path}")]
    Unwritable { path: String, source: io::Error },
}

/// The block of this data directory: the one it had before, else a free one, which it then keeps.
pub(crate) fn claim(data: &Path) -> Result<Claimed, BlockError> {
    let path = data.join("block");
    let kept = std::fs::read_to_string(&path).ok().and_then(|text| LoopbackBlock::new(text.trim().parse().ok()?));
    if let Some(block) = kept {
        return hold(block).map_err(|_| BlockError::Held(block.second_octet()));
    }
    // A random order keeps servers that start together from trying the same blocks one after another.
    let mut candidates: Vec<u8> = (1..=254).collect();
    candidates.shuffle(&mut rand::rng());
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for block in candidates.into_iter().filter_map(LoopbackBlock::new) {
        match hold(block) {
            Ok(claimed) => {
                let unwritable = |source| BlockError::Unwritable { path: path.display().to_string(), source };
                write_private(&path, format!("{}\n", block.second_octet()).as_bytes()).map_err(unwritable)?;
                return Ok(claimed);
            }
            Err(error) => last = error,
        }
    }
    Err(BlockError::NoneFree(last))
}

fn hold(block: LoopbackBlock) -> io::Result<Claimed> {
    let claim = TcpListener::bind(SocketAddr::from((block.claim(), CLAIM_PORT)))?;
    Ok(Claimed { block, _claim: claim })
}
