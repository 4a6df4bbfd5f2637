//! A local copy of a set of objects that follows the server.
//!
//! What is kept need not be the whole object: a follower of every pod of a cluster says what it reads of them
//! ([`Informer::start_keeping`]), and the rest is dropped as it arrives.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::StreamExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::identity::{Followed, IdentityRef, ObjectKey};

/// What happened to one object, seen after the informer's own copy has changed.
#[derive(Clone, Debug)]
pub enum Change<K> {
    Applied { old: Option<Arc<K>>, new: Arc<K> },
    Deleted(Arc<K>),
}

impl<K: Followed> Change<K> {
    /// The object after the change; before it, for a deletion.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Change::Applied { new, .. } => new,
            Change::Deleted(old) => old,
        }
    }

    pub fn key(&self) -> ObjectKey {
        self.object().identity().key()
    }
}

/// The copy. Clones share it; the one writer is the task that [`Informer::start`] spawns.
pub struct Informer<K> {
    objects: Arc<RwLock<BTreeMap<ObjectKey, Arc<K>>>>,
    synced: watch::Receiver<bool>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { objects: self.objects.clone(), synced: self.synced.clone() }
    }
}

impl<K> Informer<K>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + Sync + 'static,
{
    /// As [`Informer::start_keeping`], keeping whole objects.
    pub fn start(
        api: Api<K>,
        config: watcher::Config,
        shutdown: CancellationToken,
        on_change: impl FnMut(Change<K>) + Send + 'static,
    ) -> Self {
        Self::start_keeping(api, config, shutdown, |object| object, on_change)
    }
}

impl<V: Followed> Informer<V> {
    /// Lists and watches until `shutdown`, keeping of each object what `keep` makes of it.
    ///
    /// `on_change` is called from the informer's task, once for each change and in order, also for what a fresh list after
    /// a gap shows to have changed or vanished; it must not block.
    pub fn start_keeping<K>(
        api: Api<K>,
        config: watcher::Config,
        shutdown: CancellationToken,
        mut keep: impl FnMut(K) -> V + Send + 'static,
        mut on_change: impl FnMut(Change<V>) + Send + 'static,
    ) -> Self
    where
        K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + 'static,
    {
        let objects = Arc::new(RwLock::new(BTreeMap::new()));
        let (synced_tx, synced) = watch::channel(false);
        let informer = Self { objects: objects.clone(), synced };

        tokio::spawn(async move {
            let path = api.resource_url().to_owned();
            let mut events = std::pin::pin!(watcher::watcher(api, config.streaming_lists()).default_backoff());
            // The list in progress; it replaces the copy in one go when it is complete.
            let mut listed: BTreeMap<ObjectKey, Arc<V>> = BTreeMap::new();
            loop {
                let event = tokio::select! {
                    () = shutdown.cancelled() => return,
                    event = events.next() => event,
                };
                let event = event.map(|event| event.map(without_managed_fields));
                match event {
                    None => return,
                    Some(Err(error)) => {
                        tracing::debug!(%path, error = &error as &dyn std::error::Error, "watch interrupted, retrying");
                    }
                    Some(Ok(Event::Init)) => listed.clear(),
                    Some(Ok(Event::InitApply(object))) => {
                        let kept = keep(object);
                        listed.insert(kept.identity().key(), Arc::new(kept));
                    }
                    Some(Ok(Event::InitDone)) => {
                        let old = std::mem::replace(&mut *objects.write(), std::mem::take(&mut listed));
                        let changes = difference(&old, &objects.read());
                        drop(old);
                        changes.into_iter().for_each(&mut on_change);
                        synced_tx.send_replace(true);
                    }
                    Some(Ok(Event::Apply(object))) => {
                        let new = Arc::new(keep(object));
                        let old = objects.write().insert(new.identity().key(), new.clone());
                        replacement(old, new).into_iter().for_each(&mut on_change);
                    }
                    Some(Ok(Event::Delete(object))) => {
                        let gone = keep(object);
                        objects.write().remove(&gone.identity().key());
                        on_change(Change::Deleted(Arc::new(gone)));
                    }
                }
            }
        });
        informer
    }

    /// Waits until the first complete list has been taken in; returns at once afterwards.
    pub async fn synced(&self) {
        // An error means that the task has ended: nothing will change any more, so there is nothing to wait for.
        let _ = self.synced.clone().wait_for(|synced| *synced).await;
    }

    pub fn get(&self, key: &ObjectKey) -> Option<Arc<V>> {
        self.objects.read().get(key).cloned()
    }

    /// All objects in key order.
    pub fn list(&self) -> Vec<Arc<V>> {
        self.objects.read().values().cloned().collect()
    }

    /// The objects of one namespace in name order.
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<V>> {
        let start = ObjectKey::new(namespace, "");
        let objects = self.objects.read();
        objects
            .range(start..)
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, object)| object.clone())
            .collect()
    }
}

/// The owners of fields are as large as many an object, and no reader of a copy asks for them. A write without them
/// leaves them as they are.
fn without_managed_fields<K: Resource>(mut event: Event<K>) -> Event<K> {
    if let Event::Apply(object) | Event::InitApply(object) | Event::Delete(object) = &mut event {
        object.meta_mut().managed_fields = None;
    }
    event
}

/// The changes that lead from one complete list to the next: vanished objects first, then new and changed ones.
fn difference<V: Followed>(old: &BTreeMap<ObjectKey, Arc<V>>, new: &BTreeMap<ObjectKey, Arc<V>>) -> Vec<Change<V>> {
    let same = |a: IdentityRef<'_>, b: IdentityRef<'_>| a.uid == b.uid && a.version == b.version;
    let gone = old.iter().filter(|(key, _)| !new.contains_key(*key)).map(|(_, object)| Change::Deleted(object.clone()));
    let applied = new.iter().flat_map(|(key, object)| match old.get(key) {
        Some(before) if same(before.identity(), object.identity()) => Vec::new(),
        before => replacement(before.cloned(), object.clone()),
    });
    gone.chain(applied).collect()
}

/// An object of the same name but another uid is another object: the old one's end must not go unnoticed.
fn replacement<V: Followed>(old: Option<Arc<V>>, new: Arc<V>) -> Vec<Change<V>> {
    match old {
        Some(old) if old.identity().uid != new.identity().uid => {
            vec![Change::Deleted(old), Change::Applied { old: None, new }]
        }
        old => vec![Change::Applied { old, new }],
    }
}

#[cfg(test)]
mod tests;
