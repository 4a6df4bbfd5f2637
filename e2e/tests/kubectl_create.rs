//! kubectl's typed writers, which send protobuf: `create …`, `expose` and what comes near. Each object is then read back.

use kapell_e2e::{Kapell, need_kubectl};
use serde_json::{Value, json};

/// One server for a table of commands and what the object then has at a JSON pointer.
#[track_caller]
fn creates(commands: &[(&[&str], &str, &str, Value)]) {
    let kapell = Kapell::start();
    for (arguments, target, pointer, expected) in commands {
        let ran = kapell.kubectl(arguments).ok();
        let object = kapell.object("default", target);
        assert_eq!(object.pointer(pointer), Some(expected), "{ran}\n{object:#}");
    }
}

#[test]
fn configuration_and_identity() {
    need_kubectl!();
    creates(&[
        (
            &["create", "configmap", "settings", "--from-literal=level=debug", "--from-literal=empty="],
            "configmap/settings",
            "/data",
            json!({"level": "debug", "empty": ""}),
        ),
        (
            &["create", "secret", "generic", "login", "--from-literal=password=s3cret"],
            "secret/login",
            "/data/password",
            json!("czNjcmV0"),
        ),
        (
            &["create", "secret", "docker-registry", "pull", "--docker-username=u", "--docker-password=p"],
            "secret/pull",
            "/type",
            json!("kubernetes.io/dockerconfigjson"),
        ),
        (&["create", "namespace", "team"], "namespace/team", "/status/phase", json!("Active")),
        (&["create", "serviceaccount", "robot"], "serviceaccount/robot", "/metadata/namespace", json!("default")),
    ]);
}

#[test]
fn services_of_every_type() {
    need_kubectl!();
    creates(&[
        (
            &["create", "service", "clusterip", "web", "--tcp=80:8080"],
            "service/web",
            "/spec/ports/0",
            json!({"name": "80-8080", "protocol": "TCP", "port": 80, "targetPort": 8080}),
        ),
        (
            &["create", "service", "clusterip", "headless", "--clusterip=None"],
            "service/headless",
            "/spec/clusterIP",
            json!("None"),
        ),
        (&["create", "service", "nodeport", "open", "--tcp=80"], "service/open", "/spec/type", json!("NodePort")),
        (
            &["create", "service", "externalname", "away", "--external-name=example.org"],
            "service/away",
            "/spec/externalName",
            json!("example.org"),
        ),
    ]);
}

/// The images never run here: what counts is what the server made of the body.
#[test]
fn workloads() {
    need_kubectl!();
    let kapell = Kapell::start();

    let dry = kapell
        .kubectl(&[
            "create",
            "deployment",
            "web",
            "--image=nginx",
            "--replicas=0",
            "--port=80",
            "--dry-run=server",
            "-o",
            "json",
        ])
        .ok()
        .json();
    assert_eq!(dry["spec"]["replicas"], 0, "a zero that was said is kept: {dry:#}");
    let container = &dry["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        (&container["image"], &container["ports"][0]["containerPort"]),
        (&json!("nginx"), &json!(80)),
        "{dry:#}"
    );
    kapell.kubectl(&["get", "deployment", "web"]).exits(1).says("(NotFound)");

    kapell.kubectl(&["create", "deployment", "web", "--image=nginx", "--replicas=0", "--port=80"]).ok().says("created");
    kapell.kubectl(&["expose", "deployment", "web", "--name=front", "--port=8000"]).ok().says("exposed");
    let front = kapell.object("default", "service/front");
    assert_eq!(front["spec"]["selector"], json!({"app": "web"}));
    assert_eq!(
        (&front["spec"]["ports"][0]["port"], &front["spec"]["ports"][0]["targetPort"]),
        (&json!(8000), &json!(8000))
    );

    let run =
        ["run", "once", "--image=busybox", "--restart=Never", "--dry-run=server", "-o", "json", "--", "sleep", "1"];
    let pod = kapell.kubectl(&run).ok().json();
    assert_eq!(
        (&pod["spec"]["restartPolicy"], &pod["spec"]["containers"][0]["args"]),
        (&json!("Never"), &json!(["sleep", "1"]))
    );
}

#[test]
fn refusals_reach_the_user() {
    need_kubectl!();
    let kapell = Kapell::start();
    kapell.kubectl(&["create", "configmap", "settings"]).ok();
    kapell.kubectl(&["create", "configmap", "settings"]).exits(1).says("\"settings\" already exists");
    kapell.kubectl(&["create", "namespace", "Team_1"]).exits(1).says("RFC 1123");
}
