//! Kubernetes quantities: exact amounts with a unit suffix (`100m`, `1.5Gi`, `2e3`).
//!
//! Amounts are integers in billionths, the finest step that the API knows, and never floats. What is finer is rounded
//! away from zero; what exceeds 2^63-1 units is held there, as the API's definition of the type demands. Two
//! quantities are equal when their amounts are, whatever their notation.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Add, Sub};
use std::str::FromStr;

const NANO: i128 = 1_000_000_000;
const MAX: i128 = i64::MAX as i128 * NANO;

/// The notation that a quantity was written in and is printed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Suffixes `n u m k M G T P E`.
    DecimalSi,
    /// Suffixes `Ki Mi Gi Ti Pi Ei`.
    BinarySi,
    /// `e3`, `E6`.
    DecimalExponent,
}

/// An exact amount.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// A string that is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a quantity: expected a number with an optional suffix such as m, k, M, Ki, Mi, Gi or e3")]
pub struct QuantityError {
    pub text: String,
}

impl Quantity {
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::DecimalSi };

    /// Reads a quantity as users write it.
    pub fn parse(text: &str) -> Result<Quantity, QuantityError> {
        parse(text).ok_or_else(|| QuantityError { text: text.to_owned() })
    }

    /// From thousandths (cpu).
    pub fn from_milli(milli: i64) -> Quantity {
        Quantity { nanos: clamp(i128::from(milli) * (NANO / 1000)), format: Format::DecimalSi }
    }

    /// From whole units, printed in decimal.
    pub fn from_value(value: i64) -> Quantity {
        Quantity { nanos: clamp(i128::from(value) * NANO), format: Format::DecimalSi }
    }

    /// From bytes, printed as `Ki`, `Mi`, ….
    pub fn from_bytes(bytes: i64) -> Quantity {
        Quantity { nanos: clamp(i128::from(bytes) * NANO), format: Format::BinarySi }
    }

    /// Thousandths, rounded away from zero and held within `i64`.
    pub fn milli(self) -> i64 {
        in_i64(div_away(self.nanos, NANO / 1000))
    }

    /// Whole units, rounded away from zero.
    pub fn value(self) -> i64 {
        in_i64(div_away(self.nanos, NANO))
    }

    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Of a sum or difference: the notation of the first that is not zero.
    fn notation(self, other: Quantity) -> Format {
        if self.is_zero() { other.format } else { self.format }
    }
}

fn clamp(nanos: i128) -> i128 {
    nanos.clamp(-MAX, MAX)
}

fn in_i64(n: i128) -> i64 {
    n.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

fn div_away(n: i128, by: i128) -> i128 {
    n / by + if n % by == 0 { 0 } else { n.signum() }
}

fn parse(text: &str) -> Option<Quantity> {
    let (negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(number_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let (format, exponent10, exponent2) = parse_suffix(suffix)?;
    let digits: String = [whole, fraction].concat();
    let exponent10 = exponent10 - i64::try_from(fraction.len()).ok()? + 9;
    let nanos = scale(digits.trim_start_matches('0'), exponent10, exponent2);
    Some(Quantity { nanos: if negative { -nanos } else { nanos }, format })
}

/// The notation that a suffix belongs to and the powers of ten and two that it stands for.
fn parse_suffix(suffix: &str) -> Option<(Format, i64, u32)> {
    use Format::{BinarySi, DecimalExponent, DecimalSi};
    Some(match suffix {
        "n" => (DecimalSi, -9, 0),
        "u" => (DecimalSi, -6, 0),
        "m" => (DecimalSi, -3, 0),
        "" => (DecimalSi, 0, 0),
        "k" => (DecimalSi, 3, 0),
        "M" => (DecimalSi, 6, 0),
        "G" => (DecimalSi, 9, 0),
        "T" => (DecimalSi, 12, 0),
        "P" => (DecimalSi, 15, 0),
        "E" => (DecimalSi, 18, 0),
        "Ki" => (BinarySi, 0, 10),
        "Mi" => (BinarySi, 0, 20),
        "Gi" => (BinarySi, 0, 30),
        "Ti" => (BinarySi, 0, 40),
        "Pi" => (BinarySi, 0, 50),
        "Ei" => (BinarySi, 0, 60),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (DecimalExponent, i64::from(exponent), 0)
        }
    })
}

/// `digits × 10^exponent10 × 2^exponent2`, rounded up and capped. `digits` has no leading zeros.
fn scale(digits: &str, mut exponent10: i64, exponent2: u32) -> i128 {
    if digits.is_empty() {
        return 0;
    }
    // As many digits as surely fit an i128 after the binary factor; the rest can only round the last one up.
    let keep = digits.len().min(if exponent2 > 0 { 19 } else { 30 });
    let (kept, dropped) = digits.split_at(keep);
    exponent10 += dropped.len() as i64;
    let mut mantissa = kept.bytes().fold(0i128, |n, c| n * 10 + i128::from(c - b'0'));
    if dropped.bytes().any(|c| c != b'0') {
        mantissa += 1;
    }
    mantissa <<= exponent2;
    let nanos = match u32::try_from(exponent10.unsigned_abs()).ok().and_then(|e| 10i128.checked_pow(e)) {
        Some(power) if exponent10 < 0 => div_away(mantissa, power),
        Some(power) => mantissa.checked_mul(power).unwrap_or(MAX),
        None if exponent10 < 0 => 1,
        None => MAX,
    };
    nanos.min(MAX)
}

/// The canonical form: no fraction, no lost precision, the largest suffix that allows both.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        // Below 1 Ki and for fractions of a byte there is no binary suffix.
        if self.format == Format::BinarySi && self.nanos.abs() >= 1024 * NANO && self.nanos % NANO == 0 {
            let (mantissa, steps) = strip_factor(self.nanos / NANO, 1024, 6);
            return write!(f, "{mantissa}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][steps]);
        }
        let (mantissa, steps) = strip_factor(self.nanos, 1000, 9);
        if self.format == Format::DecimalExponent {
            let exponent = steps as i32 * 3 - 9;
            if exponent == 0 { write!(f, "{mantissa}") } else { write!(f, "{mantissa}e{exponent}") }
        } else {
            write!(f, "{mantissa}{}", ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][steps])
        }
    }
}

/// Divides by `factor` as often as it divides evenly, at most `most` times.
fn strip_factor(mut n: i128, factor: i128, most: usize) -> (i128, usize) {
    let mut steps = 0;
    while steps < most && n % factor == 0 {
        n /= factor;
        steps += 1;
    }
    (n, steps)
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

impl Add for Quantity {
    type Output = Quantity;

    fn add(self, other: Quantity) -> Quantity {
        Quantity { nanos: clamp(self.nanos + other.nanos), format: self.notation(other) }
    }
}

impl Sub for Quantity {
    type Output = Quantity;

    fn sub(self, other: Quantity) -> Quantity {
        Quantity { nanos: clamp(self.nanos - other.nanos), format: self.notation(other) }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Hash for Quantity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nanos.hash(state);
    }
}

#[cfg(test)]
mod tests;
