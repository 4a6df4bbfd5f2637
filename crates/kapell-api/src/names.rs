//! What things may be called.
//!
//! Each check returns everything that is wrong with a name, as sentences without the name or its path; an empty list
//! means that the name is right. Which field is held to which rule is each kind's own business.

const LABEL_MAX: usize = 63;
const SUBDOMAIN_MAX: usize = 253;
/// Upstream's limit for keys of ConfigMaps and Secrets, which become file names.
const CONFIG_KEY_MAX: usize = 253;
const PORT_NAME_MAX: usize = 15;

/// The letters of generated names: no vowels and no `0`, `1`, `3`, so that no words and no lookalikes arise.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;

fn lower_alnum(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

/// Whether `v` is not empty, has `end` characters at both ends and `inner` ones (or `end` ones) between.
fn shaped(v: &str, end: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    let bytes = v.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(&first), Some(&last)) => end(first) && end(last) && bytes.iter().all(|&c| end(c) || inner(c)),
        _ => false,
    }
}

fn too_long(v: &str, max: usize) -> Option<String> {
    (v.len() > max).then(|| format!("must be no more than {max} bytes"))
}

fn complaints(length: Option<String>, right: bool, rule: &str) -> Vec<String> {
    length.into_iter().chain((!right).then(|| rule.to_owned())).collect()
}

/// RFC 1123 label: names of Namespaces, containers and volumes.
pub fn dns1123_label(v: &str) -> Vec<String> {
    complaints(
        too_long(v, LABEL_MAX),
        shaped(v, lower_alnum, |c| c == b'-'),
        "a lowercase RFC 1123 label must consist of lower case letters, digits or '-', and must start and end with a \
         letter or digit (e.g. 'my-name' or '123-abc')",
    )
}

/// RFC 1123 subdomain: names of most objects.
pub fn dns1123_subdomain(v: &str) -> Vec<String> {
    complaints(
        too_long(v, SUBDOMAIN_MAX),
        is_subdomain(v),
        "a lowercase RFC 1123 subdomain must consist of lower case letters, digits, '-' or '.', and each part between \
         dots must start and end with a letter or digit (e.g. 'example.com')",
    )
}

fn is_subdomain(v: &str) -> bool {
    v.split('.').all(|part| shaped(part, lower_alnum, |c| c == b'-'))
}

/// What can stand between two slashes of a URL: names of roles and their bindings.
pub fn path_segment(v: &str) -> Vec<String> {
    if matches!(v, "." | "..") {
        return vec![format!("may not be '{v}'")];
    }
    ['/', '%'].iter().filter(|c| v.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// RFC 1035 label: names of Services.
pub fn dns1035_label(v: &str) -> Vec<String> {
    let starts_with_letter = v.starts_with(|c: char| c.is_ascii_lowercase());
    complaints(
        too_long(v, LABEL_MAX),
        starts_with_letter && shaped(v, lower_alnum, |c| c == b'-'),
        "a DNS-1035 label must consist of lower case letters, digits or '-', must start with a letter, and must end \
         with a letter or digit (e.g. 'my-name' or 'abc-123')",
    )
}

/// Kernel parameters: `net.core.somaxconn`, also with slashes between the parts.
pub fn sysctl(v: &str) -> Vec<String> {
    let mut wrong: Vec<String> = too_long(v, SUBDOMAIN_MAX).into_iter().collect();
    let parts = v.split(['.', '/']);
    let letter = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !parts.into_iter().all(|part| shaped(part, letter, |c| matches!(c, b'-' | b'_'))) {
        wrong.push(
            "must consist of parts of lower case letters, digits, '-' or '_', each with a letter or digit at its ends, \
             divided by '.' or '/' (e.g. 'net.core.somaxconn')"
                .to_owned(),
        );
    }
    wrong
}

/// Keys of labels and annotations, finalizers, extended resources: `[prefix/]name`.
pub fn qualified_name(v: &str) -> Vec<String> {
    let (prefix, name) = match v.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, v),
    };
    let mut wrong = Vec::new();
    if name.contains('/') {
        return vec![
            "a qualified name must be a name with at most one prefix before a '/' (e.g. 'example.com/MyName')"
                .to_owned(),
        ];
    }
    match prefix {
        Some("") => wrong.push("prefix part must be non-empty".to_owned()),
        Some(prefix) => wrong.extend(dns1123_subdomain(prefix).into_iter().map(|m| format!("prefix part {m}"))),
        None => {}
    }
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else {
        wrong.extend(too_long(name, LABEL_MAX).map(|m| format!("name part {m}")));
        if !shaped(name, |c| c.is_ascii_alphanumeric(), is_name_punctuation) {
            wrong.push(
                "name part must consist of letters, digits, '-', '_' or '.', and must start and end with a letter or \
                 digit (e.g. 'MyName', 'my.name' or '123-abc')"
                    .to_owned(),
            );
        }
    }
    wrong
}

