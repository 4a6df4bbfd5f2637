//! The address of a pod's socket, also below a data directory whose path does not fit into a socket address.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use crate::layout;

/// `sun_path` holds 108 bytes on Linux and 104 elsewhere, the final zero included.
const LONGEST_PATH: usize = 103;

/// A path that fits. Valid while this value lives: a long one leads through a file descriptor of the directory.
pub struct Address {
    path: PathBuf,
    _directory: Option<File>,
}

impl Address {
    pub fn of(pod: &Path) -> io::Result<Self> {
        let path = layout::socket(pod);
        if path.as_os_str().len() <= LONGEST_PATH {
            return Ok(Self { path, _directory: None });
        }
        let directory = File::open(pod)?;
        let path = layout::socket(Path::new(&format!("/proc/self/fd/{}", directory.as_raw_fd())));
        Ok(Self { path, _directory: Some(directory) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}
