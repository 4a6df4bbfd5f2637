//! What the server listens with: its certificate, and whose certificates say who a client is.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};

/// A server's side of TLS. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    pub(crate) config: Arc<ServerConfig>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Tls {
    /// `clients` knows our authority; `config` was made with [`AnyCertificate`] over it.
    pub(crate) fn new(config: Arc<ServerConfig>, clients: Arc<dyn ClientCertVerifier>) -> Self {
        Self { config, clients }
    }

    /// The client's own certificate, if the chain that it has sent leads to our authority.
    pub(crate) fn trusted<'a>(&self, chain: &'a [CertificateDer<'a>]) -> Option<&'a CertificateDer<'a>> {
        let (own, others) = chain.split_first()?;
        match self.clients.verify_client_cert(own, others, UnixTime::now()) {
            Ok(_) => Some(own),
            Err(error) => {
                tracing::debug!(%error, "a client certificate was refused");
                None
            }
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// Takes whatever certificate a client has the key of. Whom it names counts only if [`Tls::trusted`] finds it to be ours: who comes
/// with a stranger's gets a 401 that says so, as upstream, instead of a handshake that breaks off.
#[derive(Debug)]
pub(crate) struct AnyCertificate(pub(crate) Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
