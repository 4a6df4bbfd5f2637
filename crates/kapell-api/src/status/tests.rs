use serde_json::json;

use super::*;
use crate::problem::Reason;

const POD: About<'_> = About { group: "", plural: "pods", kind: "Pod" };
const DEPLOYMENT: About<'_> = About { group: "apps", plural: "deployments", kind: "Deployment" };

#[test]
fn a_status_looks_as_clients_expect() {
    assert_eq!(
        serde_json::to_value(Status::not_found(DEPLOYMENT, "web")).unwrap(),
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "deployments.apps \"web\" not found", "reason": "NotFound",
            "details": {"name": "web", "group": "apps", "kind": "deployments"}, "code": 404,
        })
    );
    assert_eq!(
        serde_json::to_value(Status::deleted(POD, "a", "u-1")).unwrap(),
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {"name": "a", "kind": "pods", "uid": "u-1"}, "code": 200,
        })
    );
    let status = Status::resource_version_too_large(9, 5);
    let back: Status = serde_json::from_str(&serde_json::to_string(&status).unwrap()).unwrap();
    assert_eq!(back, status);
}

#[test]
fn invalid_lists_every_problem_as_a_cause() {
    let problems = [
        Problem::required("spec.selector", ""),
        Problem::new("spec.replicas", Reason::Invalid, "Invalid value: -1: must be greater than or equal to 0"),
    ];
    let one = Status::invalid(DEPLOYMENT, "web", &problems[..1]);
    assert_eq!(one.message, "Deployment.apps \"web\" is invalid: spec.selector: Required value");
    let two = Status::invalid(DEPLOYMENT, "web", &problems);
    assert!(two.message.contains("invalid: [spec.selector: Required value, spec.replicas: Invalid"), "{two}");
    let details = two.details.unwrap();
    assert_eq!((details.kind.as_str(), details.causes.len()), ("Deployment", 2));
    assert_eq!(details.causes[1].reason, "FieldValueInvalid");
}

#[test]
fn code_and_reason_of_each_situation() {
    for (status, code, reason) in [
        (Status::no_such_resource(), 404, "NotFound"),
        (Status::already_exists(POD, "a"), 409, "AlreadyExists"),
        (Status::modified(POD, "a"), 409, "Conflict"),
        (Status::unprocessable(POD, "a", "path is invalid"), 422, "Invalid"),
        (Status::bad_request("x"), 400, "BadRequest"),
        (Status::unauthorized("x"), 401, "Unauthorized"),
        (Status::forbidden(POD, "", "x"), 403, "Forbidden"),
        (Status::expired("x"), 410, "Expired"),
        (Status::gone("x"), 410, "Gone"),
        (Status::method_not_allowed(POD, "patch"), 405, "MethodNotAllowed"),
        (Status::not_acceptable(&["application/json"]), 406, "NotAcceptable"),
        (Status::unsupported_media_type(&["application/json"]), 415, "UnsupportedMediaType"),
        (Status::too_large("x"), 413, "RequestEntityTooLarge"),
        (Status::timeout("x", 2), 504, "Timeout"),
        (Status::internal("x"), 500, "InternalError"),
        (Status::too_many_requests("x", 1), 429, "TooManyRequests"),
        (Status::service_unavailable("x"), 503, "ServiceUnavailable"),
    ] {
        assert_eq!((status.code, status.reason.as_str()), (code, reason));
        assert_eq!(status.status, "Failure");
        assert!(!status.to_string().is_empty());
    }
}
