//! `run` within a run: what is to be started, settled when the task begins, and what becomes of its end.

use serde::{Deserialize, Serialize};

use super::arguments::Surroundings;
use super::decide;
use super::record::{Body, FrameId, Record};
use super::state::Run;
use crate::expression::{Datum, Template};
use crate::fault::{Fault, Standard};
use crate::program::process::{Language, ProcessTemplate, Returns, RunTask, RunWhat};
use crate::secrets::is_sealed;

/// The longest argument or variable; the kernel takes 128 KiB.
const LONGEST_TEXT: usize = 120 << 10;

/// Something that is due to run; begun again, under the same name, when its end is not in the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) what: What,
    /// Whether the task ends with it, or as soon as it has been started.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub(crate) awaited: bool,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum What {
    Workflow { name: String, version: String, input: Datum },
    Process(Process),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) command: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) returns: Returns,
    /// The number in the tokens that the environment holds, if any: see [`crate::secrets`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sealed: Option<String>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum JobEnd {
    Completed(Datum),
    /// It goes on, and nobody waits for it.
    Started,
    Exited {
        code: i64,
        stdout: String,
        stderr: String,
    },
    /// The child's error is the task's.
    Faulted(Fault),
    Failed {
        kind: Standard,
        detail: String,
    },
}

impl Job {
    /// For people.
    pub(crate) fn describe(&self) -> String {
        match &self.what {
            What::Workflow { name, .. } => format!("a run of workflow {name}"),
            What::Process(_) => "a process".to_owned(),
        }
    }
}

fn text_of(value: &Datum) -> String {
    value.as_str().map_or_else(|| value.to_json(), str::to_owned)
}

/// What a `run` settles when it begins.
pub(super) fn begun(task: &RunTask, around: &Surroundings<'_>, pointer: &str) -> Result<Body, Fault> {
    let sealed = around.run.identity.secrets.as_ref();
    let any = |place: &str, template: &Template| {
        template.evaluate(&around.input, around).map_err(|error| decide::failed(place, pointer, &error))
    };
    // What others can see must not hold tokens: neither another run's input nor a command line.
    let evaluate = |place: &str, template: &Template| {
        let value = any(place, template)?;
        if sealed.is_some() && is_sealed(value.to_json().as_bytes()) {
            let detail = format!("{place}: a secret can be handed over only in `environment` or `stdin` of a command");
            return Err(Fault::new(Standard::Validation, pointer, detail));
        }
        Ok(value)
    };
    let what = match &task.what {
        RunWhat::Workflow { name, version, input } => {
            let input = match input {
                Some(input) => evaluate("run.workflow.input", input)?,
                None => Datum::Object(Default::default()),
            };
            What::Workflow { name: name.clone(), version: version.clone(), input }
        }
        RunWhat::Shell { command, process } => {
            let command = text_of(&evaluate("run.shell.command", command)?);
            let arguments =
                process.arguments.as_ref().map(|given| evaluate("run.shell.arguments", given)).transpose()?;
            let words = arguments.as_ref().map_or_else(Vec::new, words);
            let command = if words.is_empty() { command } else { format!("{command} \"$@\"") };
            let line = ["/bin/sh".to_owned(), "-c".to_owned(), command, "sh".to_owned()];
            What::Process(self::process(process, line.into_iter().chain(words).collect(), Vec::new(), &any)?)
        }
        RunWhat::Script { language, code, process } => {
            let code = text_of(&evaluate("run.script.code", code)?);
            let arguments =
                process.arguments.as_ref().map(|given| evaluate("run.script.arguments", given)).transpose()?;
            let named = arguments.as_ref().filter(|arguments| arguments.as_object().is_some());
            let words = arguments.as_ref().filter(|_| named.is_none()).map_or_else(Vec::new, words);
            let variables = named.map(|named| ("KAPELL_ARGUMENTS".to_owned(), named.to_json()));
            let line = script(*language, &code, variables.is_some());
            let command = line.into_iter().chain(words).collect();
            What::Process(self::process(process, command, variables.into_iter().collect(), &any)?)
        }
    };
    let mut what = what;
    if let What::Process(process) = &mut what {
        let holds = |(_, value): &(String, String)| is_sealed(value.as_bytes());
        process.sealed = sealed.filter(|_| process.environment.iter().any(holds)).map(|sealed| sealed.nonce.clone());
        let texts = process.command.iter().chain(process.environment.iter().map(|(_, value)| value));
        if let Some(length) = texts.map(String::len).max().filter(|length| *length > LONGEST_TEXT) {
            let detail = format!("run: an argument or variable has {length} bytes, {LONGEST_TEXT} are allowed");
            return Err(Fault::new(Standard::Validation, pointer, detail));
        }
    }
    Ok(Body::Run(Box::new(Job { what, awaited: task.awaited })))
}

