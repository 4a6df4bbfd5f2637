//! Field selectors: `metadata.name=web,status.phase!=Running`.

use std::fmt;

use super::SelectorError;

/// One condition on one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    pub path: String,
    /// `=` or `==`; else `!=`.
    pub equal: bool,
    pub value: String,
}

/// A conjunction of equalities and inequalities of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    pub requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    /// The string form, as in `?fieldSelector=`. In values `\` stands before a literal `\`, `,` or `=`.
    pub fn parse(text: &str) -> Result<FieldSelector, SelectorError> {
        let mut requirements = Vec::new();
        let mut position = 1;
        for term in split_terms(text) {
            if !term.trim().is_empty() {
                requirements.push(parse_term(term, position)?);
            }
            position += term.chars().count() + 1;
        }
        Ok(FieldSelector { requirements })
    }

    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// `field` gives a field's value, empty when absent.
    pub fn matches_by(&self, field: impl Fn(&str) -> String) -> bool {
        self.requirements.iter().all(|r| (field(&r.path) == r.value) == r.equal)
    }

    /// The value that the selector demands of this field, if it demands one (`metadata.name=web` makes a list a get).
    pub fn exact(&self, path: &str) -> Option<&str> {
        self.requirements.iter().find(|r| r.equal && r.path == path).map(|r| r.value.as_str())
    }
}

/// Pieces between the commas that no backslash precedes.
fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (index, c) in text.char_indices() {
        if c == ',' && !escaped {
            terms.push(&text[start..index]);
            start = index + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    terms.push(&text[start..]);
    terms
}

/// `position` is where the term starts, from 1.
fn parse_term(term: &str, position: usize) -> Result<FieldRequirement, SelectorError> {
    let error = |message: &str, at: usize| SelectorError {
        message: format!("{message} in {term:?}"),
        position: position + term[..at].chars().count(),
    };
    let Some(at) = term.find(['=', '!']) else {
        return Err(error("expected one of '=', '==', '!='", term.len()));
    };
    let (path, rest) = term.split_at(at);
    let (equal, value) = if let Some(value) = rest.strip_prefix("!=") {
        (false, value)
    } else if let Some(value) = rest.strip_prefix("==").or_else(|| rest.strip_prefix('=')) {
        (true, value)
    } else {
        return Err(error("expected one of '=', '==', '!='", at));
    };
    let path = path.trim();
    if path.is_empty() {
        return Err(error("expected a field", 0));
    }
    let value =
        unescape(value).map_err(|offset| error("'\\', ',' or '=' not escaped", term.len() - value.len() + offset))?;
    Ok(FieldRequirement { path: path.to_owned(), equal, value })
}

/// Errors with the byte offset of what is wrong.
fn unescape(value: &str) -> Result<String, usize> {
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some((_, next @ ('\\' | ',' | '='))) => plain.push(next),
                _ => return Err(index),
            },
            ',' | '=' => return Err(index),
            _ => plain.push(c),
        }
    }
    Ok(plain)
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, r) in self.requirements.iter().enumerate() {
            let value = r.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{}{}{}{value}", if index == 0 { "" } else { "," }, r.path, if r.equal { "=" } else { "!=" })?;
        }
        Ok(())
    }
}
