//! YAML through `saphyr-parser`'s events: composing values, places, aliases and merge keys.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::{Map, Value};

use super::{DecodeError, Decoded, Duplicate, MAX_DEPTH, MOST_DUPLICATES, Position, Positions, scalar};
use crate::field_path;

/// How much aliases may add to one stream, in bytes of memory roughly: nine levels of nine references are 3 GiB.
const MAX_ALIASED_BYTES: usize = 8 << 20;

/// How many bytes of paths are kept with their places: many fields below long keys would take a multiple of the text.
const MAX_LOCATED_BYTES: usize = 32 << 20;

pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Decoded>, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        DecodeError::NotUtf8 { position: Some(Position { line, column }) }
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut composer = Composer {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        aliased: 0,
        located: 0,
        document: Decoded::empty(),
    };
    let mut documents = Vec::new();
    loop {
        match composer.next()? {
            (Event::StreamEnd, _) => return Ok(documents),
            (Event::DocumentStart(_), _) => {
                composer.anchors.clear();
                let (event, span) = composer.next()?;
                composer.document.value = composer.node(event, span, &mut String::new(), 0)?;
                let document = std::mem::replace(&mut composer.document, Decoded::empty());
                if !document.value.is_null() {
                    documents.push(document);
                }
            }
            _ => {}
        }
    }
}

impl Decoded {
    fn empty() -> Decoded {
        Decoded { value: Value::Null, duplicates: Vec::new(), positions: Positions::default() }
    }
}

struct Composer<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// What each anchor of this document stands for.
    anchors: HashMap<usize, Anchored>,
    /// Bytes spent on remembering and repeating anchored values.
    aliased: usize,
    /// Bytes of paths whose places are remembered.
    located: usize,
    document: Decoded,
}

struct Anchored {
    value: Value,
    bytes: usize,
    /// Levels of nesting below and including the value itself.
    height: usize,
}

fn position(span: Span) -> Option<Position> {
    Some(Position { line: span.start.line().max(1), column: span.start.col() + 1 })
}

fn scan_error(error: ScanError) -> DecodeError {
    let position = Position { line: error.marker().line().max(1), column: error.marker().col() + 1 };
    DecodeError::Syntax { message: error.info().to_owned(), position: Some(position) }
}

impl<'a> Composer<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), DecodeError> {
        match self.parser.next_event() {
            Some(event) => event.map_err(scan_error),
            None => Err(DecodeError::Syntax { message: "the document ends too early".to_owned(), position: None }),
        }
    }

    /// Composes the value that starts with `event`; `path` is its place.
    fn node(&mut self, event: Event<'a>, span: Span, path: &mut String, depth: usize) -> Result<Value, DecodeError> {
        if depth >= MAX_DEPTH {
            return Err(DecodeError::TooDeep { position: position(span) });
        }
        if !self.document.positions.0.contains_key(path.as_str()) {
            self.locate(path, span);
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => (scalar_value(&text, style, tag, span)?, anchor),
            Event::SequenceStart(anchor, tag) => {
                check_tag(tag.as_deref(), "seq", span)?;
                (self.sequence(path, depth)?, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                check_tag(tag.as_deref(), "map", span)?;
                (self.mapping(path, depth)?, anchor)
            }
            Event::Alias(anchor) => return self.alias(anchor, span, depth),
            _ => return Err(DecodeError::Syntax { message: "expected a value".to_owned(), position: position(span) }),
        };
        if anchor > 0 {
            self.remember(anchor, &value, span)?;
        }
        Ok(value)
    }

    fn sequence(&mut self, path: &mut String, depth: usize) -> Result<Value, DecodeError> {
        let mut list = Vec::new();
        let length = path.len();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Value::Array(list));
            }
            field_path::push_index(path, list.len());
            list.push(self.node(event, span, path, depth + 1)?);
            path.truncate(length);
        }
    }

    fn mapping(&mut self, path: &mut String, depth: usize) -> Result<Value, DecodeError> {
        let mut map = Map::new();
        let mut merges = Vec::new();
        let length = path.len();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let (key, plain) = key(event, span)?;
            field_path::push_key(path, &key);
            self.locate(path, span);
            let (event, value_span) = self.next()?;
            let value = self.node(event, value_span, path, depth + 1)?;
            if plain && key == "<<" {
                merges.push((value, value_span));
            } else {
                if map.contains_key(&key) && self.document.duplicates.len() < MOST_DUPLICATES {
                    self.document.duplicates.push(Duplicate { path: path.clone(), position: position(span) });
                }
                map.insert(key, value);
            }
            path.truncate(length);
        }
        for (value, span) in merges {
            merge(&mut map, value, span)?;
        }
        Ok(Value::Object(map))
    }

    /// Remembers a place, while there is room; a field without one is found through what encloses it.
    fn locate(&mut self, path: &str, span: Span) {
        self.located += path.len();
        if self.located <= MAX_LOCATED_BYTES {
            self.document.positions.0.extend(position(span).map(|p| (path.to_owned(), p)));
        }
    }

    fn remember(&mut self, anchor: usize, value: &Value, span: Span) -> Result<(), DecodeError> {
        let (bytes, height) = weigh(value);
        self.spend(bytes, span)?;
        self.anchors.insert(anchor, Anchored { value: value.clone(), bytes, height });
        Ok(())
    }

    fn alias(&mut self, anchor: usize, span: Span, depth: usize) -> Result<Value, DecodeError> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            let message = "an alias refers to a value that contains it".to_owned();
            return Err(DecodeError::Syntax { message, position: position(span) });
        };
        // Chains of aliases could nest deeper than the text does.
        if depth + anchored.height > MAX_DEPTH {
            return Err(DecodeError::TooDeep { position: position(span) });
        }
        let bytes = anchored.bytes;
        self.spend(bytes, span)?;
        Ok(self.anchors[&anchor].value.clone())
    }

    fn spend(&mut self, bytes: usize, span: Span) -> Result<(), DecodeError> {
        self.aliased += bytes;
        if self.aliased > MAX_ALIASED_BYTES {
            return Err(DecodeError::AliasBomb { limit: MAX_ALIASED_BYTES, position: position(span) });
        }
        Ok(())
    }
}

