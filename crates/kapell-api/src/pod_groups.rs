//! Numbers of groups that are kept for servers and their pods.
//!
//! A pod's group opens its directory and nothing else may be in it, so nobody can ask for one of these numbers.

use std::ops::RangeInclusive;

/// The upper half of what Kubernetes allows for a group.
pub const RESERVED: RangeInclusive<u32> = 1 << 30..=i32::MAX as u32;
