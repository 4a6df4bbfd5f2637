//! Task lists and tasks.

use std::collections::HashMap;

use kapell_api::problem::{Problem, Reason};
use serde_json::Value;

use super::data::undefined;
use super::extension::Extension;
use super::{Compiler, Position};
use crate::expression::Datum;
use crate::node::{Members, Node, member_path, unknown, wrong_type};
use crate::program::{Block, Case, Flow, ForLoop, Fork, Task, TaskId, TaskKind};

const DEFINITION: Position = Position::TaskDefinition;

/// Members that every task may have.
const COMMON: [&str; 7] = ["if", "input", "output", "export", "timeout", "then", "metadata"];

/// The keyword of each kind of task with its further members.
const KINDS: [(&str, &[&str]); 12] = [
    ("call", &["with"]),
    ("fork", &[]),
    ("for", &["while", "do"]),
    ("emit", &[]),
    ("listen", &["foreach"]),
    ("raise", &[]),
    ("run", &[]),
    ("set", &[]),
    ("switch", &[]),
    ("try", &["catch"]),
    ("wait", &[]),
    ("do", &[]),
];

/// The names that tasks of one list may jump to.
pub(super) type Names = HashMap<String, usize>;

impl Compiler {
    pub(super) fn block(&mut self, node: &Node<'_>, pointer: &str) -> Block {
        let items = node.items(&mut self.problems);
        if items.is_empty() && node.value.is_array() {
            self.problems.push(Problem::required(node.path.clone(), "at least one task"));
        }
        let mut named = Vec::with_capacity(items.len());
        let mut by_name = Names::new();
        for (i, item) in items.iter().enumerate() {
            let Some((name, body)) = self.named(item) else { continue };
            if by_name.insert(name.to_owned(), i).is_some() {
                let message = format!("Duplicate value: \"{name}\"");
                self.problems.push(Problem::new(body.path.clone(), Reason::Duplicate, message));
            }
            named.push((i, name, body));
        }
        let places: Vec<String> = named.iter().map(|(_, _, body)| body.path.clone()).collect();
        let tasks = named.into_iter().filter_map(|(i, name, body)| {
            let pointer = format!("{pointer}/{i}/{}", name.replace('~', "~0").replace('/', "~1"));
            self.task(name, &body, pointer, &by_name)
        });
        let block = Block { tasks: tasks.collect() };
        if block.tasks.len() == items.len() {
            self.check_reach(&block, &places);
        }
        block
    }

