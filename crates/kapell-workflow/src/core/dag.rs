//! A `do` with `mode: dag`: a task begins when those that it needs are done. Its input is their outputs by name (of a
//! task without needs the input of the `do`), and the output of the whole is all outputs by name.

use super::record::FrameId;
use super::state::{Action, FrameState, Owner, Run};
use crate::expression::Datum;
use crate::expression::meter::Exhausted;
use crate::fault::{Fault, Standard};
use crate::program::{Dag, TaskKind};

impl Run {
    /// The task at `slot` is done (or was skipped: then its output is its input).
    pub(super) fn dag_left(&mut self, id: FrameId, slot: usize, output: Datum) -> Option<()> {
        let program = self.program.clone();
        let frame = self.frames.get_mut(&id)?;
        let (Owner::Task(task), FrameState::Dag { outputs }) = (frame.owner, &mut frame.state) else { return None };
        let TaskKind::Dag(dag) = &program.task(task).kind else { return None };
        outputs.insert(slot, output);

        let by_name = |slots: &mut dyn Iterator<Item = usize>| -> Result<Datum, Exhausted> {
            let members = slots.filter_map(|slot| Some((name(&program, dag, slot)?, outputs.get(&slot)?.clone())));
            Datum::object(members.collect::<Vec<_>>())
        };
        let mut follows = Vec::new();
        if outputs.len() == dag.tasks.len() {
            follows.push(by_name(&mut (0..dag.tasks.len())).map(|output| Action::Finish { frame: id, output }));
        }
        for (next, needs) in dag.needs.iter().enumerate().filter(|(_, needs)| needs.contains(&slot)) {
            if needs.iter().all(|need| outputs.contains_key(need)) {
                let input = by_name(&mut needs.iter().copied());
                follows.push(input.map(|input| Action::Enter { parent: id, slot: next, input }));
            }
        }
        for action in follows {
            self.agenda.push_back(action.unwrap_or_else(|error| {
                let fault = Fault::new(Standard::Runtime, &program.task(task).pointer, error.to_string());
                Action::Propagate { frame: id, fault }
            }));
        }
        Some(())
    }
}

fn name<'p>(program: &'p crate::program::Program, dag: &Dag, slot: usize) -> Option<&'p str> {
    Some(program.task(*dag.tasks.get(slot)?).name.as_str())
}
