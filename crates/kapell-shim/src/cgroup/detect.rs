//! Which hierarchies are mounted, and where in them we may create groups.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{CONTROLLERS, FREEZER, Hierarchies};

/// Our groups stand below a directory of this name.
const PARENT: &str = "kapell";

/// The mounted hierarchies, with the directory of the group that this process is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mounts {
    /// Mount point and own group of the v2 tree.
    pub(super) v2: Option<(PathBuf, PathBuf)>,
    /// Own group by v1 controller.
    pub(super) v1: BTreeMap<String, PathBuf>,
}

/// Reads `/proc/self/mountinfo` and `/proc/self/cgroup`.
pub(super) fn mounts(mountinfo: &str, own: &str) -> Mounts {
    let own: BTreeMap<&str, &str> = own
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .collect();
    let mut mounts = Mounts::default();
    for line in mountinfo.lines() {
        let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
        let mut fields = mount.split(' ').skip(3);
        let (Some(root), Some(point)) = (fields.next(), fields.next()) else { continue };
        let mut fields = filesystem.split(' ');
        let (kind, options) = (fields.next().unwrap_or_default(), fields.nth(1).unwrap_or_default());
        let group = |controllers: &str| Some(below(point, root, own.get(controllers)?));
        match kind {
            "cgroup2" => mounts.v2 = group("").map(|group| (PathBuf::from(point), group)),
            "cgroup" => {
                let wanted = |name: &&str| CONTROLLERS.contains(name) || *name == FREEZER;
                for controller in options.split(',').filter(wanted) {
                    // Controllers that are mounted together are listed together.
                    let listed = own.keys().find(|names| names.split(',').any(|name| name == controller));
                    if let Some(group) = listed.and_then(|names| group(names)) {
                        mounts.v1.insert(controller.to_owned(), group);
                    }
                }
            }
            _ => {}
        }
    }
    mounts
}

/// The directory of `group` where the part of the tree below `root` is mounted at `point`.
fn below(point: &str, root: &str, group: &str) -> PathBuf {
    let relative = Path::new(group).strip_prefix(root).unwrap_or(Path::new(""));
    Path::new(point).join(relative)
}

/// Creates our parent directory in each hierarchy that lets us.
///
/// In v1 it stands below our own group, so that limits on ourselves stay in force. In v2 a group that has members cannot
/// hand controllers down; there we prefer the root of the tree, and take our own group (without limits) if that is denied.
pub(super) fn prepare(mounts: &Mounts) -> Hierarchies {
    let mut hierarchies = Hierarchies::default();
    for (controller, group) in &mounts.v1 {
        if let Some(parent) = create_parent(group) {
            hierarchies.v1.insert(controller.clone(), parent);
        }
    }
    if let Some((point, group)) = &mounts.v2 {
        for base in [point, group] {
            hand_down(base);
            if let Some(parent) = create_parent(base) {
                hand_down(&parent);
                hierarchies.v2_controllers = words(&parent.join("cgroup.subtree_control"));
                hierarchies.v2 = Some(parent);
                break;
            }
        }
    }
    hierarchies
}

/// Our directory below `base`, if processes may be put into its children.
fn create_parent(base: &Path) -> Option<PathBuf> {
    let parent = base.join(PARENT);
    match fs::create_dir(&parent) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return None,
        _ => {}
    }
    // It may be another user's; only a child of our own tells.
    let probe = parent.join(format!("probe-{}", std::process::id()));
    fs::create_dir(&probe).ok()?;
    let writable = fs::OpenOptions::new().write(true).open(probe.join("cgroup.procs")).is_ok();
    let _ = fs::remove_dir(&probe);
    writable.then_some(parent)
}

/// Enables the controllers that limits need for the children of a v2 group, one by one: one that is missing must not
/// take the others with it.
fn hand_down(directory: &Path) {
    let have = words(&directory.join("cgroup.subtree_control"));
    for controller in CONTROLLERS {
        if !have.iter().any(|name| name == controller) {
            let _ = fs::write(directory.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
}

fn words(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect()
}
