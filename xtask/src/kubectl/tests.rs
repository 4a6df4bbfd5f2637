use super::*;

#[test]
fn client_versions() {
    let answer = |major, minor| format!(r#"{{"clientVersion": {{"major": "{major}", "minor": "{minor}"}}}}"#);
    assert_eq!(client_version(&answer("1", "33")), Some((1, 33)));
    assert_eq!(client_version(&answer("1", "32+")), Some((1, 32)));
    assert_eq!(client_version(&answer("1", "")), None);
    assert_eq!(client_version("error: unknown flag"), None);
}
