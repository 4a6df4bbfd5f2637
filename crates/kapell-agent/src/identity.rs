//! As whom a container runs: what its pod and it ask for, held against what this server may do.
//!
//! Pure over [`Powers`] and the host's table of users. Nothing is ever started as somebody else than was asked for: what
//! cannot be granted is an error that names the field.

use k8s_openapi::api::core::v1::{Container, Pod, SecurityContext};
use kapell_api::pod_groups::RESERVED;
use kapell_shim::protocol::Identity;
use rustix::thread::CapabilitySet;

use crate::observed::{containers, init_containers};

/// The group of users that the host does not know: by convention it owns nothing.
const NOBODY: u32 = 65_534;

/// What is needed to start something as another user, in directories that belong to that user, and to end it.
const TO_BECOME_OTHERS: CapabilitySet = CapabilitySet::SETUID
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::KILL);

/// What container runtimes leave to a container that is not privileged (the default of containerd and CRI-O).
const UNPRIVILEGED: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum IdentityError {
    #[error(
        "{field}: {id} is not the server's own, which runs as user {user} and may not start anything as somebody else; run the \
         server as root (with CAP_SETUID, CAP_SETGID, CAP_CHOWN, CAP_FOWNER, CAP_DAC_OVERRIDE and CAP_KILL), or leave the field out"
    )]
    NotOurs { field: String, id: u32, user: u32 },
    #[error(
        "{field}: group {id} cannot be asked for: those from {} to {} are servers' and pods' own; choose another",
        RESERVED.start(), RESERVED.end()
    )]
    Reserved { field: String, id: u32 },
    /// In the kubelet's words.
    #[error("container's runAsUser breaks non-root policy (pod: \"{pod}\", container: {container})")]
    BreaksNonRoot { pod: String, container: String },
    #[error(
        "container has runAsNonRoot and would run as the server's user, which is root; set runAsUser (pod: \"{pod}\", container: \
         {container})"
    )]
    ServerIsRoot { pod: String, container: String },
    #[error("securityContext.capabilities of container {container}: there is no capability \"{name}\"")]
    NoSuchCapability { container: String, name: String },
}

/// As whom this server runs, and whether it may start something as somebody else.
#[derive(Clone, Debug)]
pub(crate) struct Powers {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) capabilities: CapabilitySet,
}

impl Powers {
    pub(crate) fn ours() -> Self {
        let groups = rustix::process::getgroups().unwrap_or_default();
        let capabilities = rustix::thread::capabilities(None).map(|sets| sets.effective);
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            groups: groups.into_iter().map(|gid| gid.as_raw()).collect(),
            capabilities: capabilities.unwrap_or(CapabilitySet::empty()),
        }
    }

    fn become_others(&self) -> bool {
        self.capabilities.contains(TO_BECOME_OTHERS)
    }

    fn has_group(&self, gid: u32) -> bool {
        gid == self.gid || self.groups.contains(&gid)
    }
}

/// Who a container is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) identity: Identity,
    /// Of somebody else than the server's user; one that the host does not know has no name.
    pub(crate) account: Option<Account>,
}

/// A line of the host's table of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: Option<String>,
    pub(crate) home: String,
    gid: u32,
}

impl Account {
    /// From `/etc/passwd`. Whom it does not know has `/` for a home, as in a container.
    fn find(passwd: &str, uid: u32) -> Self {
        let line = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let mut lines = line.filter(|fields| fields.get(2).and_then(|id| id.parse().ok()) == Some(uid));
        let found = lines.next().and_then(|fields| {
            let (name, gid, home) = (fields.first()?, fields.get(3)?.parse().ok()?, fields.get(5)?);
            Some(Self { name: Some((*name).to_owned()), home: (*home).to_owned(), gid })
        });
        found.unwrap_or(Self { name: None, home: "/".to_owned(), gid: NOBODY })
    }
}

/// A number and the field that it comes from.
struct Asked {
    field: String,
    id: u32,
}

impl Asked {
    /// A group of a pod opens its directory; whoever could ask for it would read another pod's volumes.
    fn as_group(&self) -> Result<(), IdentityError> {
        if RESERVED.contains(&self.id) {
            return Err(IdentityError::Reserved { field: self.field.clone(), id: self.id });
        }
        Ok(())
    }
}

/// A field of the container, else of its pod.
fn asked(container: &Container, name: &str, own: Option<i64>, pods: Option<i64>) -> Option<Asked> {
    let of_container = || format!("securityContext.{name} of container {}", container.name);
    let field = if own.is_some() { of_container() } else { format!("spec.securityContext.{name}") };
    let id = u32::try_from(own.or(pods)?).ok()?;
    Some(Asked { field, id })
}

