use super::*;

fn accept(value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, value.parse().unwrap());
    headers
}

const KUBECTL_TABLE: &str =
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
const KUBECTL_DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
     application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

#[test]
fn shapes_follow_the_accept_header() {
    for (value, tables, expected) in [
        ("application/json", true, Some(Shape::Object)),
        ("*/*", true, Some(Shape::Object)),
        ("application/vnd.kubernetes.protobuf, application/json", true, Some(Shape::Object)),
        ("application/vnd.kubernetes.protobuf", true, None),
        ("text/html", true, None),
        (KUBECTL_TABLE, true, Some(Shape::Table(MetaVersion::V1))),
        (KUBECTL_TABLE, false, Some(Shape::Object)),
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io", true, Some(Shape::Table(MetaVersion::V1Beta1))),
        ("application/json;as=Table;v=v1;g=meta.k8s.io", false, None),
        ("application/json;as=Table;v=v9;g=meta.k8s.io", true, None),
        (
            "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
            true,
            Some(Shape::Metadata(MetaVersion::V1)),
        ),
        (
            "application/json;q=0.1, application/json;as=Table;v=v1;g=meta.k8s.io",
            true,
            Some(Shape::Table(MetaVersion::V1)),
        ),
    ] {
        assert_eq!(shape(&accept(value), tables), expected, "{value}");
    }
    assert_eq!(shape(&HeaderMap::new(), true), Some(Shape::Object));
}

#[test]
fn discovery_is_aggregated_when_asked_for() {
    assert_eq!(discovery(&accept(KUBECTL_DISCOVERY)), Some(Discovery::Aggregated("v2")));
    assert_eq!(discovery(&accept("application/json")), Some(Discovery::Legacy));
    assert_eq!(discovery(&accept("application/json;g=apidiscovery.k8s.io;v=v3;as=APIGroupDiscoveryList")), None);
}

#[test]
fn bodies_without_a_type_are_json() {
    let typed = |value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
        headers
    };
    assert_eq!(body_form(&HeaderMap::new()), Ok(BodyForm::Json));
    assert_eq!(body_form(&typed("application/json; charset=utf-8")), Ok(BodyForm::Json));
    assert_eq!(body_form(&typed("application/yaml")), Ok(BodyForm::Yaml));
    for protobuf in ["application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf;stream=watch"] {
        assert_eq!(body_form(&typed(protobuf)), Ok(BodyForm::Protobuf));
    }
    assert_eq!(body_form(&typed("application/cbor")), Err("application/cbor".to_owned()));
    assert_eq!(patch_form(&typed("application/merge-patch+json")), Ok(PatchForm::Merge));
    assert_eq!(patch_form(&typed("application/json")), Err("application/json".to_owned()));
}
