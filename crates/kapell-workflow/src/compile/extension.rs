//! Our own block in a task's `metadata`, which is open to everyone: compensation, sagas, dependencies, parallel loops.

use kapell_api::problem::{Problem, Reason};
use serde_json::Value;

use super::data::undefined;
use super::{Compiler, EXTENSION};
use crate::node::{Members, Node, wrong_type};
use crate::program::{Block, Dag, OnError, OnFailure, Parallel, Saga, TaskKind};

/// What the block says of a task.
#[derive(Debug, Default)]
pub(super) struct Extension {
    pub(super) compensate: Option<Block>,
    pub(super) saga: Option<Saga>,
    /// `mode: dag`
    pub(super) dag: bool,
    pub(super) parallel: Option<Parallel>,
}

/// Iterations side by side where a loop does not say how many: as many as keep one service busy.
const AT_A_TIME: u32 = 64;

impl Compiler {
    /// `in_dag`: the task stands in a `do` with `mode: dag`, where it may say what it needs; [`Compiler::dag`] reads that.
    pub(super) fn extension(&mut self, task: &Members<'_>, keyword: &str, pointer: &str, in_dag: bool) -> Extension {
        let mut extension = Extension::default();
        let metadata = task.get("metadata").and_then(|node| node.members(&mut self.problems));
        let ours =
            metadata.and_then(|members| members.get(EXTENSION)).and_then(|node| node.members(&mut self.problems));
        let Some(members) = ours else { return extension };
        members.known(&["compensate", "saga", "mode", "needs", "parallel"], &["retry"], &mut self.problems);
        for (key, place, fits) in [
            ("mode", "a `do`", keyword == "do"),
            ("saga", "a `do` or a `try`", matches!(keyword, "do" | "try")),
            ("needs", "a task of a `do` with `mode: dag`", in_dag),
            ("parallel", "a `for`", keyword == "for"),
        ] {
            if members.has(key) && !fits {
                let message = format!("Invalid value: `{key}` is for {place}");
                self.problems.push(Problem::new(members.path_of(key), Reason::Invalid, message));
            }
        }
        if let Some(mode) = members.get("mode") {
            match mode.value.as_str() {
                Some("dag") => extension.dag = true,
                Some("sequence") => {}
                Some(other) => self.problems.push(Problem::invalid(mode.path, other, "must be dag or sequence")),
                None => self.problems.push(wrong_type(&mode.path, mode.value, "dag or sequence")),
            }
        }
        extension.saga = members.get("saga").and_then(|node| self.saga(&node));
        extension.parallel = members.get("parallel").and_then(|node| self.parallel(&node));
        if let Some(list) = members.get("compensate") {
            // A compensation runs long after the loops and handlers around its task, so their variables are gone.
            let variables = std::mem::take(&mut self.variables);
            extension.compensate = Some(self.block(&list, &format!("{pointer}/metadata/kapell.dev~1v1/compensate")));
            self.variables = variables;
        }
        extension
    }

    fn saga(&mut self, node: &Node<'_>) -> Option<Saga> {
        let members = node.members(&mut self.problems)?;
        members.known(&["order", "onFailure"], &[], &mut self.problems);
        if let Some(order) = members.get("order") {
            let text = order.text(&mut self.problems)?;
            if text != "reverse" {
                self.problems.push(Problem::invalid(order.path, text, "must be reverse"));
                return None;
            }
        }
        let on_failure = match members.get("onFailure") {
            None => OnFailure::Continue,
            Some(node) => match node.text(&mut self.problems)? {
                "continue" => OnFailure::Continue,
                "stop" => OnFailure::Stop,
                other => {
                    self.problems.push(Problem::invalid(node.path, other, "must be continue or stop"));
                    return None;
                }
            },
        };
        Some(Saga { on_failure })
    }

    fn parallel(&mut self, node: &Node<'_>) -> Option<Parallel> {
        let members = node.members(&mut self.problems)?;
        members.known(&["max", "onError"], &[], &mut self.problems);
        let max = members.get("max").map_or(Some(AT_A_TIME), |node| match node.count(&mut self.problems)? {
            0 => {
                self.problems.push(Problem::invalid(node.path, 0, "must be 1 or more"));
                None
            }
            max => Some(max),
        })?;
        let on_error = match members.get("onError") {
            None => OnError::Fail,
            Some(node) => match node.text(&mut self.problems)? {
                "fail" => OnError::Fail,
                "continue" => OnError::Continue,
                other => {
                    self.problems.push(Problem::invalid(node.path, other, "must be fail or continue"));
                    return None;
                }
            },
        };
        Some(Parallel { max: max as usize, on_error })
    }