/// Who the container is to be. `access` are the groups that open the way to the pod's directory, and `passwd` is the
/// host's table of users.
pub(crate) fn person(
    pod: &Pod,
    container: &Container,
    powers: &Powers,
    access: &[u32],
    passwd: &str,
) -> Result<Person, IdentityError> {
    let nothing = SecurityContext::default();
    let own = container.security_context.as_ref().unwrap_or(&nothing);
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.clone()).unwrap_or_default();
    let user = asked(container, "runAsUser", own.run_as_user, of_pod.run_as_user);
    let group = asked(container, "runAsGroup", own.run_as_group, of_pod.run_as_group);
    let supplemental = of_pod.supplemental_groups.iter().flatten();
    let mut groups: Vec<Asked> =
        supplemental.filter_map(|id| asked(container, "supplementalGroups", None, Some(*id))).collect();
    groups.extend(asked(container, "fsGroup", None, of_pod.fs_group));
    group.iter().chain(&groups).try_for_each(Asked::as_group)?;

    if own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true) {
        let (pod, container) = (full_name(pod), container.name.clone());
        match &user {
            Some(user) if user.id == 0 => return Err(IdentityError::BreaksNonRoot { pod, container }),
            None if powers.uid == 0 => return Err(IdentityError::ServerIsRoot { pod, container }),
            _ => {}
        }
    }
    let capabilities = capabilities(container, own)?;
    let no_new_privileges = own.allow_privilege_escalation == Some(false)
        // Who may not set the bound of what a program can be given can still forbid to give any.
        || (capabilities.is_some() && !powers.capabilities.contains(CapabilitySet::SETPCAP));
    let mut person =
        Person { identity: Identity { capabilities, no_new_privileges, ..Identity::default() }, account: None };
    let foreign_user = user.filter(|user| user.id != powers.uid);
    let foreign_group = group.as_ref().filter(|group| group.id != powers.gid);
    let strange = groups.iter().find(|group| !powers.has_group(group.id));
    if !powers.become_others() {
        let refused = foreign_user.as_ref().or(foreign_group).or(strange);
        return match refused {
            Some(Asked { field, id }) => {
                Err(IdentityError::NotOurs { field: field.clone(), id: *id, user: powers.uid })
            }
            None => Ok(person),
        };
    }
    let identity = &mut person.identity;
    identity.gid = foreign_group.map(|group| group.id);
    let mut all: Vec<u32> = groups.iter().map(|group| group.id).collect();
    if let Some(user) = foreign_user {
        let account = Account::find(passwd, user.id);
        let its_own = || Asked { field: format!("{} (group of user {})", user.field, user.id), id: account.gid };
        let group = group.unwrap_or_else(its_own);
        group.as_group()?;
        identity.uid = Some(user.id);
        identity.gid = Some(group.id);
        all.extend(access);
        person.account = Some(account);
    }
    if person.identity.uid.is_some() || person.identity.gid.is_some() || !all.is_empty() {
        all.sort_unstable();
        all.dedup();
        person.identity.groups = Some(all);
    }
    Ok(person)
}

/// The capabilities that remain. `None` when neither some are to be dropped nor the container is said to be unprivileged.
fn capabilities(container: &Container, own: &SecurityContext) -> Result<Option<u64>, IdentityError> {
    let asked = own.capabilities.clone().unwrap_or_default();
    let (add, drop) = (asked.add.unwrap_or_default(), asked.drop.unwrap_or_default());
    let unprivileged = own.privileged == Some(false);
    if drop.is_empty() && !unprivileged {
        return Ok(None);
    }
    let named = |name: &String| match name.strip_prefix("CAP_").unwrap_or(name) {
        "ALL" => Ok(CapabilitySet::from_bits_retain(u64::MAX)),
        short => CapabilitySet::from_name(short)
            .ok_or_else(|| IdentityError::NoSuchCapability { container: container.name.clone(), name: name.clone() }),
    };
    let mut kept = if unprivileged { UNPRIVILEGED } else { CapabilitySet::from_bits_retain(u64::MAX) };
    let (all, some): (Vec<&String>, Vec<&String>) = drop.iter().partition(|name| name.as_str() == "ALL");
    if !all.is_empty() {
        kept = CapabilitySet::empty();
    }
    for name in &add {
        kept |= named(name)?;
    }
    for name in some {
        kept = CapabilitySet::from_bits_retain(kept.bits() & !named(name)?.bits());
    }
    Ok(Some(kept.bits()))
}

/// As the kubelet writes it.
fn full_name(pod: &Pod) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let meta = &pod.metadata;
    format!("{}_{}({})", text(&meta.name), text(&meta.namespace), text(&meta.uid))
}

/// To whom a pod's volumes belong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ownership {
    /// Of tokens, when all containers are this one user.
    pub(crate) user: Option<u32>,
    /// `fsGroup`.
    pub(crate) group: Option<u32>,
    /// Tokens are for their owner and group alone.
    pub(crate) private: bool,
}

/// What this server may not give away stays its own; a container that needs it is refused by [`person`].
pub(crate) fn ownership(pod: &Pod, powers: &Powers) -> Ownership {
    let context = pod.spec.as_ref().and_then(|spec| spec.security_context.clone()).unwrap_or_default();
    let user_of = |container: &Container| {
        container.security_context.as_ref().and_then(|own| own.run_as_user).or(context.run_as_user)
    };
    let mut users = init_containers(pod).iter().chain(containers(pod)).map(user_of);
    let first = users.next().flatten();
    let common = first.filter(|first| users.all(|user| user == Some(*first)));
    let number = |id: Option<i64>| id.and_then(|id| u32::try_from(id).ok());
    Ownership {
        user: number(common).filter(|uid| *uid != powers.uid && powers.become_others()),
        group: number(context.fs_group)
            .filter(|gid| !RESERVED.contains(gid) && (powers.become_others() || powers.has_group(*gid))),
        private: common.is_some() || context.fs_group.is_some(),
    }
}

#[cfg(test)]
mod tests;
