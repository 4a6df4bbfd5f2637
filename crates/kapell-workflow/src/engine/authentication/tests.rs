//! Tokens that endpoints grant late, or never.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use kapell_store::memory::MemoryStore;
use parking_lot::Mutex;
use serde_json::json;

use super::proof;
use crate::authentication::{Credentials, Scheme};
use crate::core::exchange::Unanswered;
use crate::core::record::Request;
use crate::engine::exchange::answer;
use crate::engine::secrets::Given;
use crate::engine::{CallFailure, Config, ServiceCaller, Shared};
use crate::expression::Datum;
use crate::secrets::Disclosure;

/// The authority `dead` never answers, `rude` repeats what it was sent, with the secret where the text is cut; others
/// grant.
#[derive(Default)]
struct Authorities {
    asked: Mutex<Vec<String>>,
}

impl Authorities {
    fn count(&self, host: &str) -> usize {
        self.asked.lock().iter().filter(|asked| *asked == host).count()
    }
}

#[async_trait]
impl ServiceCaller for Authorities {
    async fn call(
        &self,
        _namespace: &str,
        request: http::Request<Bytes>,
        _deadline: Option<Instant>,
    ) -> Result<http::Response<Bytes>, CallFailure> {
        let host = request.uri().host().unwrap().to_owned();
        self.asked.lock().push(host.clone());
        let response = http::Response::builder();
        match host.as_str() {
            "dead" => std::future::pending().await,
            "rude" => {
                let said = json!({ "error": "no", "error_description": format!("{:130}{}", "", String::from_utf8_lossy(request.body())) });
                Ok(response.status(400).body(said.to_string().into()).unwrap())
            }
            _ => Ok(response.body(json!({ "access_token": "t", "token_type": "Bearer" }).to_string().into()).unwrap()),
        }
    }
}

fn shared(caller: Arc<Authorities>) -> Arc<Shared> {
    Shared::new(Config::default(), Arc::new(MemoryStore::new()), caller, Arc::new(Given::default())).0
}

fn request(authority: &str) -> Request {
    let client = json!({ "id": "me", "secret": "swordfish-long-enough", "authentication": "client_secret_post" });
    let settings =
        json!({ "authority": format!("http://{authority}"), "grant": "client_credentials", "client": client });
    let settings = Datum::from_json(&settings).unwrap();
    let authentication = Some(Box::new(Credentials { scheme: Scheme::OAuth2, settings }));
    Request { method: "GET".to_owned(), uri: "http://service/".to_owned(), authentication, ..Request::default() }
}

async fn token(shared: &Arc<Shared>, authority: &str) -> Result<Option<String>, Unanswered> {
    let deadline = Instant::now() + shared.config.call_limit;
    let mut disclosure = Disclosure::new("");
    let proof = proof(shared, "default", &request(authority), &mut disclosure, deadline).await;
    proof.map(|proof| proof.header().map(str::to_owned))
}

#[tokio::test(start_paused = true)]
async fn a_dead_authority_keeps_nobody_elses_tokens_and_is_given_up_soon() {
    let authorities = Arc::new(Authorities::default());
    let shared = shared(authorities.clone());
    let begun = tokio::time::Instant::now();
    let dead = tokio::spawn({
        let shared = shared.clone();
        async move { futures::future::join_all((0..100).map(|_| token(&shared, "dead"))).await }
    });
    while authorities.count("dead") == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(token(&shared, "alive").await, Ok(Some("Bearer t".to_owned())));
    assert!(!dead.is_finished());
    for failed in dead.await.unwrap() {
        let Err(Unanswered::Unauthenticated(why)) = failed else { panic!("{failed:?}") };
        assert!(why.ends_with("no answer within 30 s"), "{why}");
    }
    assert!(begun.elapsed().as_secs() < 60, "all of them learn of it together: {:?}", begun.elapsed());
    assert_eq!(authorities.count("dead"), 1);
}

#[tokio::test]
async fn a_token_is_asked_for_once() {
    let authorities = Arc::new(Authorities::default());
    let shared = shared(authorities.clone());
    let tokens = futures::future::join_all((0..100).map(|_| token(&shared, "alive"))).await;
    assert!(tokens.iter().all(|token| *token == Ok(Some("Bearer t".to_owned()))), "{tokens:?}");
    assert_eq!(token(&shared, "alive").await, Ok(Some("Bearer t".to_owned())));
    assert_eq!(authorities.count("alive"), 1);
}

#[tokio::test]
async fn what_an_authority_says_carries_no_secret() {
    let caller = Arc::new(Authorities::default());
    let keys = [("secret".to_owned(), "swordfish-long-enough".to_owned())].into();
    let secrets = Given([("client".to_owned(), keys)].into());
    let shared = Shared::new(Config::default(), Arc::new(MemoryStore::new()), caller, Arc::new(secrets)).0;
    let sealed = crate::secrets::Sealed::new([("client".to_owned(), vec!["secret".to_owned()])].into());
    let secret = sealed.argument().get("client").and_then(|client| client.get("secret")).cloned().unwrap();
    let mut request = request("rude");
    let mut settings = request.authentication.as_ref().unwrap().settings.to_value();
    settings["client"]["secret"] = secret.to_value();
    request.authentication.as_mut().unwrap().settings = Datum::from_json(&settings).unwrap();
    request.sealed = Some(sealed.nonce);
    let Err(Unanswered::Unauthenticated(why)) = answer(&shared, "default", &request, "key").await else { panic!() };
    assert!(why.contains("client_id=me") && !why.contains("sword"), "{why}");
}
