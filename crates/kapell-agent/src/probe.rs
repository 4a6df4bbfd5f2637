//! Probes: when to ask next and what the answers mean (pure), and the task that asks for one running container.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Probe};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub(crate) mod check;
mod grpc;

pub(crate) use check::{Endpoint, Target};

use crate::hooks;

/// While a container comes up its probes are repeated this often, so that it counts as ready soon after it answers
/// rather than up to a whole period later. Repeats within one period count as one failure.
const QUICK_RETRY: Duration = Duration::from_millis(50);

/// How long after the first attempt a container counts as coming up.
const QUICK_PHASE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Not a probe, but the hook before them: it runs once, and its failure ends the container as well.
    PostStart,
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PostStart => "PostStart",
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// What a prober tells the pod's worker.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) container: String,
    pub(crate) attempt: u32,
    pub(crate) kind: Kind,
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The success threshold has been reached.
    Passed,
    /// The failure threshold has been reached.
    Failed { message: String, grace_seconds: Option<i64> },
    /// One failure, for the record only.
    Unhealthy { message: String },
}

/// A probe's numbers with Kubernetes' defaults filled in.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    initial_delay: Duration,
    period: Duration,
    timeout: Duration,
    success_threshold: u32,
    failure_threshold: u32,
}

impl Numbers {
    fn of(probe: &Probe) -> Self {
        let at_least_one = |number: Option<i32>, default: u32| match number {
            Some(number) if number > 0 => number.unsigned_abs(),
            _ => default,
        };
        let seconds = |number, default| Duration::from_secs(at_least_one(number, default).into());
        Self {
            initial_delay: Duration::from_secs(u64::try_from(probe.initial_delay_seconds.unwrap_or(0)).unwrap_or(0)),
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            success_threshold: at_least_one(probe.success_threshold, 1),
            failure_threshold: at_least_one(probe.failure_threshold, 3),
        }
    }
}

/// Answers in a row, and what has been concluded from them.
struct Series {
    numbers: Numbers,
    kind: Kind,
    successes: u32,
    failures: u32,
    /// When the last failure that counts happened.
    counted_at: Option<Duration>,
    /// The attempt under way comes earlier than a period after the one before.
    early: bool,
    passing: Option<bool>,
}

/// What follows from one answer.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    /// A threshold was reached just now.
    verdict: Option<bool>,
    /// This failure counts and is worth an event.
    counted: bool,
    next: Duration,
}

impl Series {
    fn new(kind: Kind, numbers: Numbers) -> Self {
        Self { numbers, kind, successes: 0, failures: 0, counted_at: None, early: false, passing: None }
    }

    /// `elapsed` is the time since the first attempt.
    fn observe(&mut self, success: bool, elapsed: Duration) -> Step {
        let coming_up = self.passing != Some(true) && self.kind != Kind::Liveness && elapsed < QUICK_PHASE;
        let early = std::mem::take(&mut self.early);
        if success {
            (self.successes, self.failures) = (self.successes + 1, 0);
            let reached = self.successes >= self.numbers.success_threshold && self.passing != Some(true);
            if reached {
                self.passing = Some(true);
            }
            return Step { verdict: reached.then_some(true), counted: false, next: self.numbers.period };
        }
        self.successes = 0;
        // Early attempts may find a container ready sooner, but must not use up its failures sooner.
        let counted = !early || self.counted_at.is_none_or(|at| elapsed.saturating_sub(at) >= self.numbers.period);
        if counted {
            self.counted_at = Some(elapsed);
            self.failures += 1;
        }
        let reached = self.failures >= self.numbers.failure_threshold && self.passing != Some(false);
        if reached {
            self.passing = Some(false);
        }
        self.early = coming_up;
        let next = if coming_up { QUICK_RETRY.min(self.numbers.period) } else { self.numbers.period };
        Step { verdict: reached.then_some(false), counted, next }
    }
}

/// Probes one run of a container until the task is dropped. `started` skips what an adopted container has behind it: the
/// postStart hook and the startup probe.
pub(crate) async fn run(
    container: Container,
    attempt: u32,
    target: Target,
    started: bool,
    verdicts: mpsc::Sender<Verdict>,
) {
    let context = Context { name: container.name.clone(), attempt, target, verdicts };
    if let (Some(hook), false) = (hooks::post_start(&container), started)
        && !context.run_hook(hook).await
    {
        return;
    }
    if let (Some(probe), false) = (&container.startup_probe, started)
        && !context.follow(Kind::Startup, probe, true).await
    {
        return;
    }
    let liveness = async {
        if let Some(probe) = &container.liveness_probe {
            context.follow(Kind::Liveness, probe, false).await;
        }
    };
    let readiness = async {
        if let Some(probe) = &container.readiness_probe {
            context.follow(Kind::Readiness, probe, false).await;
        }
    };
    tokio::join!(liveness, readiness);
}

struct Context {
    name: String,
    attempt: u32,
    target: Target,
    verdicts: mpsc::Sender<Verdict>,
}

impl Context {
    /// False when the container has to go, or nobody listens.
    async fn run_hook(&self, hook: &LifecycleHandler) -> bool {
        let outcome = match self.target.run_hook(&self.name, hook, hooks::POST_START_LIMIT).await {
            Ok(()) => Outcome::Passed,
            Err(message) => Outcome::Failed { message, grace_seconds: None },
        };
        let passed = outcome == Outcome::Passed;
        self.tell(Kind::PostStart, outcome).await && passed
    }

    /// Asks again and again; with `until_passed`, until the success threshold is reached. False when nobody listens.
    async fn follow(&self, kind: Kind, probe: &Probe, until_passed: bool) -> bool {
        let numbers = Numbers::of(probe);
        let mut series = Series::new(kind, numbers);
        tokio::time::sleep(numbers.initial_delay).await;
        let begin = Instant::now();
        loop {
            let answer = self.target.check(&self.name, probe, numbers.timeout).await;
            let step = series.observe(answer.is_ok(), begin.elapsed());
            if let Err(message) = answer {
                if step.counted && !self.tell(kind, Outcome::Unhealthy { message: message.clone() }).await {
                    return false;
                }
                let grace_seconds = probe.termination_grace_period_seconds;
                if step.verdict == Some(false) && !self.tell(kind, Outcome::Failed { message, grace_seconds }).await {
                    return false;
                }
            } else if step.verdict == Some(true) {
                if !self.tell(kind, Outcome::Passed).await {
                    return false;
                }
                if until_passed {
                    return true;
                }
            }
            tokio::time::sleep(step.next).await;
        }
    }

    async fn tell(&self, kind: Kind, outcome: Outcome) -> bool {
        let verdict = Verdict { container: self.name.clone(), attempt: self.attempt, kind, outcome };
        self.verdicts.send(verdict).await.is_ok()
    }
}

#[cfg(test)]
mod tests;