fn is_name_punctuation(c: u8) -> bool {
    matches!(c, b'-' | b'_' | b'.')
}

/// Values of labels; may be empty.
pub fn label_value(v: &str) -> Vec<String> {
    complaints(
        too_long(v, LABEL_MAX),
        v.is_empty() || shaped(v, |c| c.is_ascii_alphanumeric(), is_name_punctuation),
        "a valid label must be an empty string or consist of letters, digits, '-', '_' or '.', and must start and end \
         with a letter or digit (e.g. 'MyValue', 'my_value' or '12345')",
    )
}

/// Names of environment variables: printable ASCII without `=`, as Kubernetes has allowed since 1.32.
pub fn env_var_name(v: &str) -> Vec<String> {
    complaints(
        None,
        !v.is_empty() && v.bytes().all(|c| (b' '..=b'~').contains(&c) && c != b'='),
        "a valid environment variable name must consist of at least one printable ASCII character other than '='",
    )
}

/// Names of ports (RFC 6335 service names), which other fields may refer to instead of a number.
pub fn port_name(v: &str) -> Vec<String> {
    let mut wrong: Vec<String> = too_long(v, PORT_NAME_MAX).into_iter().collect();
    if v.is_empty() || !v.bytes().all(|c| lower_alnum(c) || c == b'-') {
        wrong.push("must contain only lower case letters, digits and '-'".to_owned());
    }
    if !v.bytes().any(|c| c.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter".to_owned());
    }
    if v.contains("--") {
        wrong.push("must not contain consecutive hyphens".to_owned());
    }
    if v.starts_with('-') || v.ends_with('-') {
        wrong.push("must not begin or end with a hyphen".to_owned());
    }
    wrong
}

/// Port numbers.
pub fn port_number(v: i64) -> Vec<String> {
    complaints(None, (1..=65535).contains(&v), "must be between 1 and 65535, inclusive")
}

/// Keys of ConfigMaps and Secrets, which become file names: never a way out of the directory.
pub fn config_key(v: &str) -> Vec<String> {
    let mut wrong = complaints(
        too_long(v, CONFIG_KEY_MAX),
        !v.is_empty() && v.bytes().all(|c| c.is_ascii_alphanumeric() || is_name_punctuation(c)),
        "a valid config key must consist of letters, digits, '-', '_' or '.' (e.g. 'key.name' or 'KEY_NAME')",
    );
    if v == "." {
        wrong.push("must not be '.'".to_owned());
    } else if v.starts_with("..") {
        wrong.push("must not start with '..'".to_owned());
    }
    wrong
}

/// `metadata.generateName` made a name: the base, cut so that the whole fits a label, and five characters that
/// `random` (uniform over all values) chooses.
pub fn generate_name(base: &str, random: u64) -> String {
    let mut end = base.len().min(LABEL_MAX - SUFFIX_LENGTH);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base[..end].to_owned();
    let mut rest = random;
    for _ in 0..SUFFIX_LENGTH {
        name.push(ALPHABET[(rest % 27) as usize] as char);
        rest /= 27;
    }
    name
}

/// A string (of digits: a hash) in the alphabet of generated names, as `pod-template-hash` is written.
pub fn safe_encode(text: &str) -> String {
    text.bytes().map(|c| ALPHABET[c as usize % ALPHABET.len()] as char).collect()
}

#[cfg(test)]
mod tests;
