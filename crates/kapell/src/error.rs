//! What went wrong, for people: what, where, why and what to do next. One place turns it into an exit code.

use std::fmt;

use kube::core::Status;

/// How the program ends (`kapell --help` documents them): 0 is success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Failure,
    Usage,
    /// As the command ended that was run elsewhere.
    Command(u8),
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Command(code) => code,
        }
    }
}

/// A failure with the next step to take.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// The fields that the server complains about, each with its message, if that is what went wrong.
    pub(crate) fields: Vec<(String, String)>,
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failure, message: message.into(), hint: None, fields: Vec::new() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into(), hint: None, fields: Vec::new() }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  try: {hint}")?;
        }
        Ok(())
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Failure::from(&*status),
            kube::Error::HyperError(_) | kube::Error::Service(_) => {
                Failure::new(format!("the server does not answer: {}", root_cause(&error)))
                    .hint("start it with `kapell server` or `kapell up`, or name another with --data or --kubeconfig")
            }
            other => Failure::new(root_cause(&other)),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::new(error.to_string())
    }
}

impl From<&Status> for Failure {
    fn from(status: &Status) -> Self {
        let causes = status.details.as_ref().map_or(&[][..], |details| &details.causes);
        let fields = causes.iter().filter(|cause| !cause.field.is_empty());
        Self {
            fields: fields.map(|cause| (cause.field.clone(), cause.message.clone())).collect(),
            ..Failure::new(status_text(status))
        }
    }
}

/// The server's own words, one cause a line.
fn status_text(status: &Status) -> String {
    let causes = status.details.as_ref().map_or(&[][..], |details| &details.causes);
    if causes.len() > 1 {
        let lines: String = causes.iter().map(|cause| format!("\n  {}: {}", cause.field, cause.message)).collect();
        let head = status.message.split(": [").next().unwrap_or(&status.message);
        return format!("{head}:{lines}");
    }
    status.message.clone()
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
