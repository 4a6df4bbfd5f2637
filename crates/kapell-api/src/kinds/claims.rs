//! PersistentVolumes and PersistentVolumeClaims, as objects: nothing binds or provisions them yet.

use serde_json::{Value, json};

use super::cells::{AGE, NAME, joined};
use super::field::{Field, at, fill, fill_text, is_set, items, part_or_new, same, text};
use super::meta::{self, Names};
use super::{PLAIN, keep_status, quantities, schema_of};
use crate::kind::{Column, Kind, SelectableField, Subresource};
use crate::names;
use crate::problem::Problem;

const ACCESS_MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];

/// Members of a PersistentVolume's specification that are not the volume's source.
const NOT_A_SOURCE: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

pub(super) const PERSISTENT_VOLUME: Kind = Kind {
    kind: "PersistentVolume",
    plural: "persistentvolumes",
    singular: "persistentvolume",
    short_names: &["pv"],
    namespaced: false,
    subresources: &[Subresource::Status],
    columns: &[
        NAME,
        Column::new("Capacity", "string", "How much it holds.", |pv, _| text(pv, "/spec/capacity/storage").into()),
        Column::new("Access Modes", "string", "How it can be mounted.", |pv, _| access_modes(pv, "/spec/accessModes")),
        Column::new("Reclaim Policy", "string", "What becomes of it when its claim goes.", |pv, _| {
            text(pv, "/spec/persistentVolumeReclaimPolicy").into()
        }),
        Column::new("Status", "string", "Its phase.", |pv, _| phase(pv)),
        Column::new("Claim", "string", "The claim that it is bound to.", |pv, _| claim(pv).into()),
        Column::new("StorageClass", "string", "Its class.", |pv, _| text(pv, "/spec/storageClassName").into()),
        Column::new("VolumeAttributesClass", "string", "Its class of attributes.", |pv, _| attributes_class(pv)),
        Column::new("Reason", "string", "Why it is in its phase.", |pv, _| text(pv, "/status/reason").into()),
        AGE,
        VOLUME_MODE,
    ],
    schema: || schema_of("io.k8s.api.core.v1.PersistentVolume"),
    prepare_create: pending,
    prepare_update: keep_status,
    default: |pv| {
        if let Some(status) = part_or_new(pv, "status") {
            fill_text(status, "phase", "Pending");
        }
        if let Some(spec) = pv.get_mut("spec") {
            fill_text(spec, "persistentVolumeReclaimPolicy", "Retain");
            fill_text(spec, "volumeMode", "Filesystem");
        }
    },
    validate: validate_volume,
    validate_update: |new, old| {
        let root = Field::root(new);
        let spec = root.field("spec");
        let mut problems = Vec::new();
        if !same(&source(new), &source(old)) {
            let detail = "spec.persistentvolumesource is immutable after creation";
            problems.push(Problem::forbidden("spec.persistentvolumesource", detail));
        }
        meta::immutable(&spec.field("volumeMode"), at(old, "/spec/volumeMode"), &mut problems);
        problems
    },
    warnings: |_| vec!["persistent volumes are stored but not bound to claims yet".to_owned()],
    ..PLAIN
};

pub(super) const PERSISTENT_VOLUME_CLAIM: Kind = Kind {
    kind: "PersistentVolumeClaim",
    plural: "persistentvolumeclaims",
    singular: "persistentvolumeclaim",
    short_names: &["pvc"],
    subresources: &[Subresource::Status],
    columns: &[
        NAME,
        Column::new("Status", "string", "Its phase.", |pvc, _| phase(pvc)),
        Column::new("Volume", "string", "The volume that it is bound to.", |pvc, _| {
            text(pvc, "/spec/volumeName").into()
        }),
        Column::new("Capacity", "string", "How much its volume holds.", |pvc, _| {
            if is_set(pvc, "/spec/volumeName") { text(pvc, "/status/capacity/storage").into() } else { "".into() }
        }),
        Column::new("Access Modes", "string", "How its volume can be mounted.", |pvc, _| {
            access_modes(pvc, "/status/accessModes")
        }),
        Column::new("StorageClass", "string", "The class that it asks for.", |pvc, _| {
            text(pvc, "/spec/storageClassName").into()
        }),
        Column::new("VolumeAttributesClass", "string", "The class of attributes that it asks for.", |pvc, _| {
            attributes_class(pvc)
        }),
        AGE,
        VOLUME_MODE,
    ],
    selectable_fields: &[SelectableField { path: "status.phase", value: |pvc| text(pvc, "/status/phase").to_owned() }],
    schema: || schema_of("io.k8s.api.core.v1.PersistentVolumeClaim"),
    prepare_create: pending,
    prepare_update: keep_status,
    default: |pvc| {
        if let Some(status) = part_or_new(pvc, "status") {
            fill_text(status, "phase", "Pending");
        }
        if let Some(spec) = pvc.get_mut("spec") {
            fill(spec, "volumeMode", "Filesystem");
        }
    },
    validate: validate_claim,
    validate_update: claim_is_kept,
    warnings: |_| vec!["claims are stored but stay Pending: nothing binds them to volumes yet".to_owned()],
    ..PLAIN
};

