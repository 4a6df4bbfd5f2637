//! Large parts of data written apart from it: as references to what is kept once.
//!
//! In [`outlining`], whatever is written as JSON and longer than [`LONGEST_INLINE`] is replaced by the hash of its JSON; in
//! [`resolving`], the hash by what it stands for. A part may hold references itself. So a value that goes from task to task
//! is kept once, also when what is around it changes.
//!
//! A reference is an object whose only key is [`REFERENCE`]. Keys of data that look like that get one more NUL in front.
//! Serializing has no place for a context, which is why it is the thread's.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::datum::{Datum, Object};

/// Longer parts are written apart, in bytes of JSON. A reference takes 90, and a row of its own some 50.
pub(crate) const LONGEST_INLINE: usize = 32 << 10;

const REFERENCE: &str = "\0payload";

/// SHA-256 of a part's JSON.
pub(crate) type Hash = [u8; 32];

/// What is kept already.
pub(crate) type Kept = HashSet<Hash>;

/// Parts by their hashes.
pub(crate) type Parts = HashMap<Hash, Datum>;

#[derive(Default)]
enum Scope {
    #[default]
    Plain,
    /// With what is kept, and what is to be kept besides.
    Outlining(Kept, Vec<(Hash, Bytes)>),
    Resolving(Parts),
}

thread_local! {
    static SCOPE: RefCell<Scope> = const { RefCell::new(Scope::Plain) };
}

pub(crate) fn hash_of(json: &[u8]) -> Hash {
    Sha256::digest(json).into()
}

/// Puts the scope back that was there, also when what happens inside panics.
struct Restored(Option<Scope>);

impl Drop for Restored {
    fn drop(&mut self) {
        SCOPE.set(self.0.take().unwrap_or_default());
    }
}

/// Runs `write`; returns what has to be kept for it, in an order in which each part comes after those that it refers to.
pub(crate) fn outlining<T>(kept: &mut Kept, write: impl FnOnce() -> T) -> (T, Vec<Bytes>) {
    let _restored = Restored(Some(SCOPE.replace(Scope::Outlining(std::mem::take(kept), Vec::new()))));
    let written = write();
    let Scope::Outlining(known, parts) = SCOPE.take() else { return (written, Vec::new()) };
    *kept = known;
    (written, parts.into_iter().map(|(_, json)| json).collect())
}

/// Runs `read`, in which references stand for these parts.
pub(crate) fn resolving<T>(parts: &mut Parts, read: impl FnOnce() -> T) -> T {
    let _restored = Restored(Some(SCOPE.replace(Scope::Resolving(std::mem::take(parts)))));
    let done = read();
    if let Scope::Resolving(known) = SCOPE.take() {
        *parts = known;
    }
    done
}

/// The datum as it is written now; `None`: as it is.
pub(super) fn outlined(datum: &Datum) -> Option<Datum> {
    SCOPE.with_borrow_mut(|scope| match scope {
        Scope::Outlining(kept, parts) => Some(outline(datum, kept, parts).0),
        Scope::Plain | Scope::Resolving(_) => None,
    })
}

/// With about how many bytes of JSON it takes.
fn outline(datum: &Datum, kept: &mut Kept, parts: &mut Vec<(Hash, Bytes)>) -> (Datum, usize) {
    let (rewritten, length) = match datum {
        Datum::Text(text) => (None, text.len() + 2),
        Datum::Array(array) => {
            let items: Vec<(Datum, usize)> = array.items().iter().map(|item| outline(item, kept, parts)).collect();
            let length = items.iter().map(|(_, length)| length + 1).sum::<usize>() + 2;
            // References are lighter than what they stand for, so the bounds hold.
            (Datum::array(items.into_iter().map(|(item, _)| item)).ok(), length)
        }
        Datum::Object(object) => {
            let mut rewritten = Object::default();
            let mut length = 2;
            for (key, value) in object.members() {
                let (value, of_value) = outline(value, kept, parts);
                length += key.len() + of_value + 4;
                let key = if looks_like_reference(key) { Arc::from(format!("\0{key}")) } else { key.clone() };
                if rewritten.insert(key, value).is_err() {
                    return (datum.clone(), length);
                }
            }
            (Some(Datum::Object(Arc::new(rewritten))), length)
        }
        _ => (None, 8),
    };
    let rewritten = rewritten.unwrap_or_else(|| datum.clone());
    if length <= LONGEST_INLINE {
        return (rewritten, length);
    }
    let json = serde_json::to_vec(&super::encoding::Plain(&rewritten)).unwrap_or_default();
    let hash = hash_of(&json);
    if kept.insert(hash) {
        parts.push((hash, json.into()));
    }
    let reference = Datum::object([(REFERENCE, Datum::string(hex::encode(hash)))]);
    (reference.unwrap_or_default(), 90)
}

fn looks_like_reference(key: &str) -> bool {
    key.starts_with('\0') && key.trim_start_matches('\0') == &REFERENCE[1..]
}

/// What a key that was read is.
pub(super) enum Key {
    Itself(String),
    /// What follows is the hash of a part.
    Reference,
}

pub(super) fn key_read(key: String) -> Key {
    if !key.starts_with('\0') || !looks_like_reference(&key) {
        return Key::Itself(key);
    }
    let resolving = SCOPE.with_borrow(|scope| matches!(scope, Scope::Resolving(_)));
    match (resolving, key == REFERENCE) {
        (false, _) => Key::Itself(key),
        (true, true) => Key::Reference,
        (true, false) => Key::Itself(key[1..].to_owned()),
    }
}

/// The part with this hash, in hexadecimal digits.
pub(super) fn part(hash: &str) -> Option<Datum> {
    let hash: Hash = hex::decode(hash).ok()?.try_into().ok()?;
    SCOPE.with_borrow(|scope| match scope {
        Scope::Resolving(parts) => parts.get(&hash).cloned(),
        Scope::Plain | Scope::Outlining(..) => None,
    })
}

/// For texts that are no data but may be as long: as an optional datum.
pub(crate) mod text {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::Datum;

    pub(crate) fn serialize<S: Serializer>(text: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
        match text {
            Some(text) if text.len() > super::LONGEST_INLINE => Datum::string(text.as_str()).serialize(serializer),
            text => text.serialize(serializer),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
        let datum = Datum::deserialize(deserializer)?;
        Ok(datum.as_str().map(str::to_owned))
    }
}

#[cfg(test)]
mod tests;
