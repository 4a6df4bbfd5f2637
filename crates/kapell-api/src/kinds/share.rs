//! Numbers of pods that may also be percentages: surges, budgets, partitions.

use serde_json::Value;

use super::field::Field;
use crate::problem::Problem;

/// A number of pods or a percentage; returns the figure in either case.
pub(crate) fn check(share: &Field<'_, '_>, problems: &mut Vec<Problem>) -> Option<i64> {
    if let Some(text) = share.value.as_str() {
        let figure = text.strip_suffix('%').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let figure = figure.and_then(|digits| digits.parse().ok());
        if figure.is_none() {
            problems.push(share.invalid(
                "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%' or '93%')",
            ));
        }
        return figure;
    }
    share.not_negative(problems);
    share.int()
}

/// Requires that a percentage is not above 100.
pub(crate) fn check_at_most_all(share: &Field<'_, '_>, problems: &mut Vec<Problem>) {
    let percent = share.value.as_str().and_then(|text| text.strip_suffix('%')?.parse::<u64>().ok());
    if percent.is_some_and(|percent| percent > 100) {
        problems.push(share.invalid("must not be greater than 100%"));
    }
}

/// As columns show it: the number or percentage, else `N/A`.
pub(crate) fn shown(share: &Value) -> Value {
    match share {
        Value::String(text) => text.as_str().into(),
        Value::Number(number) => number.to_string().into(),
        _ => "N/A".into(),
    }
}
