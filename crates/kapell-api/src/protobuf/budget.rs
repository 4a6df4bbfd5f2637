//! A count of fields before anything is made of them.
//!
//! Two bytes can announce an empty message, which takes hundreds in memory: three megabytes of those would become half a
//! gigabyte. The wire format is walked once along the descriptors, allocating nothing, and bodies with more fields than any
//! honest object has are refused.

use prost_reflect::{Kind, MessageDescriptor};

/// Most fields in one body. 3 MiB of a ConfigMap's shortest sensible entries have half as many.
pub(super) const MAX_FIELDS: usize = 400_000;

/// Whether a message stays within the budget. What is malformed is left to the decoder to complain about.
pub(super) fn is_within(descriptor: &MessageDescriptor, message: &[u8]) -> bool {
    let mut left = MAX_FIELDS;
    walk(descriptor, message, 0, &mut left).is_some()
}

/// `None` when the budget is used up.
fn walk(descriptor: &MessageDescriptor, mut rest: &[u8], depth: usize, left: &mut usize) -> Option<()> {
    // The decoder refuses deeper ones.
    if depth > crate::decode::MAX_DEPTH {
        return Some(());
    }
    while let Some(tag) = varint(&mut rest) {
        *left = left.checked_sub(1)?;
        let length = match tag & 7 {
            0 => {
                if varint(&mut rest).is_none() {
                    return Some(());
                }
                0
            }
            1 => 8,
            2 => match varint(&mut rest).and_then(|length| usize::try_from(length).ok()) {
                Some(length) => length,
                None => return Some(()),
            },
            5 => 4,
            // Groups and what does not exist.
            _ => return Some(()),
        };
        let Some((content, after)) = rest.split_at_checked(length) else { return Some(()) };
        let field = u32::try_from(tag >> 3).ok().and_then(|number| descriptor.get_field(number));
        if tag & 7 == 2
            && let Some(field) = field
        {
            match field.kind() {
                Kind::Message(inner) => walk(&inner, content, depth + 1, left)?,
                Kind::String | Kind::Bytes => {}
                // Packed numbers: one byte each may be one item.
                _ => *left = left.checked_sub(content.len())?,
            }
        }
        rest = after;
    }
    Some(())
}

/// The next varint; `None` at the end, or when it is broken.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
