//! The built-in filters: jaq's libraries without what reaches outside of the expression, and a few of our own.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jaq_core::native::{Fun, bome, run, unary, v};
use jaq_core::{DataT, Error, Exn, ValR};

use super::datum::Datum;
use super::meter::{charge_node, charge_steps};
use super::operations::array_of;

/// Native filters that do not exist here: they read the environment or the clock, write to the log, or end the
/// process. Evaluation must give the same result whenever and wherever it happens.
const REMOVED: &[&str] = &["env", "now", "localtime", "strflocaltime", "halt", "debug_empty", "stderr_empty"];

/// Definitions over removed natives, and those that [`OWN_DEFINITIONS`] replaces.
const REMOVED_DEFINITIONS: &[&str] = &["halt", "halt_error", "stderr", "debug", "isnan"];

/// Natives that go through a guard; the guard is defined in [`OWN_DEFINITIONS`] under the old name.
const GUARDED: &[(&str, &str)] =
    &[("matches", "unguarded_matches"), ("split_matches", "unguarded_split_matches"), ("split_", "unguarded_split")];

/// A regular expression longer than this is refused: matching costs its length times that of the text.
const LONGEST_REGEX: usize = 1024;

const OWN_DEFINITIONS: &str = r#"
def isnan: is_nan;
def toarray: if isarray then . else [.] end;
def tonumber: if isnumber then . else parse_number end;
def toboolean: if isboolean then . elif . == "true" then true elif . == "false" then false
  else error("cannot parse as boolean") end;
