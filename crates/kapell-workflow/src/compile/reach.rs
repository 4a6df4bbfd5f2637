//! Which tasks of a list no path leads to.

use kapell_api::problem::{Problem, Reason};

use super::Compiler;
use crate::program::{Block, Flow, Task, TaskKind};

impl Compiler {
    fn flows(&self, task: &Task) -> Vec<Flow> {
        let TaskKind::Extended(extended) = &task.kind else { return flows(task, &task.kind) };
        let mut all = flows(task, &self.tasks[extended.inner.0].kind);
        // An extension may skip the task.
        all.push(task.then);
        all
    }

    /// Reports the tasks of a complete list that neither the order nor a jump leads to; `places` are their paths.
    pub(super) fn check_reach(&mut self, block: &Block, places: &[String]) {
        let mut reached = vec![false; block.tasks.len()];
        let mut ahead = vec![0];
        while let Some(position) = ahead.pop() {
            if position >= reached.len() || std::mem::replace(&mut reached[position], true) {
                continue;
            }
            let task = &self.tasks[block.tasks[position].0];
            ahead.extend(self.flows(task).into_iter().filter_map(|flow| match flow {
                Flow::Continue => Some(position + 1),
                Flow::Goto(target) => Some(target),
                Flow::Exit | Flow::End => None,
            }));
        }
        for (path, _) in places.iter().zip(reached).filter(|(_, reached)| !reached) {
            let message = "Invalid value: nothing leads to this task, neither the order of the list nor a `then`";
            self.unreachable.push(Problem::new(path.clone(), Reason::Invalid, message));
        }
    }
}

/// The ways out of a task.
fn flows(task: &Task, kind: &TaskKind) -> Vec<Flow> {
    let mut flows = Vec::new();
    match kind {
        TaskKind::Raise(_) => {}
        TaskKind::Switch(cases) => {
            flows.extend(cases.iter().map(|case| case.then));
            if cases.iter().all(|case| case.when.is_some()) {
                flows.push(task.then);
            }
        }
        TaskKind::Try(catch) => flows.extend([task.then, catch.then.unwrap_or(task.then)]),
        _ => flows.push(task.then),
    }
    if task.condition.is_some() {
        flows.push(Flow::Continue);
    }
    flows
}
