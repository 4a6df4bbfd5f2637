//! SIG Network, SIG Apps: what pods and Services answer, asked directly, through the API, through Services and their node ports.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use http::Method;
use kapell_e2e::conformance::{Case, MERGE, replication_controller, workload};
use kapell_e2e::eventually_async;
use serde_json::{Value, json};

/// Pods of a program that answers with its name, in HTTP or in HTTPS.
fn serving(arguments: &[&str]) -> Value {
    let command: Vec<&str> = ["kapell-e2e-pod"].into_iter().chain(arguments.iter().copied()).collect();
    json!({
        "runtimeClassName": "process", "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": "main", "command": command,
            "env": [{"name": "HOSTNAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "readinessProbe": {"httpGet": {
                "path": "/healthz", "port": "main", "scheme": if arguments.contains(&"--tls") { "HTTPS" } else { "HTTP" },
            }},
        }],
    })
}

/// The port of the pods of one case; their addresses are their own.
fn with_port(mut pods: Value, port: u16) -> Value {
    pods["containers"][0]["ports"] = json!([{"name": "main", "containerPort": port}]);
    pods
}

fn service(name: &str, spec: Value) -> Value {
    let mut service = json!({"metadata": {"name": name}, "spec": {
        "selector": {"app": name}, "ports": [{"name": "web", "port": 80, "targetPort": "main"}],
    }});
    let (all, more) = (service["spec"].as_object_mut().unwrap(), spec.as_object().unwrap().clone());
    all.extend(more);
    service
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// The names of all pods of an app, once so many are ready.
async fn ready_pods(case: &Case, app: &str, count: usize) -> BTreeSet<String> {
    let path = format!("{}?labelSelector=app%3D{app}", case.path("v1", "pods"));
    let pods = eventually_async("all pods are ready", || async {
        let pods = case.list(&path).await;
        (pods.len() == count && pods.iter().all(is_ready)).then_some(pods)
    })
    .await;
    pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// Who answers at this address; a connection for each question.
fn who(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| name(body))
}

/// The pod's name in its answer.
fn name(answer: &str) -> String {
    answer.split_whitespace().next().unwrap_or_default().to_owned()
}

/// Conformance: [sig-network] Proxy version v1 should proxy through a service and a pod
#[tokio::test]
async fn pods_and_services_are_reached_through_the_api() {
    let case = Case::new().await;
    let replica_sets = case.path("apps/v1", "replicasets");
    case.post(&replica_sets, &workload("plain", 1, with_port(serving(&[]), 8011))).await.expect(201);
    case.post(&replica_sets, &workload("secure", 1, with_port(serving(&["--tls"]), 8012))).await.expect(201);
    let services = case.path("v1", "services");
    for app in ["plain", "secure"] {
        case.post(&services, &service(app, json!({}))).await.expect(201);
    }
    let (plain, secure) = (ready_pods(&case, "plain", 1).await, ready_pods(&case, "secure", 1).await);
    let (plain, secure) = (plain.first().unwrap(), secure.first().unwrap());
    let (of_pods, of_services) = (case.path("v1", "pods"), case.path("v1", "services"));
    for (path, expected) in [
        (format!("{of_pods}/{plain}/proxy/"), plain),
        (format!("{of_pods}/{plain}:8011/proxy/"), plain),
        (format!("{of_pods}/http:{plain}:main/proxy/"), plain),
        (format!("{of_pods}/https:{secure}:8012/proxy/"), secure),
        (format!("{of_pods}/https:{secure}:/proxy/"), secure),
        (format!("{of_services}/plain/proxy/"), plain),
        (format!("{of_services}/plain:web/proxy/"), plain),
        (format!("{of_services}/http:plain:80/proxy/"), plain),
        (format!("{of_services}/https:secure:web/proxy/"), secure),
        (format!("{of_services}/https:secure:80/proxy/"), secure),
    ] {
        // A Service's endpoints follow its pods' readiness.
        let answer = eventually_async(&path, || async {
            let answer = case.get(&path).await;
            (answer.code == 200).then_some(answer)
        })
        .await;
        assert_eq!(&name(&answer.text), expected, "{path}");
    }

    let refused = case.get(&format!("{of_pods}/{plain}:9/proxy/")).await.expect(503);
    assert!(refused["message"].as_str().unwrap().contains("Connection refused"), "{refused}");
    case.get(&format!("{of_pods}/{plain}:nowhere/proxy/")).await.expect(400);
    case.get(&format!("{of_pods}/ftp:{plain}:21/proxy/")).await.expect(400);
    case.get(&format!("{of_pods}/nobody/proxy/")).await.expect(404);
    let refused = case.get(&format!("{of_services}/plain:81/proxy/")).await.expect(503);
    assert!(refused["message"].as_str().unwrap().contains("no such port"), "{refused}");
    // Whoever may write a status must not make the server call others in his place.
    let stray = json!({"metadata": {"name": "stray"}, "spec": kapell_e2e::conformance::idle_pod_spec()});
    case.post(&of_pods, &stray).await.expect(201);
    let status = json!({"status": {"phase": "Running", "podIP": "127.0.0.1"}});
    case.merge(&format!("{of_pods}/stray/status"), &status).await.expect(200);
    let refused = case.get(&format!("{of_pods}/stray:22/proxy/")).await.expect(503);
    assert!(refused["message"].as_str().unwrap().contains("has no address"), "{refused}");
}

/// Conformance: [sig-network] Proxy version v1 A set of valid responses are returned for both pod and service Proxy
/// Conformance: [sig-network] Proxy version v1 A set of valid responses are returned for both pod and service ProxyWithPath
#[tokio::test]
async fn requests_are_passed_on_as_they_are() {
    let case = Case::new().await;
    let replica_sets = case.path("apps/v1", "replicasets");
    case.post(&replica_sets, &workload("echo", 1, with_port(serving(&[]), 8013))).await.expect(201);
    let services = case.path("v1", "services");
    case.post(&services, &service("echo", json!({}))).await.expect(201);
    let pod = ready_pods(&case, "echo", 1).await.pop_first().unwrap();
    let through_pod = format!("{}/{pod}/proxy", case.path("v1", "pods"));
    let through_service = format!("{services}/echo/proxy");
    case.until("the Service has an endpoint", &format!("{through_service}/request/x"), |_| true).await;

    for proxy in [&through_pod, &through_service] {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
            let path = format!("{proxy}/request/a%2Fb//c?q=1&watch=true&fieldManager=x");
            let headers = [("x-of-the-client", "kept")];
            let answer = case.request(method.clone(), &path, &headers, b"what follows".to_vec()).await.expect(200);
            assert_eq!(answer["method"], method.as_str());
            assert_eq!(answer["uri"], "/request/a%2Fb//c?q=1&watch=true&fieldManager=x", "{answer}");
            assert_eq!(answer["body"], "what follows", "{answer}");
            let headers = &answer["headers"];
            assert_eq!(headers["x-of-the-client"], "kept");
            assert_eq!(headers["x-forwarded-proto"], "https", "{headers}");
            assert_eq!(headers["x-forwarded-uri"], path.split_once('?').unwrap().0, "{headers}");
            assert!(headers["x-forwarded-for"].is_string(), "{headers}");
            assert!(headers["authorization"].is_null(), "the token of the client: {headers}");
        }
        let head = case.request(Method::HEAD, &format!("{proxy}/request/x"), &[], Vec::new()).await;
        assert_eq!((head.code, head.text.as_str()), (200, ""));
        let missing = case.get(&format!("{proxy}/nothing-here")).await;
        assert_eq!((missing.code, missing.text.as_str()), (404, ""), "the pod's own answer");

        // A browser would look for what a page names beside it.
        for method in [Method::GET, Method::HEAD] {
            let answer = case.request(method, &format!("{proxy}?x=y"), &[], Vec::new()).await;
            assert_eq!(answer.code, 301);
            assert_eq!(answer.headers["location"], format!("{proxy}/?x=y"));
        }
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
            let answer = case.request(method, proxy, &[], Vec::new()).await;
            assert_eq!((answer.code, name(&answer.text)), (200, pod.clone()));
        }
    }
    // More than a request of ours may have: it is passed on as it comes.
    let answer = case.request(Method::POST, &format!("{through_pod}/count"), &[], vec![b'x'; 8 << 20]).await;
    assert_eq!((answer.code, answer.text.as_str()), (200, "8388608"));
}

