//! Merge facts of Kubernetes' types that JSON Schema does not carry: `patchStrategy`, `patchMergeKey`, `listType` and
//! `listMapKey` of the Go types. What is not listed is replaced as a whole (atomic).

use super::ListType::{self, Atomic, Map, Set};
use super::MergeFacts;
use super::PatchStrategy::{self, MergeByKey, MergeSet, Replace};

/// A definition without `io.k8s.api.` or `io.k8s.apimachinery.pkg.apis.`, a field, and its facts.
pub(super) type Row = (&'static str, &'static str, PatchStrategy, ListType);

/// Strategic merge and server-side apply disagree in `ports`, `topologySpreadConstraints` and `hostIPs`.
#[rustfmt::skip]
pub(super) const LISTS: &[Row] = &[
    ("meta.v1.ObjectMeta",         "finalizers",                MergeSet,                        Set),
    ("meta.v1.ObjectMeta",         "ownerReferences",           MergeByKey("uid"),               Map(&["uid"])),
    ("core.v1.NamespaceStatus",    "conditions",                MergeByKey("type"),              Map(&["type"])),
    ("core.v1.NodeSpec",           "podCIDRs",                  MergeSet,                        Set),
    ("core.v1.NodeStatus",         "addresses",                 MergeByKey("type"),              Map(&["type"])),
    ("core.v1.NodeStatus",         "conditions",                MergeByKey("type"),              Map(&["type"])),
    ("core.v1.PodSpec",            "containers",                MergeByKey("name"),              Map(&["name"])),
    ("core.v1.PodSpec",            "ephemeralContainers",       MergeByKey("name"),              Map(&["name"])),
    ("core.v1.PodSpec",            "hostAliases",               MergeByKey("ip"),                Map(&["ip"])),
    ("core.v1.PodSpec",            "imagePullSecrets",          MergeByKey("name"),              Map(&["name"])),
    ("core.v1.PodSpec",            "initContainers",            MergeByKey("name"),              Map(&["name"])),
    ("core.v1.PodSpec",            "resourceClaims",            MergeByKey("name"),              Map(&["name"])),
    ("core.v1.PodSpec",            "schedulingGates",           MergeByKey("name"),              Map(&["name"])),
    ("core.v1.PodSpec",            "topologySpreadConstraints", MergeByKey("topologyKey"),       Map(&["topologyKey", "whenUnsatisfiable"])),
    ("core.v1.PodSpec",            "volumes",                   MergeByKey("name"),              Map(&["name"])),
    ("core.v1.PodStatus",          "conditions",                MergeByKey("type"),              Map(&["type"])),
    ("core.v1.PodStatus",          "hostIPs",                   MergeByKey("ip"),                Atomic),
    ("core.v1.PodStatus",          "podIPs",                    MergeByKey("ip"),                Map(&["ip"])),
    ("core.v1.PodStatus",          "resourceClaimStatuses",     MergeByKey("name"),              Map(&["name"])),
    ("core.v1.Container",          "env",                       MergeByKey("name"),              Map(&["name"])),
    ("core.v1.Container",          "ports",                     MergeByKey("containerPort"),     Map(&["containerPort", "protocol"])),
    ("core.v1.Container",          "volumeDevices",             MergeByKey("devicePath"),        Map(&["devicePath"])),
    ("core.v1.Container",          "volumeMounts",              MergeByKey("mountPath"),         Map(&["mountPath"])),
    ("core.v1.EphemeralContainer", "env",                       MergeByKey("name"),              Map(&["name"])),
    ("core.v1.EphemeralContainer", "ports",                     MergeByKey("containerPort"),     Map(&["containerPort", "protocol"])),
    ("core.v1.EphemeralContainer", "volumeDevices",             MergeByKey("devicePath"),        Map(&["devicePath"])),
    ("core.v1.EphemeralContainer", "volumeMounts",              MergeByKey("mountPath"),         Map(&["mountPath"])),
    ("core.v1.ContainerStatus",    "allocatedResourcesStatus",  MergeByKey("name"),              Map(&["name"])),
    ("core.v1.ContainerStatus",    "volumeMounts",              MergeByKey("mountPath"),         Map(&["mountPath"])),
    ("core.v1.ResourceStatus",     "resources",                 Replace,                         Map(&["resourceID"])),
    ("core.v1.ResourceRequirements", "claims",                  Replace,                         Map(&["name"])),
    ("core.v1.ServiceSpec",        "ports",                     MergeByKey("port"),              Map(&["port", "protocol"])),
    ("core.v1.ServiceStatus",      "conditions",                MergeByKey("type"),              Map(&["type"])),
    ("core.v1.ServiceAccount",     "secrets",                   MergeByKey("name"),              Map(&["name"])),
    ("discovery.v1.Endpoint",      "addresses",                 Replace,                         Set),
    ("apps.v1.DeploymentStatus",   "conditions",                MergeByKey("type"),              Map(&["type"])),
    ("apps.v1.ReplicaSetStatus",   "conditions",                MergeByKey("type"),              Map(&["type"])),
];

/// Fields whose patches may carry `$retainKeys`: unions, of which one member excludes the others.
pub(super) const RETAIN_KEYS: &[(&str, &str)] = &[
    ("core.v1.PodSpec", "volumes"),
    ("core.v1.PodSpec", "resourceClaims"),
    ("core.v1.PodStatus", "resourceClaimStatuses"),
    ("apps.v1.DeploymentSpec", "strategy"),
];

/// The facts of a field of a definition (given with its full name).
pub(super) fn merge_facts(definition: &str, field: &str) -> MergeFacts {
    let short = ["io.k8s.api.", "io.k8s.apimachinery.pkg.apis."].iter().find_map(|p| definition.strip_prefix(p));
    let Some(short) = short else { return MergeFacts::default() };
    let row = LISTS.iter().find(|row| row.0 == short && row.1 == field);
    let (patch, list) = row.map_or((Replace, Atomic), |row| (row.2, row.3));
    MergeFacts { patch, list, retain_keys: RETAIN_KEYS.contains(&(short, field)) }
}