    /// Makes a loop parallel.
    pub(super) fn with_parallel(
        &mut self,
        kind: Option<TaskKind>,
        parallel: Option<Parallel>,
        task: &Members<'_>,
    ) -> Option<TaskKind> {
        if parallel.is_some() && task.has("while") {
            let message = "Invalid value: `while` needs the iterations one after another, and `parallel` does not";
            self.problems.push(Problem::new(task.path_of("while"), Reason::Invalid, message));
        }
        kind.map(|kind| match kind {
            TaskKind::For(each) => TaskKind::For(crate::program::ForLoop { parallel, ..each }),
            other => other,
        })
    }

    /// The task list of a `do` with `mode: dag`.
    pub(super) fn dag(&mut self, node: &Node<'_>, pointer: &str) -> Option<Dag> {
        let before = self.problems.len();
        self.in_dag = true;
        let block = self.block(node, pointer);
        self.in_dag = false;
        // With a task missing, positions mean nothing.
        if self.problems.len() > before {
            return None;
        }
        let children: Vec<(String, Node<'_>)> = node
            .items(&mut self.problems)
            .iter()
            .filter_map(|item| self.named(item).map(|(name, body)| (name.to_owned(), body)))
            .collect();
        let names: Vec<String> = children.iter().map(|(name, _)| name.clone()).collect();
        let mut needs = Vec::new();
        for (name, body) in &children {
            self.check_then(body);
            needs.push(self.needs(name, body, &names));
        }
        if let Some(cycle) = cycle(&needs) {
            let path: Vec<&str> = cycle.iter().chain(cycle.first()).map(|slot| names[*slot].as_str()).collect();
            let message = format!("Invalid value: these tasks wait for each other: {}", path.join(" needs "));
            let place = &children[cycle[0]].1.path;
            let path = format!("{place}.metadata[{EXTENSION}].needs");
            self.problems.push(Problem::new(path, Reason::Invalid, message));
        }
        Some(Dag { tasks: block.tasks, needs })
    }

    /// There is no order to leave or to jump in.
    fn check_then(&mut self, body: &Node<'_>) {
        let then = body.value.get("then").and_then(Value::as_str).filter(|then| !["continue", "end"].contains(then));
        if let Some(then) = then {
            let message = "must be continue or end in a `do` with `mode: dag`";
            self.problems.push(Problem::invalid(format!("{}.then", body.path), then, message));
        }
    }

    /// The positions of what a task needs.
    fn needs(&mut self, name: &str, body: &Node<'_>, names: &[String]) -> Vec<usize> {
        let path = format!("{}.metadata[{EXTENSION}].needs", body.path);
        let Some(said) = body.value.get("metadata").and_then(|metadata| metadata.get(EXTENSION)?.get("needs")) else {
            return Vec::new();
        };
        let mut needs = Vec::new();
        for need in Node::new(said, path).items(&mut self.problems) {
            let Some(wanted) = need.text(&mut self.problems) else { continue };
            match names.iter().position(|known| known == wanted) {
                Some(_) if wanted == name => {
                    self.problems.push(Problem::invalid(need.path, wanted, "a task cannot need itself"));
                }
                Some(position) if needs.contains(&position) => {
                    let message = format!("Duplicate value: \"{wanted}\"");
                    self.problems.push(Problem::new(need.path, Reason::Duplicate, message));
                }
                Some(position) => needs.push(position),
                None => {
                    let problem = undefined(&need.path, wanted, "this task list", names.iter());
                    self.problems.push(problem);
                }
            }
        }
        needs
    }
}

/// Positions that need each other in a circle, in the order of needing; `None` when there are none.
pub(super) fn cycle(needs: &[Vec<usize>]) -> Option<Vec<usize>> {
    // Those that are done at once, then those that need only them, and so on: what is left has a cycle.
    let mut missing: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut needed_by = vec![Vec::new(); needs.len()];
    for (slot, need) in needs.iter().enumerate().flat_map(|(slot, all)| all.iter().map(move |need| (slot, *need))) {
        needed_by[need].push(slot);
    }
    let mut done: Vec<usize> = (0..needs.len()).filter(|slot| missing[*slot] == 0).collect();
    while let Some(slot) = done.pop() {
        for waiting in &needed_by[slot] {
            missing[*waiting] -= 1;
            if missing[*waiting] == 0 {
                done.push(*waiting);
            }
        }
    }
    // From any of them, needing leads round.
    let mut path: Vec<usize> = Vec::new();
    let mut place = vec![None; needs.len()];
    let mut slot = (0..needs.len()).find(|slot| missing[*slot] > 0)?;
    loop {
        if let Some(start) = place[slot] {
            return Some(path.split_off(start));
        }
        place[slot] = Some(path.len());
        path.push(slot);
        slot = needs[slot].iter().copied().find(|need| missing[*need] > 0)?;
    }
}
