//! A workflow as a Mermaid flowchart: tasks as nodes, task lists as subgraphs, jumps as edges, what catches errors and
//! what undoes tasks as dotted ones.

use kapell_api::problem::Problem;
use serde_json::Value;

use crate::compile;
use crate::program::{Block, Dag, Extended, Flow, Fork, Program, TaskId, TaskKind, TryCatch};

#[cfg(test)]
mod tests;

/// Draws the document.
///
/// # Errors
/// What is wrong with it.
pub fn mermaid(document: &Value) -> Result<String, Vec<Problem>> {
    let program = compile::unlinked(document)?;
    let mut drawing = Drawing { program: &program, lines: vec!["flowchart TD".to_owned()], depth: 1, parts: 0 };
    drawing.line("start([start])");
    drawing.line("finish([end])");
    let ends = drawing.block(&program.root, Some("finish"));
    if let Some(first) = ends {
        drawing.line(&format!("start --> {first}"));
    }
    drawing.lines.push(String::new());
    Ok(drawing.lines.join("\n"))
}

struct Drawing<'p> {
    program: &'p Program,
    lines: Vec<String>,
    depth: usize,
    /// Subgraphs that are no task, so far.
    parts: usize,
}

fn id(task: TaskId) -> String {
    format!("t{}", task.0)
}

/// Text inside of quotes, as Mermaid takes it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;"))
}

