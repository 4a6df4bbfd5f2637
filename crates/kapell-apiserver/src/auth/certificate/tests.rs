use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

use super::*;

fn certificate(names: &[(DnType, &str)]) -> Vec<u8> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    for (kind, name) in names {
        params.distinguished_name.push(kind.clone(), *name);
    }
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

#[test]
fn the_subject_names_user_and_groups() {
    let der = certificate(&[
        (DnType::CountryName, "CN"),
        (DnType::OrganizationName, "developers"),
        (DnType::CommonName, "jürgen"),
    ]);
    let identity = identity(&der).unwrap();
    assert_eq!((identity.user.as_str(), identity.internal), ("jürgen", false));
    assert_eq!(identity.groups, ["developers", "system:authenticated"]);
    assert!(identity.extra["authentication.kubernetes.io/credential-id"][0].starts_with("X509SHA256="));
}

#[test]
fn without_a_common_name_it_names_nobody() {
    assert_eq!(identity(&certificate(&[(DnType::OrganizationName, "system:masters")])), None);
}

#[test]
fn damaged_certificates_never_panic() {
    let der = certificate(&[(DnType::OrganizationName, "developers"), (DnType::CommonName, "ann")]);
    for length in 0..der.len() {
        identity(&der[..length]);
        let mut damaged = der.clone();
        for byte in [0, 0x7f, 0x80, 0x84, 0xff] {
            damaged[length] = byte;
            identity(&damaged);
        }
    }
}
