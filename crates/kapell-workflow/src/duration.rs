//! Durations as the DSL writes them: ISO 8601 (`PT1.5S`, `P1DT2H`) or an object of days, hours, minutes, seconds and
//! milliseconds. Calendar units (years, months) have no fixed length and are refused.

use crate::expression::Datum;

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Millis(pub(crate) i64);

/// A hundred years: nothing waits longer, and sums with dates stay in range.
const LONGEST: f64 = 100.0 * 365.0 * 86_400_000.0;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DurationError {
    #[error("must be an ISO 8601 duration such as PT30S or P1DT2H")]
    Format,
    #[error("years and months have no fixed length; use weeks, days, hours, minutes or seconds")]
    Calendar,
    #[error("must be an ISO 8601 duration, or an object of days, hours, minutes, seconds and milliseconds")]
    Type,
    #[error("must be at least one of days, hours, minutes, seconds and milliseconds")]
    Empty,
    #[error("must not be negative or longer than 100 years")]
    Range,
}

/// The members of an inline duration with their lengths in milliseconds.
pub(crate) const UNITS: [(&str, f64); 5] =
    [("days", 86_400_000.0), ("hours", 3_600_000.0), ("minutes", 60_000.0), ("seconds", 1000.0), ("milliseconds", 1.0)];

impl Millis {
    pub(crate) fn parse(text: &str) -> Result<Self, DurationError> {
        let rest = text.strip_prefix('P').ok_or(DurationError::Format)?;
        let (date, time) = match rest.split_once('T') {
            Some((_, "")) => return Err(DurationError::Format),
            Some((date, time)) => (date, time),
            None if rest.is_empty() => return Err(DurationError::Format),
            None => (rest, ""),
        };
        let date = sum(date, &[('Y', f64::NAN), ('M', f64::NAN), ('W', 604_800_000.0), ('D', 86_400_000.0)])?;
        let time = sum(time, &[('H', 3_600_000.0), ('M', 60_000.0), ('S', 1000.0)])?;
        Self::from_float(date + time)
    }

    pub(crate) fn from_float(milliseconds: f64) -> Result<Self, DurationError> {
        if !(0.0..=LONGEST).contains(&milliseconds) {
            return Err(DurationError::Range);
        }
        Ok(Self(milliseconds.round() as i64))
    }

    /// A duration that an expression gave.
    pub(crate) fn from_datum(value: &Datum) -> Result<Self, DurationError> {
        if let Some(text) = value.as_str() {
            return Self::parse(text);
        }
        let object = value.as_object().ok_or(DurationError::Type)?;
        if object.members().is_empty() {
            return Err(DurationError::Empty);
        }
        let mut total = 0.0;
        for (key, amount) in object.members() {
            let unit = UNITS.iter().find(|(name, _)| *name == &**key).ok_or(DurationError::Type)?;
            total += amount.as_float().ok_or(DurationError::Type)? * unit.1;
        }
        Self::from_float(total)
    }
}

/// Adds up `1D2.5H`-like text whose units must come in the given order, each at most once.
fn sum(mut text: &str, units: &[(char, f64)]) -> Result<f64, DurationError> {
    let mut total = 0.0;
    let mut units = units.iter();
    while !text.is_empty() {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(DurationError::Format)?;
        let (number, rest) = text.split_at(end);
        let letter = rest.chars().next().ok_or(DurationError::Format)?;
        let (_, length) = units.find(|(unit, _)| *unit == letter).ok_or(DurationError::Format)?;
        if length.is_nan() {
            return Err(DurationError::Calendar);
        }
        if number.starts_with('.') || number.ends_with('.') {
            return Err(DurationError::Format);
        }
        total += number.parse::<f64>().map_err(|_| DurationError::Format)? * length;
        text = &rest[letter.len_utf8()..];
    }
    Ok(total)
}

#[cfg(test)]
mod tests;
