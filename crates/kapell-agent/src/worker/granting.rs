//! Asking for the tokens that the pod's volumes hold, in time.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};

use super::Worker;
use crate::observed::Trouble;
use crate::tokens::{self, Token, Wanted};

/// Between two attempts to replace a token that is still good.
const AGAIN: SignedDuration = SignedDuration::from_secs(10);

impl Worker {
    /// Sees to it that there is a token for each projection, and that we are woken when one has to be replaced.
    pub(super) async fn keep_tokens(&mut self) -> Result<(), Trouble> {
        let wanted = tokens::wanted(&self.pod);
        if wanted.is_empty() {
            return Ok(());
        }
        let now = Timestamp::now();
        if self.tokens.is_empty() {
            self.tokens = tokens::left(&self.pod, &self.dir.join("volumes"), now);
        }
        self.tokens.retain(|kept, _| wanted.contains(kept));
        for wanted in wanted {
            let present = self.tokens.get(&wanted);
            if let Some(token) = present.filter(|token| token.replace_at > now) {
                let due = token.replace_at;
                self.wake(due);
                continue;
            }
            let still_good = present.is_some_and(|token| token.expires > now);
            match self.ask_for_token(&wanted).await {
                Ok(token) => {
                    self.wake(token.replace_at);
                    self.tokens.insert(wanted, token);
                }
                Err(why) if still_good => {
                    tracing::warn!(pod = self.pod.name_any(), why, "token not replaced yet");
                    self.wake(now.saturating_add(AGAIN).unwrap_or(Timestamp::MAX));
                }
                Err(why) => return Err(Trouble::new("FailedMount", format!("cannot get the account's token: {why}"))),
            }
        }
        Ok(())
    }

    async fn ask_for_token(&self, wanted: &Wanted) -> Result<Token, String> {
        let account = self.pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
        let accounts: Api<ServiceAccount> =
            Api::namespaced(self.context.client.clone(), self.pod.namespace().as_deref().unwrap_or("default"));
        let bound = BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(self.pod.name_any()),
            uid: self.pod.uid(),
        };
        let audiences = Some(wanted.audience.clone()).filter(|audience| !audience.is_empty());
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: audiences.into_iter().collect(),
                bound_object_ref: Some(bound),
                expiration_seconds: Some(wanted.seconds),
            },
            ..TokenRequest::default()
        };
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let text = answer.status.map(|status| status.token).unwrap_or_default();
        Token::read(text).ok_or_else(|| "the answer has no token".to_owned())
    }
}
