//! Client certificates for those whose CertificateSigningRequest was approved: reads a request (PKCS #10, RFC 2986), checks that who
//! made it has the key, and signs a certificate (RFC 5280) with the subject and the key that it names.
//!
//! Nothing else is taken from a request: extensions that it asks for are left out, so that it can become neither an authority nor a
//! server.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rcgen::{KeyPair, SigningKey as _};
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{PemObject, SectionKind};

use super::PkiError;
use crate::der::{self, BIT_STRING, INTEGER, OBJECT_ID, OCTET_STRING, Reader, SEQUENCE};

/// ecdsa-with-SHA256 (1.2.840.10045.4.3.2), with which our authority signs.
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// clientAuth (1.3.6.1.5.5.7.3.2).
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// digitalSignature is bit 0, keyEncipherment bit 2.
const DIGITAL_SIGNATURE: u8 = 0x80;
const KEY_ENCIPHERMENT: u8 = 0x20;

/// Why a request is not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    #[error("the request is not a PEM block CERTIFICATE REQUEST")]
    Pem,
    #[error("the request is no certificate request")]
    Malformed,
    #[error(
        "the algorithm of the request's signature is not supported; use ECDSA P-256 or P-384, Ed25519 or RSA with SHA-2"
    )]
    Algorithm,
    #[error("the request is not signed with the key that it is about")]
    Signature,
    #[error("the certificate could not be signed")]
    Authority,
}

/// Our authority, for client certificates only.
pub struct ClientSigner {
    /// The subject of the authority's certificate, as it is written there.
    issuer: Vec<u8>,
    key: KeyPair,
}

impl fmt::Debug for ClientSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSigner").finish_non_exhaustive()
    }
}

/// What is read of a request.
struct Request<'a> {
    subject: &'a [u8],
    public_key: &'a [u8],
}

impl ClientSigner {
    pub(super) fn new(ca_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let content = |detail: &str| PkiError::Content { path: "ca.crt".into(), detail: detail.to_owned() };
        let certificate =
            CertificateDer::from_pem_slice(ca_pem.as_bytes()).map_err(|error| content(&error.to_string()))?;
        let issuer = issuer(&certificate).ok_or_else(|| content("it has no subject"))?.to_vec();
        Ok(Self { issuer, key: KeyPair::from_pem(key_pem)? })
    }

    /// The certificate in PEM, under a random serial number. `encipherment` says whether the key may also be used to encrypt other
    /// keys.
    ///
    /// # Errors
    /// See [`SignError`].
    pub fn issue(
        &self,
        request: &[u8],
        encipherment: bool,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<String, SignError> {
        self.sign(request, encipherment, from, until, rand::random())
    }

    fn sign(
        &self,
        request: &[u8],
        encipherment: bool,
        from: Timestamp,
        until: Timestamp,
        serial: u128,
    ) -> Result<String, SignError> {
        let request = pem(request)?;
        let Request { subject, public_key } = read(&request)?;
        let algorithm = der::of(SEQUENCE, &[&der::value(OBJECT_ID, ECDSA_SHA256)]);
        // Positive, and as short as it can be.
        let serial = (serial >> 2 | 1).to_be_bytes();
        let serial = &serial[serial.iter().position(|byte| *byte != 0).unwrap_or(0)..];
        let sign = if serial[0] & 0x80 == 0 { &[][..] } else { &[0][..] };
        let to_be_signed = der::of(
            SEQUENCE,
            &[
                &der::value(der::explicit(0), &der::value(INTEGER, &[2])),
                &der::of(INTEGER, &[sign, serial]),
                &algorithm,
                &self.issuer,
                &der::of(SEQUENCE, &[&time(from), &time(until)]),
                subject,
                public_key,
                &der::value(der::explicit(3), &extensions(encipherment)),
            ],
        );
        let signature = self.key.sign(&to_be_signed).map_err(|_| SignError::Authority)?;
        let certificate = der::of(SEQUENCE, &[&to_be_signed, &algorithm, &der::bits(&signature)]);
        Ok(to_pem(&certificate))
    }
}

/// Whom a request is about, in the words of a client certificate.
pub(crate) fn requested_identity(request: &[u8]) -> Option<crate::auth::Identity> {
    let request = pem(request).ok()?;
    let subject = read(&request).ok()?.subject;
    crate::auth::certificate::named(Reader(subject).expect(SEQUENCE)?)
}

/// Reads bytes as a request, in PEM and bare.
#[cfg(fuzzing)]
pub(crate) fn look_at(bytes: &[u8]) {
    let _ = pem(bytes).and_then(|der| read(&der).map(drop));
    let _ = read(bytes);
}

fn pem(text: &[u8]) -> Result<Vec<u8>, SignError> {
    match Section::from_pem_slice(text) {
        Ok(Section(SectionKind::Csr, der)) => Ok(der),
        _ => Err(SignError::Pem),
    }
}

/// Any block of a PEM text.
struct Section(SectionKind, Vec<u8>);

impl PemObject for Section {
    fn from_pem(kind: SectionKind, der: Vec<u8>) -> Option<Self> {
        Some(Self(kind, der))
    }
}

fn read(request: &[u8]) -> Result<Request<'_>, SignError> {
    parts(request).ok_or(SignError::Malformed).and_then(|parts| {
        let signature = parts.signature.split_first().filter(|(unused, _)| **unused == 0).map(|(_, bytes)| bytes);
        let key = parts.key.split_first().filter(|(unused, _)| **unused == 0).map(|(_, bytes)| bytes);
        let (Some(signature), Some(key)) = (signature, key) else { return Err(SignError::Malformed) };
        let algorithm = algorithm(parts.algorithm).ok_or(SignError::Algorithm)?;
        UnparsedPublicKey::new(algorithm, key).verify(parts.signed, signature).map_err(|_| SignError::Signature)?;
        Ok(Request { subject: parts.subject, public_key: parts.public_key })
    })
}

