use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use serde_json::{Value, json};

use super::*;

struct Volumes(tempfile::TempDir);

impl Volumes {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["scratch", "files", "outside"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self(dir)
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    /// Where one mount leads, below the directory of all volumes.
    fn target(&self, mount: Value) -> Result<String, String> {
        let volumes = json!([{"name": "scratch", "emptyDir": {}}, {"name": "files", "configMap": {"name": "o"}}]);
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [], "volumes": volumes}})).unwrap();
        let container: Container = serde_json::from_value(json!({"name": "main", "volumeMounts": [mount]})).unwrap();
        let places = ["scratch", "files"].map(|name| (name.to_owned(), self.path(name)));
        let env = BTreeMap::from([
            ("NAME".to_owned(), "p".to_owned()),
            ("UP".to_owned(), "..".to_owned()),
            ("EMPTY".to_owned(), String::new()),
        ]);
        let found = mounts(&pod, &container, &BTreeMap::from(places), Some(&env)).map_err(|error| error.to_string())?;
        Ok(found[0].1.strip_prefix(self.0.path()).unwrap().display().to_string())
    }

    fn scratch(&self, path: &str) -> Result<String, String> {
        self.target(json!({"name": "scratch", "mountPath": "m", "subPath": path}))
    }

    fn expression(&self, path: &str) -> Result<String, String> {
        self.target(json!({"name": "scratch", "mountPath": "m", "subPathExpr": path}))
    }
}

#[test]
fn a_part_is_found_and_made_where_the_volume_grows() {
    let volumes = Volumes::new();
    fs::set_permissions(volumes.path("scratch"), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(volumes.scratch("").unwrap(), "scratch");
    for _ in 0..2 {
        assert_eq!(volumes.scratch("a/./b").unwrap(), "scratch/a/b");
    }
    assert_eq!(
        fs::metadata(volumes.path("scratch/a")).unwrap().permissions().mode() & 0o777,
        0o777,
        "as the volume's own"
    );
    fs::write(volumes.path("files/key"), "value").unwrap();
    let file = |path: &str| volumes.target(json!({"name": "files", "mountPath": "m", "subPath": path}));
    assert_eq!(file("key").unwrap(), "files/key");
    assert!(file("other").unwrap_err().ends_with("there is no such file in it"));
    assert!(!volumes.path("files/other").exists());
}

#[test]
fn no_part_lies_outside_of_its_volume() {
    let volumes = Volumes::new();
    for (path, why) in [("/etc", "must not be an absolute path"), ("a/../..", "must not contain '..'"), ("..", "'..'")]
    {
        assert!(volumes.scratch(path).unwrap_err().contains(why), "{path}");
    }
    let link = |name: &str, target: &Path| symlink(target, volumes.path("scratch").join(name)).unwrap();
    link("absolute", &volumes.path("outside"));
    link("relative", Path::new("../outside"));
    link("round", Path::new("round"));
    link("nothing", Path::new("gone"));
    for path in ["absolute", "absolute/made", "relative", "relative/made", "round"] {
        assert!(volumes.scratch(path).unwrap_err().ends_with("leads out of the volume"), "{path}");
    }
    assert!(volumes.scratch("nothing/made").is_err());
    assert_eq!(fs::read_dir(volumes.path("outside")).unwrap().count(), 0);
    // One that stays inside is a part like another.
    fs::create_dir(volumes.path("scratch/inside")).unwrap();
    link("within", Path::new("inside"));
    assert_eq!(volumes.scratch("within/made").unwrap(), "scratch/within/made");
    assert!(volumes.path("scratch/inside/made").is_dir());
}

#[test]
fn expressions_need_all_of_their_values() {
    let volumes = Volumes::new();
    assert_eq!(volumes.expression("logs/$(NAME)-$$(NAME)").unwrap(), "scratch/logs/p-$(NAME)");
    for (path, why) in [
        ("$(NAME)/$(NONE)/$(EMPTY)", "missing value for NONE, EMPTY, in subPathExpr `$(NAME)/$(NONE)/$(EMPTY)`"),
        ("$(UP)/x", "must not contain '..'"),
        ("/$(NAME)", "must not be an absolute path"),
    ] {
        assert!(volumes.expression(path).unwrap_err().contains(why), "{path}");
    }
    let mount: Container = serde_json::from_value(
        json!({"name": "main", "volumeMounts": [{"name": "scratch", "mountPath": "m", "subPathExpr": "$(NAME)"}]}),
    )
    .unwrap();
    assert!(has_expressions(&mount));
    let places = BTreeMap::from([("scratch".to_owned(), volumes.path("scratch"))]);
    assert!(mounts(&Pod::default(), &mount, &places, None).unwrap().is_empty(), "not before there is an environment");
}
