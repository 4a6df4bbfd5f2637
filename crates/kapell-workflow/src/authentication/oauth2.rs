//! OAuth 2.0 (RFC 6749, 7521, 7523, 8693) and OpenID Connect discovery, for machines: which request asks for a token, and
//! what its answer says.
//!
//! The DSL's `oauth2` has no member for an authorization code or a refresh token; with these grants both are taken
//! from `subject.token`.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::{hmac, rand::SystemRandom, rsa, signature};
use serde::Deserialize;
use serde_json::{Value, json};

use super::CredentialsError;

/// A token without a lifetime is asked for again after this.
pub(crate) const DEFAULT_LIFETIME: u64 = 60;
/// A token is not used in the last seconds of its life, which it may spend under way.
const MARGIN: u64 = 10;
/// How long a signed assertion is good for, in seconds.
const ASSERTION_LIFETIME: u64 = 60;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
pub(crate) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const FORM: &str = "application/x-www-form-urlencoded";

/// The policy, as the schema has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    authority: Option<String>,
    endpoints: Endpoints,
    grant: Option<String>,
    client: Client,
    request: Request,
    issuers: List,
    scopes: List,
    audiences: List,
    username: Option<String>,
    password: Option<String>,
    subject: Option<Token>,
    actor: Option<Token>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Endpoints {
    token: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Client {
    id: Option<String>,
    secret: Option<String>,
    assertion: Option<String>,
    authentication: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Request {
    encoding: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Token {
    token: String,
    #[serde(rename = "type", default)]
    kind: String,
}

/// A list; in a Secret, where values are texts, its items stand behind each other with spaces or commas.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Value")]
struct List(Vec<String>);

impl From<Value> for List {
    fn from(value: Value) -> Self {
        Self(match value {
            Value::Array(items) => items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect(),
            Value::String(text) => text.split([' ', ',']).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
            _ => Vec::new(),
        })
    }
}

/// The request for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenRequest {
    pub(crate) url: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

/// A token as it was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) token: String,
    /// Seconds for which it may be used.
    pub(crate) lifetime: u64,
}

impl Settings {
    pub(crate) fn read(settings: &Value) -> Result<Self, CredentialsError> {
        let settings: Self = serde_json::from_value(settings.clone())
            .map_err(|error| CredentialsError::Invalid(format!("the policy cannot be read: {error}")))?;
        settings.authority.as_ref().ok_or(CredentialsError::Missing("authority"))?;
        Ok(settings)
    }

    fn authority(&self) -> &str {
        self.authority.as_deref().unwrap_or_default().trim_end_matches('/')
    }

    /// Where the token endpoint is without being asked for.
    pub(crate) fn token_endpoint(&self) -> String {
        let path = self.endpoints.token.as_deref().unwrap_or("/oauth2/token");
        if path.contains("://") {
            return path.to_owned();
        }
        format!("{}/{}", self.authority(), path.trim_start_matches('/'))
    }

    /// Where an OpenID provider says where its endpoints are.
    pub(crate) fn discovery(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.authority())
    }

    /// The request for a token. `now` is in seconds since the epoch; `id` a text that is never used again.
    pub(crate) fn request(&self, endpoint: &str, now: u64, id: &str) -> Result<TokenRequest, CredentialsError> {
        let mut body: Vec<(&str, String)> = Vec::new();
        let grant = self.grant.as_deref().unwrap_or("client_credentials");
        body.push(("grant_type", grant.to_owned()));
        self.proof(grant, &mut body)?;
        if !self.scopes.0.is_empty() {
            body.push(("scope", self.scopes.0.join(" ")));
        }
        body.extend(self.audiences.0.iter().map(|audience| ("audience", audience.clone())));
        let mut headers = vec![("accept", "application/json".to_owned())];
        self.client(endpoint, now, id, &mut body, &mut headers)?;
        let encoding = self.request.encoding.as_deref().unwrap_or(FORM);
        let body = match encoding {
            FORM => {
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                form.extend_pairs(&body);
                form.finish()
            }
            "application/json" => json_body(&body).to_string(),
            other => return Err(CredentialsError::Invalid(format!("there is no encoding {other}"))),
        };
        headers.push(("content-type", encoding.to_owned()));
        Ok(TokenRequest { url: endpoint.to_owned(), headers, body })
    }

    /// What the grant asks for.
    fn proof(&self, grant: &str, body: &mut Vec<(&str, String)>) -> Result<(), CredentialsError> {
        let subject = || self.subject.as_ref().ok_or(CredentialsError::Missing("subject"));
        match grant {
            "client_credentials" => {}
            "password" => {
                body.push(("username", self.username.clone().ok_or(CredentialsError::Missing("username"))?));
                body.push(("password", self.password.clone().ok_or(CredentialsError::Missing("password"))?));
            }
            "refresh_token" => body.push(("refresh_token", subject()?.token.clone())),
            "authorization_code" => body.push(("code", subject()?.token.clone())),
            TOKEN_EXCHANGE => {
                body.push(("subject_token", subject()?.token.clone()));
                body.push(("subject_token_type", subject()?.kind.clone()));
                if let Some(actor) = &self.actor {
                    body.push(("actor_token", actor.token.clone()));
                    body.push(("actor_token_type", actor.kind.clone()));
                }
            }
            other => return Err(CredentialsError::Invalid(format!("there is no grant {other}"))),
        }
        Ok(())
    }

    /// How the client says who it is.
    fn client(
        &self,
        endpoint: &str,
        now: u64,
        id: &str,
        body: &mut Vec<(&str, String)>,
        headers: &mut Vec<(&'static str, String)>,
    ) -> Result<(), CredentialsError> {
        let client = self.client.id.clone().ok_or(CredentialsError::Missing("client.id"))?;
        let secret = || self.client.secret.clone().ok_or(CredentialsError::Missing("client.secret"));
        match self.client.authentication.as_deref().unwrap_or("client_secret_post") {
            "client_secret_basic" => {
                let part = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let pair = STANDARD.encode(format!("{}:{}", part(&client), part(&secret()?)));
                headers.push(("authorization", format!("Basic {pair}")));
            }
            "client_secret_post" => {
                body.push(("client_id", client));
                // A public client has none, and says only who it is.
                body.extend(self.client.secret.clone().map(|secret| ("client_secret", secret)));
            }
            method @ ("client_secret_jwt" | "private_key_jwt") => {
                let assertion = match &self.client.assertion {
                    Some(assertion) => assertion.clone(),
                    None => signed(method == "private_key_jwt", &secret()?, &client, endpoint, now, id)?,
                };
                body.push(("client_id", client));
                body.push(("client_assertion_type", ASSERTION_TYPE.to_owned()));
                body.push(("client_assertion", assertion));
            }
            "none" => body.push(("client_id", client)),
            other => return Err(CredentialsError::Invalid(format!("there is no client authentication {other}"))),
        }
        Ok(())
    }

    /// What the answer to a request for a token says.
    pub(crate) fn granted(&self, status: u16, body: &[u8]) -> Result<Granted, CredentialsError> {
        let invalid = |what: String| CredentialsError::Invalid(what);
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        if !(200..300).contains(&status) {
            let said = |key: &str| answer.get(key).and_then(Value::as_str).map(|text| format!(": {text}"));
            let said = said("error_description").or_else(|| said("error")).unwrap_or_default();
            let said: String = said.chars().take(200).collect();
            return Err(invalid(format!("the token endpoint answered {status}{said}")));
        }
        let token = answer.get("access_token").and_then(Value::as_str);
        let token = token.ok_or_else(|| invalid("the token endpoint's answer has no access_token".to_owned()))?;
        super::fits_header(token)?;
        self.check_issuer(token)?;
        let lifetime = answer.get("expires_in").and_then(|n| n.as_u64().or_else(|| n.as_str()?.parse().ok()));
        let lifetime = lifetime.unwrap_or(DEFAULT_LIFETIME).saturating_sub(MARGIN);
        Ok(Granted { token: token.to_owned(), lifetime })
    }

    /// Where issuers are given, the token has to be of one of them.
    fn check_issuer(&self, token: &str) -> Result<(), CredentialsError> {
        if self.issuers.0.is_empty() {
            return Ok(());
        }
        let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
        let claims: Option<Value> = claims.and_then(|claims| serde_json::from_slice(&claims).ok());
        let issuer = claims.as_ref().and_then(|claims| claims.get("iss")?.as_str());
        match issuer {
            Some(issuer) if self.issuers.0.iter().any(|known| known == issuer) => Ok(()),
            Some(issuer) => {
                Err(CredentialsError::Invalid(format!("the token is of {issuer}, which is not in `issuers`")))
            }
            None => Err(CredentialsError::Invalid("the token does not say of which issuer it is".to_owned())),
        }
    }
}

/// Names that occur more than once become lists.
fn json_body(pairs: &[(&str, String)]) -> Value {
    let mut body = serde_json::Map::new();
    for (name, value) in pairs {
        match body.get_mut(*name) {
            None => drop(body.insert((*name).to_owned(), json!(value))),
            Some(Value::Array(items)) => items.push(json!(value)),
            Some(other) => *other = json!([other.take(), value]),
        }
    }
    Value::Object(body)
}

/// The token endpoint that a discovery document names.
pub(crate) fn discovered(status: u16, body: &[u8]) -> Result<String, CredentialsError> {
    if !(200..300).contains(&status) {
        return Err(CredentialsError::Invalid(format!("the OpenID provider's configuration answered {status}")));
    }
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let endpoint = document.get("token_endpoint").and_then(Value::as_str).map(str::to_owned);
    endpoint.ok_or_else(|| {
        CredentialsError::Invalid("the OpenID provider's configuration has no token_endpoint".to_owned())
    })
}

/// A JSON Web Token that says who the client is (RFC 7523): HS256 with its secret, or RS256 with a private key in
/// PKCS#8 PEM.
fn signed(
    private_key: bool,
    secret: &str,
    client: &str,
    audience: &str,
    now: u64,
    id: &str,
) -> Result<String, CredentialsError> {
    let algorithm = if private_key { "RS256" } else { "HS256" };
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({
        "iss": client, "sub": client, "aud": audience, "jti": id, "iat": now, "exp": now + ASSERTION_LIFETIME,
    });
    let message = format!("{}.{}", part(json!({ "alg": algorithm, "typ": "JWT" })), part(claims));
    let signature = if private_key {
        let unusable =
            |why: String| CredentialsError::Invalid(format!("client.secret is not a private key in PKCS#8 PEM: {why}"));
        let lines: String = secret.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
        let key = STANDARD.decode(lines).map_err(|error| unusable(error.to_string()))?;
        let key = rsa::KeyPair::from_pkcs8(&key).map_err(|error| unusable(error.to_string()))?;
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
            .map_err(|error| unusable(error.to_string()))?;
        signature
    } else {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), message.as_bytes()).as_ref().to_vec()
    };
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
