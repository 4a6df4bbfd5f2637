//! What jq does with data: the operators, indexing and updates that the interpreter asks of a value.
//!
//! Each operation pays for its work before doing it; see [`meter`](super::meter).

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use jaq_core::box_iter::{BoxIter, box_once};
use jaq_core::ops::Math;
use jaq_core::path::Opt;
use jaq_core::val::Range;
use jaq_core::{Error, Exn, ValR, ValX};

use super::datum::{Array, Datum, MAX_TEXT, Object};
use super::meter::{Exhausted, charge_bytes, charge_steps, guard_secret, stop};

type Failure = Error<Datum>;

fn bounded<T>(result: Result<T, Exhausted>) -> T {
    result.unwrap_or_else(|reason| stop(reason))
}

pub(super) fn array_of(items: impl IntoIterator<Item = Datum>) -> Datum {
    bounded(Datum::array(items))
}

fn from_float(f: f64) -> Datum {
    Datum::Float(f)
}

/// The contents of a shared container; paying for the copy when someone else still holds it.
fn own_array(array: Arc<Array>) -> Array {
    Arc::try_unwrap(array).unwrap_or_else(|shared| {
        charge_bytes(size_of_val(shared.items()) as u64);
        (*shared).clone()
    })
}

fn own_object(object: Arc<Object>) -> Object {
    Arc::try_unwrap(object).unwrap_or_else(|shared| {
        charge_bytes((shared.members().len() * 64) as u64);
        (*shared).clone()
    })
}

fn key_of(key: &Datum) -> Result<Arc<str>, Failure> {
    key.as_str().map(Arc::from).ok_or_else(|| Error::str(format_args!("cannot use {} as object key", key.type_name())))
}

fn index_error(of: &Datum, index: &Datum) -> Failure {
    match index.as_str() {
        Some(key) => Error::str(format_args!("cannot index {} with \"{key}\"", of.type_name())),
        None => Error::str(format_args!("cannot index {} with {}", of.type_name(), index.type_name())),
    }
}

/// An index as jq has it: negative ones count from the end.
fn absolute(index: &Datum, length: usize) -> Option<usize> {
    let index = match index {
        Datum::Float(f) => f.floor() as i64,
        other => other.as_i64()?,
    };
    let index = if index < 0 { index + i64::try_from(length).ok()? } else { index };
    usize::try_from(index).ok()
}

/// `start..end` within `length`, clipped.
fn bounds(range: &Range<&Datum>, length: usize) -> Result<(usize, usize), Failure> {
    let bound = |bound: Option<&Datum>, default: usize, round: fn(f64) -> f64| match bound {
        None | Some(Datum::Null) => Ok(default),
        Some(bound) => {
            let position = bound.as_float().ok_or_else(|| Error::str("slice bounds must be numbers"))?;
            let position = if position < 0.0 { position + length as f64 } else { position };
            Ok(round(position).clamp(0.0, length as f64) as usize)
        }
    };
    let start = bound(range.start, 0, f64::floor)?;
    let end = bound(range.end, length, f64::ceil)?;
    Ok((start, end.max(start)))
}

/// The byte range of a range of characters.
fn char_bounds(text: &str, range: &Range<&Datum>) -> Result<(usize, usize), Failure> {
    charge_steps(text.len() as u64 / 64);
    let (start, end) = bounds(range, text.chars().count())?;
    let byte = |n: usize| text.char_indices().nth(n).map_or(text.len(), |(at, _)| at);
    Ok((byte(start), byte(end)))
}

impl jaq_core::ValT for Datum {
    fn from_num(n: &str) -> ValR<Self> {
        Ok(n.parse().map(Datum::Int).unwrap_or_else(|_| from_float(n.parse().unwrap_or(f64::NAN))))
    }

    fn from_map<I: IntoIterator<Item = (Self, Self)>>(iter: I) -> ValR<Self> {
        let mut object = Object::default();
        for (key, value) in iter {
            bounded(object.insert(key_of(&key)?, value));
        }
        Ok(Datum::Object(Arc::new(object)))
    }