impl Drawing<'_> {
    fn line(&mut self, text: &str) {
        self.lines.push(format!("{}{text}", "    ".repeat(self.depth)));
    }

    fn edge(&mut self, from: &str, to: &str, label: &str) {
        let label = if label.is_empty() { String::new() } else { format!("|{}|", quoted(label)) };
        self.line(&format!("{from} -->{label} {to}"));
    }

    fn dotted(&mut self, from: &str, to: &str, label: &str) {
        self.line(&format!("{from} -. {label} .-> {to}"));
    }

    fn subgraph(&mut self, id: &str, title: &str, inside: impl FnOnce(&mut Self)) {
        self.line(&format!("subgraph {id} [{}]", quoted(title)));
        self.depth += 1;
        inside(self);
        self.depth -= 1;
        self.line("end");
    }

    /// Draws a task list; `after` is where it leads to when it is over. Gives its first node.
    fn block(&mut self, block: &Block, after: Option<&str>) -> Option<String> {
        for task in &block.tasks {
            self.task(*task);
        }
        for (position, task) in block.tasks.iter().enumerate() {
            for (flow, label) in self.ways(*task) {
                let to = match flow {
                    Flow::Continue => block.tasks.get(position + 1).copied().map(id).or(after.map(str::to_owned)),
                    Flow::Goto(target) => block.tasks.get(target).copied().map(id),
                    Flow::Exit => after.map(str::to_owned),
                    Flow::End => Some("finish".to_owned()),
                };
                if let Some(to) = to {
                    self.edge(&id(*task), &to, &label);
                }
            }
        }
        block.tasks.first().copied().map(id)
    }

    fn kind(&self, task: TaskId) -> &TaskKind {
        match &self.program.task(task).kind {
            TaskKind::Extended(extended) => &self.program.task(extended.inner).kind,
            kind => kind,
        }
    }

    /// The ways out of a task, with what is written on them.
    fn ways(&self, task: TaskId) -> Vec<(Flow, String)> {
        let then = self.program.task(task).then;
        let mut ways = Vec::new();
        match self.kind(task) {
            TaskKind::Raise(_) => {}
            TaskKind::Switch(cases) => {
                ways.extend(cases.iter().map(|case| (case.then, case.name.clone())));
                if cases.iter().all(|case| case.when.is_some()) {
                    ways.push((then, "else".to_owned()));
                }
            }
            TaskKind::Try(catch) if catch.then.is_some() => {
                ways.push((then, String::new()));
                ways.extend(catch.then.map(|caught| (caught, "caught".to_owned())));
            }
            _ => ways.push((then, String::new())),
        }
        if self.program.task(task).condition.is_some() && then != Flow::Continue {
            ways.push((Flow::Continue, "if not".to_owned()));
        }
        ways
    }

    fn task(&mut self, task: TaskId) {
        let definition = self.program.task(task);
        let (name, me) = (definition.name.clone(), id(task));
        let program = self.program;
        let kind = match &program.task(task).kind {
            TaskKind::Extended(extended) => {
                self.extensions(extended, &me);
                &program.task(extended.inner).kind
            }
            kind => kind,
        };
        match kind {
            TaskKind::Do(block) => self.subgraph(&me, &name, |inside| drop(inside.block(block, None))),
            TaskKind::For(each) => {
                let title = format!("{name}: for each {}", each.each);
                self.subgraph(&me, &title, |inside| drop(inside.block(&each.body, None)));
            }
            TaskKind::Fork(fork) => self.fork(&me, &name, fork),
            TaskKind::Dag(dag) => self.dag(&me, &name, dag),
            TaskKind::Try(catch) => self.try_catch(&me, &name, catch),
            TaskKind::Switch(_) => self.line(&format!("{me}{{{}}}", quoted(&name))),
            TaskKind::Raise(_) => self.line(&format!("{me}[/{}/]", quoted(&format!("{name}: raise")))),
            other => {
                let title = format!("{name}: {}", said(other));
                self.line(&format!("{me}[{}]", quoted(&title)));
            }
        }
        if let Some(undo) = &program.task(task).compensate {
            let part = self.part();
            self.subgraph(&part, &format!("undo {name}"), |inside| drop(inside.block(undo, None)));
            self.dotted(&me, &part, "undo");
        }
    }

    fn part(&mut self) -> String {
        self.parts += 1;
        format!("p{}", self.parts)
    }

    fn fork(&mut self, me: &str, name: &str, fork: &Fork) {
        let title = format!("{name}: {}", if fork.compete { "the first of" } else { "side by side" });
        self.subgraph(me, &title, |inside| fork.branches.iter().for_each(|branch| inside.task(*branch)));
    }

    fn dag(&mut self, me: &str, name: &str, dag: &Dag) {
        self.subgraph(me, name, |inside| {
            dag.tasks.iter().for_each(|task| inside.task(*task));
            for (task, needs) in dag.tasks.iter().zip(&dag.needs) {
                needs.iter().for_each(|need| inside.edge(&id(dag.tasks[*need]), &id(*task), ""));
            }
        });
    }

    fn try_catch(&mut self, me: &str, name: &str, catch: &TryCatch) {
        let title = format!("{name}: try{}", if catch.retry.is_some() { ", again" } else { "" });
        self.subgraph(me, &title, |inside| drop(inside.block(&catch.body, None)));
        if let Some(handler) = &catch.handler {
            let part = self.part();
            self.subgraph(&part, &format!("{name}: catch"), |inside| drop(inside.block(handler, None)));
            self.dotted(me, &part, "catch");
        }
    }

    fn extensions(&mut self, extended: &Extended, me: &str) {
        // The tasks of an extension stand around many; their names are enough.
        let names = |of: fn(&crate::program::Extension) -> &Block| {
            let tasks = extended.extensions.iter().flat_map(|extension| of(extension).tasks.iter());
            tasks.map(|task| self.program.task(*task).name.clone()).collect::<Vec<_>>().join(", ")
        };
        let (before, after) = (names(|extension| &extension.before), names(|extension| &extension.after));
        let surrounds = [("before", before), ("after", after)].into_iter().filter(|(_, names)| !names.is_empty());
        let surrounds: Vec<String> = surrounds.map(|(place, names)| format!("{place}: {names}")).collect();
        if !surrounds.is_empty() {
            let part = self.part();
            self.line(&format!("{part}>{}]", quoted(&surrounds.join("; "))));
            self.line(&format!("{part} -.- {me}"));
        }
    }
}

/// What a task does, in a word or two.
fn said(kind: &TaskKind) -> String {
    match kind {
        TaskKind::Call(call) => match &call.endpoint {
            crate::program::Endpoint::UriTemplate(uri) => format!("{} {uri}", call.method),
            crate::program::Endpoint::Computed(_) => format!("{} …", call.method),
            crate::program::Endpoint::Operation(_) => "call openapi".to_owned(),
            crate::program::Endpoint::Grpc(_) => "call grpc".to_owned(),
        },
        TaskKind::Function(_) => "call".to_owned(),
        TaskKind::Set(_) => "set".to_owned(),
        TaskKind::Wait(_) => "wait".to_owned(),
        other => {
            // `Emit(…)`: the kinds are called as their keywords.
            let text = format!("{other:?}");
            text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_ascii_lowercase()
        }
    }
}
