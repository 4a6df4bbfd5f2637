//! Validation of volumes. Sources that this server cannot provide are refused: a pod must not write to a directory
//! that only looks like its disk.

use super::env::{check_field_ref, check_resource_ref};
use crate::kinds::field::Field;
use crate::kinds::{meta, quantities};
use crate::names;
use crate::problem::Problem;
use crate::service_account::{LEAST_TOKEN_SECONDS, MOST_TOKEN_SECONDS};

/// Sources of volumes that exist here.
pub(super) const SOURCES: &[&str] = &["configMap", "downwardAPI", "emptyDir", "hostPath", "projected", "secret"];
/// Sources that can be projected into one volume.
const PROJECTED: &[&str] = &["configMap", "downwardAPI", "secret", "serviceAccountToken"];

/// Bytes of a CSI driver's name.
const LONGEST_DRIVER: usize = 63;

const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// Fields that can become files.
const FILE_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// Complains, and returns the names that mounts may refer to.
pub(super) fn validate<'v>(volumes: &Field<'v, '_>, problems: &mut Vec<Problem>) -> Vec<&'v str> {
    let mut names_seen = Vec::new();
    for volume in volumes.items() {
        let name = volume.field("name");
        meta::check_required(&name, names::dns1123_label, problems);
        if !name.text().is_empty() && names_seen.contains(&name.text()) {
            problems.push(name.duplicate());
        }
        names_seen.push(name.text());
        check_source(&volume, problems);
    }
    names_seen
}

fn check_source(volume: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let sources = volume.entries().filter(|(name, source)| *name != "name" && source.is_set());
    for (count, (name, _)) in sources.enumerate() {
        let source = volume.field(name);
        if count > 0 {
            problems.push(source.forbidden("may not specify more than 1 volume type"));
        }
        match name {
            "configMap" => check_files(&source, "name", problems),
            "secret" => check_files(&source, "secretName", problems),
            "downwardAPI" => check_downward(&source, problems),
            "projected" => check_projected(&source, problems),
            "emptyDir" => check_empty_dir(&source, problems),
            "hostPath" => check_host_path(&source, problems),
            "csi" => check_csi(&source, problems),
            _ => problems.push(source.unsupported_yet(&format!("volumes from {name}; use {}", SOURCES.join(", ")))),
        }
    }
}

fn check_empty_dir(source: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    if source.field("sizeLimit").is_set() {
        quantities::check(&source.field("sizeLimit"), problems);
    }
    let medium = source.field("medium");
    if !matches!(medium.text(), "" | "Memory") && !medium.text().starts_with("HugePages") {
        medium.one_of(&["", "HugePages", "Memory"], problems);
    }
}

fn check_host_path(source: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let path = source.field("path");
    if path.text().is_empty() {
        problems.push(path.required(""));
    }
    check_no_backsteps(&path, problems);
    if source.field("type").is_set() {
        source.field("type").one_of(HOST_PATH_TYPES, problems);
    }
}

/// Accepted as an object; its pod waits, see [`super::warnings`].
fn check_csi(source: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let driver = source.field("driver");
    if driver.text().is_empty() {
        problems.push(driver.required(""));
    } else if driver.text().len() > LONGEST_DRIVER {
        problems.push(driver.too_long(LONGEST_DRIVER));
    }
    if !driver.text().is_empty() {
        let faults = names::dns1123_subdomain(&driver.text().to_lowercase());
        problems.extend(faults.iter().map(|fault| driver.invalid(fault)));
    }
    let secret = source.field("nodePublishSecretRef");
    if secret.is_set() {
        meta::check_required(&secret.field("name"), names::dns1123_subdomain, problems);
    }
}

fn check_files(source: &Field<'_, '_>, name: &str, problems: &mut Vec<Problem>) {
    meta::require(&source.field(name), problems);
    check_mode(&source.field("defaultMode"), problems);
    check_items(source, problems);
}

fn check_items(source: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    for item in source.field("items").items() {
        meta::require(&item.field("key"), problems);
        check_path(&item.field("path"), problems);
        check_mode(&item.field("mode"), problems);
    }
}

fn check_downward(source: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    check_mode(&source.field("defaultMode"), problems);
    for item in source.field("items").items() {
        check_path(&item.field("path"), problems);
        check_mode(&item.field("mode"), problems);
        let (field, resource) = (item.field("fieldRef"), item.field("resourceFieldRef"));
        match (field.is_set(), resource.is_set()) {
            (true, false) => check_field_ref(&field, FILE_FIELDS, problems),
            (false, true) => {
                meta::require(&resource.field("containerName"), problems);
                check_resource_ref(&resource, problems);
            }
            (true, true) => {
                problems.push(resource.invalid("fieldRef and resourceFieldRef can not be specified simultaneously"));
            }
            (false, false) => problems.push(field.required("one of fieldRef and resourceFieldRef is required")),
        }
    }
}

fn check_projected(projected: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    check_mode(&projected.field("defaultMode"), problems);
    for source in projected.field("sources").items() {
        for (count, (name, _)) in source.entries().filter(|(_, part)| part.is_set()).enumerate() {
            let part = source.field(name);
            if count > 0 {
                problems.push(part.forbidden("may not specify more than 1 volume type"));
            }
            match name {
                "configMap" | "secret" => {
                    meta::require(&part.field("name"), problems);
                    check_items(&part, problems);
                }
                "downwardAPI" => check_downward(&part, problems),
                "serviceAccountToken" => check_token(&part, problems),
                _ => problems.push(part.unsupported_yet(&format!("projecting {name}; use {}", PROJECTED.join(", ")))),
            }
        }
    }
}

fn check_token(token: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    check_path(&token.field("path"), problems);
    let seconds = token.field("expirationSeconds");
    match seconds.int() {
        Some(..LEAST_TOKEN_SECONDS) => {
            problems.push(seconds.invalid("may not specify a duration less than 10 minutes"))
        }
        Some(more) if more > MOST_TOKEN_SECONDS => {
            problems.push(seconds.invalid("may not specify a duration larger than 2^32 seconds"));
        }
        _ => {}
    }
}

fn check_mode(mode: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    if mode.int().is_some_and(|mode| !(0..=0o777).contains(&mode)) {
        problems.push(mode.invalid("must be a number between 0 and 0777 (octal), both inclusive"));
    }
}

/// Where a file goes inside of its volume.
fn check_path(path: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    if path.text().is_empty() {
        problems.push(path.required(""));
    } else if path.text().starts_with('/') {
        problems.push(path.invalid("must be a relative path"));
    } else if path.text().starts_with("..") && !path.text().starts_with("../") && path.text() != ".." {
        // The agent swaps the content of a volume by a link whose name begins like this.
        problems.push(path.invalid("must not start with '..'"));
    }
    check_no_backsteps(path, problems);
}

fn check_no_backsteps(path: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    if path.text().split('/').any(|part| part == "..") {
        problems.push(path.invalid("must not contain '..'"));
    }
}
