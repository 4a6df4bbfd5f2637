//! Which object something is: its place, its uid, and the version in which it was read.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt as _};

use crate::Interner;

/// Namespace (empty for cluster-scoped kinds) and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    pub namespace: String,
    pub name: String,
}

impl ObjectKey {
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    pub fn of<K: Resource>(object: &K) -> Self {
        Self::new(object.meta().namespace.clone().unwrap_or_default(), object.name_any())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// The identity of an object of which a follower keeps only a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Empty for objects outside namespaces; one text for all objects of a namespace.
    pub namespace: Arc<str>,
    pub name: Box<str>,
    /// A later object of the same name has another one.
    pub uid: Arc<str>,
    /// The `resourceVersion`.
    pub version: Box<str>,
}

impl Identity {
    pub fn of(meta: &ObjectMeta, namespaces: &mut Interner<str>) -> Self {
        let IdentityRef { namespace, name, uid, version } = IdentityRef::of(meta);
        Self { namespace: namespaces.text(namespace), name: name.into(), uid: uid.into(), version: version.into() }
    }

    pub fn borrowed(&self) -> IdentityRef<'_> {
        IdentityRef { namespace: &self.namespace, name: &self.name, uid: &self.uid, version: &self.version }
    }

    pub fn key(&self) -> ObjectKey {
        self.borrowed().key()
    }

    /// The names alone: this object in any version, and no later one of its name.
    pub fn metadata(&self) -> ObjectMeta {
        ObjectMeta {
            name: Some(self.name.to_string()),
            namespace: Some(self.namespace.to_string()),
            uid: Some(self.uid.to_string()),
            ..ObjectMeta::default()
        }
    }

    /// The object by its names alone, as events mean it.
    pub fn reference<K: Resource + Default>(&self) -> K {
        let mut object = K::default();
        *object.meta_mut() = self.metadata();
        object
    }
}

/// The same, borrowed from an object or from what is kept of it.
#[derive(Clone, Copy, Debug)]
pub struct IdentityRef<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    pub version: &'a str,
}

impl<'a> IdentityRef<'a> {
    fn of(meta: &'a ObjectMeta) -> Self {
        fn text(field: &Option<String>) -> &str {
            field.as_deref().unwrap_or_default()
        }
        Self {
            namespace: text(&meta.namespace),
            name: text(&meta.name),
            uid: text(&meta.uid),
            version: text(&meta.resource_version),
        }
    }

    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.namespace, self.name)
    }
}

/// An object, or what a follower keeps of one.
pub trait Followed: Send + Sync + 'static {
    fn identity(&self) -> IdentityRef<'_>;
}

impl<K: Resource + Send + Sync + 'static> Followed for K {
    fn identity(&self) -> IdentityRef<'_> {
        IdentityRef::of(self.meta())
    }
}
