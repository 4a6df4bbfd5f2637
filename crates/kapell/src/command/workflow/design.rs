//! `kapell workflow lint|graph|test`: what can be said of workflows without running them. None needs a server, except
//! that `graph` also draws a workflow of one.

use std::path::{Path, PathBuf};

use kapell_server::workflows::{self, cases};
use serde_json::{Value, json};

use crate::cli::{Output, Target};
use crate::cluster::{Cluster, kind_called};
use crate::error::{Failure, Outcome};
use crate::{manifest, print};

/// Something wrong, or doubtful, in a file.
struct Finding {
    file: String,
    position: Option<(usize, usize)>,
    field: String,
    message: String,
    is_doubt: bool,
}

/// Checks documents as the server does, and says what is doubtful.
pub(crate) fn lint(files: &[PathBuf], output: Option<Output>) -> Outcome {
    let manifests = manifest::read(files)?;
    let workflows: Vec<_> = manifests.iter().filter(|manifest| manifest.kind.kind == "Workflow").collect();
    if workflows.is_empty() {
        return Err(Failure::usage("there is no workflow in these files"));
    }
    let mut findings = Vec::new();
    for workflow in &workflows {
        let spec = &workflow.value["spec"];
        let problems = workflows::validate(spec).into_iter().map(|problem| (problem, false));
        let doubts = workflows::doubts(spec).into_iter().map(|problem| (problem, true));
        findings.extend(problems.chain(doubts).map(|(problem, is_doubt)| {
            let (file, position) = workflow.position(&problem.field);
            Finding { file, position, field: problem.field, message: problem.message, is_doubt }
        }));
    }
    findings.sort_by(|a, b| (&a.file, a.position).cmp(&(&b.file, b.position)));
    let wrong = findings.iter().filter(|finding| !finding.is_doubt).count();
    match output {
        Some(output @ (Output::Json | Output::Yaml)) => {
            let items: Vec<Value> = findings.iter().map(Finding::to_json).collect();
            print::value(&json!(items), output)?;
        }
        _ => print::out(&findings.iter().map(Finding::to_line).collect::<String>())?,
    }
    match wrong {
        0 => Ok(()),
        1 => Err(Failure::new("1 problem")),
        many => Err(Failure::new(format!("{many} problems"))),
    }
}

impl Finding {
    fn to_line(&self) -> String {
        let place = self.position.map_or(String::new(), |(line, column)| format!("{line}:{column}:"));
        let doubt = if self.is_doubt { "warning: " } else { "" };
        format!("{}:{place} {doubt}{}: {}\n", self.file, self.field, self.message)
    }

    fn to_json(&self) -> Value {
        json!({
            "file": self.file,
            "line": self.position.map(|(line, _)| line),
            "column": self.position.map(|(_, column)| column),
            "field": self.field,
            "message": self.message,
            "severity": if self.is_doubt { "warning" } else { "error" },
        })
    }
}

/// Draws a workflow of a file, or of the server.
pub(crate) async fn graph(target: &Target, which: &str) -> Outcome {
    let path = Path::new(which);
    if !path.exists() {
        if which.contains(['/', '.']) {
            return Err(Failure::usage(format!("{which}: there is no such file")));
        }
        let cluster = Cluster::connect(target).await?;
        let workflow = cluster.get_if_exists(&cluster.path(kind_called("workflows")?, None, Some(which))).await?;
        let missing = || {
            Failure::new(format!("there is no file {which}, and namespace {} has no such workflow", cluster.namespace))
        };
        return draw(&workflow.ok_or_else(missing)?["spec"]);
    }
    let manifests = manifest::read(&[path.to_owned()])?;
    let workflows: Vec<_> = manifests.iter().filter(|manifest| manifest.kind.kind == "Workflow").collect();
    match workflows.as_slice() {
        [only] => draw(&only.value["spec"]),
        several => Err(Failure::usage(format!("{which} holds {} workflows, not one", several.len()))),
    }
}

fn draw(spec: &Value) -> Outcome {
    match workflows::mermaid(spec) {
        Ok(drawn) => print::out(&drawn),
        Err(problems) => {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Err(Failure::new(problems.join("\n       ")).hint("kapell workflow lint FILE"))
        }
    }
}

/// Runs cases; says of each how it came out.
pub(crate) fn test(files: &[PathBuf], only: Option<&str>) -> Outcome {
    let (mut passed, mut failed) = (0, 0);
    for file in files {
        let shown = file.display();
        let text = std::fs::read_to_string(file).map_err(|error| Failure::usage(format!("{shown}: {error}")))?;
        for case in cases::read(&text).map_err(|error| Failure::usage(format!("{shown}: {error}")))? {
            if only.is_some_and(|only| !case.name.contains(only)) {
                continue;
            }
            let place = case.position.map_or(String::new(), |at| format!("{}:{}:", at.line, at.column));
            let name = case.name.clone();
            let differences = with_its_workflow(case, file)?.run();
            let differences = differences.map_err(|error| Failure::usage(format!("{shown}:{place} {error}")))?;
            if differences.is_empty() {
                passed += 1;
                print::out(&format!("ok      {name}\n"))?;
                continue;
            }
            failed += 1;
            let details = differences.iter().map(|difference| {
                format!(
                    "          {}\n            - {}\n            + {}\n",
                    difference.field, difference.wanted, difference.found
                )
            });
            print::out(&format!("FAILED  {name} ({shown}:{place})\n{}", details.collect::<String>()))?;
        }
    }
    print::out(&format!("{passed} of {} cases came out as written\n", passed + failed))?;
    match failed {
        0 if passed == 0 => Err(Failure::usage("there is no case of this name")),
        0 => Ok(()),
        1 => Err(Failure::new("1 case came out otherwise (- wanted, + found)")),
        many => Err(Failure::new(format!("{many} cases came out otherwise (- wanted, + found)"))),
    }
}

/// A case may name the file of its workflow, as seen from its own file.
fn with_its_workflow(case: cases::Case, file: &Path) -> Outcome<cases::Case> {
    let Some(named) = case.workflow_file() else { return Ok(case) };
    let path = file.parent().unwrap_or(Path::new("")).join(named);
    let manifests = manifest::read(std::slice::from_ref(&path))?;
    let mut workflows = manifests.iter().filter(|manifest| manifest.kind.kind == "Workflow");
    match (workflows.next(), workflows.next()) {
        (Some(only), None) => {
            let document = only.value["spec"].clone();
            Ok(case.with_workflow(document))
        }
        _ => Err(Failure::usage(format!("{} does not hold exactly one workflow", path.display()))),
    }
}
