//! Addresses and node ports of Services: each given once, kept as long as the Service, free again after it.
//!
//! The Services in the store are the record; what is in memory is rebuilt from them at start. A write first claims
//! what it needs and keeps the claim only if it is committed; what an update leaves out is carried over by the row. An address is derived from the Service's name, so
//! that one that is deleted and made again usually gets the same.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use kapell_api::net::LoopbackBlock;
use kapell_api::problem::{Problem, Reason};
use kapell_api::status::Status;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::engine::{Engine, name_of};
use crate::resources::Resource;

const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;
const NONE: &str = "None";

/// What is given away.
#[derive(Debug, Default)]
struct Taken {
    addresses: HashSet<Ipv4Addr>,
    ports: HashSet<u16>,
}

/// The pool of one server.
pub(crate) struct ServiceAddresses {
    block: LoopbackBlock,
    taken: Arc<Mutex<Taken>>,
}

/// What a write needs and what it gives up. Dropped without [`Claims::keep`], the first is free again.
pub(crate) struct Claims {
    taken: Arc<Mutex<Taken>>,
    claimed: Taken,
    given_up: Taken,
}

impl Claims {
    /// The write is committed.
    pub(crate) fn keep(mut self) {
        self.claimed = Taken::default();
        let given_up = std::mem::take(&mut self.given_up);
        release(&self.taken, &given_up);
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        release(&self.taken, &self.claimed);
    }
}

fn release(taken: &Mutex<Taken>, free: &Taken) {
    let mut taken = taken.lock();
    taken.addresses.retain(|address| !free.addresses.contains(address));
    taken.ports.retain(|port| !free.ports.contains(port));
}

/// What a Service holds.
fn held_by(service: &Value) -> Taken {
    let address = service["spec"]["clusterIP"].as_str().and_then(|text| text.parse().ok());
    let ports = ports_of(service).filter_map(node_port);
    Taken { addresses: address.into_iter().collect(), ports: ports.collect() }
}

fn ports_of(service: &Value) -> impl Iterator<Item = &Value> {
    service["spec"]["ports"].as_array().into_iter().flatten()
}

fn node_port(port: &Value) -> Option<u16> {
    port["nodePort"].as_u64().and_then(|port| u16::try_from(port).ok()).filter(|&port| port != 0)
}

impl ServiceAddresses {
    pub(crate) fn new(block: LoopbackBlock) -> Self {
        Self { block, taken: Arc::default() }
    }

    /// Records what an existing Service holds.
    pub(crate) fn record(&self, service: &Value) {
        let held = held_by(service);
        let mut taken = self.taken.lock();
        taken.addresses.extend(held.addresses);
        taken.ports.extend(held.ports);
    }

    /// The first address, for the Service `kubernetes`.
    pub(crate) fn first(&self) -> Ipv4Addr {
        self.block.services().0
    }

    /// Fills in what `service` leaves open and claims what it asks for.
    pub(crate) fn claim(&self, service: &mut Value, old: Option<&Value>) -> Result<Claims, Problem> {
        let before = old.map(held_by).unwrap_or_default();
        let mut claims = Claims { taken: self.taken.clone(), claimed: Taken::default(), given_up: Taken::default() };
        self.claim_address(service, &before, &mut claims)?;
        self.claim_ports(service, &before, &mut claims)?;
        let after = held_by(service);
        claims.given_up = Taken {
            addresses: before.addresses.difference(&after.addresses).copied().collect(),
            ports: before.ports.difference(&after.ports).copied().collect(),
        };
        Ok(claims)
    }

