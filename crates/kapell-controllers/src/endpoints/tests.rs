use serde_json::json;

use super::*;

#[test]
fn endpoints_say_what_the_slices_say() {
    let service: Service =
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "ns", "uid": "u"}})).unwrap();
    let slice = |endpoints: serde_json::Value| {
        Arc::new(
            serde_json::from_value::<EndpointSlice>(json!({
                "metadata": {"name": "web-1"}, "addressType": "IPv4", "ports": [{"name": "http", "port": 80}],
                "endpoints": endpoints,
            }))
            .unwrap(),
        )
    };
    let ready = slice(json!([{"addresses": ["127.9.0.2"], "conditions": {"ready": true}}]));
    let more = slice(json!([
        {"addresses": ["127.9.0.1"], "conditions": {"ready": true}},
        {"addresses": ["127.9.0.3"], "conditions": {"ready": false}},
        {"addresses": ["127.9.0.4"], "conditions": {"ready": false, "terminating": true}},
    ]));
    let planned = serde_json::to_value(plan(&service, &[ready, more])).unwrap();
    assert_eq!(
        planned["subsets"],
        json!([{
            "addresses": [{"ip": "127.9.0.1"}, {"ip": "127.9.0.2"}],
            "notReadyAddresses": [{"ip": "127.9.0.3"}],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        }])
    );
    assert_eq!(plan(&service, &[slice(json!([]))]).subsets, None);
}