    fn key_values(self) -> BoxIter<'static, Result<(Self, Self), Failure>> {
        match self {
            Datum::Array(array) => {
                let items = own_array(array).into_items().into_iter().enumerate();
                Box::new(items.map(|(i, item)| Ok((Datum::from(i), item))))
            }
            Datum::Object(object) => {
                let members = own_object(object).into_members().into_iter();
                Box::new(members.map(|(key, value)| Ok((Datum::string(&*key), value))))
            }
            other => box_once(Err(not_iterable(&other))),
        }
    }

    fn values(self) -> Box<dyn Iterator<Item = ValR<Self>>> {
        charge_steps(1);
        match self {
            Datum::Array(array) => {
                Box::new(own_array(array).into_items().into_iter().inspect(|_| charge_steps(1)).map(Ok))
            }
            Datum::Object(object) => {
                let members = own_object(object).into_members().into_iter();
                Box::new(members.inspect(|_| charge_steps(1)).map(|(_, value)| Ok(value)))
            }
            other => box_once(Err(not_iterable(&other))),
        }
    }

    fn index(self, index: &Self) -> ValR<Self> {
        match (&self, index) {
            (Datum::Null, Datum::Null | Datum::Int(_) | Datum::Float(_) | Datum::Text(_)) => Ok(Datum::Null),
            (Datum::Object(object), Datum::Text(_)) => {
                Ok(index.as_str().and_then(|key| object.get(key)).cloned().unwrap_or_default())
            }
            (Datum::Array(array), Datum::Int(_) | Datum::Float(_)) => {
                let item = absolute(index, array.items().len()).and_then(|i| array.items().get(i));
                Ok(item.cloned().unwrap_or_default())
            }
            (Datum::Array(_), Datum::Array(_)) => super::natives::indices(&self, index),
            (Datum::Null | Datum::Text(_) | Datum::Array(_), Datum::Object(range)) => {
                let range = range.get("start").cloned()..range.get("end").cloned();
                self.range(range.start.as_ref()..range.end.as_ref())
            }
            _ => Err(index_error(&self, index)),
        }
    }

    fn range(self, range: Range<&Self>) -> ValR<Self> {
        match &self {
            Datum::Null => Ok(Datum::Null),
            Datum::Array(array) => {
                let (start, end) = bounds(&range, array.items().len())?;
                Ok(array_of(array.items()[start..end].iter().cloned()))
            }
            Datum::Text(bytes) => {
                let (start, end) = char_bounds(self.as_str().unwrap_or_default(), &range)?;
                Ok(Datum::Text(bytes.slice(start..end)))
            }
            other => Err(Error::str(format_args!("cannot slice {}", other.type_name()))),
        }
    }

    fn map_values<'a, I: Iterator<Item = ValX<'a, Self>>>(self, opt: Opt, f: impl Fn(Self) -> I) -> ValX<'a, Self> {
        match self {
            Datum::Array(array) => {
                let items = own_array(array).into_items().into_iter();
                items.inspect(|_| charge_steps(1)).flat_map(f).collect::<Result<Datum, _>>()
            }
            Datum::Object(object) => {
                let mut new = Object::default();
                for (key, value) in own_object(object).into_members() {
                    charge_steps(1);
                    if let Some(value) = f(value).next().transpose()? {
                        bounded(new.insert(key, value));
                    }
                }
                Ok(Datum::Object(Arc::new(new)))
            }
            other => opt.fail(other, |v| Exn::from(not_iterable(&v))),
        }
    }

    fn map_index<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        index: &Self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        if let (Datum::Array(_) | Datum::Text(_), Datum::Object(range)) = (&self, index) {
            return self.map_range(range.get("start")..range.get("end"), opt, f);
        }
        match (self, index) {
            (Datum::Null, Datum::Text(_)) => Datum::Object(Arc::default()).map_index(index, opt, f),
            (Datum::Object(object), Datum::Text(_)) => {
                let mut object = own_object(object);
                let key = key_of(index)?;
                let old = object.members().get(&*key).cloned().unwrap_or_default();
                match f(old).next().transpose()? {
                    Some(new) => bounded(object.insert(key, new)),
                    None => drop(object.remove(&key)),
                }
                Ok(Datum::Object(Arc::new(object)))
            }
            (Datum::Array(array), Datum::Int(_) | Datum::Float(_)) => {
                match absolute(index, array.items().len()).filter(|i| *i < array.items().len()) {
                    None => opt.fail(Datum::Array(array), |_| {
                        Exn::from(Error::str(format_args!("index {index} is out of bounds")))
                    }),
                    Some(i) => {
                        let mut array = own_array(array);
                        match f(array.take(i)).next().transpose()? {
                            Some(new) => bounded(array.put(i, new)),
                            None => array.remove(i),
                        }
                        Ok(Datum::Array(Arc::new(array)))
                    }
                }
            }
            (other, index) => opt.fail(other, |v| Exn::from(index_error(&v, index))),
        }
    }

    fn map_range<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        range: Range<&Self>,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        match &self {
            Datum::Array(array) => {
                let items = array.items();
                let (start, end) = bounds(&range, items.len())?;
                let new = f(array_of(items[start..end].iter().cloned())).next().transpose()?;
                let new = new.unwrap_or(Datum::Array(Arc::default()));
                let Some(new) = new.as_array() else {
                    return Err(Error::str("a slice of an array can only become an array").into());
                };
                Ok(array_of(items[..start].iter().chain(new).chain(&items[end..]).cloned()))
            }
            Datum::Text(bytes) => {
                let (start, end) = char_bounds(self.as_str().unwrap_or_default(), &range)?;
                let new = f(Datum::Text(bytes.slice(start..end))).next().transpose()?;
                let new = new.unwrap_or(Datum::Text(Bytes::new()));
                let Datum::Text(new) = &new else {
                    return Err(Error::str("a slice of a string can only become a string").into());
                };
                Ok(concatenated(&[&bytes[..start], new, &bytes[end..]]))
            }
            _ => opt.fail(self, |v| Exn::from(Error::str(format_args!("cannot slice {}", v.type_name())))),
        }
    }

    fn as_bool(&self) -> bool {
        self.is_truthy()
    }

    fn into_string(self) -> Self {
        match self {
            Datum::Text(_) => self,
            other => {
                let json = other.to_json();
                guard_secret(json.as_bytes());
                Datum::text(json)
            }
        }
    }
}

