use kapell_api::kinds;

use super::*;

fn kind(plural: &str) -> &'static Kind {
    kinds::find("", "v1", plural).or_else(|| kinds::find("apps", "v1", plural)).expect("a kind")
}

fn quota(hard: Value, used: Value) -> Value {
    json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}})
}

fn pod(cpu: &str) -> Value {
    json!({"spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": cpu}}}]}})
}

fn used(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Charged(used) => json!(used),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_more_is_charged_while_it_fits() {
    let quota = quota(json!({"pods": "2", "requests.cpu": "1"}), json!({"pods": "1", "requests.cpu": "400m"}));
    assert_eq!(
        used(&charge(&quota, kind("pods"), None, Some(&pod("600m")))),
        json!({"pods": "2", "requests.cpu": "1"})
    );
    assert_eq!(
        charge(&quota, kind("pods"), None, Some(&pod("601m"))),
        Verdict::Refused(
            "exceeded quota: q, requested: requests.cpu=601m, used: requests.cpu=400m, limited: requests.cpu=1"
                .to_owned()
        )
    );
    assert_eq!(charge(&quota, kind("configmaps"), None, Some(&json!({}))), Verdict::Untouched);
    let silent = json!({"spec": {"containers": [{"name": "main"}, {"name": "side"}]}});
    assert_eq!(
        charge(&quota, kind("pods"), None, Some(&silent)),
        Verdict::Refused("failed quota: q: must specify requests.cpu for: main,side".to_owned())
    );
}

#[test]
fn what_ends_or_goes_is_given_back() {
    let quota = quota(json!({"pods": "1", "cpu": "1"}), json!({"pods": "1", "cpu": "600m"}));
    let running = pod("600m");
    let mut ended = running.clone();
    ended["status"] = json!({"phase": "Succeeded"});
    let nothing = json!({"pods": "0", "cpu": "0"});
    assert_eq!(used(&charge(&quota, kind("pods"), Some(&running), None)), nothing);
    assert_eq!(used(&charge(&quota, kind("pods"), Some(&running), Some(&ended))), nothing);
    assert_eq!(charge(&quota, kind("pods"), Some(&ended), None), Verdict::Untouched);
    assert_eq!(charge(&quota, kind("pods"), Some(&running), Some(&running)), Verdict::Untouched);
}

#[test]
fn a_full_quota_refuses_more_and_never_less() {
    let over = quota(json!({"requests.cpu": "1"}), json!({"requests.cpu": "3"}));
    assert!(matches!(charge(&over, kind("pods"), None, Some(&pod("1m"))), Verdict::Refused(_)));
    assert_eq!(used(&charge(&over, kind("pods"), Some(&pod("1")), None)), json!({"requests.cpu": "2"}));
}

#[test]
fn kinds_are_counted_by_their_names() {
    for (plural, name) in
        [("configmaps", "count/configmaps"), ("configmaps", "configmaps"), ("deployments", "count/deployments.apps")]
    {
        let quota = quota(json!({name: "1"}), json!({}));
        assert_eq!(used(&charge(&quota, kind(plural), None, Some(&json!({})))), json!({name: "1"}), "{plural} {name}");
    }
    let balancer = json!({"spec": {"type": "LoadBalancer", "ports": [{}, {}]}});
    let quota = quota(json!({"services.nodeports": "1", "services.loadbalancers": "1"}), json!({}));
    let Verdict::Refused(why) = charge(&quota, kind("services"), None, Some(&balancer)) else { panic!("two ports") };
    assert!(why.contains("requested: services.nodeports=2"), "{why}");
}

#[test]
fn scopes_choose_pods() {
    let scoped = |spec: Value| json!({"spec": spec});
    let plain = |scope: &str| scoped(json!({"scopes": [scope]}));
    let by_class = |operator: &str, values: Value| {
        let expression = json!({"scopeName": "PriorityClass", "operator": operator, "values": values});
        scoped(json!({"scopeSelector": {"matchExpressions": [expression]}}))
    };
    let high = json!({"spec": {"priorityClassName": "high", "containers": []}});
    let brief = json!({"spec": {"activeDeadlineSeconds": 5, "containers": []}});
    for (quota, object, expected) in [
        (plain("Terminating"), &brief, true),
        (plain("Terminating"), &high, false),
        (plain("NotTerminating"), &high, true),
        (plain("BestEffort"), &high, true),
        (plain("BestEffort"), &pod("1"), false),
        (plain("NotBestEffort"), &pod("1"), true),
        (by_class("In", json!(["high"])), &high, true),
        (by_class("In", json!(["low"])), &high, false),
        (by_class("NotIn", json!(["low"])), &high, true),
        (by_class("Exists", json!(null)), &brief, false),
        (by_class("DoesNotExist", json!(null)), &brief, true),
    ] {
        assert_eq!(matches(&quota, kind("pods"), object), expected, "{quota} {object}");
        assert!(!matches(&quota, kind("configmaps"), object), "scopes are about pods");
    }
}
