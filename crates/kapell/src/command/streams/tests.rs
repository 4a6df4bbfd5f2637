use serde_json::json;

use super::*;

#[test]
fn ports_are_read_as_kubectl_reads_them() {
    let cases = [
        ("8080", Some((8080, "8080"))),
        ("9090:80", Some((9090, "80"))),
        (":80", Some((0, "80"))),
        ("http", Some((0, "http"))),
    ];
    for (word, expected) in cases {
        let found = ports(word).ok().map(|ports| (ports.local, ports.remote));
        assert_eq!(found, expected.map(|(local, remote)| (local, remote.to_owned())), "{word}");
    }
    for word in ["1:", "x:1", "70000:1"] {
        assert!(ports(word).is_err(), "{word}");
    }
}

#[test]
fn a_service_leads_to_the_ports_of_its_pods() {
    let pod = json!({"spec": {"containers": [{"ports": [{"name": "web", "containerPort": 8080}]}]}});
    let service = json!({"spec": {"ports": [
        {"name": "http", "port": 80, "targetPort": "web"}, {"name": "admin", "port": 81, "targetPort": 9000},
        {"name": "same", "port": 82},
    ]}});
    for (wanted, expected) in
        [("80", Some(8080)), ("http", Some(8080)), ("admin", Some(9000)), ("82", Some(82)), ("83", None)]
    {
        assert_eq!(remote_port(Some(&service), &pod, wanted).ok(), expected, "{wanted}");
    }
    for (wanted, expected) in [("web", Some(8080)), ("1234", Some(1234)), ("http", None)] {
        assert_eq!(remote_port(None, &pod, wanted).ok(), expected, "{wanted}");
    }
}