const VOLUME_MODE: Column = Column::new("VolumeMode", "string", "A file system or a device.", |object, _| {
    match text(object, "/spec/volumeMode") {
        "" => "<unset>".into(),
        mode => mode.into(),
    }
})
.wide();

fn pending(object: &mut Value) {
    if let Value::Object(object) = object {
        object.insert("status".to_owned(), json!({ "phase": "Pending" }));
    }
}

fn phase(object: &Value) -> Value {
    if is_set(object, "/metadata/deletionTimestamp") {
        "Terminating".into()
    } else {
        text(object, "/status/phase").into()
    }
}

fn attributes_class(object: &Value) -> Value {
    match text(object, "/spec/volumeAttributesClassName") {
        "" => "<unset>".into(),
        class => class.into(),
    }
}

/// `RWO,ROX`, in the order in which upstream shows them.
fn access_modes(object: &Value, pointer: &str) -> Value {
    const SHORT: [(&str, &str); 4] =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let modes = items(object, pointer);
    let shown = SHORT.iter().filter(|(mode, _)| modes.iter().any(|m| m == mode)).map(|(_, short)| *short);
    match joined(shown) {
        Value::String(none) if none == "<none>" => "".into(),
        modes => modes,
    }
}

fn claim(pv: &Value) -> String {
    match text(pv, "/spec/claimRef/name") {
        "" => String::new(),
        name => format!("{}/{name}", text(pv, "/spec/claimRef/namespace")),
    }
}

fn source(pv: &Value) -> Value {
    let mut spec = at(pv, "/spec").clone();
    if let Some(spec) = spec.as_object_mut() {
        spec.retain(|name, _| !NOT_A_SOURCE.contains(&name.as_str()));
    }
    spec
}

fn check_access_modes(spec: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let modes = spec.field("accessModes");
    if modes.len() == 0 {
        problems.push(modes.required("at least 1 access mode is required"));
    }
    for mode in modes.items() {
        mode.one_of(ACCESS_MODES, problems);
    }
    if modes.len() > 1 && modes.items().any(|mode| mode.text() == "ReadWriteOncePod") {
        problems.push(modes.forbidden("may not use ReadWriteOncePod with other access modes"));
    }
    let mode = spec.field("volumeMode");
    if mode.is_set() {
        mode.one_of(VOLUME_MODES, problems);
    }
    meta::check_if_set(&spec.field("storageClassName"), names::dns1123_subdomain, problems);
}

fn validate_volume(pv: &Value) -> Vec<Problem> {
    let root = Field::root(pv);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let spec = root.field("spec");
    check_access_modes(&spec, &mut problems);
    let capacity = spec.field("capacity");
    let storage = capacity.field("storage");
    if storage.is_set() {
        quantities::check(&storage, &mut problems);
    } else {
        problems.push(capacity.required(""));
    }
    let policy = spec.field("persistentVolumeReclaimPolicy");
    policy.one_of(&["Delete", "Recycle", "Retain"], &mut problems);
    let sources: Vec<&str> =
        spec.entries().filter(|(name, entry)| !NOT_A_SOURCE.contains(name) && entry.is_set()).map(|(n, _)| n).collect();
    match sources.as_slice() {
        [] => problems.push(spec.required("must specify a volume type")),
        [_] => {}
        [_, more @ ..] => {
            for name in more {
                problems.push(spec.field(name).forbidden("may not specify more than 1 volume type"));
            }
        }
    }
    problems
}

fn validate_claim(pvc: &Value) -> Vec<Problem> {
    let root = Field::root(pvc);
    let mut problems = meta::validate(&root, Names::Subdomain);
    let spec = root.field("spec");
    check_access_modes(&spec, &mut problems);
    let selector = spec.field("selector");
    meta::check_label_selector(&selector, &mut problems);
    let resources = spec.field("resources");
    let requests = resources.field("requests");
    let storage = requests.field("storage");
    if storage.is_set() {
        quantities::check(&storage, &mut problems);
    } else {
        problems.push(Problem::required("spec.resources[storage]", ""));
    }
    problems
}

fn claim_is_kept(new: &Value, old: &Value) -> Vec<Problem> {
    let stays = |object: &Value| {
        let mut spec = at(object, "/spec").clone();
        if let Some(spec) = spec.as_object_mut() {
            spec.shift_remove("resources");
            spec.shift_remove("volumeAttributesClassName");
            // Binding sets the name once.
            if text(old, "/spec/volumeName").is_empty() {
                spec.shift_remove("volumeName");
            }
        }
        spec
    };
    let mut problems = Vec::new();
    if !same(&stays(new), &stays(old)) {
        let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
                      bound claims";
        problems.push(Problem::forbidden("spec", detail));
    }
    let root = Field::root(new);
    let spec = root.field("spec");
    let resources = spec.field("resources");
    let requests = resources.field("requests");
    let storage = requests.field("storage");
    let before = Field::root(at(old, "/spec/resources/requests/storage"));
    if let (Some(now), Some(then)) = (quantities::parse(&storage), quantities::parse(&before))
        && now < then
    {
        problems
            .push(Problem::forbidden("spec.resources.requests.storage", "field can not be less than status.capacity"));
    }
    problems
}
