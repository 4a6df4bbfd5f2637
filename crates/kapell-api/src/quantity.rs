//! Kubernetes quantities. (Bodies follow.)
use std::fmt;
use std::ops::{Add, Sub};

/// A number in the notation that a quantity keeps when it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    DecimalSi,
    BinarySi,
    DecimalExponent,
}

/// An exact amount, in billionths.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    pub(crate) nanos: i128,
    pub(crate) format: Format,
}

/// Why a string is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
pub struct QuantityError;

impl Quantity {
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::DecimalSi };
    pub fn parse(_text: &str) -> Result<Quantity, QuantityError> {
        unimplemented!()
    }
    /// From thousandths (cpu).
    pub fn from_milli(_milli: i64) -> Quantity {
        unimplemented!()
    }
    /// From whole units, printed in decimal.
    pub fn from_value(_value: i64) -> Quantity {
        unimplemented!()
    }
    /// From bytes, printed as `Ki`, `Mi`, ….
    pub fn from_bytes(_bytes: i64) -> Quantity {
        unimplemented!()
    }
    /// Thousandths, rounded up.
    pub fn milli(self) -> i64 {
        unimplemented!()
    }
    /// Whole units, rounded up.
    pub fn value(self) -> i64 {
        unimplemented!()
    }
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }
}
impl Add for Quantity {
    type Output = Quantity;
    fn add(self, _o: Quantity) -> Quantity {
        unimplemented!()
    }
}
impl Sub for Quantity {
    type Output = Quantity;
    fn sub(self, _o: Quantity) -> Quantity {
        unimplemented!()
    }
}
impl PartialEq for Quantity {
    fn eq(&self, o: &Self) -> bool {
        self.nanos == o.nanos
    }
}
impl Eq for Quantity {}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, o: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(o))
    }
}
impl Ord for Quantity {
    fn cmp(&self, o: &Self) -> std::cmp::Ordering {
        self.nanos.cmp(&o.nanos)
    }
}
impl std::hash::Hash for Quantity {
    fn hash<H: std::hash::Hasher>(&self, h: &mut H) {
        self.nanos.hash(h)
    }
}
impl std::str::FromStr for Quantity {
    type Err = QuantityError;
    fn from_str(s: &str) -> Result<Self, QuantityError> {
        Self::parse(s)
    }
}
impl fmt::Display for Quantity {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        unimplemented!()
    }
}
