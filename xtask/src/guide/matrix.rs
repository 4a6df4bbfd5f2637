//! What each client can do. Where tests are columns, each of them does every row; elsewhere each row names its test.

use super::claims::{Claim, What};

const CLIENTS: [&str; 4] = ["kubectl", "helm", "python", "kube-rs"];

/// A table for each client.
pub(super) fn tables(claims: &[Claim]) -> Vec<(String, String)> {
    CLIENTS.iter().map(|client| ((*client).to_owned(), table(client, claims))).collect()
}

fn table(client: &str, claims: &[Claim]) -> String {
    let of = |whats: &[What]| -> Vec<(&Claim, &str)> {
        let own = claims.iter().filter(|claim| whats.contains(&claim.what));
        own.filter_map(|claim| Some((claim, claim.text.strip_prefix(client)?.strip_prefix(" | ")?))).collect()
    };
    let (rows, columns) = (of(&[What::Row, What::Refused]), of(&[What::Column]));
    if columns.is_empty() {
        let lines = rows.iter().map(|(claim, text)| format!("| {text} | {} |\n", claim.link()));
        return format!("| what | test |\n|---|---|\n{}", lines.collect::<String>());
    }
    let names: Vec<&str> = columns.iter().map(|(_, name)| *name).collect();
    let lines = rows.iter().map(|(claim, text)| {
        let cell = if claim.what == What::Refused { "refused" } else { "works" };
        format!("| {text} |{}\n", format!(" {cell} |").repeat(columns.len()))
    });
    format!("| command | {} |\n|---|{}\n{}", names.join(" | "), "---|".repeat(columns.len()), lines.collect::<String>())
}
