//! The embedded descriptions of Kubernetes' messages, unpacked once, when the first protobuf body arrives.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::OnceLock;

use flate2::read::GzDecoder;
use prost_reflect::{DescriptorPool, MessageDescriptor};

static DESCRIPTORS: &[u8] = include_bytes!("descriptors.bin");
static FACTS: &str = include_str!("facts.txt");

const ENVELOPE: &str = "k8s.io.apimachinery.pkg.runtime.Unknown";

/// What becomes of a message in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shape {
    /// An object of its fields.
    #[default]
    Fields,
    /// The array that is its only field.
    List,
    /// `metav1.Time`: RFC 3339 to the second.
    Time,
    /// `metav1.MicroTime`: RFC 3339 to the microsecond.
    MicroTime,
    /// `resource.Quantity`: its text.
    Quantity,
    /// `intstr.IntOrString`.
    IntOrString,
    /// JSON as bytes: `RawExtension`, `FieldsV1`.
    Raw,
}

const SHAPES: [(&str, Shape); 6] = [
    ("k8s.io.apimachinery.pkg.api.resource.Quantity", Shape::Quantity),
    ("k8s.io.apimachinery.pkg.apis.meta.v1.FieldsV1", Shape::Raw),
    ("k8s.io.apimachinery.pkg.apis.meta.v1.MicroTime", Shape::MicroTime),
    ("k8s.io.apimachinery.pkg.apis.meta.v1.Time", Shape::Time),
    ("k8s.io.apimachinery.pkg.runtime.RawExtension", Shape::Raw),
    ("k8s.io.apimachinery.pkg.util.intstr.IntOrString", Shape::IntOrString),
];

/// What the descriptor of a message does not say.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) shape: Shape,
    /// Numbers of the fields whose own fields appear in this message's object.
    pub(super) inline: Vec<u32>,
    /// Numbers of the scalar fields that Go's JSON shows even when zero: pointers, and fields without `omitempty`. Of
    /// all others a zero means absent, because Go's encoder always writes them.
    pub(super) zero: Vec<u32>,
}

pub(super) struct Catalogue {
    /// By `apiVersion` and `kind`, separated by a space.
    kinds: HashMap<String, MessageDescriptor>,
    facts: HashMap<String, Facts>,
    /// Of messages without a line in the facts.
    plain: Facts,
    envelope: MessageDescriptor,
}

impl Catalogue {
    pub(super) fn get() -> &'static Self {
        static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
        CATALOGUE.get_or_init(|| Self::read(DESCRIPTORS, FACTS).expect("what is embedded was generated and tested"))
    }

    pub(super) fn kind(&self, api_version: &str, kind: &str) -> Option<MessageDescriptor> {
        self.kinds.get(&format!("{api_version} {kind}")).cloned()
    }

    pub(super) fn envelope(&self) -> MessageDescriptor {
        self.envelope.clone()
    }

    pub(super) fn facts(&self, message: &MessageDescriptor) -> &Facts {
        self.facts.get(message.full_name()).unwrap_or(&self.plain)
    }

    fn read(descriptors: &[u8], facts: &str) -> Result<Self, String> {
        let mut unpacked = Vec::new();
        GzDecoder::new(descriptors).read_to_end(&mut unpacked).map_err(|error| error.to_string())?;
        let pool = DescriptorPool::decode(unpacked.as_slice()).map_err(|error| error.to_string())?;
        let message = |name: &str| pool.get_message_by_name(name).ok_or_else(|| format!("no message {name}"));
        let mut catalogue = Self {
            kinds: HashMap::new(),
            facts: SHAPES
                .iter()
                .map(|(name, shape)| ((*name).to_owned(), Facts { shape: *shape, ..Facts::default() }))
                .collect(),
            plain: Facts::default(),
            envelope: message(ENVELOPE)?,
        };
        for line in facts.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["kind", api_version, kind, name] => {
                    catalogue.kinds.insert(format!("{api_version} {kind}"), message(name)?);
                }
                ["list", name] => catalogue.facts.entry((*name).to_owned()).or_default().shape = Shape::List,
                [word @ ("inline" | "zero"), name, fields @ ..] => {
                    let descriptor = message(name)?;
                    let number = |field: &&str| descriptor.get_field_by_name(field).map(|field| field.number());
                    let numbers: Option<Vec<u32>> = fields.iter().map(number).collect();
                    let numbers = numbers.ok_or_else(|| format!("no such field: {line}"))?;
                    let facts = catalogue.facts.entry((*name).to_owned()).or_default();
                    *(if *word == "inline" { &mut facts.inline } else { &mut facts.zero }) = numbers;
                }
                _ => return Err(format!("not a fact: {line}")),
            }
        }
        Ok(catalogue)
    }
}
