//! Warnings about fields that are accepted and stored but that the process runtime does not honour.
//!
//! Each names the path and says what happens instead. A pod for a container runtime gets one warning, that it has to
//! wait for such a runtime: which of its fields that runtime will honour is not ours to say. What would be dangerous
//! to ignore is refused in [`super::validate`] and [`super::volume`] rather than warned about.

use serde_json::Value;

use super::is_process;
use crate::kinds::field::{Field, at, text, truth};
use crate::service_account::MOUNT_PATH;

/// Nobody has asked for what defaulting adds.
const DEFAULT_MESSAGE_PATH: &str = "/dev/termination-log";

const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const HOST: &str = "a process pod shares the host's";

const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// A field below `spec` and what happens when it is set to something.
type Ignored = (&'static str, &'static str);

const OF_SPEC: &[Ignored] = &[
    ("hostname", "ignored; a process pod has the host's name"),
    ("subdomain", "ignored; there is no cluster DNS yet"),
    ("setHostnameAsFQDN", "ignored; a process pod has the host's name"),
    ("dnsConfig", "ignored; a process pod uses the host's resolver"),
    ("hostAliases", "ignored; a process pod uses the host's /etc/hosts"),
    ("shareProcessNamespace", "has no effect; process pods see all processes of their user"),
    ("topologySpreadConstraints", "ignored; the scheduler looks at free resources and at siblings"),
    ("priorityClassName", "orders the queue of waiting pods; no running pod makes room for it yet"),
    ("overhead", "ignored; process pods have none"),
    ("os", "ignored; a process pod runs on whatever its node has"),
    ("imagePullSecrets", "ignored; a process pod has no image"),
];

const OF_CONTAINER: &[Ignored] = &[
    ("image", "ignored; a process pod runs its command on the host"),
    ("resizePolicy", "ignored; resources cannot be changed in place yet"),
];

/// Hardening and powers that a plain process neither loses nor gets. What it can lose it does: see the agent.
const OF_SECURITY: &[Ignored] = &[
    ("appArmorProfile", "not applied to process pods"),
    ("fsGroupChangePolicy", "has no effect; volumes that fsGroup concerns are made anew for each pod"),
    ("privileged", "has no effect; a process pod has the privileges of the server"),
    ("procMount", "not applied to process pods"),
    ("readOnlyRootFilesystem", "not enforced on process pods; they see the host's file system"),
    ("seLinuxChangePolicy", "not applied to process pods"),
    ("seLinuxOptions", "not applied to process pods"),
    ("seccompProfile", "not applied to process pods"),
    ("supplementalGroupsPolicy", "has no effect; the groups are those that are named, as with Strict"),
    ("sysctls", "not applied; a process pod shares the host's kernel settings"),
    ("windowsOptions", "not applied to process pods"),
];

pub(super) fn warn_about_pod(pod: &Value) -> Vec<String> {
    let root = Field::root(pod);
    warn_about_spec(&root.field("spec"))
}

pub(super) fn warn_about_spec(spec: &Field<'_, '_>) -> Vec<String> {
    let mut warnings = Vec::new();
    for list in CONTAINERS {
        for container in spec.field(list).items() {
            warn_of_duplicates(&container, &mut warnings);
        }
    }
    warn_of_preferences(&spec.field("affinity"), &mut warnings);
    if !is_process(spec.value) {
        let path = spec.field("runtimeClassName").path();
        warnings.push(format!(
            "{path}: no node has a container runtime yet, so the pod will wait; set it to \"process\" to run the \
             command on the host"
        ));
        return warnings;
    }
    warn_about(spec, OF_SPEC, &mut warnings);
    warn_about(&spec.field("securityContext"), OF_SECURITY, &mut warnings);
    for (name, what) in [("hostNetwork", "network"), ("hostPID", "process ids"), ("hostIPC", "IPC")] {
        if truth(spec.value, &format!("/{name}")) {
            warnings.push(format!("{}: has no effect; {HOST} {what} anyway", spec.field(name).path()));
        }
    }
    if spec.field("hostUsers").value == &Value::Bool(false) {
        warnings.push(format!("{}: not honoured; {HOST} user namespace", spec.field("hostUsers").path()));
    }
    if !matches!(text(spec.value, "/dnsPolicy"), "" | "ClusterFirst" | "Default") {
        warnings.push(format!("{}: ignored; a process pod uses the host's resolver", spec.field("dnsPolicy").path()));
    }
    for volume in spec.field("volumes").items() {
        warn_about_volume(&volume, &mut warnings);
    }
    for list in CONTAINERS {
        for container in spec.field(list).items() {
            warn_about_container(&container, &mut warnings);
        }
    }
    warnings
}

/// Warns about every field of the table that is set to more than its zero value.
fn warn_about(parent: &Field<'_, '_>, table: &[Ignored], warnings: &mut Vec<String>) {
    for (name, effect) in table {
        let field = parent.field(name);
        let asks = match field.value {
            Value::Null => false,
            Value::Bool(on) => *on,
            Value::String(text) => !text.is_empty(),
            Value::Number(number) => number.as_i64() != Some(0),
            Value::Array(_) | Value::Object(_) => field.len() > 0,
        };
        if asks {
            warnings.push(format!("{}: {effect}", field.path()));
        }
    }
}

