//! Who may do what, as kubectl's users meet it: tokens, roles, `--as`, quotas, eviction, and what is recorded of it.

use kapell_e2e::{Kapell, eventually, need_kubectl, skip};
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

const WEB: &str = include_str!("files/web.yaml");
const ROBOT: &str = "system:serviceaccount:default:robot";

#[test]
fn an_account_that_views_reads_and_does_not_write() {
    need_kubectl!();
    let kapell = Kapell::start();
    kapell.kubectl(&["create", "serviceaccount", "robot"]).ok();
    let token = kapell.kubectl(&["create", "token", "robot", "--duration=10m"]).ok().stdout;
    let by_robot = |arguments: &[&str]| {
        let token = format!("--token={}", token.trim());
        kapell.kubectl(&[&[token.as_str()], arguments].concat())
    };
    by_robot(&["auth", "whoami"]).ok().says(ROBOT).says("system:serviceaccounts:default");
    by_robot(&["get", "pods"]).exits(1).says("Error from server (Forbidden): pods is forbidden: User");

    let binding = ["create", "rolebinding", "robots", "--clusterrole=view", "--serviceaccount=default:robot"];
    kapell.kubectl(&binding).ok();
    by_robot(&["get", "pods"]).ok();
    by_robot(&["create", "configmap", "mine"]).exits(1).says("configmaps is forbidden").says(ROBOT);
    by_robot(&["get", "secrets"]).exits(1).says("Forbidden");

    let can_i = |rest: &[&str]| kapell.kubectl(&[&["auth", "can-i", "--as", ROBOT], rest].concat());
    can_i(&["list", "pods"]).ok().says("yes");
    can_i(&["get", "pods", "--subresource=log"]).ok().says("yes");
    can_i(&["create", "deployments.apps"]).exits(1).says("no");
    can_i(&["list", "pods", "-n", "kube-system"]).exits(1).says("no");
    can_i(&["--list"]).ok().says("pods/log").says("selfsubjectreviews.authentication.k8s.io");
    kapell.kubectl(&["auth", "can-i", "*", "*", "--all-namespaces"]).ok().says("yes");

    kapell.kubectl(&["delete", "serviceaccount", "robot"]).ok();
    by_robot(&["get", "pods"]).exits(1).says("Unauthorized");
    by_robot(&["get", "pods", "--token=nonsense"]).exits(1).says("Unauthorized");
}

#[test]
fn a_token_of_another_server_is_refused() {
    need_kubectl!();
    let (ours, theirs) = (Kapell::start(), Kapell::start());
    let token = theirs.kubectl(&["create", "token", "default"]).ok().stdout;
    let token = format!("--token={}", token.trim());
    theirs.kubectl(&[&token, "auth", "whoami"]).ok().says("system:serviceaccount:default:default");
    ours.kubectl(&[&token, "auth", "whoami"]).exits(1).says("Unauthorized");
}

#[test]
fn a_namespace_admin_does_not_rise() {
    need_kubectl!();
    let kapell = Kapell::start();
    kapell.kubectl(&["create", "rolebinding", "ann", "--clusterrole=admin", "--user=ann"]).ok();
    let by_ann = |arguments: &[&str]| kapell.kubectl(&[&["--as", "ann"], arguments].concat());
    by_ann(&["create", "role", "reader", "--verb=get,list", "--resource=pods"]).ok();
    by_ann(&["create", "rolebinding", "bob", "--role=reader", "--user=bob"]).ok();
    kapell.kubectl(&["auth", "can-i", "list", "pods", "--as=bob"]).ok().says("yes");
    let not_held = "is attempting to grant RBAC permissions not currently held";
    by_ann(&["create", "rolebinding", "boss", "--clusterrole=cluster-admin", "--user=ann"]).exits(1).says(not_held);
    by_ann(&["create", "role", "more", "--verb=*", "--resource=*.*"]).exits(1).says(not_held);
    by_ann(&["create", "clusterrolebinding", "boss", "--clusterrole=cluster-admin", "--user=ann"])
        .exits(1)
        .says("cannot create resource \"clusterrolebindings\"");
    kapell
        .kubectl(&["--as", "bob", "get", "pods", "-A"])
        .exits(1)
        .says("User \"bob\" cannot list resource \"pods\" in API group \"\" at the cluster scope");
}

