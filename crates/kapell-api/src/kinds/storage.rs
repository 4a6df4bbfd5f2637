//! Storage classes and what drivers of the container storage interface say of themselves, as objects: nothing
//! provisions or attaches volumes yet.

use serde_json::Value;

use super::cells::{AGE, NAME};
use super::field::{Field, at, fill, items, part, text, truth};
use super::meta::{self, Names};
use super::{PLAIN, keep_status, quantities, schema_of};
use crate::kind::{Column, Kind, Subresource};
use crate::names;
use crate::problem::Problem;

const GROUP: &str = "storage.k8s.io";

pub(super) const STORAGE_CLASS: Kind = Kind {
    group: GROUP,
    kind: "StorageClass",
    plural: "storageclasses",
    singular: "storageclass",
    short_names: &["sc"],
    namespaced: false,
    columns: &[
        Column::new("Name", "string", "Name of the class.", |class, _| {
            let name = text(class, "/metadata/name");
            let is_default = "/metadata/annotations/storageclass.kubernetes.io~1is-default-class";
            if text(class, is_default) == "true" { format!("{name} (default)").into() } else { name.into() }
        })
        .naming(),
        Column::new("Provisioner", "string", "Who makes its volumes.", |class, _| text(class, "/provisioner").into()),
        Column::new("ReclaimPolicy", "string", "What becomes of its volumes.", |class, _| {
            text(class, "/reclaimPolicy").into()
        }),
        Column::new("VolumeBindingMode", "string", "When its volumes are made.", |class, _| {
            text(class, "/volumeBindingMode").into()
        }),
        Column::new("AllowVolumeExpansion", "boolean", "Whether its volumes can grow.", |class, _| {
            truth(class, "/allowVolumeExpansion").into()
        }),
        AGE,
    ],
    schema: || schema_of("io.k8s.api.storage.v1.StorageClass"),
    default: |class| {
        fill(class, "reclaimPolicy", "Delete");
        fill(class, "volumeBindingMode", "Immediate");
    },
    validate: |class| {
        let root = Field::root(class);
        let mut problems = meta::validate(&root, Names::Subdomain);
        meta::check_required(&root.field("provisioner"), names::qualified_name, &mut problems);
        root.field("reclaimPolicy").one_of(&["Delete", "Retain"], &mut problems);
        root.field("volumeBindingMode").one_of(&["Immediate", "WaitForFirstConsumer"], &mut problems);
        problems
    },
    validate_update: |new, old| {
        let root = Field::root(new);
        let mut problems = Vec::new();
        for name in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            let before = old.get(name).unwrap_or(&Value::Null);
            if !super::field::same(root.field(name).value, before) {
                problems.push(root.field(name).forbidden(&format!("updates to {name} are forbidden.")));
            }
        }
        problems
    },
    warnings: |_| vec!["storage classes are stored but nothing provisions volumes yet".to_owned()],
    ..PLAIN
};

