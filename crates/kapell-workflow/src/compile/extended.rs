//! `use.extensions`: task lists before and after tasks of a kind.
//!
//! The DSL leaves the data flow open. Here the lists see the data and change nothing of it: those before a task begin with
//! its input, those after it with its output, and what they put out is dropped, except that `then: exit` in a list before
//! the task skips it and puts out in its place. `$task` is the extended task. Tasks of extensions are not extended.

use kapell_api::problem::Problem;

use super::{Compiler, Position};
use crate::expression::{Datum, Expression};
use crate::node::Node;
use crate::program::{Block, DataFilter, Extended, Extension, Flow, Task, TaskId, TaskKind};

const KINDS: [&str; 12] =
    ["call", "composite", "emit", "for", "listen", "raise", "run", "set", "switch", "try", "wait", "all"];

/// An extension with the kind of tasks that it is for.
#[derive(Clone, Debug)]
pub(super) struct Extender {
    extend: String,
    when: Option<Expression>,
    before: Block,
    after: Block,
}

impl Compiler {
    pub(super) fn extensions(&mut self, node: &Node<'_>) {
        let mut extenders = Vec::new();
        for (i, item) in node.items(&mut self.problems).iter().enumerate() {
            let Some((name, body)) = self.named(item) else { continue };
            let name = name.replace('~', "~0").replace('/', "~1");
            extenders.extend(self.extender(&body, &format!("/use/extensions/{i}/{name}")));
        }
        self.extenders = extenders;
    }

    fn extender(&mut self, node: &Node<'_>, pointer: &str) -> Option<Extender> {
        let members = node.members(&mut self.problems)?;
        members.known(&["extend", "when", "before", "after"], &[], &mut self.problems);
        let extend = members.require("extend", &mut self.problems)?;
        let text = extend.text(&mut self.problems)?;
        if !KINDS.contains(&text) {
            let detail = format!("must be one of {}", KINDS.join(", "));
            self.problems.push(Problem::invalid(extend.path, text, &detail));
        }
        let when = members.get("when").and_then(|node| self.expression(&node, Position::TaskDefinition));
        self.extending = true;
        let mut list = |key: &str| {
            let node = members.get(key);
            node.map(|node| self.block(&node, &format!("{pointer}/{key}"))).unwrap_or_default()
        };
        let (before, after) = (list("before"), list("after"));
        self.extending = false;
        Some(Extender { extend: text.to_owned(), when, before, after })
    }

    /// The task's kind, inside of the extensions that are for it.
    pub(super) fn extended(
        &mut self,
        keyword: &str,
        kind: TaskKind,
        name: &str,
        pointer: &str,
        definition: &Datum,
    ) -> TaskKind {
        let called = if matches!(keyword, "do" | "fork") { "composite" } else { keyword };
        let fits = |extender: &&Extender| extender.extend == "all" || extender.extend == called;
        let extensions: Vec<Extension> = self
            .extenders
            .iter()
            .filter(fits)
            .map(|extender| Extension {
                when: extender.when.clone(),
                before: extender.before.clone(),
                after: extender.after.clone(),
            })
            .collect();
        if self.extending || extensions.is_empty() {
            return kind;
        }
        self.tasks.push(Task {
            name: name.to_owned(),
            pointer: pointer.to_owned(),
            definition: definition.clone(),
            condition: None,
            input: DataFilter::default(),
            output: DataFilter::default(),
            export: DataFilter::default(),
            timeout: None,
            then: Flow::Continue,
            compensate: None,
            saga: None,
            kind,
        });
        TaskKind::Extended(Box::new(Extended { inner: TaskId(self.tasks.len() - 1), extensions }))
    }
}
