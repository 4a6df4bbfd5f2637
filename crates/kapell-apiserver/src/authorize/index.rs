//! Roles and bindings, compiled: who has which rules, cluster-wide and in each namespace.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kapell_api::selector::Selector;
use serde::Deserialize;
use serde_json::Value;

use super::Decision;
use super::attributes::Action;
use super::rule::Rule;
use crate::auth::{Identity, account_user};

/// What of a stored role or binding matters here.
#[derive(Clone, Debug)]
pub(crate) enum Parsed {
    Role(Role),
    Binding(Binding),
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Role {
    metadata: Names,
    #[serde(deserialize_with = "rules")]
    rules: Vec<Rule>,
    aggregation_rule: Option<Aggregation>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Names {
    name: String,
    namespace: String,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Aggregation {
    cluster_role_selectors: Option<Vec<Value>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Binding {
    metadata: Names,
    subjects: Option<Vec<Subject>>,
    role_ref: RoleRef,
}

/// `rbac.authorization.k8s.io/v1 Subject`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Subject {
    kind: String,
    name: String,
    namespace: String,
}

/// `rbac.authorization.k8s.io/v1 RoleRef`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct RoleRef {
    pub(crate) kind: String,
    pub(crate) name: String,
}

fn rules<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Rule>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Parsed {
    /// `None` for what is neither role nor binding.
    pub(crate) fn read(stored: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Kind {
            kind: String,
        }
        let kind = serde_json::from_slice::<Kind>(stored).ok()?.kind;
        match kind.as_str() {
            "Role" | "ClusterRole" => serde_json::from_slice(stored).ok().map(Parsed::Role),
            "RoleBinding" | "ClusterRoleBinding" => serde_json::from_slice(stored).ok().map(Parsed::Binding),
            _ => None,
        }
    }
}

/// A role as somebody has it.
#[derive(Clone, Debug)]
struct Grant {
    rules: Arc<[Rule]>,
    /// Upstream's sentence about what allowed it.
    why: Arc<str>,
    /// The role does not exist.
    missing: Option<Arc<str>>,
}

#[derive(Clone, Debug, Default)]
struct Grants {
    users: HashMap<String, Vec<Grant>>,
    groups: HashMap<String, Vec<Grant>>,
}

impl Grants {
    fn of<'a>(&'a self, identity: &'a Identity) -> impl Iterator<Item = &'a Grant> {
        let by_group = identity.groups.iter().filter_map(|group| self.groups.get(group));
        self.users.get(&identity.user).into_iter().chain(by_group).flatten()
    }
}

/// A ClusterRole whose rules are those of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Aggregated {
    pub(crate) name: String,
    pub(crate) rules: Vec<Rule>,
}

/// Made anew at each change of a role or binding: that is rare, and decisions are not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    /// By namespace (empty for ClusterRoles) and name.
    roles: HashMap<(String, String), Arc<[Rule]>>,
    cluster: Grants,
    namespaces: HashMap<String, Grants>,
    /// Aggregated roles whose stored rules are not what they should be.
    pub(crate) stale: Vec<Aggregated>,
}

