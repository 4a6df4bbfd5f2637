//! A set of field paths, as a tree.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::element::Element;

/// A set of paths. A path and one that begins with it are two members: owning a list item says nothing about its fields.
///
/// Invariant: an entry is a member, or something below it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    entries: BTreeMap<Element, Entry>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    member: bool,
    below: Set,
}

impl Entry {
    fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

impl Set {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a path; the empty path is no path.
    pub fn insert(&mut self, path: &[Element]) {
        let Some((first, rest)) = path.split_first() else { return };
        if !self.entries.contains_key(first) {
            self.entries.insert(first.clone(), Entry::default());
        }
        let Some(entry) = self.entries.get_mut(first) else { return };
        match rest {
            [] => entry.member = true,
            rest => entry.below.insert(rest),
        }
    }

    /// Whether the path of this one element is a member.
    pub fn has(&self, element: &Element) -> bool {
        self.entries.get(element).is_some_and(|entry| entry.member)
    }

    /// The paths that begin with an element, without it; `None` when there are none.
    pub fn below(&self, element: &Element) -> Option<&Set> {
        self.entries.get(element).map(|entry| &entry.below).filter(|below| !below.is_empty())
    }

    /// Forgets an element and everything below it.
    pub fn forget(&mut self, element: &Element) {
        self.entries.remove(element);
    }

    /// As `forget`, for an element below another one.
    pub(super) fn forget_below(&mut self, parent: &Element, element: &Element) {
        if let Some(entry) = self.entries.get_mut(parent) {
            entry.below.forget(element);
            if entry.is_empty() {
                self.entries.remove(parent);
            }
        }
    }

    pub fn union(&mut self, other: &Set) {
        for (element, theirs) in &other.entries {
            match self.entries.get_mut(element) {
                Some(ours) => {
                    ours.member |= theirs.member;
                    ours.below.union(&theirs.below);
                }
                None => drop(self.entries.insert(element.clone(), theirs.clone())),
            }
        }
    }

    pub fn intersection(&self, other: &Set) -> Set {
        let common = self.entries.iter().filter_map(|(element, ours)| {
            let theirs = other.entries.get(element)?;
            let both = Entry { member: ours.member && theirs.member, below: ours.below.intersection(&theirs.below) };
            (!both.is_empty()).then(|| (element.clone(), both))
        });
        Set { entries: common.collect() }
    }

    /// Removes what is a member of `other`. What lies below a member stays, unless it is a member too.
    pub fn subtract(&mut self, other: &Set) {
        for (element, theirs) in &other.entries {
            let Some(ours) = self.entries.get_mut(element) else { continue };
            ours.member &= !theirs.member;
            ours.below.subtract(&theirs.below);
            if ours.is_empty() {
                self.entries.remove(element);
            }
        }
    }

    pub fn difference(&self, other: &Set) -> Set {
        let mut rest = self.clone();
        rest.subtract(other);
        rest
    }

    pub fn is_subset(&self, other: &Set) -> bool {
        self.entries.iter().all(|(element, ours)| {
            other
                .entries
                .get(element)
                .is_some_and(|theirs| (theirs.member || !ours.member) && ours.below.is_subset(&theirs.below))
        })
    }

    /// All members in order, as conflicts name them.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", &mut paths);
        paths
    }

    fn collect(&self, prefix: &str, paths: &mut Vec<String>) {
        for (element, entry) in &self.entries {
            let path = format!("{prefix}{element}");
            entry.below.collect(&path, paths);
            if entry.member {
                paths.push(path);
            }
        }
    }

    /// The set with every element made a member that has something below it and of which `named` says so.
    pub(super) fn with_named_parents<T: Copy>(&self, at: T, named: &impl Fn(T, &Element) -> (bool, T)) -> Set {
        let entries = self.entries.iter().map(|(element, entry)| {
            let (is_named, next) = named(at, element);
            let member = entry.member || (is_named && !entry.below.is_empty());
            (element.clone(), Entry { member, below: entry.below.with_named_parents(next, named) })
        });
        Set { entries: entries.collect() }
    }

    /// FieldsV1 in upstream's canonical form: sorted, `.` for a member that has members below it.
    pub fn to_fields_v1(&self) -> Value {
        Value::Object(self.fields(false))
    }

    fn fields(&self, member: bool) -> Map<String, Value> {
        let mut map = Map::with_capacity(self.entries.len() + usize::from(member));
        if member && !self.entries.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (element, entry) in &self.entries {
            map.insert(element.to_text(), Value::Object(entry.below.fields(entry.member)));
        }
        map
    }

    /// Reads FieldsV1; the error is a sentence.
    pub fn from_fields_v1(value: &Value) -> Result<Set, String> {
        let Value::Object(map) = value else { return Err(format!("fieldsV1: {value} is not an object")) };
        let mut entries = BTreeMap::new();
        for (text, below) in map.iter().filter(|(text, _)| *text != ".") {
            let member = below.as_object().is_some_and(|below| below.is_empty() || below.contains_key("."));
            let entry = Entry { member, below: Set::from_fields_v1(below)? };
            if !entry.is_empty() {
                entries.insert(Element::from_text(text)?, entry);
            }
        }
        Ok(Set { entries })
    }
}

impl FromIterator<Vec<Element>> for Set {
    fn from_iter<I: IntoIterator<Item = Vec<Element>>>(paths: I) -> Self {
        let mut set = Set::default();
        for path in paths {
            set.insert(&path);
        }
        set
    }
}
