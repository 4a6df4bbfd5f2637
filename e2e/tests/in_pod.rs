//! The API from inside of pods: what clients find there, whom the API takes them for, and when it does so no longer.

use kapell_e2e::{Kapell, Ran, eventually, kubectl_binary, run, skip, tool};

/// `default` may look at ConfigMaps and at nothing else.
const RIGHTS: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: looks}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: looks}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: looks}
subjects: [{kind: ServiceAccount, name: default, namespace: default}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: seen}
"#;

/// A pod that waits to be told what to do.
fn pod(name: &str, more: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  runtimeClassName: process
  terminationGracePeriodSeconds: 1
  {more}
  containers:
  - name: main
    command: [sleep, "1000"]
"#
    )
}

fn with_pods(pods: &[(&str, &str)]) -> Kapell {
    let kapell = Kapell::start();
    kapell.cli_with_input(&["apply", "-f", "-"], RIGHTS).ok();
    for (name, more) in pods {
        kapell.cli_with_input(&["apply", "-f", "-"], &pod(name, more)).ok();
        eventually("it runs", || {
            (kapell.object("default", &format!("pod/{name}"))["status"]["phase"] == "Running").then_some(())
        });
    }
    kapell
}

/// A script in a pod, which may fail.
fn inside(kapell: &Kapell, pod: &str, script: &str) -> Ran {
    let mut command = kapell.command();
    command.arg("--data").arg(kapell.data()).args(["exec", pod, "--", "sh", "-c", script]);
    run(command, None)
}

#[test]
fn kubectl_in_a_pod_may_what_the_account_may() {
    let Some(kubectl) = kubectl_binary() else { skip!("no kubectl: install it, or Go") };
    let kubectl = kubectl.display();
    let kapell = with_pods(&[("p", ""), ("off", "automountServiceAccountToken: false")]);
    let seen = inside(&kapell, "p", &format!("{kubectl} get configmaps -o name")).ok();
    assert!(seen.stdout.contains("configmap/seen"), "{seen}");
    inside(&kapell, "p", &format!("{kubectl} get secrets")).exits(1).says("system:serviceaccount:default:default");
    // Through the address that every pod is told, with the certificate that every pod has.
    let server =
        inside(&kapell, "p", &format!("{kubectl} config view -o 'jsonpath={{.clusters[0].cluster.server}}'")).ok();
    let told = inside(&kapell, "p", "echo https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT").ok();
    assert_eq!(server.stdout, told.stdout.trim());

    let nothing =
        inside(&kapell, "off", "echo \"$KUBECONFIG\"; env | grep -c KUBE_API_ACCESS; ls ../../../volumes").stdout;
    assert_eq!(nothing.trim(), "0", "neither a variable nor a volume");
}

#[test]
fn a_pods_own_kubeconfig_stays() {
    let kapell = Kapell::start();
    let own = pod("p", "").replace("name: main\n", "name: main\n    env: [{name: KUBECONFIG, value: /my/own}]\n");
    kapell.cli_with_input(&["apply", "-f", "-"], &own).ok();
    eventually("it runs", || (kapell.object("default", "pod/p")["status"]["phase"] == "Running").then_some(()));
    assert_eq!(inside(&kapell, "p", "echo $KUBECONFIG").ok().stdout, "/my/own\n");
}

#[test]
fn a_token_is_worth_nothing_after_its_pod() {
    let kapell = with_pods(&[("p", ""), ("q", "")]);
    let token = inside(&kapell, "p", "cat $(dirname $KUBECONFIG)/token").ok().stdout;
    // Asked from another pod, which has the certificate.
    let ask = format!(
        "curl -s -o /dev/null -w '%{{http_code}}' --cacert $(dirname $KUBECONFIG)/ca.crt -H 'Authorization: Bearer {token}' \
         https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/api/v1/namespaces/default/configmaps"
    );
    if inside(&kapell, "q", "command -v curl").stdout.is_empty() {
        skip!("no curl");
    }
    assert_eq!(inside(&kapell, "q", &ask).ok().stdout, "200");
    kapell.cli(&["delete", "pod", "p"]).ok();
    eventually("it is refused", || (inside(&kapell, "q", &ask).ok().stdout == "401").then_some(()));
}

#[test]
fn a_token_survives_the_server() {
    let mut kapell = with_pods(&[("p", "")]);
    let token = || inside(&kapell, "p", "cat $(dirname $KUBECONFIG)/token").ok().stdout;
    let before = token();
    kapell.kill();
    kapell.restart();
    let token = || inside(&kapell, "p", "cat $(dirname $KUBECONFIG)/token").ok().stdout;
    eventually("the pod is taken over", || {
        (kapell.object("default", "pod/p")["status"]["containerStatuses"][0]["ready"] == true).then_some(())
    });
    assert_eq!(token(), before, "a token that is good is kept");
}

#[test]
fn the_python_client_works_in_a_pod() {
    let Some(python) = tool("python") else { skip!("no Python with the package kubernetes") };
    let kapell = with_pods(&[("p", "")]);
    let script = "from kubernetes import client, config; config.load_config(); \
                  print([m.metadata.name for m in client.CoreV1Api().list_namespaced_config_map(\"default\").items])";
    let said = inside(&kapell, "p", &format!("{} -c '{script}'", python.display())).ok();
    assert!(said.stdout.contains("'seen'"), "{said}");
}
