//! Upstream's list of conformance cases, held against the tests that stand for them and the reasons for those without one.

use std::collections::{BTreeMap, BTreeSet};

use super::claims::{Claim, What};

/// The tables by their names, or what is wrong: a title that upstream does not have, a case with neither test nor reason, a reason
/// that nothing needs.
pub(super) fn tables(titles: &str, reasons: &str, claims: &[Claim]) -> Result<Vec<(String, String)>, Vec<String>> {
    let titles: Vec<&str> = titles.lines().filter(|line| !line.is_empty()).collect();
    let reasons: Vec<(&str, &str)> = reasons.lines().filter_map(|line| line.split_once(" | ")).collect();
    let claims: Vec<&Claim> = claims.iter().filter(|claim| claim.what == What::Conformance).collect();
    let mut complaints: Vec<String> = claims
        .iter()
        .filter(|claim| !titles.contains(&claim.text.as_str()))
        .map(|claim| format!("{}: upstream has no case {:?}", claim.file, claim.text))
        .collect();

    let mut needed = BTreeSet::new();
    let (mut passing, mut lacking) = (BTreeMap::<&str, Vec<_>>::new(), BTreeMap::<&str, Vec<&str>>::new());
    for title in &titles {
        let sig = title.split([']', ' ']).next().unwrap_or_default().trim_start_matches('[');
        let proofs: Vec<&Claim> = claims.iter().copied().filter(|claim| claim.text == *title).collect();
        let reason =
            reasons.iter().filter(|(prefix, _)| title.starts_with(prefix)).max_by_key(|(prefix, _)| prefix.len());
        match (proofs.iter().find_map(|claim| claim.ignored.as_deref()), reason) {
            (Some(ignored), _) => lacking.entry(ignored).or_default().push(title),
            (None, _) if !proofs.is_empty() => passing.entry(sig).or_default().push((*title, proofs)),
            (None, Some((prefix, reason))) => {
                needed.insert(*prefix);
                lacking.entry(reason).or_default().push(title);
            }
            (None, None) => complaints.push(format!("neither a test nor a reason: {title}")),
        }
    }
    let idle = reasons.iter().filter(|(prefix, _)| !needed.contains(prefix));
    complaints.extend(idle.map(|(prefix, _)| format!("a reason that no case needs: {prefix}")));
    if !complaints.is_empty() {
        return Err(complaints);
    }
    Ok(vec![
        ("summary".to_owned(), summary(&titles, &passing)),
        ("passing".to_owned(), cases(&passing)),
        ("lacking".to_owned(), missing(&lacking)),
    ])
}

type Passing<'a> = BTreeMap<&'a str, Vec<(&'a str, Vec<&'a Claim>)>>;

fn summary(titles: &[&str], passing: &Passing<'_>) -> String {
    let mut totals = BTreeMap::<&str, usize>::new();
    for title in titles {
        *totals.entry(title.split(']').next().unwrap_or_default().trim_start_matches('[')).or_default() += 1;
    }
    let mut table = "| SIG | cases | pass here |\n|---|---|---|\n".to_owned();
    let mut all = 0;
    for (sig, total) in &totals {
        let pass = passing.get(sig).map_or(0, Vec::len);
        all += pass;
        table.push_str(&format!("| {sig} | {total} | {pass} |\n"));
    }
    table.push_str(&format!("| **all** | **{}** | **{all}** |\n", titles.len()));
    table
}

fn cases(passing: &Passing<'_>) -> String {
    let mut table = "| case | test |\n|---|---|\n".to_owned();
    for (title, proofs) in passing.values().flatten() {
        let links: Vec<String> = proofs.iter().map(|claim| claim.link()).collect();
        table.push_str(&format!("| {} | {} |\n", title.replace('|', "\\|"), links.join(", ")));
    }
    table
}

fn missing(lacking: &BTreeMap<&str, Vec<&str>>) -> String {
    let mut text = String::new();
    for (reason, titles) in lacking {
        text.push_str(&format!("**{reason}** ({})\n\n", titles.len()));
        text.extend(titles.iter().map(|title| format!("- {title}\n")));
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}