def transpose: . as $rows | [range([$rows[] | length] | max // 0) as $i | [$rows[][$i]]];
def in(object): . as $key | object | has($key);
def inside(outer): . as $inner | outer | contains($inner);
def index($wanted): first(indices($wanted)[]) // null;
def rindex($wanted): indices($wanted) | .[-1];
def matches($re; $flags): guard_regex($re) | unguarded_matches($re; $flags);
def split_matches($re; $flags): guard_regex($re) | unguarded_split_matches($re; $flags);
def split_($re; $flags): guard_regex($re) | unguarded_split($re; $flags);
def @json: tojson;
"#;

pub(super) type Definition = jaq_core::load::parse::Def<&'static str>;

/// All definitions, in the order in which they may use each other.
pub(super) fn definitions() -> Vec<Definition> {
    let own: Vec<Definition> = jaq_core::load::parse(OWN_DEFINITIONS, |parser| parser.defs()).unwrap_or_default();
    let (guards, own): (Vec<_>, Vec<_>) =
        own.into_iter().partition(|d| GUARDED.iter().any(|(name, _)| *name == d.name) || d.name == "isnan");
    let theirs =
        jaq_core::defs().chain(guards).chain(jaq_std::defs().filter(|d| !REMOVED_DEFINITIONS.contains(&d.name)));
    theirs.chain(own).collect()
}

/// A definition, and the names of definitions that its text has in it.
type Mentioning = (Definition, Vec<&'static str>);

static LIBRARY: LazyLock<Vec<Mentioning>> = LazyLock::new(|| {
    let all = definitions();
    let names: BTreeSet<&'static str> = all.iter().map(|definition| definition.name).collect();
    let mentioned = |definition: &Definition| mentioned(&format!("{:?}", definition.body), &names);
    all.iter().map(|definition| (definition.clone(), mentioned(definition))).collect()
});

/// Those of `names` that are words of the text.
fn mentioned(text: &str, names: &BTreeSet<&'static str>) -> Vec<&'static str> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '@'));
    words.filter_map(|word| names.get(word).copied()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// What this text can use of [`definitions`]: those that it names, and those that these name. Compiled with all of them each
/// expression would take more than a megabyte, whatever it says.
pub(super) fn definitions_for(text: &str) -> Vec<Definition> {
    let names: BTreeSet<&'static str> = LIBRARY.iter().map(|(definition, _)| definition.name).collect();
    let mut wanted = BTreeSet::new();
    let mut new = mentioned(text, &names);
    while let Some(name) = new.pop() {
        if wanted.insert(name) {
            new.extend(LIBRARY.iter().filter(|(of, _)| of.name == name).flat_map(|(_, used)| used.iter().copied()));
        }
    }
    LIBRARY.iter().filter(|(of, _)| wanted.contains(of.name)).map(|(of, _)| of.clone()).collect()
}

/// All native filters.
pub(super) fn functions<D: for<'a> DataT<V<'a> = Datum>>() -> Vec<Fun<D>> {
    let theirs = jaq_core::funs::<D>().chain(jaq_std::funs::<D>());
    let theirs = theirs.filter(|(name, ..)| !REMOVED.contains(name)).map(|(name, arguments, native)| {
        let renamed = GUARDED.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new);
        (renamed, arguments, native)
    });
    theirs.chain(own::<D>()).collect()
}

fn own<D: for<'a> DataT<V<'a> = Datum>>() -> Vec<Fun<D>> {
    let natives: [jaq_core::native::Filter<jaq_core::RunPtr<D>>; 10] = [
        ("fromjson", v(0), |cv| bome(from_json(&cv.1))),
        ("tojson", v(0), |cv| bome(to_json(&cv.1))),
        ("parse_number", v(0), |cv| bome(parse_number(&cv.1))),
        ("length", v(0), |cv| bome(length(&cv.1))),
        ("contains", v(1), |cv| unary(cv, |x, y| Ok(Datum::Bool(contains(&x, &y))))),
        ("has", v(1), |cv| unary(cv, |x, key| has(&x, &key))),
        ("indices", v(1), |cv| unary(cv, |x, wanted| indices(&x, &wanted))),
        ("bsearch", v(1), |cv| unary(cv, |x, wanted| bsearch(&x, &wanted))),
        ("is_nan", v(0), |cv| bome(Ok(Datum::Bool(matches!(cv.1, Datum::Float(f) if f.is_nan()))))),
        ("guard_regex", v(1), |mut cv| {
            let regex = cv.0.pop_var();
            Box::new(std::iter::once(guard_regex(&cv.1, &regex).map(|()| cv.1).map_err(Exn::from)))
        }),
    ];
    natives.into_iter().map(run::<D>).collect()
}

/// A value with a secret's token in it is not written as JSON: what replaces the token may need escaping, and nobody
/// would know how often.
fn to_json(value: &Datum) -> ValR<Datum> {
    let json = value.to_json();
    super::meter::guard_secret(json.as_bytes());
    Ok(Datum::text(json))
}

fn from_json(text: &Datum) -> ValR<Datum> {
    let text = text.as_str().ok_or_else(|| type_error(text, "string"))?;
    super::meter::charge_bytes(text.len() as u64 * 4);
    serde_json::from_str(text).map_err(|error| Error::str(format_args!("cannot parse as JSON: {error}")))
}

fn parse_number(text: &Datum) -> ValR<Datum> {
    let text = text.as_str().ok_or_else(|| type_error(text, "number"))?.trim();
    let number = text.parse().map(Datum::Int).or_else(|_| text.parse().map(Datum::Float));
    number.map_err(|_| Error::str("cannot parse as number"))
}

fn type_error(value: &Datum, wanted: &str) -> Error<Datum> {
    Error::str(format_args!("cannot use {} as {wanted}", value.type_name()))
}

fn length(value: &Datum) -> ValR<Datum> {
    Ok(match value {
        Datum::Null => Datum::Int(0),
        Datum::Bool(_) => return Err(Error::str("boolean has no length")),
        Datum::Int(i) => i.checked_abs().map_or(Datum::Float((*i as f64).abs()), Datum::Int),
        Datum::Float(f) => Datum::Float(f.abs()),
        Datum::Text(text) => {
            charge_steps(text.len() as u64 / 64);
            Datum::from(value.as_str().unwrap_or_default().chars().count())
        }
        Datum::Array(array) => Datum::from(array.items().len()),
        Datum::Object(object) => Datum::from(object.members().len()),
    })
}

fn contains(outer: &Datum, inner: &Datum) -> bool {
    charge_node();
    match (outer, inner) {
        (Datum::Text(_), Datum::Text(_)) => find_all(outer, inner).next().is_some(),
        (Datum::Array(o), Datum::Array(i)) => {
            i.items().iter().all(|wanted| o.items().iter().any(|item| contains(item, wanted)))
        }
        (Datum::Object(o), Datum::Object(i)) => {
            i.members().iter().all(|(key, wanted)| o.get(key).is_some_and(|value| contains(value, wanted)))
        }
        _ => outer == inner,
    }
}

fn has(value: &Datum, key: &Datum) -> ValR<Datum> {
    match (value, key) {
        (Datum::Object(object), Datum::Text(_)) => {
            Ok(Datum::Bool(key.as_str().is_some_and(|key| object.get(key).is_some())))
        }
        (Datum::Array(array), Datum::Int(i)) => {
            Ok(Datum::Bool(usize::try_from(*i).is_ok_and(|i| i < array.items().len())))
        }
        _ => Err(Error::str(format_args!("cannot check whether {} has a {}", value.type_name(), key.type_name()))),
    }
}

/// Byte positions of `inner` in `outer`.
fn find_all<'a>(outer: &'a Datum, inner: &'a Datum) -> impl Iterator<Item = usize> + 'a {
    let (outer, inner) = (outer.as_str().unwrap_or_default(), inner.as_str().unwrap_or_default());
    charge_steps(outer.len() as u64 / 64);
    let mut from = 0;
    std::iter::from_fn(move || {
        charge_steps(1);
        let at = from + outer.get(from..)?.find(inner)?;
        from = at + outer[at..].chars().next().map_or(1, char::len_utf8);
        Some(at)
    })
}

/// Where `wanted` occurs in a string or an array, overlapping occurrences included.
pub(super) fn indices(value: &Datum, wanted: &Datum) -> ValR<Datum> {
    match (value, wanted) {
        (Datum::Null, _) => Ok(Datum::Null),
        (Datum::Text(_), Datum::Text(text)) if text.is_empty() => Ok(array_of([])),
        (Datum::Text(_), Datum::Text(_)) => {
            let outer = value.as_str().unwrap_or_default();
            let (mut chars, mut counted) = (0, 0);
            Ok(array_of(find_all(value, wanted).map(|at| {
                chars += outer[counted..at].chars().count();
                counted = at;
                Datum::from(chars)
            })))
        }
        (Datum::Array(_), Datum::Array(wanted)) if wanted.items().is_empty() => Ok(array_of([])),
        (Datum::Array(array), Datum::Array(wanted)) => {
            let windows = array.items().windows(wanted.items().len()).enumerate();
            Ok(array_of(windows.filter_map(|(i, window)| {
                charge_steps(1);
                (window == wanted.items()).then(|| Datum::from(i))
            })))
        }
        (Datum::Array(array), wanted) => {
            let items = array.items().iter().enumerate();
            Ok(array_of(items.filter_map(|(i, item)| {
                charge_steps(1);
                (item == wanted).then(|| Datum::from(i))
            })))
        }
        _ => Err(Error::str(format_args!("cannot search {} for {}", value.type_name(), wanted.type_name()))),
    }
}

fn bsearch(value: &Datum, wanted: &Datum) -> ValR<Datum> {
    let items = value.as_array().ok_or_else(|| type_error(value, "array"))?;
    Ok(match items.binary_search(wanted) {
        Ok(at) => Datum::from(at),
        Err(at) => Datum::Int(-1 - at as i64),
    })
}

/// Pays for a match of `regex` in `text`, which takes time proportional to the product of their lengths.
fn guard_regex(text: &Datum, regex: &Datum) -> Result<(), Error<Datum>> {
    let regex = regex.as_str().ok_or_else(|| type_error(regex, "string"))?;
    let text = text.as_str().ok_or_else(|| type_error(text, "string"))?;
    if regex.len() > LONGEST_REGEX {
        return Err(Error::str(format_args!("a regular expression of more than {LONGEST_REGEX} bytes")));
    }
    let repetitions = regex.split('{').skip(1).filter_map(|part| {
        let number = part.split(['}', ',']).filter_map(|n| n.trim().parse::<u64>().ok()).max()?;
        Some(number.max(1))
    });
    let states = repetitions.fold(regex.len() as u64, u64::saturating_mul);
    if states > 100_000 {
        return Err(Error::str("a regular expression with too many repetitions"));
    }
    charge_steps(states.saturating_add(states.saturating_mul(text.len() as u64) / 16));
    Ok(())
}