fn not_iterable(value: &Datum) -> Failure {
    Error::str(format_args!("cannot iterate over {}", value.type_name()))
}

fn concatenated(parts: &[&[u8]]) -> Datum {
    let length = parts.iter().map(|part| part.len()).sum();
    if length > MAX_TEXT {
        stop(Exhausted::Size);
    }
    charge_bytes(length as u64);
    let mut text = BytesMut::with_capacity(length);
    parts.iter().for_each(|part| text.extend_from_slice(part));
    Datum::Text(text.freeze())
}

impl jaq_std::ValT for Datum {
    fn into_seq<S: FromIterator<Self>>(self) -> Result<S, Self> {
        match self {
            Datum::Array(array) => Ok(own_array(array).into_items().into_iter().collect()),
            other => Err(other),
        }
    }

    fn is_int(&self) -> bool {
        matches!(self, Datum::Int(_))
    }

    fn as_isize(&self) -> Option<isize> {
        match self {
            Datum::Int(i) => isize::try_from(*i).ok(),
            _ => None,
        }
    }

    fn as_f64(&self) -> Option<f64> {
        self.as_float()
    }

    fn is_utf8_str(&self) -> bool {
        matches!(self, Datum::Text(_))
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Datum::Text(text) => {
                guard_secret(text);
                charge_steps(text.len() as u64 / 256);
                Some(text)
            }
            _ => None,
        }
    }

    fn as_sub_str(&self, sub: &[u8]) -> Self {
        charge_steps(1);
        match self {
            Datum::Text(text) if std::str::from_utf8(sub).is_ok() => Datum::Text(text.slice_ref(sub)),
            _ => Datum::string(String::from_utf8_lossy(sub)),
        }
    }

    fn from_utf8_bytes(b: impl AsRef<[u8]> + Send + 'static) -> Self {
        match std::str::from_utf8(b.as_ref()) {
            Ok(_) => Datum::text(Bytes::from_owner(b)),
            Err(_) => Datum::text(String::from_utf8_lossy(b.as_ref()).into_owned().into_bytes()),
        }
    }
}

