//! Whether the crates are layered as ARCHITECTURE.md says.
//!
//! Crates are compared in both directions: one that the table does not know, and one that it has but the workspace
//! has not. The last column is a permission: a crate need not use everything that it may.

use std::collections::{BTreeMap, BTreeSet};

pub(crate) type Layers = BTreeMap<String, BTreeSet<String>>;

/// Reads the table: rows whose first cell is a crate in backquotes, and whose last names crates, `–` for none, or
/// `all above` for the rows so far.
pub(crate) fn table(page: &str) -> Layers {
    let mut layers = Layers::new();
    for line in page.lines().filter(|line| line.starts_with("| `kapell")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').collect();
        let (Some(first), Some(last)) = (cells.first(), cells.last()) else { continue };
        let may_use: BTreeSet<_> =
            if last.trim() == "all above" { layers.keys().cloned().collect() } else { quoted(last).collect() };
        layers.extend(quoted(first).map(|name| (name, may_use.clone())));
    }
    layers
}

fn quoted(cell: &str) -> impl Iterator<Item = String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

/// What differs, one sentence each.
pub(crate) fn compare(table: &Layers, crates: &Layers) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, may_use) in table {
        if !crates.contains_key(name) {
            complaints.push(format!("{name} is in the table, but not in crates/"));
        }
        for unknown in may_use.iter().filter(|used| !table.contains_key(*used)) {
            complaints.push(format!("{name} may use {unknown}, which has no row in the table"));
        }
    }
    for (name, used) in crates {
        let Some(may_use) = table.get(name) else {
            complaints.push(format!("{name} is in crates/, but not in the table"));
            continue;
        };
        for excess in used.difference(may_use) {
            complaints.push(format!("{name} uses {excess}, which the table does not allow"));
        }
    }
    complaints
}

#[cfg(test)]
mod tests;