impl Index {
    pub(crate) fn compile<'a>(objects: impl Iterator<Item = &'a Parsed>) -> Self {
        let (mut roles, mut bindings) = (BTreeMap::new(), Vec::new());
        for object in objects {
            match object {
                Parsed::Role(role) => {
                    let key = (role.metadata.namespace.clone(), role.metadata.name.clone());
                    roles.insert(key, role);
                }
                Parsed::Binding(binding) => bindings.push(binding),
            }
        }
        let mut index = Self::default();
        for (key, role) in &roles {
            let rules = aggregated(&roles, role, &mut BTreeSet::new()).unwrap_or_else(|| role.rules.clone());
            // Their order is no difference: roles in a ring would be rewritten for ever.
            if rules.len() != role.rules.len() || rules.iter().any(|rule| !role.rules.contains(rule)) {
                index.stale.push(Aggregated { name: key.1.clone(), rules: rules.clone() });
            }
            index.roles.insert(key.clone(), rules.into());
        }
        for binding in bindings {
            index.bind(binding);
        }
        index
    }

    fn bind(&mut self, binding: &Binding) {
        let namespace = &binding.metadata.namespace;
        let found = self.role(namespace, &binding.role_ref);
        for subject in binding.subjects.iter().flatten() {
            let (of_group, name) = match subject.kind.as_str() {
                "User" => (false, subject.name.clone()),
                "Group" => (true, subject.name.clone()),
                "ServiceAccount" => {
                    let home = if subject.namespace.is_empty() { namespace } else { &subject.namespace };
                    (false, account_user(home, &subject.name))
                }
                _ => continue,
            };
            let grant = grant(binding, subject, found.clone());
            let grants = match namespace.as_str() {
                "" => &mut self.cluster,
                namespace => self.namespaces.entry(namespace.to_owned()).or_default(),
            };
            let by_name = if of_group { &mut grants.groups } else { &mut grants.users };
            by_name.entry(name).or_default().push(grant);
        }
    }

    /// The rules of a role that a binding in `namespace` (empty: cluster-wide) refers to.
    pub(crate) fn role(&self, namespace: &str, reference: &RoleRef) -> Option<Arc<[Rule]>> {
        let home = if reference.kind == "ClusterRole" { "" } else { namespace };
        self.roles.get(&(home.to_owned(), reference.name.clone())).cloned()
    }

    pub(crate) fn decide(&self, identity: &Identity, action: &Action<'_>) -> Decision {
        let namespace = match action {
            Action::Resource(on) => on.namespace,
            Action::Path { .. } => "",
        };
        let mut missing: Vec<&str> = Vec::new();
        for grant in self.grants(identity, namespace) {
            if grant.rules.iter().any(|rule| rule.allows(action)) {
                return Decision::Allowed(grant.why.clone());
            }
            missing.extend(
                grant.missing.as_deref().filter(|role| !missing.contains(role)).into_iter().collect::<Vec<_>>(),
            );
        }
        Decision::NoOpinion(match missing.as_slice() {
            [] => String::new(),
            [one] => format!("RBAC: {one}"),
            several => format!("RBAC: [{}]", several.join(", ")),
        })
    }

    pub(crate) fn rules(&self, identity: &Identity, namespace: Option<&str>) -> Vec<Rule> {
        let grants = self.grants(identity, namespace.unwrap_or_default());
        grants.flat_map(|grant| grant.rules.iter().cloned()).collect()
    }

    fn grants<'a>(&'a self, identity: &'a Identity, namespace: &str) -> impl Iterator<Item = &'a Grant> {
        let local = self.namespaces.get(namespace).map(|grants| grants.of(identity));
        self.cluster.of(identity).chain(local.into_iter().flatten())
    }
}

fn grant(binding: &Binding, subject: &Subject, rules: Option<Arc<[Rule]>>) -> Grant {
    let RoleRef { kind, name } = &binding.role_ref;
    let Names { name: own, namespace, .. } = &binding.metadata;
    let by = if namespace.is_empty() {
        format!("ClusterRoleBinding {own:?}")
    } else {
        format!("RoleBinding \"{own}/{namespace}\"")
    };
    let whom = if subject.kind == "ServiceAccount" {
        format!("ServiceAccount \"{}/{}\"", subject.name, subject.namespace)
    } else {
        format!("{} {:?}", subject.kind, subject.name)
    };
    let missing = rules
        .is_none()
        .then(|| Arc::from(format!("{}.rbac.authorization.k8s.io {name:?} not found", kind.to_lowercase())));
    let why = format!("RBAC: allowed by {by} of {kind} {name:?} to {whom}");
    Grant { rules: rules.unwrap_or_default(), why: why.into(), missing }
}

/// The union of the rules of all roles that an aggregating role selects, theirs aggregated first. `None` for a role
/// that says its rules itself, and for one that is met again on the way.
fn aggregated<'a>(
    roles: &BTreeMap<(String, String), &'a Role>,
    role: &'a Role,
    met: &mut BTreeSet<&'a str>,
) -> Option<Vec<Rule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_ref()?;
    if !met.insert(&role.metadata.name) {
        return None;
    }
    let selectors: Vec<Selector> =
        selectors.iter().filter_map(|selector| Selector::from_label_selector(selector).ok().flatten()).collect();
    let nothing = BTreeMap::new();
    let mut union: Vec<Rule> = Vec::new();
    for ((namespace, name), other) in roles {
        let labels = other.metadata.labels.as_ref().unwrap_or(&nothing);
        let selected = selectors.iter().any(|selector| selector.matches(labels));
        if !namespace.is_empty() || *name == role.metadata.name || !selected {
            continue;
        }
        let rules = aggregated(roles, other, met).unwrap_or_else(|| other.rules.clone());
        union.extend(rules.into_iter().filter(|rule| !union.contains(rule)).collect::<Vec<_>>());
    }
    met.remove(role.metadata.name.as_str());
    Some(union)
}
