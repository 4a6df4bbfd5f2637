use super::*;

const PAGE: &str = "
Some text that mentions | `kapell-store` | in passing.

| crate | its one job | may use |
|---|---|---|
| `kapell-api` | values, with `code` in the description | – |
| `kapell-store` | bytes | – |
| `kapell-apiserver` | serves `kapell-api` | `kapell-api`, `kapell-store` |
| `kapell-server` | wires | all above |
";

fn layers(rows: &[(&str, &[&str])]) -> Layers {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    rows.iter().map(|(name, used)| ((*name).to_owned(), set(used))).collect()
}

#[test]
fn the_table_is_read() {
    let expected = layers(&[
        ("kapell-api", &[]),
        ("kapell-store", &[]),
        ("kapell-apiserver", &["kapell-api", "kapell-store"]),
        ("kapell-server", &["kapell-api", "kapell-store", "kapell-apiserver"]),
    ]);
    assert_eq!(table(PAGE), expected);
}

#[test]
fn differences_are_told_in_both_directions() {
    let table = table(PAGE);
    let same = layers(&[
        ("kapell-api", &[]),
        ("kapell-store", &[]),
        ("kapell-apiserver", &["kapell-store"]),
        ("kapell-server", &["kapell-apiserver"]),
    ]);
    assert!(compare(&table, &same).is_empty());
    let other = layers(&[
        ("kapell-api", &["kapell-store"]),
        ("kapell-apiserver", &[]),
        ("kapell-server", &[]),
        ("kapell-extra", &["kapell-api"]),
    ]);
    let expected = [
        "kapell-store is in the table, but not in crates/",
        "kapell-api uses kapell-store, which the table does not allow",
        "kapell-extra is in crates/, but not in the table",
    ];
    assert_eq!(compare(&table, &other), expected);
    let stale = layers(&[("kapell-api", &["kapell-gone"])]);
    let expected = ["kapell-api may use kapell-gone, which has no row in the table"];
    assert_eq!(compare(&stale, &layers(&[("kapell-api", &[])])), expected);
}
