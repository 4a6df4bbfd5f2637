//! The string form of label selectors: one recursive-descent parser over characters, so that errors know their place.

use std::collections::BTreeSet;

use super::{Operator, Requirement, Selector, SelectorError};

/// Parses a whole selector; blank text is the empty one.
pub(super) fn label_selector(text: &str) -> Result<Selector, SelectorError> {
    let mut parser = Parser { rest: text, text };
    let mut requirements = Vec::new();
    parser.skip_blanks();
    while !parser.rest.is_empty() {
        requirements.push(parser.requirement()?);
        match parser.next_symbol() {
            "" if parser.at_end() => break,
            "," if !parser.at_end() => {}
            "," => return Err(parser.expected("a requirement after ','")),
            _ => return Err(parser.expected("',' or the end")),
        }
    }
    Ok(Selector { requirements })
}

struct Parser<'a> {
    rest: &'a str,
    text: &'a str,
}

impl<'a> Parser<'a> {
    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn at_end(&mut self) -> bool {
        self.skip_blanks();
        self.rest.is_empty()
    }

    fn error(&self, message: String) -> SelectorError {
        let before = self.text.len() - self.rest.len();
        SelectorError { message, position: self.text[..before].chars().count() + 1 }
    }

    fn expected(&self, what: &str) -> SelectorError {
        let found: String = self.rest.chars().take(20).collect();
        self.error(if found.is_empty() {
            format!("expected {what}")
        } else {
            format!("expected {what}, found {found:?}")
        })
    }

    /// Eats the operator or punctuation that comes next; empty if there is none. A `=` is as good as `==`.
    fn next_symbol(&mut self) -> &'static str {
        self.skip_blanks();
        for symbol in ["==", "!=", "=", "!", ",", "(", ")", "<", ">"] {
            if let Some(rest) = self.rest.strip_prefix(symbol) {
                self.rest = rest;
                return symbol;
            }
        }
        ""
    }

    /// Eats a word, which may be empty: everything up to a blank or a symbol.
    fn word(&mut self) -> &'a str {
        self.skip_blanks();
        let end = self.rest.find(|c: char| c.is_whitespace() || "=!,()<>".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        self.skip_blanks();
        let start = self.rest;
        let absent = start.starts_with('!');
        if absent {
            self.next_symbol();
        }
        let key = self.word();
        if key.is_empty() {
            return Err(self.expected("a label key"));
        }
        let (operator, values) =
            if absent { (Operator::DoesNotExist, BTreeSet::new()) } else { self.operator_and_values()? };
        Requirement::new(key.to_owned(), operator, values).map_err(|message| {
            let here = Parser { rest: start, text: self.text };
            here.error(message)
        })
    }

    fn operator_and_values(&mut self) -> Result<(Operator, BTreeSet<String>), SelectorError> {
        self.skip_blanks();
        let operator = match self.rest.chars().next() {
            None | Some(',') => return Ok((Operator::Exists, BTreeSet::new())),
            Some('=') => Operator::In,
            Some('!') if self.rest.starts_with("!=") => Operator::NotIn,
            Some('>') => Operator::Gt,
            Some('<') => Operator::Lt,
            Some(_) => return self.set(),
        };
        self.next_symbol();
        Ok((operator, BTreeSet::from([self.word().to_owned()])))
    }

    /// `in (x,y)` or `notin (x,y)`; an empty element is the empty value.
    fn set(&mut self) -> Result<(Operator, BTreeSet<String>), SelectorError> {
        let before = self.rest;
        let operator = match self.word() {
            "in" => Operator::In,
            "notin" => Operator::NotIn,
            _ => {
                self.rest = before;
                return Err(self.expected("one of '=', '==', '!=', 'in', 'notin', '<', '>'"));
            }
        };
        if self.next_symbol() != "(" {
            return Err(self.expected("'('"));
        }
        let mut values = BTreeSet::new();
        loop {
            values.insert(self.word().to_owned());
            match self.next_symbol() {
                "," => {}
                ")" => return Ok((operator, values)),
                _ => return Err(self.expected("',' or ')'")),
            }
        }
    }
}