    /// An item of a task list: an object with the task's name as its only member.
    pub(super) fn named<'a>(&mut self, item: &Node<'a>) -> Option<(&'a str, Node<'a>)> {
        let Value::Object(map) = item.value else {
            self.problems.push(wrong_type(&item.path, item.value, "an object with the task's name as its only key"));
            return None;
        };
        let mut entries = map.iter();
        match (entries.next(), entries.next()) {
            (Some((name, body)), None) => Some((name, Node::new(body, member_path(&item.path, name)))),
            _ => {
                let detail = format!("must have exactly one key, the task's name, but has {}", map.len());
                self.problems.push(Problem::new(
                    item.path.clone(),
                    Reason::Invalid,
                    format!("Invalid value: {detail}"),
                ));
                None
            }
        }
    }

    pub(super) fn task(&mut self, name: &str, node: &Node<'_>, pointer: String, names: &Names) -> Option<TaskId> {
        let in_dag = std::mem::take(&mut self.in_dag);
        // In a dag there is nothing to jump to.
        let none = Names::new();
        let task = self.task_inside(name, node, pointer, if in_dag { &none } else { names }, in_dag);
        self.in_dag = in_dag;
        task
    }

    fn task_inside(
        &mut self,
        name: &str,
        node: &Node<'_>,
        pointer: String,
        names: &Names,
        in_dag: bool,
    ) -> Option<TaskId> {
        let members = node.members(&mut self.problems)?;
        let (keyword, further) = self.keyword(node, &members)?;
        let known: Vec<&str> = COMMON.iter().chain([&keyword]).chain(further).copied().collect();
        members.known(&known, &[], &mut self.problems);

        let condition = members.get("if").and_then(|node| self.expression(&node, DEFINITION));
        let input = members.get("input").map(|node| self.filter(&node, "from", Position::TaskInput));
        let timeout = members.get("timeout").and_then(|node| self.timeout(&node, DEFINITION));
        let then = members.get("then").map_or(Flow::Continue, |node| self.flow(&node, names));
        let Extension { compensate, saga, dag, parallel } = self.extension(&members, keyword, &pointer, in_dag);
        let kind = match keyword {
            "do" if dag => {
                members.get("do").and_then(|node| self.dag(&node, &format!("{pointer}/do"))).map(TaskKind::Dag)
            }
            _ => self.kind(keyword, &members, &pointer, names),
        };
        let kind = self.with_parallel(kind, parallel, &members);
        let output = members.get("output").map(|node| self.filter(&node, "as", DEFINITION));
        let export = members.get("export").map(|node| self.filter(&node, "as", Position::TaskExport));

        let definition = Datum::from_json(node.value).unwrap_or_default();
        let kind = self.extended(keyword, kind?, name, &pointer, &definition);
        let mut saga = saga;
        if let TaskKind::Extended(extended) = &kind {
            // A `try` handles what it catches after its scope has been undone.
            self.tasks[extended.inner.0].saga = saga.take();
        }
        let name = name.to_owned();
        self.tasks.push(Task {
            name,
            pointer,
            definition,
            condition,
            input: input.unwrap_or_default(),
            output: output.unwrap_or_default(),
            export: export.unwrap_or_default(),
            timeout,
            then,
            compensate,
            saga,
            kind,
        });
        Some(TaskId(self.tasks.len() - 1))
    }

    /// Finds out what kind of task this is. `for` also has `do`, so the order of [`KINDS`] matters.
    fn keyword(&mut self, node: &Node<'_>, members: &Members<'_>) -> Option<(&'static str, &'static [&'static str])> {
        if let Some(kind) = KINDS.iter().find(|(keyword, _)| members.has(keyword)) {
            return Some(*kind);
        }
        let keywords = KINDS.map(|(keyword, _)| keyword);
        let strangers: Vec<&str> =
            members.entries().map(|(key, _)| key).filter(|key| !COMMON.contains(key) && *key != "with").collect();
        if strangers.is_empty() {
            let message = format!("one of {}", keywords.join(", "));
            self.problems.push(Problem::required(node.path.clone(), &message));
        }
        for key in strangers {
            self.problems.push(unknown(members.path_of(key), key, &keywords));
        }
        None
    }

    fn kind(&mut self, keyword: &str, members: &Members<'_>, pointer: &str, names: &Names) -> Option<TaskKind> {
        let node = members.get(keyword)?;
        Some(match keyword {
            "do" => TaskKind::Do(self.block(&node, &format!("{pointer}/do"))),
            "set" => {
                if !self.expect_object_or_text(&node) {
                    return None;
                }
                TaskKind::Set(self.template(&node, DEFINITION))
            }
            "call" => self.call(&node, members)?,
            "switch" => TaskKind::Switch(self.switch(&node, names)),
            "for" => TaskKind::For(self.for_loop(&node, members, pointer)?),
            "fork" => TaskKind::Fork(self.fork(&node, pointer)?),
            "try" => TaskKind::Try(Box::new(self.try_catch(&node, members, pointer, names)?)),
            "emit" => TaskKind::Emit(self.emit(&node)?),
            "listen" => TaskKind::Listen(Box::new(self.listen(&node, members, pointer)?)),
            "run" => TaskKind::Run(Box::new(self.run(&node)?)),
            "raise" => TaskKind::Raise(Box::new(self.raise(&node)?)),
            _ => TaskKind::Wait(self.duration_template(&node, DEFINITION)?),
        })
    }

    pub(super) fn flow(&mut self, node: &Node<'_>, names: &Names) -> Flow {
        match node.text(&mut self.problems) {
            None | Some("continue") => Flow::Continue,
            Some("exit") => Flow::Exit,
            Some("end") => Flow::End,
            Some(name) => names.get(name).map_or_else(
                || {
                    let place = "this task list (a jump cannot leave its list)";
                    self.problems.push(undefined(&node.path, name, place, names.keys()));
                    Flow::Continue
                },
                |position| Flow::Goto(*position),
            ),
        }
    }

    fn switch(&mut self, node: &Node<'_>, names: &Names) -> Vec<Case> {
        let mut cases = Vec::new();
        for item in node.items(&mut self.problems) {
            let Some((name, case)) = self.named(&item) else { continue };
            let Some(members) = case.members(&mut self.problems) else { continue };
            members.known(&["when", "then"], &[], &mut self.problems);
            let is_default = !members.has("when");
            let when = members.get("when").and_then(|node| self.expression(&node, DEFINITION));
            let then = members.require("then", &mut self.problems).map(|node| self.flow(&node, names));
            if is_default && cases.iter().any(|case: &Case| case.when.is_none()) {
                let message = "Duplicate value: a switch has at most one case without `when`";
                self.problems.push(Problem::new(case.path, Reason::Duplicate, message));
            }
            cases.push(Case { name: name.to_owned(), when, then: then.unwrap_or_default() });
        }
        cases
    }

    fn for_loop(&mut self, node: &Node<'_>, task: &Members<'_>, pointer: &str) -> Option<ForLoop> {
        let members = node.members(&mut self.problems)?;
        members.known(&["each", "at", "in"], &[], &mut self.problems);
        let each = self.variable(&members, "each", "item");
        let at = self.variable(&members, "at", "index");
        let items = members.require("in", &mut self.problems).and_then(|node| self.collection(&node));
        self.variables.extend([each.clone(), at.clone()]);
        let condition = task.get("while").and_then(|node| self.expression(&node, DEFINITION));
        let body = task.require("do", &mut self.problems).map(|node| self.block(&node, &format!("{pointer}/do")));
        self.variables.truncate(self.variables.len() - 2);
        Some(ForLoop { each, at, items: items?, condition, body: body?, parallel: None })
    }

    /// `for.in`: an expression, or (July 2026) an array with expressions inside.
    fn collection(&mut self, node: &Node<'_>) -> Option<crate::expression::Template> {
        match node.value {
            Value::Array(_) => Some(self.template(node, DEFINITION)),
            _ => self.expression(node, DEFINITION).map(crate::expression::Template::Expression),
        }
    }

    fn fork(&mut self, node: &Node<'_>, pointer: &str) -> Option<Fork> {
        let members = node.members(&mut self.problems)?;
        members.known(&["branches", "compete"], &[], &mut self.problems);
        let compete = members.get("compete").map_or(Some(false), |node| node.boolean(&mut self.problems))?;
        let branches = members.require("branches", &mut self.problems)?;
        let items = branches.items(&mut self.problems);
        if items.is_empty() {
            self.problems.push(Problem::required(branches.path.clone(), "at least one branch"));
        }
        let mut seen = Names::new();
        let mut tasks = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let Some((name, body)) = self.named(item) else { continue };
            if seen.insert(name.to_owned(), i).is_some() {
                let message = format!("Duplicate value: \"{name}\"");
                self.problems.push(Problem::new(body.path.clone(), Reason::Duplicate, message));
            }
            let pointer = format!("{pointer}/fork/branches/{i}/{}", name.replace('~', "~0").replace('/', "~1"));
            // Branches run side by side: there is nothing to jump to.
            tasks.extend(self.task(name, &body, pointer, &Names::new()));
        }
        Some(Fork { branches: tasks, compete })
    }
}
