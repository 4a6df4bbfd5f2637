//! One rule of a role: what it allows, and whether other rules allow as much.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::attributes::{Action, OnResource};

/// `rbac.authorization.k8s.io/v1 PolicyRule`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Rule {
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub(crate) api_groups: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub(crate) resources: Vec<String>,
    #[serde(deserialize_with = "list")]
    pub(crate) verbs: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub(crate) resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty", deserialize_with = "list")]
    pub(crate) non_resource_urls: Vec<String>,
}

/// Null is an empty list.
fn list<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(|item| (*item).to_owned()).collect()
}

fn has(list: &[String], item: &str) -> bool {
    list.iter().any(|entry| entry == item)
}

fn has_or_all(list: &[String], item: &str) -> bool {
    list.iter().any(|entry| entry == "*" || entry == item)
}

impl Rule {
    pub(crate) fn on_resources(groups: &[&str], resources: &[&str], verbs: &[&str]) -> Self {
        Self { api_groups: owned(groups), resources: owned(resources), verbs: owned(verbs), ..Self::default() }
    }

    pub(crate) fn on_paths(paths: &[&str], verbs: &[&str]) -> Self {
        Self { non_resource_urls: owned(paths), verbs: owned(verbs), ..Self::default() }
    }

    /// What `system:masters` may do.
    pub(crate) fn everything() -> [Self; 2] {
        [Self::on_resources(&["*"], &["*"], &["*"]), Self::on_paths(&["*"], &["*"])]
    }

    pub(crate) fn allows(&self, action: &Action<'_>) -> bool {
        match action {
            Action::Resource(on) => {
                has_or_all(&self.verbs, on.verb)
                    && has_or_all(&self.api_groups, on.group)
                    && self.names_resource(on)
                    && (self.resource_names.is_empty() || has(&self.resource_names, on.name))
            }
            Action::Path { verb, path } => has_or_all(&self.verbs, verb) && covers_path(&self.non_resource_urls, path),
        }
    }

    fn names_resource(&self, on: &OnResource<'_>) -> bool {
        self.resources.iter().any(|entry| match (entry.as_str(), on.subresource) {
            ("*", _) => true,
            (entry, "") => entry == on.resource,
            (entry, subresource) => entry
                .split_once('/')
                .is_some_and(|(head, tail)| tail == subresource && (head == "*" || head == on.resource)),
        })
    }

    /// Whether this rule alone allows everything that `single`, a rule about one thing, allows.
    fn covers(&self, single: &Rule) -> bool {
        let within = |own: &[String], theirs: &[String]| theirs.iter().all(|item| has_or_all(own, item));
        if !within(&self.verbs, &single.verbs) {
            return false;
        }
        if !single.non_resource_urls.is_empty() {
            return single.non_resource_urls.iter().all(|path| covers_path(&self.non_resource_urls, path));
        }
        let names = self.resource_names.is_empty()
            || (!single.resource_names.is_empty()
                && single.resource_names.iter().all(|name| has(&self.resource_names, name)));
        let resource = |wanted: &String| {
            has_or_all(&self.resources, wanted)
                || wanted.split_once('/').is_some_and(|(_, sub)| has(&self.resources, &format!("*/{sub}")))
        };
        within(&self.api_groups, &single.api_groups) && single.resources.iter().all(resource) && names
    }

    /// The same as rules about one verb on one thing each.
    fn singles(&self) -> Vec<Rule> {
        let mut singles = Vec::new();
        let one = |item: &String| vec![item.clone()];
        for verb in &self.verbs {
            for path in &self.non_resource_urls {
                singles.push(Rule { non_resource_urls: one(path), verbs: one(verb), ..Rule::default() });
            }
            for (group, resource) in self.api_groups.iter().flat_map(|g| self.resources.iter().map(move |r| (g, r))) {
                let rule =
                    Rule { api_groups: one(group), resources: one(resource), verbs: one(verb), ..Rule::default() };
                if self.resource_names.is_empty() {
                    singles.push(rule);
                } else {
                    let named = |name| Rule { resource_names: one(name), ..rule.clone() };
                    singles.extend(self.resource_names.iter().map(named));
                }
            }
        }
        singles
    }
}

/// A pattern ends in `*` to mean everything that begins like it.
fn covers_path(patterns: &[String], path: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(beginning) => path.starts_with(beginning),
        None => pattern == path,
    })
}

/// The part of `wanted` that `held` does not allow, as few rules.
pub(crate) fn not_covered(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let missing = wanted.iter().flat_map(Rule::singles).filter(|single| !held.iter().any(|rule| rule.covers(single)));
    let mut by_thing: BTreeMap<Rule, Vec<String>> = BTreeMap::new();
    for mut rule in missing {
        let verbs = std::mem::take(&mut rule.verbs);
        let known = by_thing.entry(rule).or_default();
        known.extend(verbs.into_iter().filter(|verb| !has(known, verb)).collect::<Vec<_>>());
    }
    by_thing.into_iter().map(|(thing, verbs)| Rule { verbs, ..thing }).collect()
}

/// In upstream's short form: `{APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let present = parts.iter().filter(|(_, list)| !list.is_empty());
        let shown: Vec<String> = present.map(|(name, list)| format!("{name}:{list:?}")).collect();
        write!(f, "{{{}}}", shown.join(", "))
    }
}

#[cfg(test)]
mod tests;