/// A key and whether it is written plainly (a quoted `"<<"` is an ordinary key).
fn key(event: Event<'_>, span: Span) -> Result<(String, bool), DecodeError> {
    let error = |key: String| DecodeError::NonStringKey { key, position: position(span) };
    let (text, style, tag) = match event {
        Event::Scalar(text, style, _, tag) => (text, style, tag),
        Event::Alias(_) => return Err(error("given by an alias".to_owned())),
        _ => return Err(error("made of several values".to_owned())),
    };
    match scalar_value(&text, style, tag, span)? {
        Value::String(key) => Ok((key, style == ScalarStyle::Plain)),
        other => Err(error(other.to_string())),
    }
}

/// `<<`: fields of one or several other mappings, where this one does not have them itself; the first one wins.
fn merge(map: &mut Map<String, Value>, from: Value, span: Span) -> Result<(), DecodeError> {
    let sources = match from {
        Value::Array(sources) => sources,
        source => vec![source],
    };
    for source in sources {
        let Value::Object(source) = source else {
            let message = "the merge key << takes a mapping or a list of mappings".to_owned();
            return Err(DecodeError::Syntax { message, position: position(span) });
        };
        for (key, value) in source {
            map.entry(key).or_insert(value);
        }
    }
    Ok(())
}

fn scalar_value(text: &str, style: ScalarStyle, tag: Option<Cow<'_, Tag>>, span: Span) -> Result<Value, DecodeError> {
    let unsupported = |what: String| DecodeError::Unsupported { what, position: position(span) };
    let resolved = |text: &str| scalar::resolve(text).ok_or_else(|| unsupported(format!("the number {text}")));
    let Some(tag) = tag else {
        return if style == ScalarStyle::Plain { resolved(text) } else { Ok(Value::from(text)) };
    };
    // The tag `!` alone means: not resolved, a string.
    let bare = [tag.handle.as_str(), tag.suffix.as_str()].concat() == "!";
    if bare || tag.is_yaml_core_schema() && tag.suffix == "str" {
        return Ok(Value::from(text));
    }
    if !tag.is_yaml_core_schema() || !matches!(tag.suffix.as_str(), "null" | "bool" | "int" | "float") {
        return Err(unsupported(format!("the tag {tag}")));
    }
    let value = resolved(text)?;
    let fits = match tag.suffix.as_str() {
        "null" => value.is_null(),
        "bool" => value.is_boolean(),
        "int" => value.is_i64() || value.is_u64(),
        _ => value.is_number(),
    };
    let message = || format!("{text:?} does not fit its tag !!{}", tag.suffix);
    if fits { Ok(value) } else { Err(DecodeError::Syntax { message: message(), position: position(span) }) }
}

fn check_tag(tag: Option<&Tag>, expected: &str, span: Span) -> Result<(), DecodeError> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == expected) => {
            Err(DecodeError::Unsupported { what: format!("the tag {tag}"), position: position(span) })
        }
        _ => Ok(()),
    }
}

/// Roughly how much memory a value takes, and its levels of nesting.
fn weigh(value: &Value) -> (usize, usize) {
    const EACH: usize = size_of::<Value>();
    match value {
        Value::Array(list) => {
            let below = list.iter().map(weigh);
            below.fold((EACH, 1), |(bytes, height), (b, h)| (bytes + b, height.max(h + 1)))
        }
        Value::Object(map) => {
            let below = map.iter().map(|(key, value)| {
                let (bytes, height) = weigh(value);
                (bytes + key.len() + EACH, height)
            });
            below.fold((EACH, 1), |(bytes, height), (b, h)| (bytes + b, height.max(h + 1)))
        }
        Value::String(text) => (EACH + text.len(), 1),
        _ => (EACH, 1),
    }
}
