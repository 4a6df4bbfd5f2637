//! The dependency policy: licences that go with Apache-2.0, crates that we do without, crates.io only.
//!
//! `deny.toml` says the same for `cargo deny`, which not every machine has; a test keeps the two alike.

use crate::metadata::Package;

/// Each asks for no more than its notice.
const LICENCES: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Allowed in these forms only: an exception that gives more rights, and a licence for data (root certificates).
const SPECIAL_LICENCES: [&str; 2] = ["Apache-2.0 WITH LLVM-exception", "CDLA-Permissive-2.0"];

/// The crate, and why not.
const BANNED: [(&str, &str); 6] = [
    ("aws-lc-rs", "TLS is rustls with ring: one crypto library, built without cmake"),
    ("aws-lc-sys", "TLS is rustls with ring: one crypto library, built without cmake"),
    ("native-tls", "TLS is rustls, the same on every machine"),
    ("openssl", "TLS is rustls: the binary needs nothing beside it"),
    ("openssl-sys", "TLS is rustls: the binary needs nothing beside it"),
    ("serde_yaml", "unmaintained; YAML is read with positions by kapell-api"),
];

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What is against the policy, one sentence each.
pub(crate) fn complaints(packages: &[Package]) -> Vec<String> {
    let mut complaints = Vec::new();
    for Package { name, version, license, source, .. } in packages {
        let mut complain = |what: &str| complaints.push(format!("{name} {version}: {what}"));
        // Without a source it is our own.
        let Some(source) = source else { continue };
        if source != CRATES_IO {
            complain(&format!("comes from {source}, not from crates.io"));
        }
        if let Some((_, reason)) = BANNED.iter().find(|(banned, _)| banned == name) {
            complain(&format!("is banned ({reason})"));
        }
        match license {
            Some(license) if licence_allowed(license) => {}
            Some(license) => complain(&format!("licence {license} is not on the list")),
            None => complain("names no licence"),
        }
    }
    complaints
}

/// Whether an SPDX expression can be satisfied with what is allowed. The older `MIT/Apache-2.0` means `OR`.
fn licence_allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let allowed = either(&mut words);
    allowed && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

/// `OR` binds less than `AND`. All parts are read, also when the first has decided.
fn either(words: &mut Words) -> bool {
    let mut allowed = both(words);
    while words.next_if_eq(&"OR").is_some() {
        allowed |= both(words);
    }
    allowed
}

fn both(words: &mut Words) -> bool {
    let mut allowed = single(words);
    while words.next_if_eq(&"AND").is_some() {
        allowed &= single(words);
    }
    allowed
}

fn single(words: &mut Words) -> bool {
    match words.next() {
        Some("(") => {
            let allowed = either(words);
            words.next_if_eq(&")").is_some() && allowed
        }
        Some(licence) => match words.next_if_eq(&"WITH").and_then(|_| words.next()) {
            Some(exception) => SPECIAL_LICENCES.contains(&format!("{licence} WITH {exception}").as_str()),
            None => LICENCES.contains(&licence) || SPECIAL_LICENCES.contains(&licence),
        },
        None => false,
    }
}

#[cfg(test)]
mod tests;