/// An array as its items; an object as its keys, each followed by its value if there is one.
fn words(arguments: &Datum) -> Vec<String> {
    match arguments {
        Datum::Array(items) => items.items().iter().map(text_of).collect(),
        Datum::Object(members) => {
            let pair = |(name, value): (&std::sync::Arc<str>, &Datum)| {
                let value = (*value != Datum::Null).then(|| text_of(value));
                [Some(name.to_string()), value].into_iter().flatten().collect::<Vec<_>>()
            };
            members.members().iter().flat_map(pair).collect()
        }
        Datum::Null => Vec::new(),
        single => vec![text_of(single)],
    }
}

/// Named arguments are variables of the script.
fn script(language: Language, code: &str, named: bool) -> [String; 3] {
    let (program, option, prelude) = match language {
        Language::JavaScript => {
            ("node", "-e", "Object.assign(globalThis, JSON.parse(process.env.KAPELL_ARGUMENTS));\n")
        }
        Language::Python => {
            ("python3", "-c", "import json, os\nglobals().update(json.loads(os.environ['KAPELL_ARGUMENTS']))\n")
        }
    };
    let prelude = if named { prelude } else { "" };
    [program.to_owned(), option.to_owned(), format!("{prelude}{code}")]
}

fn process(
    template: &ProcessTemplate,
    command: Vec<String>,
    mut environment: Vec<(String, String)>,
    evaluate: &dyn Fn(&str, &Template) -> Result<Datum, Fault>,
) -> Result<Process, Fault> {
    if let Some(given) = &template.environment {
        let given = evaluate("run.environment", given)?;
        let members = given.as_object().into_iter().flat_map(|object| object.members());
        environment.extend(members.map(|(name, value)| (name.to_string(), text_of(value))));
    }
    let mut line = command;
    if let Some(stdin) = &template.stdin {
        environment.push(("KAPELL_STDIN".to_owned(), text_of(&evaluate("run.stdin", stdin)?)));
        let feed = ["/bin/sh", "-c", "printf %s \"$KAPELL_STDIN\" | \"$@\"", "sh"];
        line = feed.into_iter().map(str::to_owned).chain(line).collect();
    }
    Ok(Process { command: line, environment, returns: template.returns, sealed: None })
}

/// The record of an end.
pub(super) fn ended(run: &Run, frame: FrameId, end: JobEnd) -> Option<Record> {
    let (_, job) = run.jobs.get(&frame)?;
    let active = run.frames.get(&frame)?;
    let pointer = run.pointer(active);
    let failed = |fault: Fault| Record::Failed { frame, fault };
    let returns = match &job.what {
        What::Process(process) => process.returns,
        What::Workflow { .. } => Returns::None,
    };
    Some(match end {
        JobEnd::Started => Record::Answered { frame, output: active.input.clone() },
        JobEnd::Completed(output) => Record::Answered { frame, output },
        JobEnd::Faulted(fault) => failed(Fault { instance: Some(pointer.to_owned()), ..fault }),
        JobEnd::Failed { kind, detail } => failed(Fault::new(kind, pointer, detail)),
        JobEnd::Exited { code, stdout, stderr } => {
            let told = matches!(returns, Returns::Code | Returns::All);
            if code != 0 && !told {
                let said: String = stderr.trim().chars().take(500).collect();
                let detail = format!("the process ended with code {code}: {said}");
                return Some(failed(Fault::new(Standard::Runtime, pointer, detail.trim_end_matches(": "))));
            }
            let output = match returns {
                Returns::Stdout => Datum::string(stdout),
                Returns::Stderr => Datum::string(stderr),
                Returns::Code => Datum::Int(code),
                Returns::None => active.input.clone(),
                Returns::All => Datum::object([
                    ("code", Datum::Int(code)),
                    ("stdout", Datum::string(stdout)),
                    ("stderr", Datum::string(stderr)),
                ])
                .unwrap_or_default(),
            };
            Record::Answered { frame, output }
        }
    })
}