fn warn_about_container(container: &Field<'_, '_>, warnings: &mut Vec<String>) {
    warn_about(container, OF_CONTAINER, warnings);
    let security = container.field("securityContext");
    warn_about(&security, OF_SECURITY, warnings);
    let capabilities = security.field("capabilities");
    let (add, drop) = (capabilities.field("add"), capabilities.field("drop"));
    if add.len() > 0 && drop.len() == 0 && security.field("privileged").value != &Value::Bool(false) {
        let effect = "has no effect; a process pod has the capabilities of the server unless it drops them";
        warnings.push(format!("{}: {effect}", add.path()));
    }
    let lifecycle = container.field("lifecycle");
    for name in ["postStart", "preStop"] {
        let hook = lifecycle.field(name);
        let tcp = hook.field("tcpSocket");
        if tcp.is_set() {
            warnings.push(format!("{}: no handler of hooks; the hook will fail, as in Kubernetes", tcp.path()));
        }
    }
    if lifecycle.field("stopSignal").is_set() {
        warnings.push(format!("{}: ignored; SIGTERM is sent", lifecycle.field("stopSignal").path()));
    }
    let message = container.field("terminationMessagePath");
    if message.text().starts_with('/') && message.text() != DEFAULT_MESSAGE_PATH {
        warnings.push(format!(
            "{}: a process pod has no file system of its own, so {} is the host's; use a relative path, or the file in \
             $KAPELL_TERMINATION_LOG",
            message.path(),
            message.text()
        ));
    }
    for port in container.field("ports").items() {
        if port.field("hostPort").int().is_some_and(|number| number != 0) {
            let path = port.field("hostPort").path();
            warnings.push(format!("{path}: ignored; the process listens where it wants, see $HOST and $PORT"));
        }
    }
    for mount in container.field("volumeMounts").items() {
        warn_about_mount(&mount, warnings);
    }
    let resources = container.field("resources");
    for list in [resources.field("limits"), resources.field("requests")] {
        for (name, amount) in list.entries().filter(|(name, _)| *name == "ephemeral-storage") {
            warnings.push(format!("{}: {name} is not limited or counted yet", amount.path()));
        }
    }
}

fn warn_about_mount(mount: &Field<'_, '_>, warnings: &mut Vec<String>) {
    let path = mount.field("mountPath");
    if path.text() == MOUNT_PATH {
        // Not there either, but `$KUBECONFIG` leads to it, and nobody has asked for what admission adds.
        return;
    }
    if path.text().starts_with('/') {
        warnings.push(format!(
            "{}: a process pod has no file system of its own, so nothing appears at {}; use a relative path, or the \
             directory in $KAPELL_VOLUME_{}",
            path.path(),
            path.text(),
            variable_name(mount.field("name").text())
        ));
    }
    for name in ["readOnly", "recursiveReadOnly", "mountPropagation"] {
        let field = mount.field(name);
        if field.truth() || !matches!(field.text(), "" | "None" | "Disabled") {
            warnings.push(format!("{}: not enforced on process pods", field.path()));
        }
    }
}

/// The part of a variable's name that stands for `volume`.
fn variable_name(volume: &str) -> String {
    volume.to_uppercase().replace(['-', '.'], "_")
}

fn warn_about_volume(volume: &Field<'_, '_>, warnings: &mut Vec<String>) {
    let csi = volume.field("csi");
    if csi.is_set() {
        let driver = csi.field("driver").text();
        warnings.push(format!(
            "{}: no CSI driver can be used here, {driver:?} neither; the pod will wait in ContainerCreating",
            csi.path()
        ));
    }
    let empty_dir = volume.field("emptyDir");
    if !matches!(empty_dir.field("medium").text(), "" | "Memory") {
        warnings.push(format!("{}: ignored; the directory is on disk", empty_dir.field("medium").path()));
    }
    if at(volume.value, "/emptyDir/sizeLimit") != &Value::Null {
        warnings.push(format!("{}: not enforced yet", empty_dir.field("sizeLimit").path()));
    }
}

fn warn_of_preferences(affinity: &Field<'_, '_>, warnings: &mut Vec<String>) {
    for name in ["podAffinity", "podAntiAffinity"] {
        let kind = affinity.field(name);
        if kind.field(PREFERRED).len() > 0 {
            let path = kind.field(PREFERRED).path();
            warnings.push(format!("{path}: ignored; the scheduler looks at free resources and at siblings"));
        }
    }
}

/// Upstream warns about these too: a client-side apply can lose one of the two.
fn warn_of_duplicates(container: &Field<'_, '_>, warnings: &mut Vec<String>) {
    let mut names = Vec::new();
    for variable in container.field("env").items() {
        let name = variable.field("name").text();
        if names.contains(&name) {
            let path = variable.path();
            warnings
                .push(format!("{path}: hides previous definition of {name:?}, which may be dropped when using apply"));
        }
        names.push(name);
    }
    let mut ports: Vec<(Option<i64>, &str, String)> = Vec::new();
    for port in container.field("ports").items() {
        let (number, protocol) = (port.field("containerPort").int(), port.field("protocol").text());
        if let Some((_, _, first)) = ports.iter().find(|(n, p, _)| *n == number && *p == protocol) {
            warnings.push(format!("{}: duplicate port definition with {first}", port.path()));
        } else {
            ports.push((number, protocol, port.path()));
        }
    }
}
