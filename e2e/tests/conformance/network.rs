//! SIG Network: Services, what stands behind them, Ingresses as objects.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use kapell_e2e::conformance::{Case, JSON_PATCH, Operations, add_condition, running_pod_spec};
use kapell_e2e::eventually_async;
use serde_json::{Value, json};

fn service(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"test": "service"}},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
    })
}

/// Conformance: [sig-network] Services should provide secure master service
#[tokio::test]
async fn the_api_itself_is_a_service() {
    let case = Case::new().await;
    let kubernetes = case.get("/api/v1/namespaces/default/services/kubernetes").await.expect(200);
    let ports = kubernetes["spec"]["ports"].as_array().unwrap();
    assert!(ports.iter().any(|port| port["name"] == "https" && port["port"] == 443), "{kubernetes}");
}

/// Conformance: [sig-network] EndpointSlice should have Endpoints and EndpointSlices pointing to API Server
#[tokio::test]
async fn endpoints_and_slices_lead_to_the_api() {
    let case = Case::new().await;
    let endpoints = case.get("/api/v1/namespaces/default/endpoints/kubernetes").await.expect(200);
    let subset = &endpoints["subsets"][0];
    assert!(subset["addresses"][0]["ip"].is_string() && subset["ports"][0]["port"].is_number(), "{endpoints}");
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let slices = case.list(&format!("{slices}?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes")).await;
    let slice = slices.first().expect("a slice");
    assert_eq!(slice["endpoints"][0]["addresses"][0], subset["addresses"][0]["ip"]);
    assert_eq!(slice["ports"][0]["port"], subset["ports"][0]["port"]);
}

