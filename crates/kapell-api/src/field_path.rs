//! Field paths as the API writes them: `spec.containers[0].name`, `metadata.annotations[example.com/a]`.
//!
//! One spelling for schema findings and YAML positions, so that one can be looked up in the other. A key that would be
//! ambiguous after a dot stands in brackets.

use std::fmt::Write;

/// Longer than the longest valid key (a prefix of 253, a slash, a name of 63). A path is a message, repeated for every
/// finding below it, so what is longer is cut.
const LONGEST_KEY: usize = 320;

/// Where a value stands: a list along the call stack, turned into a path only when there is something to report.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Root,
    Key(&'a Place<'a>, &'a str),
    Index(&'a Place<'a>, usize),
}

impl Place<'_> {
    pub(crate) fn path(&self) -> String {
        match self {
            Place::Root => String::new(),
            Place::Key(parent, key) => {
                let mut path = parent.path();
                push_key(&mut path, key);
                path
            }
            Place::Index(parent, index) => {
                let mut path = parent.path();
                push_index(&mut path, *index);
                path
            }
        }
    }
}

/// Appends a key of an object.
pub(crate) fn push_key(path: &mut String, key: &str) {
    let key = match key.char_indices().nth(LONGEST_KEY) {
        Some((end, _)) => &key[..end],
        None => key,
    };
    let plain = !key.is_empty() && key.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'$'));
    if !plain {
        path.push('[');
        path.push_str(key);
        path.push(']');
        return;
    }
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

/// Appends an index of an array.
pub(crate) fn push_index(path: &mut String, index: usize) {
    // Writing to a String cannot fail.
    let _ = write!(path, "[{index}]");
}

/// The path of what encloses this; `None` for the whole document.
pub(crate) fn parent(path: &str) -> Option<&str> {
    let cut = if path.ends_with(']') { path.rfind('[') } else { path.rfind('.') };
    match cut {
        Some(cut) => Some(&path[..cut]),
        None => (!path.is_empty()).then_some(""),
    }
}
