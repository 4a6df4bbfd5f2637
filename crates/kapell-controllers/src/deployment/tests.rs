use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{DeploymentStatus, ReplicaSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const START: Timestamp = Timestamp::constant(1_800_000_000, 0);

fn deployment(spec: Value) -> Deployment {
    let mut object = json!({
        "metadata": {"name": "web", "namespace": "ns", "uid": "d", "generation": 1},
        "spec": {
            "replicas": 4,
            "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}},
        },
    });
    json_patch::merge(&mut object["spec"], &spec);
    serde_json::from_value(object).unwrap()
}

/// A cluster of one Deployment in which sizes become pods and pods become available when the test says so.
struct World {
    deployment: Deployment,
    sets: BTreeMap<String, ReplicaSet>,
    now: Timestamp,
}

impl World {
    fn new(spec: Value) -> Self {
        Self { deployment: deployment(spec), sets: BTreeMap::new(), now: START }
    }

    fn change(&mut self, spec: Value) {
        let mut object = serde_json::to_value(&self.deployment).unwrap();
        json_patch::merge(&mut object["spec"], &spec);
        self.deployment = serde_json::from_value(object).unwrap();
        self.deployment.metadata.generation = self.deployment.metadata.generation.map(|g| g + 1);
    }

    fn image(&mut self, image: &str) {
        self.change(json!({"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}));
    }

    /// Plans once and carries the plan out on this world; whether anything was done.
    fn step(&mut self) -> bool {
        let sets = self.sets.values().cloned().map(Arc::new).collect();
        let snapshot = Snapshot { deployment: Arc::new(self.deployment.clone()), replica_sets: sets, pods: Vec::new() };
        let actions = plan::plan(&snapshot, self.now).actions;
        let acted = !actions.is_empty();
        for action in actions {
            match action {
                Action::CreateReplicaSet(rs) => {
                    let mut rs = *rs;
                    rs.metadata.uid = rs.metadata.name.clone();
                    rs.metadata.creation_timestamp = Some(Time(self.now));
                    let clash = self.sets.insert(rs.name_any(), rs);
                    assert!(clash.is_none(), "created a ReplicaSet twice");
                }
                Action::UpdateReplicaSet(update) => {
                    let rs = self.sets.get_mut(&update.replica_set.name_any()).unwrap();
                    rs.metadata.annotations.get_or_insert_default().extend(update.annotations);
                    let spec = rs.spec.as_mut().unwrap();
                    spec.replicas = update.replicas.or(spec.replicas);
                    spec.min_ready_seconds = update.min_ready_seconds.or(spec.min_ready_seconds);
                }
                Action::DeleteReplicaSet(rs) => drop(self.sets.remove(&rs.name_any())),
                Action::SetRevision(revision) => {
                    let annotations = self.deployment.metadata.annotations.get_or_insert_default();
                    annotations.insert(revision::REVISION.to_owned(), revision);
                }
                Action::SetStatus(status) => self.deployment.status = Some(*status),
            }
        }
        self.now += SignedDuration::from_secs(1);
        acted
    }

    /// The ReplicaSet controller's work: pods come and go at once; each time up to `ready` more become available.
    fn run_pods(&mut self, mut ready: i32) {
        for rs in self.sets.values_mut() {
            let wanted = size::wanted(rs);
            let before = size::available(rs).min(wanted);
            let more = (wanted - before).min(ready);
            ready -= more;
            rs.status = Some(ReplicaSetStatus {
                replicas: wanted,
                ready_replicas: Some(before + more),
                available_replicas: Some(before + more),
                observed_generation: rs.metadata.generation,
                ..ReplicaSetStatus::default()
            });
        }
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            let acted = self.step();
            self.run_pods(i32::MAX);
            if !acted && !self.step() {
                return;
            }
        }
        panic!("the rollout does not come to rest: {:#?}", self.status());
    }

    fn status(&self) -> DeploymentStatus {
        self.deployment.status.clone().unwrap_or_default()
    }

    /// `type=status reason` of each condition, sorted.
    fn conditions(&self) -> Vec<String> {
        let mut told: Vec<_> = self
            .status()
            .conditions
            .into_iter()
            .flatten()
            .map(|c| format!("{}={} {}", c.type_, c.status, c.reason.unwrap_or_default()))
            .collect();
        told.sort();
        told
    }

    fn size_of(&self, image: &str) -> i32 {
        let of = self.sets.values().filter(|rs| {
            let template = rs.spec.as_ref().unwrap().template.as_ref().unwrap();
            template.spec.as_ref().unwrap().containers[0].image.as_deref() == Some(image)
        });
        of.map(size::wanted).sum()
    }

    fn total(&self) -> i32 {
        self.sets.values().map(size::wanted).sum()
    }

    fn available(&self) -> i32 {
        self.sets.values().map(size::available).sum()
    }

    fn revision(&self) -> String {
        self.deployment.metadata.annotations.as_ref().unwrap()[revision::REVISION].clone()
    }
}

#[test]
fn a_new_deployment_gets_its_first_revision_and_becomes_available() {
    let mut world = World::new(json!({}));
    world.step();
    let rs = world.sets.values().next().unwrap().clone();
    let hash = rs.metadata.labels.as_ref().unwrap()[revision::HASH_LABEL].clone();
    assert_eq!(rs.name_any(), format!("web-{hash}"));
    assert_eq!(rs.spec.as_ref().unwrap().selector.match_labels.as_ref().unwrap()[revision::HASH_LABEL], hash);
    assert!(ownership::is_controlled_by(&rs.metadata, "d"));
    assert_eq!(rs.metadata.annotations.as_ref().unwrap()[revision::REVISION], "1");
    assert_eq!(
        world.conditions(),
        ["Available=False MinimumReplicasUnavailable", "Progressing=True NewReplicaSetCreated"]
    );
    world.settle();
    assert_eq!(
        world.conditions(),
        ["Available=True MinimumReplicasAvailable", "Progressing=True NewReplicaSetAvailable"]
    );
    let status = world.status();
    assert_eq!((status.replicas, status.updated_replicas, status.available_replicas), (Some(4), Some(4), Some(4)));
    assert_eq!((status.unavailable_replicas, status.observed_generation), (None, Some(1)));
}

#[test]
fn undo_brings_an_old_set_back_as_the_newest_revision() {
    let mut world = World::new(json!({}));
    world.settle();
    world.image("v2");
    world.settle();
    assert_eq!((world.size_of("v1"), world.size_of("v2"), world.revision().as_str()), (0, 4, "2"));
    world.image("v1");
    world.settle();
    assert_eq!((world.size_of("v1"), world.size_of("v2"), world.revision().as_str()), (4, 0, "3"));
    assert_eq!(world.sets.len(), 2);
    let old = world.sets.values().find(|rs| size::wanted(rs) == 4).unwrap();
    assert_eq!(old.metadata.annotations.as_ref().unwrap()[revision::REVISION_HISTORY], "1");
}

#[test]
fn fenceposts_round_as_upstream() {
    let cases = [
        (json!("25%"), json!("25%"), 10, (3, 2)),
        (json!("25%"), json!("25%"), 1, (1, 0)),
        (json!(0), json!("10%"), 5, (0, 1)),
        (json!(0), json!(0), 5, (0, 1)),
        (json!(2), json!(9), 3, (2, 3)),
        (json!("100%"), json!(0), 3, (3, 0)),
    ];
    for (surge, unavailable, replicas, (max_surge, max_unavailable)) in cases {
        let deployment = deployment(json!({"replicas": replicas, "strategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}));
        assert_eq!(size::fenceposts(&deployment), size::Fenceposts { max_surge, max_unavailable }, "{deployment:?}");
    }
}

#[test]
fn recreate_starts_nothing_before_the_last_old_pod_has_ended() {
    let mut world = World::new(json!({"strategy": {"type": "Recreate"}}));
    world.settle();
    world.image("v2");
    world.step();
    assert_eq!((world.total(), world.sets.len()), (0, 1));
    let pod = json!({"metadata": {"name": "p"}, "status": {"phase": "Running"}});
    let old_name = world.sets.keys().next().unwrap().clone();
    world.run_pods(9);
    let snapshot = Snapshot {
        deployment: Arc::new(world.deployment.clone()),
        replica_sets: world.sets.values().cloned().map(Arc::new).collect(),
        pods: vec![(old_name, crate::pod::known(pod))],
    };
    let creates = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::CreateReplicaSet(_)));
    assert!(!creates(&plan::plan(&snapshot, world.now).actions), "an old pod still ends");
    world.settle();
    assert_eq!((world.size_of("v1"), world.size_of("v2")), (0, 4));
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut world = World::new(json!({}));
    world.settle();
    world.change(json!({"paused": true, "replicas": 6}));
    world.image("v2");
    world.settle();
    assert_eq!((world.size_of("v1"), world.size_of("v2")), (6, 0));
    assert!(world.conditions().contains(&"Progressing=Unknown DeploymentPaused".to_owned()));
    world.change(json!({"paused": null}));
    world.settle();
    assert_eq!((world.size_of("v1"), world.size_of("v2")), (0, 6));
    assert!(world.conditions().contains(&"Progressing=True NewReplicaSetAvailable".to_owned()));
}

#[test]
fn scaling_in_the_middle_of_a_rollout_keeps_the_proportion() {
    let mut world =
        World::new(json!({"replicas": 10, "strategy": {"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}}));
    world.settle();
    world.image("v2");
    // None of the new pods becomes ready: the rollout stands at 8 old and 5 new ones.
    for _ in 0..10 {
        world.step();
        world.run_pods(0);
    }
    assert_eq!((world.size_of("v1"), world.size_of("v2")), (8, 5));
    world.change(json!({"replicas": 15}));
    world.step();
    assert_eq!((world.size_of("v1"), world.size_of("v2")), (11, 7));
}

#[test]
fn a_rollout_without_progress_passes_its_deadline_and_recovers() {
    let mut world = World::new(json!({"progressDeadlineSeconds": 60}));
    world.settle();
    world.image("v2");
    for _ in 0..10 {
        world.step();
        world.run_pods(0);
    }
    world.now += SignedDuration::from_secs(61);
    world.step();
    let told = "Progressing=False ProgressDeadlineExceeded".to_owned();
    assert!(world.conditions().contains(&told), "{:?}", world.conditions());
    world.settle();
    assert!(world.conditions().contains(&"Progressing=True NewReplicaSetAvailable".to_owned()));
}

#[test]
fn the_deadline_is_looked_at_when_it_ends() {
    let mut world = World::new(json!({"progressDeadlineSeconds": 60}));
    world.step();
    let snapshot = Snapshot {
        deployment: Arc::new(world.deployment.clone()),
        replica_sets: world.sets.values().cloned().map(Arc::new).collect(),
        pods: Vec::new(),
    };
    assert_eq!(plan::plan(&snapshot, START).look_again.map(|left| left.as_secs()), Some(61));
}

#[test]
fn history_beyond_the_limit_goes_oldest_first() {
    let mut world = World::new(json!({"revisionHistoryLimit": 2}));
    for image in ["v1", "v2", "v3", "v4", "v5"] {
        world.image(image);
        world.settle();
    }
    let mut revisions: Vec<_> = world.sets.values().map(revision::revision).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, [3, 4, 5]);
}

#[test]
fn replica_failure_is_passed_on_and_taken_back() {
    let mut world = World::new(json!({}));
    world.settle();
    let failure = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]);
    let rs = world.sets.values_mut().next().unwrap();
    rs.status.as_mut().unwrap().conditions = serde_json::from_value(failure).unwrap();
    world.step();
    assert!(world.conditions().contains(&"ReplicaFailure=True FailedCreate".to_owned()));
    world.settle();
    assert!(!world.conditions().iter().any(|condition| condition.starts_with("ReplicaFailure")));
}

#[test]
fn the_hash_depends_on_template_and_collisions_alone() {
    let template = |image: &str| {
        deployment(json!({"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}))
            .spec
            .unwrap()
            .template
    };
    assert_eq!(revision::template_hash(&template("a"), 0), revision::template_hash(&template("a"), 0));
    assert_ne!(revision::template_hash(&template("a"), 0), revision::template_hash(&template("b"), 0));
    assert_ne!(revision::template_hash(&template("a"), 0), revision::template_hash(&template("a"), 1));
}

proptest! {
    #[test]
    fn a_rolling_update_keeps_its_bounds_and_arrives(
        replicas in 1i32..12,
        surge in 0i32..5,
        unavailable in 0i32..5,
        // How many pods become available, and how often the Deployment is planned before the sets' status follows.
        readiness in prop::collection::vec((0i32..3, 0usize..4), 1..60),
        second_change in 0usize..30,
    ) {
        let mut world = World::new(json!({"replicas": replicas, "strategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}));
        world.settle();
        let bounds = size::fenceposts(&world.deployment);
        world.image("v2");
        for (i, (ready, plans)) in readiness.into_iter().enumerate() {
            if i == second_change {
                world.image("v3");
            }
            for _ in 0..plans {
                world.step();
                prop_assert!(world.total() <= replicas + bounds.max_surge, "too many: {}", world.total());
            }
            // The ReplicaSet controller takes not-ready pods first, so what is left of `available` is what counts.
            world.run_pods(ready);
            prop_assert!(world.available() >= replicas - bounds.max_unavailable, "too few: {}", world.available());
        }
        world.settle();
        prop_assert_eq!(world.total(), replicas);
        prop_assert_eq!(world.status().updated_replicas, Some(replicas));
    }
}
