use super::*;

fn date(text: &str) -> Date {
    text.parse().unwrap()
}

#[test]
fn keys_are_kept_and_the_certificate_is_renewed_before_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let first = Pki::load_or_create(directory.path(), date("2026-01-01"), &[]).unwrap();
    let second = Pki::load_or_create(directory.path(), date("2026-06-01"), &[]).unwrap();
    assert_eq!(first.certificate_pem, second.certificate_pem);
    assert_eq!(first.token, second.token);

    let renewed = Pki::load_or_create(directory.path(), date("2026-12-01"), &[]).unwrap();
    assert_ne!(first.certificate_pem, renewed.certificate_pem);
    assert_eq!(first.ca_pem, renewed.ca_pem, "clients pin the CA");

    let named = Pki::load_or_create(directory.path(), date("2026-12-02"), &["10.0.0.7".to_owned()]).unwrap();
    assert_ne!(renewed.certificate_pem, named.certificate_pem, "another name needs another certificate");
    named.server_config().unwrap();
}

#[test]
fn files_are_for_their_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pki");
    Pki::load_or_create(&path, date("2026-01-01"), &[]).unwrap();
    for entry in fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
}

#[test]
fn half_a_ca_is_an_error_not_a_new_ca() {
    let directory = tempfile::tempdir().unwrap();
    Pki::load_or_create(directory.path(), date("2026-01-01"), &[]).unwrap();
    fs::remove_file(directory.path().join("ca.key")).unwrap();
    let error = Pki::load_or_create(directory.path(), date("2026-01-01"), &[]).err().unwrap();
    assert!(error.to_string().contains("ca.key"), "{error}");
}
