//! Amounts of resources in objects: `requests`, `limits`, `capacity`.

use super::field::Field;
use crate::problem::Problem;
use crate::quantity::Quantity;

/// The amount, which in YAML may also be a bare number.
pub(crate) fn parse(field: &Field<'_, '_>) -> Option<Quantity> {
    match field.value.as_str() {
        Some(text) => Quantity::parse(text).ok(),
        None if field.value.is_number() => Quantity::parse(&field.value.to_string()).ok(),
        None => None,
    }
}

/// Requires an amount that is not negative.
pub(crate) fn check(field: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    match parse(field) {
        None => problems.push(field.invalid("must be a quantity such as `500m`, `2` or `1Gi`")),
        Some(amount) if amount.is_negative() => problems.push(field.invalid("must be greater than or equal to 0")),
        Some(_) => {}
    }
}