impl From<bool> for Datum {
    fn from(b: bool) -> Self {
        Datum::Bool(b)
    }
}

impl From<isize> for Datum {
    fn from(i: isize) -> Self {
        Datum::Int(i as i64)
    }
}

impl From<usize> for Datum {
    fn from(i: usize) -> Self {
        i64::try_from(i).map_or(Datum::Float(i as f64), Datum::Int)
    }
}

impl From<f64> for Datum {
    fn from(f: f64) -> Self {
        from_float(f)
    }
}

impl From<String> for Datum {
    fn from(text: String) -> Self {
        Datum::text(text.into_bytes())
    }
}

impl From<Range<Datum>> for Datum {
    fn from(range: Range<Datum>) -> Self {
        let bounds = [("start", range.start), ("end", range.end)];
        bounded(Datum::object(bounds.into_iter().filter_map(|(key, bound)| Some((key, bound?)))))
    }
}

/// What `[f]` does with the outputs of `f`.
impl FromIterator<Datum> for Datum {
    fn from_iter<T: IntoIterator<Item = Datum>>(iter: T) -> Self {
        array_of(iter.into_iter().inspect(|_| charge_steps(1)))
    }
}

fn arithmetic(l: Datum, op: Math, r: Datum) -> Failure {
    Error::str(format_args!("cannot calculate {} {} {}", l.type_name(), op.as_str(), r.type_name()))
}

fn numbers(l: &Datum, r: &Datum, whole: fn(i64, i64) -> Option<i64>, real: fn(f64, f64) -> f64) -> Option<Datum> {
    charge_steps(1);
    match (l, r) {
        (Datum::Int(a), Datum::Int(b)) => {
            Some(whole(*a, *b).map_or_else(|| from_float(real(*a as f64, *b as f64)), Datum::Int))
        }
        _ => Some(from_float(real(l.as_float()?, r.as_float()?))),
    }
}

impl std::ops::Add for Datum {
    type Output = ValR<Datum>;

    fn add(self, other: Datum) -> ValR<Datum> {
        if let Some(sum) = numbers(&self, &other, i64::checked_add, |a, b| a + b) {
            return Ok(sum);
        }
        match (self, other) {
            (Datum::Null, x) | (x, Datum::Null) => Ok(x),
            (Datum::Text(l), Datum::Text(r)) => Ok(appended(l, &r)),
            (Datum::Array(l), Datum::Array(r)) => {
                let mut l = own_array(l);
                r.items().iter().for_each(|item| bounded(l.push(item.clone())));
                Ok(Datum::Array(Arc::new(l)))
            }
            (Datum::Object(l), Datum::Object(r)) => {
                let mut l = own_object(l);
                r.members().iter().for_each(|(k, v)| bounded(l.insert(k.clone(), v.clone())));
                Ok(Datum::Object(Arc::new(l)))
            }
            (l, r) => Err(arithmetic(l, Math::Add, r)),
        }
    }
}

/// Grows `l` in place where nobody else holds it, so that building a text piece by piece stays linear.
fn appended(l: Bytes, r: &Bytes) -> Datum {
    if l.len() + r.len() > MAX_TEXT {
        stop(Exhausted::Size);
    }
    match l.try_into_mut() {
        Ok(mut l) => {
            charge_bytes(r.len() as u64);
            l.extend_from_slice(r);
            Datum::Text(l.freeze())
        }
        Err(l) => concatenated(&[&l, r]),
    }
}

impl std::ops::Sub for Datum {
    type Output = ValR<Datum>;