/// Conformance: [sig-network] EndpointSlice should create and delete Endpoints and EndpointSlices for a Service with a selector specified
/// Conformance: [sig-network] EndpointSlice should create Endpoints and EndpointSlices for Pods matching a Service
#[tokio::test]
async fn a_service_has_endpoints_and_slices_as_long_as_it_is_there() {
    let case = Case::new().await;
    let services = case.path("v1", "services");
    case.post(&services, &service("web")).await.expect(201);
    let endpoints = format!("{}/web", case.path("v1", "endpoints"));
    let slices = case.path("discovery.k8s.io/v1", "endpointslices");
    let slices = format!("{slices}?labelSelector=kubernetes.io%2Fservice-name%3Dweb");
    case.until("endpoints are there", &endpoints, |_| true).await;
    eventually_async("a slice is there", || async { (!case.list(&slices).await.is_empty()).then_some(()) }).await;

    let pod = json!({"metadata": {"name": "p", "labels": {"app": "web"}}, "spec": running_pod_spec()});
    case.post(&case.path("v1", "pods"), &pod).await.expect(201);
    let ready = |pod: &Value| {
        pod["status"]["conditions"]
            .as_array()
            .is_some_and(|c| c.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
    };
    let pod = case.until("the pod is ready", &format!("{}/p", case.path("v1", "pods")), ready).await;
    let leads_there = |e: &Value| e["subsets"][0]["addresses"][0]["ip"] == pod["status"]["podIP"];
    let found = case.until("the endpoints lead to the pod", &endpoints, leads_there).await;
    assert_eq!(found["subsets"][0]["addresses"][0]["targetRef"]["name"], "p");
    eventually_async("a slice leads to the pod", || async {
        let found = case.list(&slices).await;
        found.iter().any(|slice| slice["endpoints"][0]["addresses"][0] == pod["status"]["podIP"]).then_some(())
    })
    .await;

    case.delete(&format!("{services}/web")).await.ok();
    case.until_gone(&endpoints).await;
    eventually_async("the slices are gone", || async { case.list(&slices).await.is_empty().then_some(()) }).await;
}

/// Conformance: [sig-network] EndpointSlice should support creating EndpointSlice API operations
/// Conformance: [sig-network] Ingress API should support creating Ingress API operations
/// Conformance: [sig-network] IngressClass API should support creating IngressClass API operations
#[tokio::test]
async fn slices_ingresses_and_their_classes_live_as_other_objects_do() {
    let case = Case::new().await;
    let rule = json!({"host": "shop.example", "http": {"paths": [{
        "path": "/", "pathType": "ImplementationSpecific", "backend": {"service": {"name": "web", "port": {"number": 80}}},
    }]}});
    for operations in [
        Operations {
            group_version: "discovery.k8s.io/v1",
            plural: "endpointslices",
            namespaced: true,
            object: json!({"addressType": "IPv4", "endpoints": [{"addresses": ["1.2.3.4"]}]}),
            status: None,
        },
        Operations {
            group_version: "networking.k8s.io/v1",
            plural: "ingresses",
            namespaced: true,
            object: json!({"spec": {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}, "rules": [rule]}}),
            status: Some(json!({"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}})),
        },
        Operations {
            group_version: "networking.k8s.io/v1",
            plural: "ingressclasses",
            namespaced: false,
            object: json!({"spec": {"controller": "example.com/controller"}}),
            status: None,
        },
    ] {
        operations.check(&case).await;
    }
}

/// Conformance: [sig-network] EndpointSliceMirroring should mirror a custom Endpoints resource through create update and delete
#[tokio::test]
async fn endpoints_that_somebody_writes_are_mirrored() {
    let case = Case::new().await;
    let mut selectorless = service("outside");
    selectorless["spec"].as_object_mut().unwrap().remove("selector");
    case.post(&case.path("v1", "services"), &selectorless).await.expect(201);
    let (endpoints, slices) = (case.path("v1", "endpoints"), case.path("discovery.k8s.io/v1", "endpointslices"));
    let slices = format!("{slices}?labelSelector=kubernetes.io%2Fservice-name%3Doutside");
    let lists = async |ip: Option<&str>| {
        eventually_async(&format!("the slices have {ip:?}"), || async {
            let found = case.list(&slices).await;
            let addresses: Vec<Value> =
                found.iter().map(|slice| slice["endpoints"][0]["addresses"][0].clone()).collect();
            (addresses == ip.map(|ip| json!(ip)).into_iter().collect::<Vec<_>>()).then_some(found)
        })
        .await
    };
    let subset = |ip: &str| json!([{"addresses": [{"ip": ip}], "ports": [{"name": "http", "port": 80}]}]);
    let object = json!({"metadata": {"name": "outside"}, "subsets": subset("10.1.2.3")});
    case.post(&endpoints, &object).await.expect(201);
    let mirrored = lists(Some("10.1.2.3")).await;
    let labels = &mirrored[0]["metadata"]["labels"];
    assert_eq!(labels["endpointslice.kubernetes.io/managed-by"], "endpointslicemirroring-controller.k8s.io");
    assert_eq!(mirrored[0]["ports"][0]["port"], 80);
    case.merge(&format!("{endpoints}/outside"), &json!({"subsets": subset("10.2.3.4")})).await.expect(200);
    lists(Some("10.2.3.4")).await;
    case.delete(&format!("{endpoints}/outside")).await.ok();
    lists(None).await;
}

/// Conformance: [sig-network] Services should find a service from listing all namespaces
#[tokio::test]
async fn services_of_all_namespaces_are_listed() {
    let case = Case::new().await;
    let all = case.list("/api/v1/services").await;
    assert!(all.iter().any(|s| s["metadata"]["name"] == "kubernetes" && s["metadata"]["namespace"] == "default"));
}

/// Conformance: [sig-network] Services should delete a collection of services
#[tokio::test]
async fn a_collection_of_services_is_deleted() {
    let case = Case::new().await;
    let services = case.path("v1", "services");
    for name in ["a", "b", "c"] {
        let mut object = service(name);
        if name == "c" {
            object["metadata"]["labels"] = json!({"test": "other"});
        }
        case.post(&services, &object).await.expect(201);
    }
    case.delete(&format!("{services}?labelSelector=test%3Dservice")).await.expect(200);
    let left = case.list(&services).await;
    assert_eq!(left.iter().map(|s| s["metadata"]["name"].clone()).collect::<Vec<_>>(), [json!("c")]);
}

/// Conformance: [sig-network] Services should complete a service status lifecycle
#[tokio::test]
async fn the_status_of_a_service_is_patched_and_updated() {
    let case = Case::new().await;
    let services = case.path("v1", "services");
    let mut watch = case.watch(&services, "&labelSelector=test%3Dservice").await;
    case.post(&services, &service("web")).await.expect(201);
    watch.until("ADDED web").await;
    let status = format!("{services}/web/status");
    let condition = |type_: &str| json!({"type": type_, "status": "True", "reason": "E2E", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let patch = json!({
        "metadata": {"annotations": {"patched": "yes"}}, "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}},
    });
    let patched = case.merge(&status, &patch).await.expect(200);
    assert_eq!(patched["status"]["loadBalancer"]["ingress"][0]["ip"], "203.0.113.1");
    let updated = case.update(&status, |found| add_condition(found, condition("StatusUpdate"))).await;
    let mut conditions = updated["status"]["conditions"].as_array().unwrap().iter();
    assert!(conditions.any(|c| c["type"] == "StatusUpdate"), "{updated}");
    let label = json!({"metadata": {"labels": {"more": "yes"}}});
    assert_eq!(case.merge(&format!("{services}/web"), &label).await.expect(200)["metadata"]["labels"]["more"], "yes");
    case.delete(&format!("{services}/web")).await.ok();
    watch.until("DELETED web").await;
}

/// Conformance: [sig-network] Services should test the lifecycle of an Endpoint
#[tokio::test]
async fn endpoints_live_as_other_objects_do() {
    let case = Case::new().await;
    let operations = Operations {
        group_version: "v1",
        plural: "endpoints",
        namespaced: true,
        object: json!({"subsets": [{"addresses": [{"ip": "10.0.0.24"}], "ports": [{"name": "http", "port": 80}]}]}),
        status: None,
    };
    operations.check(&case).await;
}

/// The part of upstream's four cases about changing types that is about the object; they also send traffic between containers.
#[tokio::test]
async fn a_service_changes_its_type() {
    let case = Case::new().await;
    let services = case.path("v1", "services");
    let external = json!({"type": "ExternalName", "externalName": "foo.example.com"});
    let port = json!([{"port": 80, "name": "http", "protocol": "TCP"}]);
    for type_ in ["ClusterIP", "NodePort"] {
        let name = type_.to_lowercase();
        let one = format!("{services}/{name}");
        case.post(&services, &json!({"metadata": {"name": name}, "spec": external})).await.expect(201);
        let patch = json!({"spec": {"type": type_, "externalName": null, "ports": port, "selector": {"app": "x"}}});
        let inside = case.merge(&one, &patch).await.expect(200);
        let address = inside["spec"]["clusterIP"].as_str().unwrap_or_default();
        assert!(address.starts_with("127."), "{inside}");
        assert_eq!(inside["spec"]["ports"][0]["nodePort"].is_number(), type_ == "NodePort", "{inside}");
        let back = json!([
            {"op": "replace", "path": "/spec/type", "value": "ExternalName"},
            {"op": "add", "path": "/spec/externalName", "value": "foo.example.com"},
            {"op": "remove", "path": "/spec/clusterIP"},
        ]);
        let outside = case.patch(&one, JSON_PATCH, &back).await.expect(200);
        assert!(outside["spec"]["clusterIP"].as_str().unwrap_or_default().is_empty(), "{outside}");
        assert!(outside["spec"]["ports"][0]["nodePort"].is_null(), "{outside}");
    }
}

/// A pod that answers on these ports; the first is also in `$PORT`.
async fn serve(case: &Case, name: &str, label: &str, port: u16) {
    let mut spec = running_pod_spec();
    spec["containers"][0]["command"] = json!(["kapell-e2e-pod"]);
    spec["containers"][0]["ports"] = json!([{"containerPort": port}]);
    spec["containers"][0]["env"] = json!([{"name": "HOSTNAME", "value": name}]);
    spec["containers"][0]["readinessProbe"] = json!({"httpGet": {"port": port}, "periodSeconds": 1});
    let pod = json!({"metadata": {"name": name, "labels": {"app": label}}, "spec": spec});
    case.post(&case.path("v1", "pods"), &pod).await.expect(201);
}

/// Who answers there.
fn answer(address: &str, port: u64) -> Option<String> {
    let mut stream = TcpStream::connect((address, u16::try_from(port).ok()?)).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.lines().last()?.split(' ').next()?.to_owned())
}

/// Which pods stand behind which ports of a Service, as its Endpoints say: `pod:port`, sorted.
fn behind(endpoints: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for subset in endpoints["subsets"].as_array().into_iter().flatten() {
        for address in subset["addresses"].as_array().into_iter().flatten() {
            for port in subset["ports"].as_array().into_iter().flatten() {
                found.push(format!("{}:{}", address["targetRef"]["name"].as_str().unwrap(), port["port"]));
            }
        }
    }
    found.sort();
    found
}

/// Conformance: [sig-network] Services should serve a basic endpoint from pods
/// Conformance: [sig-network] Services should serve multiport endpoints from pods
#[tokio::test]
async fn a_service_leads_to_the_pods_that_there_are() {
    let case = Case::new().await;
    let (services, pods) = (case.path("v1", "services"), case.path("v1", "pods"));
    let endpoints = format!("{}/web", case.path("v1", "endpoints"));
    let port = |name: &str, port: u16, target: u16| json!({"name": name, "port": port, "targetPort": target});
    let mut web = service("web");
    web["spec"]["ports"] = json!([port("one", 8080, 8100), port("two", 8081, 8101)]);
    let web = case.post(&services, &web).await.expect(201);
    let address = web["spec"]["clusterIP"].as_str().unwrap().to_owned();
    case.until("nobody is there", &endpoints, |e| behind(e).is_empty()).await;

    // Both ports lead to every pod; each pod answers on one of them.
    let leads_to = async |expected: &[&str]| {
        case.until(&format!("it leads to {expected:?}"), &endpoints, |e| behind(e) == expected).await;
    };
    let answers = async |port: u64, who: &str| {
        eventually_async(&format!("{who} answers on {port}"), || async {
            (answer(&address, port).as_deref() == Some(who)).then_some(())
        })
        .await;
    };
    serve(&case, "first", "web", 8100).await;
    leads_to(&["first:8100", "first:8101"]).await;
    answers(8080, "first").await;
    serve(&case, "second", "web", 8101).await;
    leads_to(&["first:8100", "first:8101", "second:8100", "second:8101"]).await;
    answers(8081, "second").await;
    case.delete(&format!("{pods}/first")).await.ok();
    leads_to(&["second:8100", "second:8101"]).await;
    answers(8081, "second").await;
    case.delete(&format!("{pods}/second")).await.ok();
    leads_to(&[]).await;
}

/// Conformance: [sig-network] Service endpoints latency should not be very high
#[tokio::test]
async fn endpoints_come_soon_after_their_service() {
    // Upstream's number, and its bound on the slowest of a hundred.
    const SERVICES: usize = 200;
    const BOUND: std::time::Duration = std::time::Duration::from_secs(50);
    let case = Case::new().await;
    serve(&case, "p", "web", 8100).await;
    let ready = |pod: &Value| pod["status"]["containerStatuses"][0]["ready"] == true;
    case.until("the pod is ready", &format!("{}/p", case.path("v1", "pods")), ready).await;
    let mut watch = case.watch(&case.path("v1", "endpoints"), "").await;
    let begin = std::time::Instant::now();
    for number in 0..SERVICES {
        let mut object = service("web");
        object["metadata"]["name"] = json!(format!("latency-{number}"));
        object["spec"]["selector"] = json!({"app": "web"});
        object["spec"]["ports"] = json!([{"port": 80, "targetPort": 8100}]);
        case.post(&case.path("v1", "services"), &object).await.expect(201);
    }
    let mut waiting: std::collections::BTreeSet<String> = (0..SERVICES).map(|n| format!("latency-{n}")).collect();
    while !waiting.is_empty() {
        let event = watch.next().await;
        if !behind(&event["object"]).is_empty() {
            waiting.remove(event["object"]["metadata"]["name"].as_str().unwrap());
        }
    }
    assert!(begin.elapsed() < BOUND, "the slowest of them took {:?}", begin.elapsed());
    case.delete(&case.path("v1", "services")).await.expect(200);
}
