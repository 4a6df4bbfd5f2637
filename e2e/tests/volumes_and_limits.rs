//! What a pod is given: files that follow their objects, and limits that bite.

use kapell_e2e::{Kapell, eventually, skip};
use serde_json::Value;

fn ready(kapell: &Kapell, name: &str) -> Value {
    eventually("the pod is ready", || {
        let pod = kapell.object("default", &format!("pod/{name}"));
        (pod["status"]["containerStatuses"][0]["ready"] == true).then_some(pod)
    })
}

fn config(value: usize) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: config}}\ndata: {{one: '{value}', two: '{value}'}}\n")
}

/// Reads both files of one generation again and again (one that is removed meanwhile does not count), and tells each new
/// pair once: a pair of different numbers would be a torn update.
const READER: &str = r#"apiVersion: v1
kind: Secret
metadata: {name: secret}
stringData: {token: open sesame}
---
apiVersion: v1
kind: Pod
metadata: {name: reader, labels: {app: reader}}
spec:
  runtimeClassName: process
  terminationGracePeriodSeconds: 1
  volumes:
  - name: config
    configMap: {name: config}
  - name: secret
    secret: {secretName: secret, defaultMode: 0400}
  - name: all
    projected:
      sources:
      - configMap: {name: config, items: [{key: one, path: deep/one}]}
      - secret: {name: secret, items: [{key: token, path: token, mode: 0440}]}
      - downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
  containers:
  - name: main
    command: [sh, -c, 'stat -Lc %a secret/token all/token; cat secret/token all/deep/one all/labels; echo; last=;
      while :; do d=$(readlink -f config/..data); one=$(cat $d/one) && two=$(cat $d/two) || continue; now="$one $two"; [ "$now" = "$last" ] || echo "pair $now"; last=$now; sleep 0.01; done 2>/dev/null']
    volumeMounts:
    - {name: config, mountPath: config}
    - {name: secret, mountPath: secret}
    - {name: all, mountPath: all}
"#;

#[test]
fn mounted_objects_are_followed_as_a_whole() {
    let kapell = Kapell::start();
    kapell.cli_with_input(&["apply", "-f", "-"], &config(0)).ok();
    kapell.cli_with_input(&["apply", "-f", "-"], READER).ok();
    let pod = ready(&kapell, "reader");
    let files = kapell.data().join("pods").join(pod["metadata"]["uid"].as_str().unwrap()).join("volumes/config");
    for value in 1..=5 {
        kapell.cli_with_input(&["apply", "-f", "-"], &config(value)).ok();
        eventually("the file follows", || {
            (std::fs::read_to_string(files.join("two")).is_ok_and(|text| text == value.to_string())).then_some(())
        });
    }
    let told = eventually("the reader has seen the last pair", || {
        let text = kapell.cli(&["logs", "reader"]).ok().stdout;
        text.contains("pair 5 5").then_some(text)
    });
    assert!(told.starts_with("400\n440\nopen sesame0app=\"reader\"\n"), "{told}");
    for pair in told.lines().filter_map(|line| line.strip_prefix("pair ")) {
        let mut numbers = pair.split(' ');
        assert_eq!(numbers.next(), numbers.next(), "torn: {told}");
    }
}

#[test]
fn memory_beyond_the_limit_ends_as_oom_killed() {
    let kapell = Kapell::start();
    let cgroups = eventually("the node is there", || {
        let nodes = kapell.cli(&["get", "nodes", "-o", "json"]).ok().json();
        nodes["items"][0]["metadata"]["annotations"]["kapell.dev/cgroups"].as_str().map(str::to_owned)
    });
    if !cgroups.contains("memory") {
        skip!("no cgroup limits memory here: {cgroups}");
    }
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: hungry}\nspec:\n  runtimeClassName: process\n  restartPolicy: Never\n  containers:\n  - name: main\n    command: [tail, /dev/zero]\n    resources: {limits: {memory: 32Mi}}\n";
    kapell.cli_with_input(&["apply", "-f", "-"], pod).ok();
    let ended = eventually("it is killed", || {
        let pod = kapell.object("default", "pod/hungry");
        let ended = pod["status"]["containerStatuses"][0]["state"]["terminated"].clone();
        ended.is_object().then_some(ended)
    });
    assert_eq!((&ended["reason"], &ended["exitCode"]), (&"OOMKilled".into(), &137.into()), "{ended:#}");
}
