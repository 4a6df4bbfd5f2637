//! Values in which every text of the form `${ … }` stands for what it evaluates to.

use std::sync::Arc;

use serde_json::Value;

use super::datum::Datum;
use super::{Arguments, CompileError, EvaluationError, Expression};

/// How texts are told from expressions: `evaluate.mode` of the document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Only `${ … }` is an expression.
    #[default]
    Strict,
    /// Every text is tried; one that does not compile or evaluate stands for itself.
    Loose,
}

/// A literal with expressions inside.
#[derive(Clone, Debug)]
pub(crate) enum Template {
    Literal(Datum),
    Expression(Expression),
    /// Loose mode: the text stands for itself when evaluation fails.
    Attempt(Expression, Datum),
    Array(Vec<Template>),
    Object(Vec<(Arc<str>, Template)>),
}

/// The inside of `${ … }`.
pub(crate) fn enclosed(text: &str) -> Option<&str> {
    text.trim().strip_prefix("${")?.strip_suffix('}').map(str::trim)
}

impl Template {
    /// Compiles `value`; `fail` is told of each expression that does not, with its JSON pointer below `value`.
    pub(crate) fn compile(
        value: &Value,
        mode: Mode,
        scope: &[Arc<str>],
        fail: &mut dyn FnMut(&[String], &str, CompileError),
    ) -> Self {
        let mut path = Vec::new();
        compile_at(value, mode, scope, &mut path, fail)
    }

    /// `{}`.
    pub(crate) fn empty() -> Self {
        Template::Literal(Datum::Object(Arc::default()))
    }

    pub(crate) fn evaluate(&self, input: &Datum, arguments: &dyn Arguments) -> Result<Datum, EvaluationError> {
        Ok(match self {
            Template::Literal(literal) => literal.clone(),
            Template::Expression(expression) => expression.evaluate(input, arguments)?,
            Template::Attempt(expression, text) => {
                expression.evaluate(input, arguments).unwrap_or_else(|_| text.clone())
            }
            Template::Array(items) => {
                let items: Result<Vec<_>, _> = items.iter().map(|item| item.evaluate(input, arguments)).collect();
                Datum::array(items?)?
            }
            Template::Object(members) => {
                let members: Result<Vec<_>, EvaluationError> =
                    members.iter().map(|(key, value)| Ok((key.clone(), value.evaluate(input, arguments)?))).collect();
                Datum::object(members?)?
            }
        })
    }

    /// Whether an expression in it mentions this argument (without `$`).
    pub(crate) fn uses(&self, argument: &str) -> bool {
        match self {
            Template::Literal(_) => false,
            Template::Expression(expression) | Template::Attempt(expression, _) => expression.uses(argument),
            Template::Array(items) => items.iter().any(|item| item.uses(argument)),
            Template::Object(members) => members.iter().any(|(_, member)| member.uses(argument)),
        }
    }

    fn literal(&self) -> Option<&Datum> {
        match self {
            Template::Literal(literal) => Some(literal),
            _ => None,
        }
    }
}

fn compile_at(
    value: &Value,
    mode: Mode,
    scope: &[Arc<str>],
    path: &mut Vec<String>,
    fail: &mut dyn FnMut(&[String], &str, CompileError),
) -> Template {
    let literal = |value: &Value| Template::Literal(Datum::from_json(value).unwrap_or_default());
    match value {
        Value::String(text) => match (enclosed(text), mode) {
            (Some(code), _) => match Expression::compile(code, scope) {
                Ok(expression) => Template::Expression(expression),
                Err(error) => {
                    fail(path, text, error);
                    literal(&Value::Null)
                }
            },
            (None, Mode::Loose) => match Expression::compile(text, scope) {
                Ok(expression) => Template::Attempt(expression, Datum::string(text.as_str())),
                Err(_) => literal(value),
            },
            (None, Mode::Strict) => literal(value),
        },
        Value::Array(items) => {
            let mut compiled = Vec::with_capacity(items.len());
            for (i, item) in items.iter().enumerate() {
                path.push(format!("[{i}]"));
                compiled.push(compile_at(item, mode, scope, path, fail));
                path.pop();
            }
            if compiled.iter().all(|item| item.literal().is_some()) {
                literal(value)
            } else {
                Template::Array(compiled)
            }
        }
        Value::Object(members) => {
            let mut compiled = Vec::with_capacity(members.len());
            for (key, member) in members {
                path.push(format!(".{key}"));
                compiled.push((Arc::from(key.as_str()), compile_at(member, mode, scope, path, fail)));
                path.pop();
            }
            let constant = compiled.iter().all(|(_, member)| member.literal().is_some());
            if constant { literal(value) } else { Template::Object(compiled) }
        }
        _ => literal(value),
    }
}
