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
    ("apps.v1.StatefulSetStatus",  "conditions",                MergeByKey("type"),              Map(&["type"])),
    ("apps.v1.DaemonSetStatus",    "conditions",                MergeByKey("type"),              Map(&["type"])),
    ("batch.v1.JobStatus",         "conditions",                MergeByKey("type"),              Atomic),
    ("batch.v1.UncountedTerminatedPods", "failed",              Replace,                         Set),
    ("batch.v1.UncountedTerminatedPods", "succeeded",           Replace,                         Set),
    ("batch.v1.PodFailurePolicyOnExitCodesRequirement", "values", Replace,                       Set),
    ("core.v1.ReplicationControllerStatus", "conditions",       MergeByKey("type"),              Map(&["type"])),
    ("core.v1.PersistentVolumeClaimStatus", "conditions",       MergeByKey("type"),              Map(&["type"])),
    ("autoscaling.v2.HorizontalPodAutoscalerStatus", "conditions", MergeByKey("type"),           Map(&["type"])),
    ("policy.v1.PodDisruptionBudgetStatus", "conditions",       MergeByKey("type"),              Map(&["type"])),
    ("storage.v1.CSINodeSpec",     "drivers",                   MergeByKey("name"),              Map(&["name"])),
];

/// Types that are owned as a whole (`+structType=atomic`).
pub(super) const ATOMIC_TYPES: &[&str] = &[
    "autoscaling.v1.CrossVersionObjectReference",
    "core.v1.ConfigMapKeySelector",
    "core.v1.EndpointAddress",
    "core.v1.EndpointPort",
    "core.v1.LocalObjectReference",
    "core.v1.NodeSelector",
    "core.v1.NodeSelectorTerm",
    "core.v1.ObjectFieldSelector",
    "core.v1.ObjectReference",
    "core.v1.ResourceFieldSelector",
    "core.v1.ScopeSelector",
    "core.v1.ScopedResourceSelectorRequirement",
    "core.v1.SecretKeySelector",
    "core.v1.SecretReference",
    "core.v1.TopologySelectorTerm",
    "core.v1.TypedLocalObjectReference",
    "discovery.v1.EndpointPort",
    "meta.v1.LabelSelector",
    "meta.v1.OwnerReference",
    "networking.v1.ServiceBackendPort",
    "rbac.v1.RoleRef",
    "rbac.v1.Subject",
];

/// Maps that are owned as a whole (`+mapType=atomic`).
pub(super) const ATOMIC_MAPS: &[(&str, &str)] = &[
    ("core.v1.PodSpec", "nodeSelector"),
    ("core.v1.ReplicationControllerSpec", "selector"),
    ("core.v1.ServiceSpec", "selector"),
];

/// Fields that Go writes even when they were never set: structs that are no pointers, and lists without `omitempty`. A
/// new object is compared with its type's empty value, so their mere presence belongs to nobody.
pub(super) const ALWAYS_PRESENT: &[(&str, &[&str])] = &[
    ("apps.v1.DaemonSet", &["spec", "status"]),
    ("apps.v1.DaemonSetSpec", &["template", "updateStrategy"]),
    ("apps.v1.Deployment", &["spec", "status"]),
    ("apps.v1.DeploymentSpec", &["strategy", "template"]),
    ("apps.v1.ReplicaSet", &["spec", "status"]),
    ("apps.v1.ReplicaSetSpec", &["template"]),
    ("apps.v1.StatefulSet", &["spec", "status"]),
    ("apps.v1.StatefulSetSpec", &["template", "updateStrategy"]),
    ("autoscaling.v2.HorizontalPodAutoscaler", &["spec", "status"]),
    ("autoscaling.v2.HorizontalPodAutoscalerSpec", &["scaleTargetRef"]),
    ("batch.v1.CronJob", &["spec", "status"]),
    ("batch.v1.CronJobSpec", &["jobTemplate"]),
    ("batch.v1.Job", &["spec", "status"]),
    ("batch.v1.JobSpec", &["template"]),
    ("batch.v1.JobTemplateSpec", &["metadata", "spec"]),
    ("coordination.v1.Lease", &["spec"]),
    ("core.v1.Event", &["source"]),
    ("core.v1.Namespace", &["spec", "status"]),
    ("core.v1.Node", &["spec", "status"]),
    ("core.v1.NodeDaemonEndpoints", &["kubeletEndpoint"]),
    ("core.v1.NodeStatus", &["daemonEndpoints", "nodeInfo"]),
    ("core.v1.Pod", &["spec", "status"]),
    ("core.v1.PodSpec", &["containers"]),
    ("core.v1.PodTemplateSpec", &["metadata", "spec"]),
    ("core.v1.Service", &["spec", "status"]),
    ("core.v1.ServiceStatus", &["loadBalancer"]),
    ("core.v1.LimitRange", &["spec"]),
    ("core.v1.ResourceQuota", &["spec", "status"]),
    ("networking.v1.Ingress", &["spec", "status"]),
    ("networking.v1.IngressStatus", &["loadBalancer"]),
    ("networking.v1.NetworkPolicy", &["spec"]),
    ("policy.v1.PodDisruptionBudget", &["spec", "status"]),
    ("rbac.v1.ClusterRoleBinding", &["roleRef"]),
    ("rbac.v1.RoleBinding", &["roleRef"]),
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
    let Some(short) = short(definition) else { return MergeFacts::default() };
    let row = LISTS.iter().find(|row| row.0 == short && row.1 == field);
    let (patch, list) = row.map_or((Replace, Atomic), |row| (row.2, row.3));
    // Every kind has its metadata in Go.
    let always = field == "metadata" || ALWAYS_PRESENT.iter().any(|row| row.0 == short && row.1.contains(&field));
    MergeFacts {
        patch,
        list,
        retain_keys: RETAIN_KEYS.contains(&(short, field)),
        atomic_map: ATOMIC_MAPS.contains(&(short, field)),
        always_present: always,
    }
}

/// Whether objects of a definition are owned as a whole.
pub(super) fn atomic(definition: &str) -> bool {
    short(definition).is_some_and(|short| ATOMIC_TYPES.contains(&short))
}

fn short(definition: &str) -> Option<&str> {
    ["io.k8s.api.", "io.k8s.apimachinery.pkg.apis."].iter().find_map(|p| definition.strip_prefix(p))
}
