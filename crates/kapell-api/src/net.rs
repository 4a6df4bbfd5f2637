//! Loopback addresses that one server gives away.

use std::net::Ipv4Addr;

/// The block `127.N.0.0/16`, of which one server owns exactly one at a time.
///
/// All of 127.0.0.0/8 answers on Linux without configuration, so addresses from here are reachable at once and
/// need no privileges. The lower half belongs to Services, the upper to pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopbackBlock(u8);

impl LoopbackBlock {
    /// `second_octet` 0 is left to the host (`127.0.0.1` and the resolvers that distributions put on `127.0.0.53`).
    pub fn new(second_octet: u8) -> Option<Self> {
        (second_octet > 0 && second_octet < 255).then_some(Self(second_octet))
    }

    pub fn second_octet(self) -> u8 {
        self.0
    }

    /// Addresses for Services, first to last.
    pub fn services(self) -> (Ipv4Addr, Ipv4Addr) {
        (Ipv4Addr::new(127, self.0, 0, 2), Ipv4Addr::new(127, self.0, 127, 254))
    }

    /// Addresses for pods, first to last.
    pub fn pods(self) -> (Ipv4Addr, Ipv4Addr) {
        (Ipv4Addr::new(127, self.0, 128, 1), Ipv4Addr::new(127, self.0, 255, 250))
    }

    /// The address whose claim (an exclusive bind) makes the block ours.
    pub fn claim(self) -> Ipv4Addr {
        Ipv4Addr::new(127, self.0, 255, 254)
    }
}
