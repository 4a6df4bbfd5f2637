//! Many pods on one node, and as many as their use asks for.

use std::time::Instant;

use kapell_e2e::{Kapell, LIMIT, eventually};

const MANY: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: many}\nspec:\n  replicas: 0\n  selector: {matchLabels: {app: many}}\n  template:\n    metadata: {labels: {app: many}}\n    spec:\n      runtimeClassName: process\n      terminationGracePeriodSeconds: 5\n      containers:\n      - name: main\n        command: [sleep, '1000']\n";

/// Processor time of a process in seconds, and its resident memory in MiB.
fn usage(pid: u32) -> (f64, u64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<i64> = stat[stat.rfind(')').unwrap()..].split(' ').filter_map(|field| field.parse().ok()).collect();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    // After the state: ppid is the first number, utime the eleventh, in ticks of 10 ms.
    ((fields[10] + fields[11]) as f64 / 100.0, rss.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024)
}

#[test]
fn a_hundred_pods_start_and_stop() {
    let kapell = Kapell::start();
    kapell.cli_with_input(&["apply", "-f", "-"], MANY).ok();
    let before = usage(kapell.pid());
    for round in 0..2 {
        let begun = Instant::now();
        kapell.cli(&["scale", "deployment/many", "--replicas=100"]).ok();
        eventually("all are available", || {
            (kapell.object("default", "deployment/many")["status"]["availableReplicas"] == 100).then_some(())
        });
        let up = begun.elapsed();
        let (cpu, memory) = usage(kapell.pid());
        eprintln!("round {round}: 100 pods in {up:?}; server {:.2} s CPU, {memory} MiB", cpu - before.0);
        assert!(up < LIMIT / 2, "100 pods took {up:?}");

        let begun = Instant::now();
        kapell.cli(&["scale", "deployment/many", "--replicas=0"]).ok();
        eventually("all are gone", || {
            let left = std::fs::read_dir(kapell.data().join("pods")).expect("the pods' directory").count();
            (left == 0 && kapell.pods("default", "app=many").is_empty()).then_some(())
        });
        let (cpu, memory) = usage(kapell.pid());
        eprintln!("round {round}: gone in {:?}; server {:.2} s CPU, {memory} MiB", begun.elapsed(), cpu - before.0);
    }
}

/// Uses a good part of a processor, states no request, and scales on a tenth of what is assumed for it.
const BUSY: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: busy}
spec:
  selector: {matchLabels: {app: busy}}
  template:
    metadata: {labels: {app: busy}}
    spec:
      runtimeClassName: process
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        command: [sh, -c, 'while :; do i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 0.02; done']
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: busy}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: busy}
  minReplicas: 1
  maxReplicas: 2
  metrics:
  - type: Resource
    resource: {name: cpu, target: {type: Utilization, averageUtilization: 10}}
"#;

#[test]
fn an_autoscaler_follows_the_use_of_process_pods_and_says_what_it_assumes() {
    let kapell = Kapell::start();
    kapell.cli_with_input(&["apply", "-f", "-"], BUSY).ok();
    let status = eventually("it uses more than it should", || {
        let status = kapell.object("default", "hpa/busy")["status"].clone();
        let used = &status["currentMetrics"][0]["resource"]["current"]["averageUtilization"];
        (used.as_i64() > Some(10)).then_some(status)
    });
    eventually("the second replica is available", || {
        (kapell.object("default", "deployment/busy")["status"]["availableReplicas"] == 2).then_some(())
    });
    let conditions = status["conditions"].as_array().unwrap();
    let holds = |type_: &str| conditions.iter().any(|c| c["type"] == type_ && c["status"] == "True");
    assert!(holds("kapell.dev/AssumedRequests") && holds("ScalingActive"), "{status:#}");
}
