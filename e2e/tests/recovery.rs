//! The server dies; the pods do not notice.

use std::collections::BTreeMap;

use kapell_e2e::load::Load;
use kapell_e2e::{Kapell, eventually};
use serde_json::Value;

const WEB: &str = include_str!("files/web.yaml");

/// Name → (process id as the pod itself tells it, restarts as the API counts them).
fn instances(kapell: &Kapell) -> BTreeMap<String, (String, i64)> {
    let instance = |pod: &Value| {
        let address = pod["status"]["podIP"].as_str()?;
        let answer = fetch(&format!("{address}:8080")).ok()?;
        let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_i64()?;
        Some((pod["metadata"]["name"].as_str()?.to_owned(), (answer, restarts)))
    };
    kapell.pods("default", "app=web").iter().filter_map(instance).collect()
}

/// `GET /` over a plain socket.
fn fetch(address: &str) -> std::io::Result<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split_once("\r\n\r\n").map_or(answer.clone(), |(_, body)| body.to_owned()))
}

fn up(kapell: &Kapell) -> BTreeMap<String, (String, i64)> {
    kapell.cli_with_input(&["apply", "-f", "-"], WEB).ok();
    kapell.cli(&["rollout", "status", "deployment/web"]).ok();
    let before = instances(kapell);
    assert_eq!(before.len(), 2, "{before:?}");
    before
}

#[test]
fn pods_serve_while_the_server_is_dead_and_are_adopted_by_the_next() {
    let mut kapell = Kapell::start();
    let before = up(&kapell);
    let addresses: Vec<String> = kapell
        .pods("default", "app=web")
        .iter()
        .map(|pod| pod["status"]["podIP"].as_str().unwrap().to_owned())
        .collect();

    for _ in 0..3 {
        kapell.kill();
        for address in &addresses {
            fetch(&format!("{address}:8080")).expect("a pod answers on its own address without the server");
        }
        kapell.restart();
        kapell.cli(&["rollout", "status", "deployment/web"]).ok();
        assert_eq!(instances(&kapell), before, "same processes, no restart counted");
    }
}

#[test]
fn a_pod_that_died_while_the_server_was_dead_is_replaced_by_its_restart_policy() {
    let mut kapell = Kapell::start();
    let before = up(&kapell);
    let (victim, (answer, _)) = before.iter().next().unwrap();
    let pid: i32 = answer.split_whitespace().last().unwrap().parse().unwrap();

    kapell.kill();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    kapell.restart();

    eventually("the victim runs again, with one restart", || {
        let now = instances(&kapell);
        now.get(victim).filter(|(answer, restarts)| *restarts == 1 && !answer.contains(&pid.to_string())).map(|_| ())
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_remembers_what_it_acknowledged() {
    let mut kapell = Kapell::start();
    let manifest = |name: usize| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: kept-{name}}}\ndata: {{key: value}}\n")
    };
    for round in 0..5 {
        kapell.cli_with_input(&["apply", "-f", "-"], &manifest(round)).ok();
        kapell.kill();
        kapell.restart();
        for name in 0..=round {
            kapell.cli(&["get", &format!("configmap/kept-{name}")]).ok();
        }
    }
}

/// Show 6 of First light: a dead instance, a rolling update and scaling, at 200 requests a second, cost no request.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_through_deaths_and_rollouts() {
    let kapell = Kapell::start();
    let before = up(&kapell);
    let service = kapell.object("default", "service/web");
    let address =
        service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().expect("a LoadBalancer has an address at once");
    let load = Load::start(&format!("http://{address}:8080/"), 200);

    let pid: i32 = before.values().next().unwrap().0.split_whitespace().last().unwrap().parse().unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(500)).await; // the load itself, not a wait for a state
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    eventually("the dead instance runs again", || (instances(&kapell).len() == 2).then_some(()));

    let second = WEB.replacen("command: [kapell-e2e-pod]", "command: [kapell-e2e-pod, --ready-after, '100']", 1);
    kapell.cli_with_input(&["apply", "-f", "-"], &second).ok();
    kapell.cli(&["rollout", "status", "deployment/web"]).ok();
    kapell.cli(&["scale", "deployment/web", "--replicas=5"]).ok();
    kapell.cli(&["rollout", "status", "deployment/web"]).ok();
    kapell.cli(&["scale", "deployment/web", "--replicas=2"]).ok();
    eventually("two pods are left", || (kapell.pods("default", "app=web").len() == 2).then_some(()));

    let report = load.stop().await;
    assert!(
        report.failures.is_empty(),
        "{} of {} failed, e.g. {:?}",
        report.failures.len(),
        report.sent,
        &report.failures[..report.failures.len().min(3)]
    );
    assert!(report.sent > 200, "{report:?}");
    let after_death = report.bodies.iter().skip(300).filter(|body| body.trim().ends_with(&format!(" {pid}"))).count();
    assert_eq!(after_death, 0, "the dead process cannot have answered");
}

/// What pods said of themselves before `kapell down` is not true of the processes that the next server has to start.
#[test]
fn readiness_of_before_is_not_believed_after_down() {
    let mut kapell = Kapell::start();
    up(&kapell);
    let process = |pod: &Value| pod["status"]["containerStatuses"][0]["containerID"].clone();
    let before: Vec<Value> = kapell.pods("default", "app=web").iter().map(process).collect();

    kapell.kill();
    kapell.cli(&["down"]).ok();
    kapell.restart();
    let claimed = kapell.object("default", "deployment/web")["status"]["readyReplicas"].as_u64().unwrap_or(0);
    let pods = kapell.pods("default", "app=web");
    let ready: Vec<&Value> = pods.iter().filter(|pod| pod["status"]["containerStatuses"][0]["ready"] == true).collect();
    for pod in &ready {
        assert!(!before.contains(&process(pod)), "ready by a process that has ended: {pod}");
    }
    // Read before the pods, whose number can only have grown meanwhile.
    assert!(claimed <= ready.len() as u64, "the deployment counts {claimed}, {} are ready", ready.len());
    kapell.cli(&["rollout", "status", "deployment/web"]).ok();
}