    fn claim_address(&self, service: &mut Value, before: &Taken, claims: &mut Claims) -> Result<(), Problem> {
        if service["spec"]["type"] == "ExternalName" {
            if let Some(spec) = service["spec"].as_object_mut() {
                for field in ["clusterIP", "clusterIPs"] {
                    spec.shift_remove(field);
                }
            }
            return Ok(());
        }
        let wanted = service["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
        let address = if wanted.is_empty() {
            self.free_address(service, claims)?.to_string()
        } else if wanted != NONE {
            self.claim_wanted(&wanted, before, claims)?;
            wanted
        } else {
            wanted
        };
        let spec = &mut service["spec"];
        spec["clusterIP"] = json!(address);
        spec["clusterIPs"] = json!([address]);
        Ok(())
    }

    fn claim_wanted(&self, wanted: &str, before: &Taken, claims: &mut Claims) -> Result<(), Problem> {
        let refused = |why: &str| {
            let message = format!("Invalid value: []string{{{wanted:?}}}: failed to allocate IP {wanted}: {why}");
            Problem::new("spec.clusterIPs", Reason::Invalid, message)
        };
        let (first, last) = self.block.services();
        let address: Ipv4Addr = wanted.parse().map_err(|_| refused("it is not an IPv4 address"))?;
        if before.addresses.contains(&address) {
            return Ok(());
        }
        if !(first..=last).contains(&address) {
            return Err(refused(&format!("the valid range is {first} to {last}")));
        }
        if !self.taken.lock().addresses.insert(address) {
            return Err(refused("provided IP is already allocated"));
        }
        claims.claimed.addresses.insert(address);
        Ok(())
    }

    fn free_address(&self, service: &Value, claims: &mut Claims) -> Result<Ipv4Addr, Problem> {
        let (first, last) = self.block.services();
        // The very first is for the Service `kubernetes`, which asks for it by name.
        let (low, high) = (u32::from(first) + 1, u32::from(last));
        let count = high - low + 1;
        let start = hash_of(service) % count;
        let mut taken = self.taken.lock();
        for step in 0..count {
            let address = Ipv4Addr::from(low + (start + step) % count);
            // Host parts .0 and .255 look like network and broadcast addresses to too many programs.
            if !matches!(address.octets()[3], 0 | 255) && taken.addresses.insert(address) {
                claims.claimed.addresses.insert(address);
                return Ok(address);
            }
        }
        Err(Problem::new("spec.clusterIP", Reason::Invalid, "failed to allocate a serviceIP: range is full"))
    }

    fn claim_ports(&self, service: &mut Value, before: &Taken, claims: &mut Claims) -> Result<(), Problem> {
        let needed = match service["spec"]["type"].as_str() {
            Some("NodePort") => true,
            Some("LoadBalancer") => service["spec"]["allocateLoadBalancerNodePorts"] != json!(false),
            _ => false,
        };
        let start = hash_of(service);
        let Some(ports) = service["spec"]["ports"].as_array_mut() else { return Ok(()) };
        for (index, port) in ports.iter_mut().enumerate() {
            match node_port(port) {
                // TCP and UDP of one Service may share a number.
                Some(wanted) if before.ports.contains(&wanted) || claims.claimed.ports.contains(&wanted) => {}
                Some(wanted) => {
                    let refused = |why: &str| Problem::invalid(format!("spec.ports[{index}].nodePort"), wanted, why);
                    if !NODE_PORTS.contains(&wanted) {
                        return Err(refused(
                            "provided port is not in the valid range. The range of valid ports is 30000-32767",
                        ));
                    }
                    if !self.taken.lock().ports.insert(wanted) {
                        return Err(refused("provided port is already allocated"));
                    }
                    claims.claimed.ports.insert(wanted);
                }
                None if needed => {
                    let free = self.free_port(start.wrapping_add(index as u32), claims)?;
                    port["nodePort"] = json!(free);
                }
                None => {}
            }
        }
        Ok(())
    }

    fn free_port(&self, start: u32, claims: &mut Claims) -> Result<u16, Problem> {
        let (low, count) = (*NODE_PORTS.start(), NODE_PORTS.len() as u32);
        let mut taken = self.taken.lock();
        for step in 0..count {
            let port = low + (start.wrapping_add(step) % count) as u16;
            if taken.ports.insert(port) {
                claims.claimed.ports.insert(port);
                return Ok(port);
            }
        }
        Err(Problem::new("spec.ports", Reason::Invalid, "failed to allocate a nodePort: range is full"))
    }
}

/// FNV-1a of namespace and name: where the search for a free number begins.
fn hash_of(service: &Value) -> u32 {
    let namespace = service["metadata"]["namespace"].as_str().unwrap_or_default();
    let bytes = namespace.bytes().chain([b'/']).chain(name_of(service).bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

impl Engine {
    /// Claims for a Service; `None` for every other kind.
    pub(crate) fn claim_addresses(
        &self,
        resource: &Resource,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<Option<Claims>, Status> {
        match &self.addresses {
            Some(addresses) if resource.is_core("Service") => addresses
                .claim(object, old)
                .map(Some)
                .map_err(|problem| Status::invalid(resource.kind, name_of(object), &[problem])),
            _ => Ok(None),
        }
    }

    /// A Service is gone for good.
    pub(crate) fn release_addresses(&self, resource: &Resource, object: &Value) {
        if let Some(addresses) = &self.addresses
            && resource.is_core("Service")
        {
            release(&addresses.taken, &held_by(object));
        }
    }
}

#[cfg(test)]
mod tests;
