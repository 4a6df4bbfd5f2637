//! The server's own certificate authority, its certificate, and the administrator's token.
//!
//! Everything lives below one directory (mode 0700, files 0600) and is reused at the next start: clients keep the CA
//! that their kubeconfig pins. The server's certificate is renewed from the same CA when it comes near its end.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::ToSpan as _;
use jiff::civil::Date;
use rand::TryRngCore as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::auth::{KeyError, ServiceAccountKey};
use crate::tls::{AnyCertificate, Tls};

pub(crate) mod signer;

pub(crate) use self::signer::requested_identity;
pub use self::signer::{ClientSigner, SignError};

const CA_YEARS: i16 = 10;
const SERVER_YEARS: i16 = 1;
/// A certificate that ends sooner than this is renewed at start.
const RENEW_BEFORE_DAYS: i32 = 60;
/// Names under which clients reach the server: on the host, and from pods through the Service `kubernetes`.
const SERVER_NAMES: [&str; 7] = [
    "localhost",
    "127.0.0.1",
    "::1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} does not hold what it should: {detail}. Remove the directory to start with new keys", path.display())]
    Content { path: PathBuf, detail: String },
    #[error("a certificate could not be made")]
    Certificate(#[from] rcgen::Error),
    #[error("the operating system gave no randomness")]
    Randomness(#[source] rand::rand_core::OsError),
}

/// The keys of one server.
pub struct Pki {
    ca_pem: String,
    ca_key_pem: String,
    certificate_pem: String,
    key_pem: String,
    token: String,
    account_key_der: Vec<u8>,
}

impl Pki {
    /// Reads what `directory` (`DATA/pki`) holds and makes what it lacks. `today` decides about renewal;
    /// `extra_names` are further DNS names or addresses for the server's certificate.
    pub fn load_or_create(directory: &Path, today: Date, extra_names: &[String]) -> Result<Self, PkiError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| PkiError::File { path: directory.to_owned(), source })?;
        let token = match read(&directory.join("admin.token"))? {
            Some(token) if token.trim().len() >= 32 => token.trim().to_owned(),
            Some(_) => {
                return Err(PkiError::Content {
                    path: directory.join("admin.token"),
                    detail: "the token is too short".to_owned(),
                });
            }
            None => {
                let token = random_token()?;
                write(&directory.join("admin.token"), &token)?;
                token
            }
        };
        let (ca_pem, ca_key) = load_or_create_ca(directory, today)?;
        let (certificate_pem, key_pem) = load_or_create_server(directory, today, &ca_key, extra_names)?;
        let account_key_der = load_or_create_key(&directory.join("service-accounts.key"))?;
        Ok(Self { ca_pem, ca_key_pem: ca_key.serialize_pem(), certificate_pem, key_pem, token, account_key_der })
    }

    /// The bearer token of the administrator: 256 random bits.
    pub fn admin_token(&self) -> &str {
        &self.token
    }

    /// The CA's certificate, for clients to pin.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The key that signs tokens of ServiceAccounts. A server with other keys refuses them.
    pub fn service_account_key(&self) -> Result<ServiceAccountKey, KeyError> {
        ServiceAccountKey::from_pkcs8(&self.account_key_der)
    }

    /// Signs certificates of clients, with the CA's key.
    pub fn client_signer(&self) -> Result<ClientSigner, PkiError> {
        ClientSigner::new(&self.ca_pem, &self.ca_key_pem)
    }

    /// What [`ApiServer::serve`](crate::ApiServer::serve) listens with.
    pub fn server_config(&self) -> Result<Tls, PkiError> {
        let content = |detail: String| PkiError::Content { path: PathBuf::from("server.crt"), detail };
        let certificate = CertificateDer::from_pem_slice(self.certificate_pem.as_bytes())
            .map_err(|error| content(error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).map_err(|error| content(error.to_string()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        CertificateDer::from_pem_slice(self.ca_pem.as_bytes())
            .map_err(|error| error.to_string())
            .and_then(|ca| roots.add(ca).map_err(|error| error.to_string()))
            .map_err(content)?;
        // A certificate is one way to say who one is: most clients have none and send a token.
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(|error| content(error.to_string()))?;
        let any = Arc::new(AnyCertificate(clients.clone()));
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_client_cert_verifier(any).with_single_cert(vec![certificate], key))
            .map_err(|error| content(error.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Tls::new(Arc::new(config), clients))
    }

    /// A kubeconfig with the CA and the administrator's token inline; `server` is the URL of the API server.
    pub fn kubeconfig(&self, server: &str) -> String {
        let ca = STANDARD.encode(&self.ca_pem);
        let token = &self.token;
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: kapell\n\
             clusters:\n- name: kapell\n  cluster:\n    server: {server}\n    certificate-authority-data: {ca}\n\
             users:\n- name: admin\n  user:\n    token: {token}\n\
             contexts:\n- name: kapell\n  context:\n    cluster: kapell\n    user: admin\n    namespace: default\n"
        )
    }
}

/// A key of its own, in DER.
fn load_or_create_key(path: &Path) -> Result<Vec<u8>, PkiError> {
    if let Some(pem) = read(path)? {
        return Ok(parse_key(path, &pem)?.serialize_der());
    }
    let key = KeyPair::generate()?;
    write(path, &key.serialize_pem())?;
    Ok(key.serialize_der())
}

fn random_token() -> Result<String, PkiError> {
    let mut bytes = [0u8; 32];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(PkiError::Randomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn load_or_create_ca(directory: &Path, today: Date) -> Result<(String, KeyPair), PkiError> {
    let (certificate_path, key_path) = (directory.join("ca.crt"), directory.join("ca.key"));
    match (read(&certificate_path)?, read(&key_path)?) {
        (Some(certificate), Some(key)) => Ok((certificate, parse_key(&key_path, &key)?)),
        (None, None) => {
            let key = KeyPair::generate()?;
            let certificate = ca_params(today)?.self_signed(&key)?.pem();
            write(&key_path, &key.serialize_pem())?;
            write(&certificate_path, &certificate)?;
            Ok((certificate, key))
        }
        // Making a new CA here would lock out everyone who pinned the old one.
        (Some(_), None) => Err(PkiError::Content { path: key_path, detail: "the CA's key is missing".to_owned() }),
        (None, Some(_)) => {
            Err(PkiError::Content { path: certificate_path, detail: "the CA's certificate is missing".to_owned() })
        }
    }
}

fn load_or_create_server(
    directory: &Path,
    today: Date,
    ca_key: &KeyPair,
    extra_names: &[String],
) -> Result<(String, String), PkiError> {
    let (certificate_path, key_path) = (directory.join("server.crt"), directory.join("server.key"));
    // The names and the end of the certificate, kept beside it so that nothing here has to parse X.509.
    let facts_path = directory.join("server.facts");
    let names: Vec<String> = SERVER_NAMES.iter().map(|n| (*n).to_owned()).chain(extra_names.iter().cloned()).collect();
    if let (Some(certificate), Some(key), Some(facts)) =
        (read(&certificate_path)?, read(&key_path)?, read(&facts_path)?)
        && is_current(&facts, today, &names)
    {
        parse_key(&key_path, &key)?;
        return Ok((certificate, key));
    }
    let end = plus_years(today, SERVER_YEARS);
    let mut params = CertificateParams::new(names.clone())?;
    params.distinguished_name = name_of("kapell");
    set_validity(&mut params, today, end);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let ca = ca_params(today)?;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &Issuer::from_params(&ca, ca_key))?.pem();
    let key = key.serialize_pem();
    write(&key_path, &key)?;
    write(&certificate_path, &certificate)?;
    write(&facts_path, &format!("{end}\n{}\n", names.join("\n")))?;
    Ok((certificate, key))
}

fn is_current(facts: &str, today: Date, names: &[String]) -> bool {
    let mut lines = facts.lines();
    let Some(Ok(end)) = lines.next().map(str::parse::<Date>) else { return false };
    let renew = today.checked_add(RENEW_BEFORE_DAYS.days()).unwrap_or(Date::MAX);
    renew < end && lines.eq(names.iter().map(String::as_str))
}

fn ca_params(today: Date) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = name_of("kapell-ca");
    set_validity(&mut params, today, plus_years(today, CA_YEARS));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn name_of(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// Valid from the day before `today`, so that a clock in another time zone or slightly behind accepts it.
fn set_validity(params: &mut CertificateParams, today: Date, end: Date) {
    let start = today.yesterday().unwrap_or(today);
    let day = |date: Date| rcgen::date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8);
    params.not_before = day(start);
    params.not_after = day(end);
}

fn plus_years(date: Date, years: i16) -> Date {
    date.checked_add(i64::from(years).years()).unwrap_or(Date::MAX)
}

fn parse_key(path: &Path, pem: &str) -> Result<KeyPair, PkiError> {
    KeyPair::from_pem(pem).map_err(|error| PkiError::Content { path: path.to_owned(), detail: error.to_string() })
}

fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiError::File { path: path.to_owned(), source }),
    }
}

/// Writes a file that only its owner can read, whole or not at all.
fn write(path: &Path, content: &str) -> Result<(), PkiError> {
    let file_error = |source| PkiError::File { path: path.to_owned(), source };
    let temporary = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(file_error)?;
    // The mode above counts only for a file that did not exist yet.
    file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(file_error)?;
    file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).map_err(file_error)?;
    fs::rename(&temporary, path).map_err(file_error)
}

#[cfg(test)]
mod tests;
