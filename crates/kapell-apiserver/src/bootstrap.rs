//! What has to exist before the first client comes: the system's namespaces, an account in each namespace, and the
//! Service through which pods reach this server.
//!
//! Everything goes through the engine like any other write, and finding it there already is the normal case.

use std::io;
use std::net::SocketAddr;

use futures::future::try_join_all;
use futures::try_join;
use http::StatusCode;
use kapell_api::status::Status;
use kapell_store::ReadError;
use serde_json::{Value, json};

use crate::admission::priority;
use crate::auth::{Identity, KeyError};
use crate::authorize::defaults;
use crate::engine::{Engine, Mode, Ownership, SERVER, Target, decode};
use crate::key;

/// Whose the objects are that the server itself needs.
const OWN: Ownership<'static> = Ownership::Changed { by: SERVER, subresource: "" };
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the store cannot be read")]
    Read(#[from] ReadError),
    #[error("the audit log cannot be opened")]
    Audit(#[source] io::Error),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("{what} cannot be made: {message}")]
    Bootstrap { what: &'static str, message: String },
}

fn failed(what: &'static str) -> impl Fn(Status) -> StartError {
    move |status| StartError::Bootstrap { what, message: status.message }
}

impl Engine {
    /// Brings the store to the state that everything else relies on. `advertise` is where this server listens.
    pub(crate) async fn bootstrap(&self, advertise: Option<SocketAddr>) -> Result<(), StartError> {
        self.record_addresses().await?;
        // Side by side, so that they share syncs to disk: a first start waits for two instead of ten.
        let namespaces = NAMESPACES.map(|name| {
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            self.ensure("namespaces", None, object)
        });
        try_join_all(namespaces).await.map_err(failed("a system namespace"))?;
        let names = self.namespace_names().await?;
        let accounts = async {
            let made = try_join_all(names.iter().map(|name| self.ensure_account(name))).await;
            made.map_err(failed("a default service account"))
        };
        let service = async {
            let Some(advertise) = advertise else { return Ok(()) };
            self.ensure_own_service(advertise).await.map_err(failed("the Service kubernetes"))
        };
        try_join!(accounts, service, self.ensure_roles(), self.ensure_classes()).map(|_| ())
    }

    async fn ensure_classes(&self) -> Result<(), StartError> {
        let classes = priority::system_classes();
        let made = classes.map(|class| self.ensure_of("scheduling.k8s.io", "priorityclasses", None, class));
        try_join_all(made).await.map(drop).map_err(failed("a priority class of the system"))
    }

    async fn ensure_roles(&self) -> Result<(), StartError> {
        let all =
            [("clusterroles", defaults::cluster_roles()), ("clusterrolebindings", defaults::cluster_role_bindings())];
        let each = all.into_iter().flat_map(|(plural, list)| list.into_iter().map(move |object| (plural, object)));
        let made = try_join_all(each.map(|(plural, object)| self.ensure_default(plural, object))).await;
        made.map(drop).map_err(failed("a default role"))
    }

    /// Makes a default role or binding, or completes the present one.
    async fn ensure_default(&self, plural: &str, wanted: Value) -> Result<(), Status> {
        let Some(resource) = self.resources.find("rbac.authorization.k8s.io", "v1", plural) else { return Ok(()) };
        let name = crate::engine::name_of(&wanted).to_owned();
        let (by, target) = (Identity::internal(SERVER), Target { resource, namespace: None, name: &name });
        let Some(entry) = self.store.get(&target.key()).await.map_err(crate::engine::read_failed)? else {
            return self.create_object(&by, resource, None, wanted, OWN, false).await.map(drop);
        };
        if defaults::completed(&decode(resource.kind, &entry)?, &wanted).is_none() {
            return Ok(());
        }
        let complete = |old: &Value| Ok((defaults::completed(old, &wanted).unwrap_or_else(|| old.clone()), Vec::new()));
        self.update(&by, target, Mode::Own, OWN, false, complete).await.map(drop)
    }

    async fn record_addresses(&self) -> Result<(), StartError> {
        let (Some(addresses), Some(services)) = (&self.addresses, self.resources.find("", "v1", "services")) else {
            return Ok(());
        };
        let page = self.store.list(key::of_kind(services.kind).as_bytes(), None, 0, None).await?;
        for entry in page.entries {
            addresses.record(&decode(services.kind, &entry).map_err(failed("the list of Services"))?);
        }
        Ok(())
    }

    async fn namespace_names(&self) -> Result<Vec<String>, StartError> {
        let Some(namespaces) = self.resources.find("", "v1", "namespaces") else { return Ok(Vec::new()) };
        let page = self.store.list(key::of_kind(namespaces.kind).as_bytes(), None, 0, None).await?;
        let names = page.entries.iter().filter_map(|entry| key::namespace_and_name(&entry.key));
        Ok(names.map(|(_, name)| name.to_owned()).collect())
    }

    /// The account that pods of a namespace run as when they name none.
    pub(crate) async fn ensure_account(&self, namespace: &str) -> Result<(), Status> {
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace},
        });
        match self.ensure("serviceaccounts", Some(namespace), account).await {
            // The namespace is on its way out.
            Err(status) if status.code == StatusCode::FORBIDDEN.as_u16() => Ok(()),
            other => other,
        }
    }

    async fn ensure(&self, plural: &str, namespace: Option<&str>, object: Value) -> Result<(), Status> {
        self.ensure_of("", plural, namespace, object).await
    }

    async fn ensure_of(&self, group: &str, plural: &str, namespace: Option<&str>, object: Value) -> Result<(), Status> {
        let Some(resource) = self.resources.find(group, "v1", plural) else { return Ok(()) };
        let name = crate::engine::name_of(&object).to_owned();
        let target = Target { resource, namespace, name: &name };
        if self.store.get(&target.key()).await.map_err(crate::engine::read_failed)?.is_some() {
            return Ok(());
        }
        match self.create_object(&Identity::internal(SERVER), resource, namespace, object, OWN, false).await {
            Err(status) if status.code == StatusCode::CONFLICT.as_u16() => Ok(()),
            other => other.map(drop),
        }
    }

    /// The Service and its endpoints; the endpoints follow the address of this run.
    async fn ensure_own_service(&self, advertise: SocketAddr) -> Result<(), Status> {
        let labels = json!({"component": "apiserver", "provider": "kubernetes"});
        let mut spec =
            json!({"ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": advertise.port()}]});
        if let Some(addresses) = &self.addresses {
            spec["clusterIP"] = json!(addresses.first().to_string());
        }
        let metadata = json!({"name": "kubernetes", "namespace": "default", "labels": labels});
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec});
        try_join!(self.ensure("services", Some("default"), service), self.ensure_own_endpoints(advertise)).map(|_| ())
    }

    async fn ensure_own_endpoints(&self, advertise: SocketAddr) -> Result<(), Status> {
        let Some(slices) = self.resources.find("discovery.k8s.io", "v1", "endpointslices") else { return Ok(()) };
        let family = if advertise.is_ipv4() { "IPv4" } else { "IPv6" };
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "kubernetes", "namespace": "default",
                "labels": {"kubernetes.io/service-name": "kubernetes"},
            },
            "addressType": family,
            "endpoints": [{"addresses": [advertise.ip().to_string()], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": advertise.port(), "protocol": "TCP"}],
        });
        let target = Target { resource: slices, namespace: Some("default"), name: "kubernetes" };
        match self.create_object(&Identity::internal(SERVER), slices, target.namespace, slice.clone(), OWN, false).await
        {
            Err(status) if status.code == StatusCode::CONFLICT.as_u16() => {
                let follow = |old: &Value| {
                    let mut new = old.clone();
                    new["endpoints"] = slice["endpoints"].clone();
                    new["ports"] = slice["ports"].clone();
                    Ok((new, Vec::new()))
                };
                self.update(&Identity::internal(SERVER), target, Mode::Own, OWN, false, follow).await.map(drop)
            }
            other => other.map(drop),
        }
    }
}
