//! What `run` is compiled to.

use serde::{Deserialize, Serialize};

use crate::expression::Template;

#[derive(Debug)]
pub(crate) struct RunTask {
    pub(crate) what: RunWhat,
    /// Whether the task goes on until what it runs has ended.
    pub(crate) awaited: bool,
}

#[derive(Debug)]
pub(crate) enum RunWhat {
    /// A workflow of the same namespace.
    Workflow {
        name: String,
        version: String,
        input: Option<Template>,
    },
    /// A command for `sh`.
    Shell {
        command: Template,
        process: ProcessTemplate,
    },
    Script {
        language: Language,
        code: Template,
        process: ProcessTemplate,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    JavaScript,
    Python,
}

#[derive(Debug)]
pub(crate) struct ProcessTemplate {
    pub(crate) arguments: Option<Template>,
    pub(crate) environment: Option<Template>,
    pub(crate) stdin: Option<Template>,
    pub(crate) returns: Returns,
}

/// What of a process becomes the task's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Returns {
    #[default]
    Stdout,
    Stderr,
    Code,
    All,
    None,
}
