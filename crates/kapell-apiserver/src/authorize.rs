//! Who may do what: role-based access control with upstream's meaning.
//!
//! Roles and bindings are objects like any other. A task follows them in the store and compiles them into an index, from
//! which each decision is made in memory; a write of a role or binding is answered once the index knows of it, so
//! whoever was given a right has it with the answer. Members of `system:masters` may do everything, whatever the objects say:
//! a wrong binding never locks the administrator out.

pub(crate) mod attributes;
pub(crate) mod defaults;
pub(crate) mod escalation;
pub(crate) mod impersonation;
pub(crate) mod index;
pub(crate) mod rule;

use std::collections::BTreeMap;
use std::sync::Arc;

use kapell_api::status::Status;
use kapell_store::{ReadError, Revision, Store};
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use self::attributes::Action;
use self::index::{Index, Parsed};
use self::rule::Rule;
use crate::auth::Identity;

/// Where roles and bindings live in the store.
pub(crate) const PREFIX: &[u8] = b"/registry/rbac.authorization.k8s.io/";

/// What was decided, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Allowed(Arc<str>),
    /// Nothing allows it; the text says which roles were missing on the way, and is usually empty.
    NoOpinion(String),
}

impl Decision {
    pub(crate) fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allowed(_))
    }
}

/// Decides from memory.
pub(crate) struct Authorizer {
    index: Arc<RwLock<Arc<Index>>>,
    /// How far the index has followed the store; closed when it follows no more.
    reached: watch::Receiver<Revision>,
}

impl Authorizer {
    /// Reads what the store has and follows it until `stopped`.
    pub(crate) async fn start(store: Arc<dyn Store>, stopped: CancellationToken) -> Result<Self, ReadError> {
        let mut follower = Follower { store, objects: BTreeMap::new() };
        let revision = follower.list().await?;
        let index = Arc::new(RwLock::new(Arc::new(Index::compile(follower.objects.values()))));
        let (reporter, reached) = watch::channel(revision);
        let published = index.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = follower.run(&published, &reporter) => {}
            }
        });
        Ok(Self { index, reached })
    }

    /// Returns when decisions know of everything up to `revision`, or when nothing follows the store any more.
    pub(crate) async fn caught_up(&self, revision: Revision) {
        let _ = self.reached.clone().wait_for(|reached| *reached >= revision).await;
    }

    /// Tells of each change of roles and bindings.
    pub(crate) fn changes(&self) -> watch::Receiver<Revision> {
        self.reached.clone()
    }

    pub(crate) fn index(&self) -> Arc<Index> {
        self.index.read().clone()
    }

    pub(crate) fn decide(&self, identity: &Identity, action: &Action<'_>) -> Decision {
        if identity.is_master() {
            return Decision::Allowed(Arc::from(""));
        }
        self.index().decide(identity, action)
    }

    /// 403 with the reason, unless it is allowed.
    pub(crate) fn require(&self, identity: &Identity, action: &Action<'_>) -> Result<Arc<str>, Status> {
        match self.decide(identity, action) {
            Decision::Allowed(why) => Ok(why),
            Decision::NoOpinion(why) => Err(action.forbidden(&identity.user, &why)),
        }
    }

    /// Everything that somebody may do in a namespace (`None`: cluster-wide only).
    pub(crate) fn rules(&self, identity: &Identity, namespace: Option<&str>) -> Vec<Rule> {
        let mut rules: Vec<Rule> = self.index().rules(identity, namespace);
        if identity.is_master() {
            rules.extend(Rule::everything());
        }
        rules
    }
}

/// Keeps the parsed objects as the store has them.
struct Follower {
    store: Arc<dyn Store>,
    objects: BTreeMap<Vec<u8>, Parsed>,
}

impl Follower {
    async fn list(&mut self) -> Result<Revision, ReadError> {
        let page = self.store.list(PREFIX, None, 0, None).await?;
        self.objects.clear();
        for entry in &page.entries {
            self.put(&entry.key, Some(&entry.value));
        }
        Ok(page.revision)
    }

    fn put(&mut self, key: &[u8], value: Option<&[u8]>) {
        match value.and_then(Parsed::read) {
            Some(parsed) => drop(self.objects.insert(key.to_vec(), parsed)),
            None => drop(self.objects.remove(key)),
        }
    }

    async fn run(&mut self, published: &RwLock<Arc<Index>>, reporter: &watch::Sender<Revision>) {
        loop {
            match self.follow(published, reporter).await {
                // Fallen behind the store's history: begin again with what there is.
                ReadError::Compacted { .. } | ReadError::Future { .. } => {
                    if let Ok(revision) = self.list().await {
                        *published.write() = Arc::new(Index::compile(self.objects.values()));
                        reporter.send_replace(revision);
                    }
                }
                error @ ReadError::Backend(_) => {
                    tracing::error!(%error, "roles and bindings cannot be followed: decisions stay as they are");
                    return;
                }
            }
        }
    }

    /// Applies changes until the store refuses.
    async fn follow(&mut self, published: &RwLock<Arc<Index>>, reporter: &watch::Sender<Revision>) -> ReadError {
        let from = *reporter.borrow();
        let mut watch = match self.store.watch(PREFIX, from) {
            Ok(watch) => watch,
            Err(error) => return error,
        };
        loop {
            let changes = match watch.next().await {
                Ok(changes) => changes,
                Err(error) => return error,
            };
            for change in &changes {
                self.put(&change.key, change.entry.as_ref().map(|entry| entry.value.as_ref()));
            }
            *published.write() = Arc::new(Index::compile(self.objects.values()));
            reporter.send_replace(watch.revision());
        }
    }
}

#[cfg(test)]
mod tests;
