//! `schedule`, and what our metadata says about it.

use std::str::FromStr as _;

use croner::Cron;
use jiff::tz::TimeZone;
use kapell_api::problem::Problem;

use super::{Compiler, Position};
use crate::duration::Millis;
use crate::node::{Members, Node};
use crate::program::events::Read;
use crate::program::schedule::{CatchUp, On, Overlap, Schedule};

/// Runs are named by the second that they are due at.
const SHORTEST: i64 = 1000;

/// `metadata."kapell.dev/v1".schedule`.
#[derive(Default)]
pub(super) struct Policy {
    zone: Option<TimeZone>,
    overlap: Overlap,
    catch_up: CatchUp,
}

impl Compiler {
    pub(super) fn schedule(&mut self, node: &Node<'_>, policy: Policy) -> Option<Schedule> {
        let members = node.members(&mut self.problems)?;
        members.known(&["every", "cron", "after", "on"], &[], &mut self.problems);
        if ["every", "cron", "after", "on"].iter().all(|key| !members.has(key)) {
            self.problems.push(Problem::required(node.path.clone(), "one of every, cron, after, on"));
        }
        let every = members.get("every").and_then(|node| self.interval(&node));
        let after = members.get("after").and_then(|node| self.duration(&node));
        let cron = members.get("cron").and_then(|node| self.cron(&node));
        let on = members.get("on").and_then(|node| self.on(&node));
        let zone = policy.zone.unwrap_or(TimeZone::UTC);
        Some(Schedule { every, cron, after, on, zone, overlap: policy.overlap, catch_up: policy.catch_up })
    }

    fn interval(&mut self, node: &Node<'_>) -> Option<Millis> {
        let every = self.duration(node)?;
        if every.0 < SHORTEST || every.0 % SHORTEST != 0 {
            let problem =
                Problem::invalid(node.path.clone(), format!("{} ms", every.0), "must be whole seconds, at least one");
            self.problems.push(problem);
        }
        Some(every)
    }

    fn cron(&mut self, node: &Node<'_>) -> Option<Cron> {
        let text = node.text(&mut self.problems)?;
        let refused = |detail: &str| Problem::invalid(node.path.clone(), text, detail);
        let cron = match Cron::from_str(text) {
            Ok(cron) => cron,
            Err(error) => {
                self.problems.push(refused(&format!("not a cron pattern: {error}")));
                return None;
            }
        };
        let from = jiff::civil::date(2000, 1, 1).at(0, 0, 0, 0);
        if cron.find_next_occurrence(&from, true).is_err() {
            self.problems.push(refused("is never due"));
        }
        Some(cron)
    }

    fn on(&mut self, node: &Node<'_>) -> Option<On> {
        // `read` stands beside the strategy.
        let members = node.members(&mut self.problems)?;
        let read = members.get("read").map_or(Some(Read::Envelope), |node| self.read(&node))?;
        let mut strategy = node.value.clone();
        if let Some(strategy) = strategy.as_object_mut() {
            strategy.remove("read");
        }
        let strategy = self.strategy(&Node::new(&strategy, node.path.clone()), Position::Schedule, false)?;
        Some(On { strategy, read })
    }

    /// What `document.metadata` says.
    pub(super) fn policy(&mut self, ours: &Members<'_>) -> Policy {
        let mut policy = Policy::default();
        let Some(node) = ours.get("schedule") else { return policy };
        let Some(members) = node.members(&mut self.problems) else { return policy };
        members.known(&["timeZone", "overlap", "catchUp"], &[], &mut self.problems);
        if let Some(node) = members.get("timeZone")
            && let Some(name) = node.text(&mut self.problems)
        {
            policy.zone = TimeZone::get(name).ok();
            if policy.zone.is_none() {
                let problem = Problem::invalid(node.path, name, "must be a time zone such as Europe/Berlin");
                self.problems.push(problem);
            }
        }
        let overlaps = [
            ("allow", Overlap::Allow),
            ("skip", Overlap::Skip),
            ("queue", Overlap::Queue),
            ("replace", Overlap::Replace),
        ];
        let catch_ups = [("skip", CatchUp::Skip), ("latest", CatchUp::Latest), ("all", CatchUp::All)];
        policy.overlap = self.choice(&members, "overlap", &overlaps);
        policy.catch_up = self.choice(&members, "catchUp", &catch_ups);
        policy
    }

    fn choice<T: Copy + Default>(&mut self, members: &Members<'_>, key: &str, choices: &[(&str, T)]) -> T {
        let Some(node) = members.get(key) else { return T::default() };
        let Some(text) = node.text(&mut self.problems) else { return T::default() };
        match choices.iter().find(|(name, _)| *name == text) {
            Some((_, choice)) => *choice,
            None => {
                let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
                let problem = Problem::invalid(node.path, text, &format!("must be one of {}", names.join(", ")));
                self.problems.push(problem);
                T::default()
            }
        }
    }
}
