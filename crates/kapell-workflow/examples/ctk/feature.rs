//! Reads the part of Gherkin that the conformance kit uses: scenarios of steps with doc strings.
//!
//! A step that is not known is an error: a scenario that checks less than it says would prove nothing.

use serde_json::{Value, json};

pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) definition: Value,
    pub(crate) input: Value,
    pub(crate) then: Vec<Then>,
}

/// What a scenario claims.
#[derive(Debug)]
pub(crate) enum Then {
    Completes,
    CompletesWith(Value),
    Faults,
    FaultsWith(Value),
    Cancelled,
    Has(Vec<String>),
    Is(String, Value),
    Contains(String, usize),
    First(String),
    Last(String),
    After(String, String),
    Before(String, String),
}

/// A step's words, without its keyword, and its doc string.
struct Step {
    text: String,
    document: Option<Value>,
}

pub(crate) fn scenarios(feature: &str) -> Result<Vec<Scenario>, String> {
    let mut scenarios = Vec::new();
    let mut lines = feature.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(name) = line.trim().strip_prefix("Scenario:") else { continue };
        let mut steps = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.trim().starts_with("Scenario:")) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut document = None;
            if lines.peek().is_some_and(|next| next.trim().starts_with("\"\"\"")) {
                lines.next();
                let text: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "\"\"\"").collect();
                document = Some(yaml(&text)?);
            }
            let text = words_after_keyword(line).ok_or_else(|| format!("not a step: {line}"))?;
            steps.push(Step { text, document });
        }
        scenarios.push(scenario(name.trim(), steps)?);
    }
    Ok(scenarios)
}

fn words_after_keyword(line: &str) -> Option<String> {
    let rest = ["Given ", "When ", "Then ", "And "].into_iter().find_map(|keyword| line.strip_prefix(keyword))?;
    Some(rest.strip_prefix("given ").unwrap_or(rest).trim().to_owned())
}

/// A doc string is indented as a whole.
fn yaml(lines: &[&str]) -> Result<Value, String> {
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let margin = lines.iter().filter(|line| !line.trim().is_empty()).map(indent).min().unwrap_or(0);
    let text: Vec<&str> = lines.iter().map(|line| line.get(margin..).unwrap_or_default()).collect();
    // Scalars are data too, but not documents of an API: read as a member.
    let text = text.iter().map(|line| format!("  {line}\n")).collect::<String>();
    let decoded = kapell_api::decode::from_yaml(format!("value:\n{text}")).map_err(|error| error.to_string())?;
    Ok(decoded.value["value"].clone())
}

fn scenario(name: &str, steps: Vec<Step>) -> Result<Scenario, String> {
    let mut scenario = Scenario { name: name.to_owned(), definition: Value::Null, input: json!({}), then: Vec::new() };
    for Step { text, document } in steps {
        match (text.as_str(), document) {
            ("a workflow with definition:", Some(document)) => scenario.definition = document,
            ("the workflow input is:", Some(document)) => scenario.input = document,
            ("the workflow is executed", None) => {}
            (text, document) => scenario.then.push(claim(text, document)?),
        }
    }
    if scenario.definition.is_null() || scenario.then.is_empty() {
        return Err(format!("{name}: there is nothing to run or nothing to check"));
    }
    Ok(scenario)
}

fn claim(text: &str, document: Option<Value>) -> Result<Then, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let quoted: Vec<String> = text.split('\'').skip(1).step_by(2).map(str::to_owned).collect();
    Ok(match (words.as_slice(), document) {
        (["the", "workflow", "should", "complete"], None) => Then::Completes,
        (["the", "workflow", "should", "complete", "with", "output:"], Some(output)) => Then::CompletesWith(output),
        (["the", "workflow", "should", "fault"], None) => Then::Faults,
        (["the", "workflow", "should", "fault", "with", "error:"], Some(error)) => Then::FaultsWith(error),
        (["the", "workflow", "should", "cancel"], None) => Then::Cancelled,
        (["the", "workflow", "output", "should", "have", "properties", ..], None) => Then::Has(quoted),
        (["the", "workflow", "output", "should", "have", "a", path, "property", "with", "value:"], Some(value)) => {
            Then::Is(path.trim_matches('\'').to_owned(), value)
        }
        (
            ["the", "workflow", "output", "should", "have", "a", path, "property", "containing", count, "items"],
            None,
        ) => {
            let count = count.parse().map_err(|_| format!("not a number of items: {count}"))?;
            Then::Contains(path.trim_matches('\'').to_owned(), count)
        }
        ([task, "should", "run", "first"], None) => Then::First((*task).to_owned()),
        ([task, "should", "run", "last"], None) => Then::Last((*task).to_owned()),
        ([task, "should", "run", "after", other], None) => Then::After((*task).to_owned(), (*other).to_owned()),
        ([task, "should", "run", "before", other], None) => Then::Before((*task).to_owned(), (*other).to_owned()),
        _ => return Err(format!("unknown step: {text}")),
    })
}
