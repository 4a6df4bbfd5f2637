use super::claims::{self, What};
use super::{conformance, filled, matrix};

const SOURCE: &str = r#"
/// Conformance: [sig-a] It works
/// Conformance: [sig-a] It works twice
#[tokio::test]
async fn it_works() {}

/// Column: kubectl | 1.32
#[test]
fn oldest() {}

/// Row: kubectl | `get`
fn get<T>(t: T) {}

/// Refused: kubectl | `debug`
fn debug() {}

/// Conformance: [sig-b] Not yet
#[test]
#[ignore = "no such thing"]
fn later() {}
"#;

const TITLES: &str = "[sig-a] It works\n[sig-a] It works twice\n[sig-a] Images run\n[sig-b] Not yet\n";

#[test]
fn claims_belong_to_the_function_below_them() {
    let claims = claims::read("e2e/tests/x.rs", SOURCE);
    let told: Vec<_> = claims.iter().map(|c| (c.what, c.function.as_str(), c.ignored.as_deref())).collect();
    assert_eq!(
        told,
        [
            (What::Conformance, "it_works", None),
            (What::Conformance, "it_works", None),
            (What::Column, "oldest", None),
            (What::Row, "get", None),
            (What::Refused, "debug", None),
            (What::Conformance, "later", Some("no such thing")),
        ]
    );
}

#[test]
fn every_case_has_a_test_or_a_reason_and_every_reason_a_case() {
    let claims = claims::read("e2e/tests/x.rs", SOURCE);
    let tables = conformance::tables(TITLES, "[sig-a] Images | no images\n", &claims).unwrap();
    assert!(
        tables[0].1.contains("| sig-a | 3 | 2 |\n| sig-b | 1 | 0 |\n| **all** | **4** | **2** |"),
        "{}",
        tables[0].1
    );
    assert!(tables[1].1.contains("| [sig-a] It works | [`it_works`](../../e2e/tests/x.rs) |"), "{}", tables[1].1);
    assert!(tables[2].1.contains("**no images** (1)\n\n- [sig-a] Images run\n"), "{}", tables[2].1);
    assert!(tables[2].1.contains("**no such thing** (1)\n\n- [sig-b] Not yet\n"), "{}", tables[2].1);

    let complaints = conformance::tables("[sig-a] Images run\n", "[sig-c] | idle\n", &claims).unwrap_err();
    assert_eq!(complaints.len(), 5, "{complaints:?}");
}

#[test]
fn a_column_proves_every_row() {
    let claims = claims::read("e2e/tests/x.rs", SOURCE);
    let table = &matrix::tables(&claims)[0].1;
    assert_eq!(table, "| command | 1.32 |\n|---|---|\n| `get` | works |\n| `debug` | refused |\n");
}

#[test]
fn tables_go_between_their_marks() {
    let page = "head\n<!-- t: made by cargo xtask guide -->\nold\n<!-- end -->\ntail\n";
    let new = filled(page, "t", "| new |\n").unwrap();
    assert_eq!(new, "head\n<!-- t: made by cargo xtask guide -->\n\n| new |\n\n<!-- end -->\ntail\n");
    assert_eq!(filled(&new, "t", "| new |\n"), Some(new.clone()));
    assert_eq!(filled(page, "other", ""), None);
}