pub(super) const CSI_DRIVER: Kind = Kind {
    group: GROUP,
    kind: "CSIDriver",
    plural: "csidrivers",
    singular: "csidriver",
    namespaced: false,
    columns: &[
        NAME,
        Column::new("AttachRequired", "boolean", "Whether volumes have to be attached.", |driver, _| {
            truth(driver, "/spec/attachRequired").into()
        }),
        Column::new("PodInfoOnMount", "boolean", "Whether it is told about the pod.", |driver, _| {
            truth(driver, "/spec/podInfoOnMount").into()
        }),
        Column::new("StorageCapacity", "boolean", "Whether it tells its capacity.", |driver, _| {
            truth(driver, "/spec/storageCapacity").into()
        }),
        AGE,
    ],
    schema: || schema_of("io.k8s.api.storage.v1.CSIDriver"),
    default: |driver| {
        let Some(spec) = part(driver, "spec") else { return };
        fill(spec, "attachRequired", true);
        fill(spec, "podInfoOnMount", false);
        fill(spec, "storageCapacity", false);
        fill(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        fill(spec, "volumeLifecycleModes", serde_json::json!(["Persistent"]));
        fill(spec, "requiresRepublish", false);
        fill(spec, "seLinuxMount", false);
    },
    validate: |driver| {
        let root = Field::root(driver);
        let mut problems = meta::validate(&root, Names::Subdomain);
        let spec = root.field("spec");
        for mode in spec.field("volumeLifecycleModes").items() {
            mode.one_of(&["Ephemeral", "Persistent"], &mut problems);
        }
        problems
    },
    warnings: |_| vec!["storage drivers are stored but never called yet".to_owned()],
    ..PLAIN
};

pub(super) const CSI_NODE: Kind = Kind {
    group: GROUP,
    kind: "CSINode",
    plural: "csinodes",
    singular: "csinode",
    namespaced: false,
    columns: &[
        NAME,
        Column::new("Drivers", "integer", "Drivers on the node.", |node, _| items(node, "/spec/drivers").len().into()),
        AGE,
    ],
    schema: || schema_of("io.k8s.api.storage.v1.CSINode"),
    validate: |node| {
        let root = Field::root(node);
        let mut problems = meta::validate(&root, Names::Subdomain);
        let spec = root.field("spec");
        for driver in spec.field("drivers").items() {
            meta::check_required(&driver.field("name"), names::dns1123_subdomain, &mut problems);
            meta::require(&driver.field("nodeID"), &mut problems);
        }
        problems
    },
    ..PLAIN
};

pub(super) const CSI_STORAGE_CAPACITY: Kind = Kind {
    group: GROUP,
    kind: "CSIStorageCapacity",
    plural: "csistoragecapacities",
    singular: "csistoragecapacity",
    columns: &[
        NAME,
        Column::new("StorageClassName", "string", "The class that it is about.", |capacity, _| {
            text(capacity, "/storageClassName").into()
        }),
        Column::new("Capacity", "string", "How much is free.", |capacity, _| text(capacity, "/capacity").into()),
        AGE,
    ],
    schema: || schema_of("io.k8s.api.storage.v1.CSIStorageCapacity"),
    validate: |capacity| {
        let root = Field::root(capacity);
        let mut problems = meta::validate(&root, Names::Subdomain);
        meta::check_required(&root.field("storageClassName"), names::dns1123_subdomain, &mut problems);
        for name in ["capacity", "maximumVolumeSize"] {
            if root.field(name).is_set() {
                quantities::check(&root.field(name), &mut problems);
            }
        }
        meta::check_label_selector(&root.field("nodeTopology"), &mut problems);
        problems
    },
    validate_update: |new, old| {
        let root = Field::root(new);
        let mut problems = Vec::new();
        for name in ["nodeTopology", "storageClassName"] {
            meta::immutable(&root.field(name), old.get(name).unwrap_or(&Value::Null), &mut problems);
        }
        problems
    },
    ..PLAIN
};

pub(super) const VOLUME_ATTACHMENT: Kind = Kind {
    group: GROUP,
    kind: "VolumeAttachment",
    plural: "volumeattachments",
    singular: "volumeattachment",
    namespaced: false,
    subresources: &[Subresource::Status],
    columns: &[
        NAME,
        Column::new("Attacher", "string", "Who attaches.", |attachment, _| text(attachment, "/spec/attacher").into()),
        Column::new("PV", "string", "What is attached.", |attachment, _| {
            text(attachment, "/spec/source/persistentVolumeName").into()
        }),
        Column::new("Node", "string", "Where to.", |attachment, _| text(attachment, "/spec/nodeName").into()),
        Column::new("Attached", "boolean", "Whether it is.", |attachment, _| {
            truth(attachment, "/status/attached").into()
        }),
        AGE,
    ],
    schema: || schema_of("io.k8s.api.storage.v1.VolumeAttachment"),
    prepare_create: |attachment| {
        if let Some(attachment) = attachment.as_object_mut() {
            attachment.insert("status".to_owned(), serde_json::json!({ "attached": false }));
        }
    },
    prepare_update: keep_status,
    validate: |attachment| {
        let root = Field::root(attachment);
        let mut problems = meta::validate(&root, Names::Subdomain);
        let spec = root.field("spec");
        meta::require(&spec.field("attacher"), &mut problems);
        meta::require(&spec.field("nodeName"), &mut problems);
        let source = spec.field("source");
        let given = ["inlineVolumeSpec", "persistentVolumeName"].iter().filter(|n| source.field(n).is_set()).count();
        match given {
            0 => {
                problems.push(source.required("must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
            }
            1 => {}
            _ => {
                problems.push(source.forbidden("must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
            }
        }
        problems
    },
    validate_update: |new, old| {
        let root = Field::root(new);
        let mut problems: Vec<Problem> = Vec::new();
        meta::immutable(&root.field("spec"), at(old, "/spec"), &mut problems);
        problems
    },
    warnings: |_| vec!["volume attachments are stored but nothing attaches volumes yet".to_owned()],
    ..PLAIN
};
