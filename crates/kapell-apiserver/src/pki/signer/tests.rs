use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, DnType};
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::UnixTime;

use super::*;
use crate::auth::certificate::identity;
use crate::pki::Pki;

fn request(key: &KeyPair, extension: bool) -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::OrganizationName, "developers");
    params.distinguished_name.push(DnType::CommonName, "jane");
    if extension {
        // Asks to become an authority.
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 3, 1, 1, 0xff])];
    }
    params.serialize_request(key).unwrap().pem().unwrap()
}

fn signer(place: &std::path::Path) -> (Pki, ClientSigner) {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let pki = Pki::load_or_create(place, today, &[]).unwrap();
    let signer = pki.client_signer().unwrap();
    (pki, signer)
}

#[test]
fn a_signed_certificate_leads_to_our_authority_and_names_whom_the_request_named() {
    let place = tempfile::tempdir().unwrap();
    let (pki, signer) = signer(place.path());
    let now = Timestamp::now();
    let (from, until) = (now - jiff::SignedDuration::from_mins(5), now + jiff::SignedDuration::from_hours(1));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pki.ca_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        for serial in [0, 1, u128::MAX, 0x80 << 2] {
            let pem = signer.sign(request(&key, true).as_bytes(), true, from, until, serial).unwrap();
            let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            verifier.verify_client_cert(&certificate, &[], UnixTime::now()).unwrap();
            let named = identity(&certificate).unwrap();
            assert_eq!((named.user.as_str(), named.groups[0].as_str()), ("jane", "developers"));
            let late = UnixTime::since_unix_epoch(std::time::Duration::from_secs(until.as_second() as u64 + 60));
            verifier.verify_client_cert(&certificate, &[], late).unwrap_err();
        }
    }
}

#[test]
fn what_is_no_request_or_not_the_requesters_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let (_, signer) = signer(place.path());
    let now = Timestamp::now();
    let sign = |text: &[u8]| signer.sign(text, false, now, now, 7);
    assert_eq!(sign(b"no request"), Err(SignError::Pem));
    let key = KeyPair::generate().unwrap();
    assert_eq!(sign(key.serialize_pem().as_bytes()), Err(SignError::Pem), "another block");
    let good = pem(request(&key, false).as_bytes()).unwrap();
    let wrap = |der: &[u8]| to_pem(der).replace("CERTIFICATE", "CERTIFICATE REQUEST");
    assert!(sign(wrap(&good).as_bytes()).is_ok());
    // Whatever is changed or cut off: refused, and never a panic.
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 0x10;
        sign(wrap(&changed).as_bytes()).unwrap_err();
        sign(wrap(&good[..at]).as_bytes()).unwrap_err();
    }
}

#[test]
fn times_are_written_as_certificates_have_them() {
    for (at, expected) in [("2026-11-21T12:00:01Z", "261121120001Z"), ("2050-01-02T03:04:05Z", "20500102030405Z")] {
        let (_, content) = Reader(&time(at.parse().unwrap())).next().map(|(tag, c)| (tag, c.to_vec())).unwrap();
        assert_eq!(String::from_utf8(content).unwrap(), expected);
    }
}