#[tokio::test]
async fn a_quota_is_not_overrun_by_creators_who_race() {
    need_kubectl!();
    let kapell = Kapell::start();
    kapell.kubectl(&["create", "quota", "few", "--hard=count/leases.coordination.k8s.io=10"]).ok();
    let leases: Api<k8s_openapi::api::coordination::v1::Lease> = Api::default_namespaced(kapell.client().await);
    let creators = (0..64).map(|i| {
        let leases = leases.clone();
        tokio::spawn(async move {
            let lease = serde_json::from_value(json!({"metadata": {"name": format!("l{i}")}})).unwrap();
            leases.create(&PostParams::default(), &lease).await
        })
    });
    let (mut made, mut refused) = (0, 0);
    for creator in creators.collect::<Vec<_>>() {
        match creator.await.unwrap() {
            Ok(_) => made += 1,
            Err(kube::Error::Api(status)) if status.code == 403 => {
                assert!(status.message.contains("exceeded quota: few"), "{status:?}");
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((made, refused), (10, 54));
    kapell.kubectl(&["get", "quota", "few"]).ok().says("count/leases.coordination.k8s.io: 10/10");
}

#[test]
fn a_node_is_drained() {
    need_kubectl!();
    let kapell = Kapell::start();
    kapell.kubectl_with_input(&["apply", "-f", "-"], Some(WEB)).ok();
    kapell.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).ok();
    let node = kapell.kubectl(&["get", "nodes", "-o", "name"]).ok().stdout;
    kapell.kubectl(&["drain", node.trim(), "--timeout=60s"]).ok().says("evicted").says("drained");
    eventually("no pod runs on the drained node", || {
        let pods = kapell.pods("default", "app=web");
        pods.iter().all(|pod| pod["spec"]["nodeName"].is_null()).then_some(())
    });
}

#[test]
fn what_happened_can_be_seen() {
    need_kubectl!();
    let kapell = Kapell::start();
    kapell.kubectl(&["create", "configmap", "mine", "--from-literal=word=hunter2"]).ok();
    kapell.kubectl(&["--as", "ann", "delete", "configmap", "mine"]).exits(1);
    let metrics = kapell.kubectl(&["get", "--raw", "/metrics"]).ok();
    let created = "apiserver_request_total{verb=\"POST\",group=\"\",version=\"v1\",resource=\"configmaps\"";
    metrics.says(created).says("process_resident_memory_bytes").says("kapell_store_file_bytes");

    let path = kapell.data().join("audit/audit.log");
    let deletion = eventually("the refused deletion is recorded", || {
        let text = std::fs::read_to_string(&path).ok()?;
        assert!(!text.contains("hunter2"), "content is not recorded");
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.into_iter().find(|event| event["verb"] == "delete" && event["objectRef"]["name"] == "mine")
    });
    assert_eq!(deletion["user"]["username"], "admin");
    assert_eq!(deletion["impersonatedUser"]["username"], "ann");
    assert_eq!(deletion["responseStatus"]["code"], 403);
    assert_eq!(deletion["sourceIPs"], json!(["127.0.0.1"]));
    assert!(deletion["userAgent"].as_str().unwrap().starts_with("kubectl"), "{deletion}");
}

/// Three times what there is room for, or as many as the limits of this process allow.
#[test]
fn idle_connections_keep_nobody_out() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let kapell = Kapell::start();
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let server: Value = serde_json::from_slice(&std::fs::read(kapell.data().join("server.json")).unwrap()).unwrap();
    let address = server["api"].as_str().unwrap_or_else(|| panic!("where is the API? {server}"));
    let count = usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(500).min(3_000);
    let mut idle = Vec::new();
    for _ in 0..count {
        idle.push(std::net::TcpStream::connect(address).unwrap());
    }
    kapell.cli(&["get", "namespaces"]).ok().says("kube-system");
    drop(idle);
    kapell.cli(&["get", "namespaces"]).ok();
}

/// Row: kubectl | `certificate approve`, `certificate deny`
#[test]
fn who_is_approved_gets_a_certificate_and_comes_in_with_it() {
    need_kubectl!();
    let openssl = |arguments: &[&str]| {
        let mut command = std::process::Command::new("openssl");
        kapell_e2e::run(
            {
                command.args(arguments);
                command
            },
            None,
        )
    };
    if std::process::Command::new("openssl").arg("version").output().is_err() {
        skip!("no openssl, with which a key and a request are made");
    }
    let kapell = Kapell::start();
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str| place.path().join(name).display().to_string();
    let (key, request, certificate) = (file("key"), file("request"), file("certificate"));
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &key]).ok();
    openssl(&["req", "-new", "-key", &key, "-subj", "/O=developers/O=testers/CN=jane", "-out", &request]).ok();
    let ask = |name: &str| {
        use base64::Engine as _;
        let pem = base64::engine::general_purpose::STANDARD.encode(std::fs::read(&request).unwrap());
        let object = json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
            "spec": {"request": pem, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"],
                "expirationSeconds": 3600},
        });
        kapell.kubectl_with_input(&["create", "-f", "-"], Some(&object.to_string())).ok();
    };
    ask("jane");
    ask("mallory");
    kapell.kubectl(&["get", "csr", "jane"]).ok().says("kubernetes.io/kube-apiserver-client").says("Pending");
    // A namespace's administrator is no approver.
    kapell.kubectl(&["create", "clusterrolebinding", "ann", "--clusterrole=admin", "--user=ann"]).ok();
    kapell.kubectl(&["certificate", "approve", "jane", "--as=ann"]).exits(1).says("Forbidden");
    kapell.kubectl(&["certificate", "deny", "mallory"]).ok();
    kapell.kubectl(&["certificate", "approve", "jane"]).ok();
    let pem = eventually("it is signed", || {
        let signed = kapell.object("default", "csr/jane");
        signed["status"]["certificate"].as_str().map(str::to_owned)
    });
    kapell.kubectl(&["get", "csr"]).ok().says("Approved,Issued").says("Denied");
    use base64::Engine as _;
    std::fs::write(&certificate, base64::engine::general_purpose::STANDARD.decode(pem).unwrap()).unwrap();
    openssl(&["x509", "-in", &certificate, "-noout", "-text"])
        .ok()
        .says("TLS Web Client Authentication")
        .says("CA:FALSE");

    // With nothing but the certificate: a kubeconfig of its own.
    let own = std::fs::read_to_string(kapell.data().join("kubeconfig")).unwrap();
    let token = own.lines().find(|line| line.trim_start().starts_with("token:")).unwrap();
    let user = format!("    client-certificate: {certificate}\n    client-key: {key}");
    std::fs::write(file("kubeconfig"), own.replace(token, &user)).unwrap();
    let by_jane = |arguments: &[&str]| {
        let mut command = kapell.kubectl_command(arguments);
        command.env("KUBECONFIG", file("kubeconfig"));
        kapell_e2e::run(command, None)
    };
    by_jane(&["auth", "whoami"]).ok().says("jane").says("developers").says("testers");
    by_jane(&["get", "pods"]).exits(1).says("User \"jane\" cannot list");
    kapell.kubectl(&["create", "rolebinding", "testers", "--clusterrole=view", "--group=testers"]).ok();
    by_jane(&["get", "pods"]).ok();
    assert!(kapell.object("default", "csr/mallory")["status"]["certificate"].is_null());
}