/// Conformance: [sig-apps] ReplicaSet should serve a basic image on each replica with a public image
/// Conformance: [sig-apps] ReplicationController should serve a basic image on each replica with a public image
#[tokio::test]
async fn each_replica_answers_with_its_name() {
    let case = Case::new().await;
    let pods = |port| with_port(serving(&[]), port);
    case.post(&case.path("apps/v1", "replicasets"), &workload("by-set", 2, pods(8014))).await.expect(201);
    let controllers = case.path("v1", "replicationcontrollers");
    case.post(&controllers, &replication_controller("by-controller", 2, pods(8015))).await.expect(201);
    for app in ["by-set", "by-controller"] {
        for pod in ready_pods(&case, app, 2).await {
            let answer = case.get(&format!("{}/{pod}/proxy/", case.path("v1", "pods"))).await;
            assert_eq!((answer.code, name(&answer.text)), (200, pod));
        }
    }
}

/// Conformance: [sig-network] Networking Granular Checks: Pods should function for intra-pod communication: http [NodeConformance]
/// Conformance: [sig-network] Networking Granular Checks: Pods should function for node-pod communication: http [LinuxOnly] [NodeConformance]
#[tokio::test]
async fn pods_reach_each_other_and_the_node_reaches_them() {
    let case = Case::new().await;
    let mut pods = with_port(serving(&[]), 8016);
    pods["containers"][0]["name"] = json!("web");
    case.post(&case.path("apps/v1", "replicasets"), &workload("mesh", 2, pods)).await.expect(201);
    let names = ready_pods(&case, "mesh", 2).await;
    let mut addresses = Vec::new();
    for pod in &names {
        let object = case.get(&format!("{}/{pod}", case.path("v1", "pods"))).await.expect(200);
        addresses.push((pod, object["status"]["podIP"].as_str().unwrap().to_owned()));
    }
    for (pod, address) in &addresses {
        assert_eq!(who(&format!("{address}:8016")).as_ref(), Some(*pod), "from the node");
        for from in &names {
            // Bash opens connections by itself: there may be no curl.
            let script = format!("exec 3<>/dev/tcp/{address}/8016; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3");
            let said = case.shell(&[from], &format!("bash -c '{}'", script.replace('\'', "'\\''")));
            assert!(said.contains(&format!("{pod} ")), "from {from}: {said}");
        }
    }
}