struct Parts<'a> {
    /// What the signature is about.
    signed: &'a [u8],
    subject: &'a [u8],
    public_key: &'a [u8],
    /// The bits of the key.
    key: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

fn parts(request: &[u8]) -> Option<Parts<'_>> {
    let mut request = Reader(Reader(request).expect(SEQUENCE)?);
    let signed = request.whole(SEQUENCE)?;
    let algorithm = Reader(request.expect(SEQUENCE)?).expect(OBJECT_ID)?;
    let signature = request.expect(BIT_STRING)?;
    let mut information = Reader(Reader(signed).expect(SEQUENCE)?);
    information.expect(INTEGER)?;
    let subject = information.whole(SEQUENCE)?;
    let public_key = information.whole(SEQUENCE)?;
    let mut key = Reader(Reader(public_key).expect(SEQUENCE)?);
    key.expect(SEQUENCE)?;
    Some(Parts { signed, subject, public_key, key: key.expect(BIT_STRING)?, algorithm, signature })
}

/// By its object identifier. Which curve a key is on, `ring` checks by its length.
fn algorithm(id: &[u8]) -> Option<&'static dyn VerificationAlgorithm> {
    const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];
    const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    Some(match id {
        ECDSA_SHA256 => &signature::ECDSA_P256_SHA256_ASN1,
        ECDSA_SHA384 => &signature::ECDSA_P384_SHA384_ASN1,
        ED25519 => &signature::ED25519,
        id => match id.strip_prefix(RSA)? {
            [0x0b] => &signature::RSA_PKCS1_2048_8192_SHA256,
            [0x0c] => &signature::RSA_PKCS1_2048_8192_SHA384,
            [0x0d] => &signature::RSA_PKCS1_2048_8192_SHA512,
            _ => return None,
        },
    })
}

/// `tbsCertificate.subject` of a certificate of version 3, whole.
fn issuer(certificate: &[u8]) -> Option<&[u8]> {
    let mut certificate = Reader(Reader(certificate).expect(SEQUENCE)?);
    let mut fields = Reader(certificate.expect(SEQUENCE)?);
    // Version, serial number, algorithm, issuer and validity come first.
    for _ in 0..5 {
        fields.next()?;
    }
    fields.whole(SEQUENCE)
}

/// Until 2049 in two digits of a year, then in four (RFC 5280 §4.1.2.5).
fn time(at: Timestamp) -> Vec<u8> {
    let at = at.to_zoned(TimeZone::UTC);
    let rest = at.strftime("%m%d%H%M%SZ");
    match at.year() {
        year @ 1950..=2049 => der::value(der::UTC_TIME, format!("{:02}{rest}", year % 100).as_bytes()),
        year => der::value(der::GENERALIZED_TIME, format!("{year:04}{rest}").as_bytes()),
    }
}

fn extensions(encipherment: bool) -> Vec<u8> {
    let usage = if encipherment { DIGITAL_SIGNATURE | KEY_ENCIPHERMENT } else { DIGITAL_SIGNATURE };
    // The number of bits at the end that mean nothing, then the bits.
    let usage = der::value(BIT_STRING, &[usage.trailing_zeros() as u8, usage]);
    let client = der::of(SEQUENCE, &[&der::value(OBJECT_ID, CLIENT_AUTH)]);
    der::of(
        SEQUENCE,
        &[
            &extension(KEY_USAGE, true, &usage),
            &extension(EXTENDED_KEY_USAGE, false, &client),
            &extension(BASIC_CONSTRAINTS, true, &der::value(SEQUENCE, &[])),
        ],
    )
}

fn extension(id: &[u8], critical: bool, content: &[u8]) -> Vec<u8> {
    let critical = if critical { der::value(der::BOOLEAN, &[0xff]) } else { Vec::new() };
    der::of(SEQUENCE, &[&der::value(OBJECT_ID, id), &critical, &der::value(OCTET_STRING, content)])
}

fn to_pem(certificate: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    // Base64 is ASCII: it can be cut anywhere.
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}

#[cfg(test)]
mod tests;
