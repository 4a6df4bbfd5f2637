//! HTTP digest access authentication (RFC 7616): the answer to a server's challenge.

use md5::Md5;
use sha2::{Digest as _, Sha256};

use super::CredentialsError;

/// What is to be proved, and for which request.
pub(crate) struct Login<'l> {
    pub(crate) username: &'l str,
    pub(crate) password: &'l str,
    pub(crate) method: &'l str,
    /// Path and query, as they are sent.
    pub(crate) target: &'l str,
    /// A text that nobody can foresee.
    pub(crate) cnonce: &'l str,
}

#[derive(Clone, Copy)]
enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    fn hash(self, text: &str) -> String {
        match self {
            Algorithm::Md5 => hex::encode(Md5::digest(text)),
            Algorithm::Sha256 => hex::encode(Sha256::digest(text)),
        }
    }
}

/// The header `Authorization` for the best of the challenges in `WWW-Authenticate` headers.
///
/// # Errors
/// When none of them is a digest challenge that is supported.
pub(crate) fn answer<'c>(
    challenges: impl Iterator<Item = &'c str>,
    login: &Login<'_>,
) -> Result<String, CredentialsError> {
    let mut chosen: Option<(Challenge, Algorithm, bool)> = None;
    for challenge in challenges.filter_map(Challenge::parse) {
        let Some((algorithm, session)) = challenge.algorithm() else { continue };
        let better = matches!((&chosen, algorithm), (None, _) | (Some((_, Algorithm::Md5, _)), Algorithm::Sha256));
        if better && challenge.offers_auth() {
            chosen = Some((challenge, algorithm, session));
        }
    }
    let none = "the service offers no digest authentication with MD5 or SHA-256 and `auth`";
    let (challenge, algorithm, session) = chosen.ok_or_else(|| CredentialsError::Invalid(none.to_owned()))?;
    Ok(respond(&challenge, algorithm, session, login))
}

fn respond(challenge: &Challenge, algorithm: Algorithm, session: bool, login: &Login<'_>) -> String {
    const COUNT: &str = "00000001";
    let Login { username, password, method, target, cnonce } = login;
    let hash = |text: String| algorithm.hash(&text);
    let (realm, nonce) = (challenge.get("realm").unwrap_or_default(), challenge.get("nonce").unwrap_or_default());
    let mut secret = hash(format!("{username}:{realm}:{password}"));
    if session {
        secret = hash(format!("{secret}:{nonce}:{cnonce}"));
    }
    let request = hash(format!("{method}:{target}"));
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut header = format!(
        "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{target}\"",
        quoted(username),
        quoted(realm),
        quoted(nonce)
    );
    if challenge.get("qop").is_some() {
        let response = hash(format!("{secret}:{nonce}:{COUNT}:{cnonce}:auth:{request}"));
        header.push_str(&format!(", qop=auth, nc={COUNT}, cnonce=\"{cnonce}\", response=\"{response}\""));
    } else {
        header.push_str(&format!(", response=\"{}\"", hash(format!("{secret}:{nonce}:{request}"))));
    }
    if let Some(opaque) = challenge.get("opaque") {
        header.push_str(&format!(", opaque=\"{}\"", quoted(opaque)));
    }
    if let Some(algorithm) = challenge.get("algorithm") {
        header.push_str(&format!(", algorithm={algorithm}"));
    }
    header
}

/// The parameters of one `Digest …` challenge.
struct Challenge(Vec<(String, String)>);

impl Challenge {
    fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let mut parameters = Vec::new();
        let mut rest = rest.trim();
        while let Some((name, after)) = rest.split_once('=') {
            let (value, after) = match after.trim_start().strip_prefix('"') {
                Some(quoted) => unquoted(quoted),
                None => after.split_once(',').map_or((after.trim().to_owned(), ""), |(v, a)| (v.trim().to_owned(), a)),
            };
            parameters.push((name.trim_matches([' ', ',']).to_ascii_lowercase(), value));
            rest = after.trim_start_matches([' ', ',']);
        }
        Some(Self(parameters))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// And whether it is the variant with a session.
    fn algorithm(&self) -> Option<(Algorithm, bool)> {
        let name = self.get("algorithm").unwrap_or("MD5").to_ascii_uppercase();
        let (name, session) = name.strip_suffix("-SESS").map_or((name.as_str(), false), |name| (name, true));
        match name {
            "MD5" => Some((Algorithm::Md5, session)),
            "SHA-256" => Some((Algorithm::Sha256, session)),
            _ => None,
        }
    }

    fn offers_auth(&self) -> bool {
        self.get("qop").is_none_or(|qop| qop.split(',').any(|offer| offer.trim() == "auth"))
    }
}

/// The text up to the closing quote, and what follows.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}