    fn sub(self, other: Datum) -> ValR<Datum> {
        if let Some(difference) = numbers(&self, &other, i64::checked_sub, |a, b| a - b) {
            return Ok(difference);
        }
        match (self, other) {
            (Datum::Array(l), Datum::Array(r)) => {
                let kept = l.items().iter().filter(|item| {
                    charge_steps(r.items().len() as u64);
                    !r.items().contains(item)
                });
                Ok(array_of(kept.cloned()))
            }
            (l, r) => Err(arithmetic(l, Math::Sub, r)),
        }
    }
}

impl std::ops::Mul for Datum {
    type Output = ValR<Datum>;

    fn mul(self, other: Datum) -> ValR<Datum> {
        if let Some(product) = numbers(&self, &other, i64::checked_mul, |a, b| a * b) {
            return Ok(product);
        }
        match (self, other) {
            (Datum::Text(text), times @ (Datum::Int(_) | Datum::Float(_)))
            | (times @ (Datum::Int(_) | Datum::Float(_)), Datum::Text(text)) => Ok(repeated(&text, &times)),
            (Datum::Object(l), Datum::Object(r)) => Ok(Datum::Object(Arc::new(merged(own_object(l), &r)))),
            (l, r) => Err(arithmetic(l, Math::Mul, r)),
        }
    }
}

fn repeated(text: &Bytes, times: &Datum) -> Datum {
    let times = times.as_float().unwrap_or(0.0);
    if times <= 0.0 {
        return Datum::Null;
    }
    if text.len() as f64 * times > MAX_TEXT as f64 {
        stop(Exhausted::Size);
    }
    let times = times.ceil() as usize;
    charge_bytes((text.len() * times) as u64);
    // An empty text may be repeated any number of times.
    Datum::Text(Bytes::from(if text.is_empty() { Vec::new() } else { text.repeat(times) }))
}

fn merged(mut l: Object, r: &Object) -> Object {
    for (key, value) in r.members() {
        charge_steps(1);
        let value = match (l.members().get(key).cloned(), value) {
            (Some(Datum::Object(inner)), Datum::Object(value)) => {
                Datum::Object(Arc::new(merged(own_object(inner), value)))
            }
            (_, value) => value.clone(),
        };
        bounded(l.insert(key.clone(), value));
    }
    l
}

impl std::ops::Div for Datum {
    type Output = ValR<Datum>;

    fn div(self, other: Datum) -> ValR<Datum> {
        let whole = |a: i64, b: i64| (b != 0 && a.checked_rem(b) == Some(0)).then(|| a / b);
        if let Some(quotient) = numbers(&self, &other, whole, |a, b| a / b) {
            return Ok(quotient);
        }
        match (&self, &other) {
            (Datum::Text(text), Datum::Text(_)) => {
                let separator = other.as_str().unwrap_or_default();
                let string = self.as_str().unwrap_or_default();
                let slice = |part: &str| {
                    charge_steps(1);
                    Datum::Text(text.slice_ref(part.as_bytes()))
                };
                Ok(match (string, separator) {
                    ("", _) => Datum::Array(Arc::default()),
                    (_, "") => array_of(string.char_indices().map(|(at, c)| slice(&string[at..at + c.len_utf8()]))),
                    _ => array_of(string.split(separator).map(slice)),
                })
            }
            _ => Err(arithmetic(self, Math::Div, other)),
        }
    }
}

impl std::ops::Rem for Datum {
    type Output = ValR<Datum>;

    fn rem(self, other: Datum) -> ValR<Datum> {
        if matches!(other, Datum::Int(0)) {
            return Err(Error::str("cannot divide by zero"));
        }
        numbers(&self, &other, i64::checked_rem, |a, b| a % b).ok_or_else(|| arithmetic(self, Math::Rem, other))
    }
}

impl std::ops::Neg for Datum {
    type Output = ValR<Datum>;

    fn neg(self) -> ValR<Datum> {
        match self {
            Datum::Int(i) => Ok(i.checked_neg().map_or(from_float(-(i as f64)), Datum::Int)),
            Datum::Float(f) => Ok(from_float(-f)),
            other => Err(Error::str(format_args!("cannot negate {}", other.type_name()))),
        }
    }
}
