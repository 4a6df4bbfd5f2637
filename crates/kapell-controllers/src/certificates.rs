//! CertificateSigningRequests for clients of the API server: what was approved is signed, what is old is deleted.
//!
//! Whoever approves is a person, or a controller of somebody's own. Requests to other signers are left to those.

mod plan;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kapell_client::reconcile::Next;
use kapell_client::{Informer, ObjectKey};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};

use self::plan::Action;

/// The authority that signs certificates of clients; whose it is, is not ours to know.
pub trait ClientSigner: Send + Sync + fmt::Debug {
    /// The certificate (PEM) for a request (PEM), or why there is none.
    ///
    /// # Errors
    /// A sentence for the requester.
    fn sign(&self, request: &[u8], encipherment: bool, from: Timestamp, until: Timestamp) -> Result<String, String>;
}

#[derive(Clone)]
pub(crate) struct Certificates {
    pub(crate) client: Client,
    pub(crate) requests: Informer<CertificateSigningRequest>,
    pub(crate) signer: Arc<dyn ClientSigner>,
}

impl Certificates {
    pub(crate) async fn reconcile(self, key: ObjectKey) -> Result<Next, kube::Error> {
        let Some(request) = self.requests.get(&key) else { return Ok(Next::OnChange) };
        let now = Timestamp::now();
        let (action, look_again) = plan::plan(&request, now);
        let api: Api<CertificateSigningRequest> = Api::all(self.client.clone());
        let result = match action {
            Action::Nothing => Ok(()),
            Action::Sign { encipherment, from, until } => {
                match self.signer.sign(&request.spec.request.0, encipherment, from, until) {
                    Ok(pem) => {
                        let mut signed = request.as_ref().clone();
                        signed.status.get_or_insert_default().certificate = Some(ByteString(pem.into_bytes()));
                        api.replace_status(&key.name, &PostParams::default(), &signed).await.map(drop)
                    }
                    Err(why) => fail(&api, &request, "SigningError", why, now).await,
                }
            }
            Action::Fail(why) => fail(&api, &request, "SignerValidationFailure", why, now).await,
            Action::Delete => {
                let only = Preconditions { uid: request.uid(), resource_version: request.resource_version() };
                api.delete(&key.name, &DeleteParams::default().preconditions(only)).await.map(drop)
            }
        };
        match result {
            // Changed or gone meanwhile: its change brings us back.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(Next::OnChange),
            other => other.map(|()| look_again.map_or(Next::OnChange, Next::After)),
        }
    }
}

async fn fail(
    api: &Api<CertificateSigningRequest>,
    request: &CertificateSigningRequest,
    reason: &str,
    message: String,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let mut failed = request.clone();
    let condition = CertificateSigningRequestCondition {
        type_: "Failed".to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    };
    failed.status.get_or_insert_default().conditions.get_or_insert_default().push(condition);
    api.replace_status(&request.name_any(), &PostParams::default(), &failed).await.map(drop)
}
