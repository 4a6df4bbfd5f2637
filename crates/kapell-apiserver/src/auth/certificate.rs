//! Whom a client certificate names: its common name is the user, its organizations are the groups, as upstream.
//!
//! Only certificates whose chain to our CA has been verified get here, so this reads just the way to the subject, and
//! gives up on anything unexpected.

use super::{AUTHENTICATED, Identity, certificate_id};
use crate::der::{self, OBJECT_ID, Reader, SEQUENCE, SET};

const VERSION: u8 = der::explicit(0);
/// UTF8String, PrintableString, TeletexString, IA5String.
const STRINGS: [u8; 4] = [0x0c, 0x13, 0x14, 0x16];
/// 2.5.4.3 and 2.5.4.10.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

/// The identity in a verified certificate; `None` when it has no common name.
pub(crate) fn identity(der: &[u8]) -> Option<Identity> {
    let mut identity = named(subject(der)?)?;
    identity.groups.push(AUTHENTICATED.to_owned());
    identity.extra.extend([certificate_id(der)]);
    Some(identity)
}

/// Whom the content of a subject names.
pub(crate) fn named(subject: &[u8]) -> Option<Identity> {
    let mut identity = Identity::default();
    let mut names = Reader(subject);
    while !names.is_empty() {
        let mut set = Reader(names.expect(SET)?);
        while !set.is_empty() {
            let mut attribute = Reader(set.expect(SEQUENCE)?);
            let kind = attribute.expect(OBJECT_ID)?;
            let (tag, value) = attribute.next()?;
            if kind != COMMON_NAME && kind != ORGANIZATION {
                continue;
            }
            let text = std::str::from_utf8(value).ok().filter(|_| STRINGS.contains(&tag))?.to_owned();
            if kind == COMMON_NAME { identity.user = text } else { identity.groups.push(text) }
        }
    }
    (!identity.user.is_empty()).then_some(identity)
}

/// The content of `tbsCertificate.subject` (RFC 5280 §4.1).
fn subject(der: &[u8]) -> Option<&[u8]> {
    let mut certificate = Reader(Reader(der).expect(SEQUENCE)?);
    let mut fields = Reader(certificate.expect(SEQUENCE)?);
    let (tag, _) = fields.next()?;
    // A version 1 certificate has no version field: what was read is its serial number.
    let before_subject = if tag == VERSION { 4 } else { 3 };
    for _ in 0..before_subject {
        fields.next()?;
    }
    fields.expect(SEQUENCE)
}

#[cfg(test)]
mod tests;
