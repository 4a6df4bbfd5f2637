//! Runtime expressions: jq, compiled once and evaluated within bounds.
//!
//! An [`Expression`] is compiled when its document is, with the arguments that exist at its position (`$context`,
//! `$input`, loop variables, …). Evaluation is a function of its input and arguments: it sees neither the clock, nor
//! the environment, nor other inputs, so a journal can be replayed.
//!
//! **Bounds.** Evaluation stops with an [`EvaluationError`] when it has taken [`meter::MAX_STEPS`] steps, produced
//! [`meter::MAX_BYTES`] of data, 2 s, or its share of the stack. No single value is deeper, heavier or longer than
//! [`datum`] says. These hold for every operator and filter, because data is our own type and pays for each
//! operation. What is not counted is the interpreter's own book-keeping, a few hundred bytes for each step at most.
//! Parsing is bounded by the length of an expression and runs on a deep stack.

use std::sync::Arc;

use jaq_core::data::{DataT, HasLut};
use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Filter, Lut, Vars};

pub(crate) mod datum;
mod encoding;
pub(crate) mod meter;
mod natives;
mod operations;
pub(crate) mod outline;
pub(crate) mod template;
#[cfg(test)]
mod tests;

pub(crate) use datum::Datum;
pub(crate) use template::Template;

use meter::{Exhausted, charge_node, metered};

/// Parsing recurses, with less than 8 KiB of stack for each character.
const LONGEST_EXPRESSION: usize = 4096;

/// Why an expression was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CompileError {
    #[error("an expression of more than {LONGEST_EXPRESSION} bytes")]
    TooLong,
    #[error("an empty expression")]
    Empty,
    #[error("expected {expected}, found {found}")]
    Syntax { expected: String, found: String },
    #[error("there is no {kind} `{name}` here")]
    Undefined { kind: &'static str, name: String },
    #[error("modules cannot be imported")]
    Import,
}

/// Why an evaluation has no result; becomes an error of type `expression`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EvaluationError {
    #[error("{0}")]
    Exhausted(#[from] Exhausted),
    #[error("{0}")]
    Failed(String),
}

/// The interpreter's view of our data: see [`jaq_core::data`].
struct Metered;

#[derive(Clone, Copy)]
struct Access<'a>(&'a Lut<Metered>);

impl DataT for Metered {
    type V<'a> = Datum;
    type Data<'a> = Access<'a>;
}

impl<'a> HasLut<'a, Metered> for Access<'a> {
    /// Asked once for each node that is run, which makes it the place to count.
    fn lut(&self) -> &'a Lut<Metered> {
        charge_node();
        self.0
    }
}

/// A compiled jq filter.
#[derive(Clone)]
pub(crate) struct Expression {
    filter: Arc<Filter<Metered>>,
    /// The arguments that the text mentions, in the order in which evaluation passes them.
    arguments: Arc<[Arc<str>]>,
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expression").field("arguments", &self.arguments).finish_non_exhaustive()
    }
}

/// Gives an expression its arguments by name (without `$`).
pub(crate) trait Arguments {
    fn argument(&self, name: &str) -> Datum;
}

/// For expressions that were compiled without any.
pub(crate) struct NoArguments;

impl Arguments for NoArguments {
    fn argument(&self, _: &str) -> Datum {
        Datum::Null
    }
}

impl Expression {
    /// Whether it says the same for the same input, wherever it is evaluated.
    pub(crate) fn is_closed(&self) -> bool {
        self.arguments.is_empty()
    }

    /// Whether its text mentions this argument (without `$`).
    pub(crate) fn uses(&self, argument: &str) -> bool {
        self.arguments.iter().any(|name| &**name == argument)
    }

    /// Compiles `text`, which may use the arguments in `scope`. Call from a deep stack: see [`meter::on_deep_stack`].
    pub(crate) fn compile(text: &str, scope: &[Arc<str>]) -> Result<Self, CompileError> {
        if text.len() > LONGEST_EXPRESSION {
            return Err(CompileError::TooLong);
        }
        if text.trim().is_empty() {
            return Err(CompileError::Empty);
        }
        let arguments: Arc<[Arc<str>]> = scope.iter().filter(|name| mentions(text, name)).cloned().collect();
        let variables: Vec<String> = arguments.iter().map(|name| format!("${name}")).collect();

        // What is undefined with the definitions that it names is so with all of them, and then said as ever.
        let filter = compile_with(natives::definitions_for(text), text, &variables)
            .or_else(|_| compile_with(natives::definitions(), text, &variables))?;
        Ok(Self { filter: Arc::new(filter), arguments })
    }

    /// The first output of the filter for `input`; `null` when it has none, as the DSL asks for one value.
    pub(crate) fn evaluate(&self, input: &Datum, arguments: &dyn Arguments) -> Result<Datum, EvaluationError> {
        let variables: Vec<Datum> = self.arguments.iter().map(|name| arguments.argument(name)).collect();
        metered(|| {
            let context = Ctx::<Metered>::new(Access(&self.filter.lut), Vars::new(variables));
            match self.filter.id.run((context, input.clone())).next() {
                None => Ok(Datum::Null),
                Some(Ok(output)) => Ok(output),
                Some(Err(exception)) => Err(match exception.get_err() {
                    Ok(error) => EvaluationError::Failed(message(error)),
                    // Without natives that halt, only a `break` to a label that has been left is not an error.
                    Err(_) => EvaluationError::Failed("break out of a label that has ended".to_owned()),
                }),
            }
        })?
    }
}

fn compile_with(
    definitions: Vec<natives::Definition>,
    text: &str,
    variables: &[String],
) -> Result<Filter<Metered>, CompileError> {
    let arena = Arena::default();
    let loader = Loader::new(definitions);
    let modules = loader.load(&arena, File { code: text, path: () }).map_err(load_error)?;
    Compiler::default()
        .with_funs(natives::functions::<Metered>())
        .with_global_vars(variables.iter().map(String::as_str))
        .compile(modules)
        .map_err(undefined)
}

/// `error("x")` says x; other values are shown as JSON.
fn message(error: jaq_core::Error<Datum>) -> String {
    let value = error.into_val();
    match value.as_str() {
        Some(text) => text.chars().take(500).collect(),
        None => value.to_string(),
    }
}

/// Whether the text may use the argument; mentioning it in a string only costs passing it.
fn mentions(text: &str, name: &str) -> bool {
    text.match_indices('$').any(|(at, _)| {
        text[at + 1..]
            .strip_prefix(name)
            .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    })
}

fn load_error(errors: jaq_core::load::Errors<&str, ()>) -> CompileError {
    use jaq_core::load::Error;
    let shorten = |text: &str| match text.chars().take(20).collect::<String>() {
        text if text.is_empty() => "the end".to_owned(),
        text => format!("`{text}`"),
    };
    match errors.into_iter().next() {
        Some((_, Error::Lex(errors))) if !errors.is_empty() => {
            CompileError::Syntax { expected: errors[0].0.as_str().to_owned(), found: shorten(errors[0].1) }
        }
        Some((_, Error::Parse(errors))) if !errors.is_empty() => {
            CompileError::Syntax { expected: errors[0].0.as_str().to_owned(), found: shorten(errors[0].1) }
        }
        _ => CompileError::Import,
    }
}

fn undefined(errors: jaq_core::compile::Errors<&str, ()>) -> CompileError {
    let first = errors.into_iter().flat_map(|(_, errors)| errors).next();
    first.map_or(CompileError::Import, |(name, kind)| CompileError::Undefined {
        kind: kind.as_str(),
        name: name.to_owned(),
    })
}