/// Conformance: [sig-network] Services should be able to create a functioning NodePort service
#[tokio::test]
async fn a_node_port_leads_to_all_endpoints() {
    let case = Case::new().await;
    case.post(&case.path("apps/v1", "replicasets"), &workload("open", 2, with_port(serving(&[]), 8017)))
        .await
        .expect(201);
    let service = service("open", json!({"type": "NodePort"}));
    let service = case.post(&case.path("v1", "services"), &service).await.expect(201);
    let pods = ready_pods(&case, "open", 2).await;
    let cluster = format!("{}:80", service["spec"]["clusterIP"].as_str().unwrap());
    let node = format!("127.0.0.1:{}", service["spec"]["ports"][0]["nodePort"]);
    for address in [cluster, node] {
        answered_by(&address, &pods).await;
    }
}

/// Until all of these have answered, and nobody else has.
async fn answered_by(address: &str, pods: &BTreeSet<String>) {
    let mut met = BTreeSet::new();
    eventually_async(&format!("{address} leads to all of {pods:?}"), || {
        met.extend(who(address));
        let all = met == *pods;
        async move { all.then_some(()) }
    })
    .await;
}

/// Conformance: [sig-network] Services should have session affinity work for service with type clusterIP [LinuxOnly]
/// Conformance: [sig-network] Services should have session affinity work for NodePort service [LinuxOnly]
/// Conformance: [sig-network] Services should be able to switch session affinity for service with type clusterIP [LinuxOnly]
/// Conformance: [sig-network] Services should be able to switch session affinity for NodePort service [LinuxOnly]
#[tokio::test]
async fn clients_stay_with_an_endpoint_as_long_as_the_service_says_so() {
    let case = Case::new().await;
    case.post(&case.path("apps/v1", "replicasets"), &workload("sticky", 3, with_port(serving(&[]), 8018)))
        .await
        .expect(201);
    let spec = json!({"type": "NodePort", "sessionAffinity": "ClientIP"});
    let service = case.post(&case.path("v1", "services"), &service("sticky", spec)).await.expect(201);
    let pods = ready_pods(&case, "sticky", 3).await;
    let path = format!("{}/sticky", case.path("v1", "services"));
    let cluster = format!("{}:80", service["spec"]["clusterIP"].as_str().unwrap());
    let node = format!("127.0.0.1:{}", service["spec"]["ports"][0]["nodePort"]);
    for address in [&cluster, &node] {
        // As upstream: fifteen answers in a row by the same one.
        stays(address).await;
    }
    case.patch(&path, MERGE, &json!({"spec": {"sessionAffinity": "None"}})).await.expect(200);
    for address in [&cluster, &node] {
        answered_by(address, &pods).await;
    }
    case.patch(&path, MERGE, &json!({"spec": {"sessionAffinity": "ClientIP"}})).await.expect(200);
    for address in [&cluster, &node] {
        stays(address).await;
    }
}

async fn stays(address: &str) {
    eventually_async(&format!("{address} stays with one endpoint"), || {
        let first = who(address);
        let same = first.is_some() && (0..15).all(|_| who(address) == first);
        async move { same.then_some(()) }
    })
    .await;
}
