//! The allowance of one evaluation: steps, bytes, stack and time.
//!
//! The interpreter asks its look-up table for every node that it runs, and every operation on data passes through
//! [`Datum`](super::Datum); both charge here. When something is used up, evaluation unwinds with
//! `resume_unwind` (which does not call the panic hook) to [`metered`], the only place that catches it.
//!
//! Outside [`metered`] nothing is counted: decoding and comparing data elsewhere in the engine costs no allowance.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use crate::secrets::is_sealed;

/// Interpreter nodes and elements touched. About a quarter of a second on the machine this was chosen on; a
/// transformation of a 10 MB document needs about a million.
pub(crate) const MAX_STEPS: u64 = 4_000_000;

/// Bytes that one evaluation may produce in total, whether or not they are freed meanwhile: an upper bound of what
/// it can hold at a time.
pub(crate) const MAX_BYTES: u64 = 128 << 20;

/// The last resort for what steps do not measure well (comparisons of long strings, sorting): time that the thread
/// has spent on a processor, so that a busy machine does not make an expression fail.
const MAX_TIME: Duration = Duration::from_secs(2);

/// How often the clock is read.
const STEPS_PER_CLOCK: u64 = 4096;

/// What evaluation may use of a thread that nobody has described; the smallest stacks in use have 2 MiB.
const UNKNOWN_STACK: usize = 512 << 10;

/// Stack of threads made by [`on_deep_stack`]; only what is touched takes memory.
pub(crate) const DEEP_STACK: usize = 64 << 20;

/// What an evaluation ran out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Exhausted {
    #[error("the expression takes more than {MAX_STEPS} steps")]
    Steps,
    #[error("the expression produces more than {} MiB", MAX_BYTES >> 20)]
    Bytes,
    #[error("the expression takes longer than {} s of processor time", MAX_TIME.as_secs())]
    Time,
    #[error("the expression recurses too deeply")]
    Stack,
    #[error("a value is nested more than {} levels deep", super::datum::MAX_DEPTH)]
    Depth,
    #[error("a value is too large")]
    Size,
    #[error("a secret can be passed on, joined with text and sent, but not looked into")]
    Secret,
    #[error("the interpreter fails on this expression")]
    Defect,
}

struct Meter {
    active: Cell<bool>,
    steps: Cell<u64>,
    bytes: Cell<u64>,
    deadline: Cell<Duration>,
    /// Evaluation stops when the stack has grown down to this address.
    stack_floor: Cell<usize>,
    /// The floor of this thread as [`describe_stack`] knows it.
    thread_floor: Cell<Option<usize>>,
}

thread_local! {
    static METER: Meter = const {
        Meter {
            active: Cell::new(false),
            steps: Cell::new(0),
            bytes: Cell::new(0),
            deadline: Cell::new(Duration::ZERO),
            stack_floor: Cell::new(0),
            thread_floor: Cell::new(None),
        }
    };
}

/// Tells how much stack this thread was given, measured from about here. A quarter stays in reserve for what runs
/// between two checks.
pub(crate) fn describe_stack(size: usize) {
    METER.with(|meter| meter.thread_floor.set(Some(stack_pointer().saturating_sub(size / 4 * 3))));
}

/// Runs `f` on a thread of its own with a deep stack: for parsing expressions, whose recursion nothing meters.
pub(crate) fn on_deep_stack<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("workflow-compile".into()).stack_size(DEEP_STACK).spawn_scoped(
            scope,
            || {
                describe_stack(DEEP_STACK);
                f()
            },
        );
        match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            // No thread to be had: the process is at its limit, and going on without the guard would be worse.
            Err(error) => panic!("cannot start a thread to compile expressions: {error}"),
        }
    })
}

/// Runs `f` with a fresh allowance.
pub(crate) fn metered<R>(f: impl FnOnce() -> R) -> Result<R, Exhausted> {
    METER.with(|meter| {
        meter.steps.set(MAX_STEPS);
        meter.bytes.set(MAX_BYTES);
        meter.deadline.set(processor_time() + MAX_TIME);
        meter
            .stack_floor
            .set(meter.thread_floor.get().unwrap_or_else(|| stack_pointer().saturating_sub(UNKNOWN_STACK)));
        meter.active.set(true);
        // Unwind safety: what `f` touches are values that are dropped with it, and the compiled filter, which
        // evaluation does not change.
        let result = catch_unwind(AssertUnwindSafe(f));
        meter.active.set(false);
        // A defect in the interpreter must not take other runs along; the panic hook has told of it.
        result.map_err(|panic| panic.downcast::<Exhausted>().map_or(Exhausted::Defect, |exhausted| *exhausted))
    })
}

/// Ends the evaluation that is going on.
pub(crate) fn stop(reason: Exhausted) -> ! {
    resume_unwind(Box::new(reason))
}

/// Pays for `n` steps.
pub(crate) fn charge_steps(n: u64) {
    METER.with(|meter| {
        if !meter.active.get() {
            return;
        }
        let left = meter.steps.get();
        if left < n {
            stop(Exhausted::Steps);
        }
        meter.steps.set(left - n);
        let clock_due = left / STEPS_PER_CLOCK != (left - n) / STEPS_PER_CLOCK;
        if clock_due && processor_time() > meter.deadline.get() {
            stop(Exhausted::Time);
        }
    });
}

/// Pays for `n` bytes of new data, and for the time to write them.
pub(crate) fn charge_bytes(n: u64) {
    METER.with(|meter| {
        if !meter.active.get() {
            return;
        }
        let left = meter.bytes.get();
        if left < n {
            stop(Exhausted::Bytes);
        }
        meter.bytes.set(left - n);
    });
    charge_steps(n / 256);
}

/// Refuses to look into a text that holds a secret's token: what comes out would be wrong, and might give it away.
pub(crate) fn guard_secret(text: &[u8]) {
    if METER.with(|meter| meter.active.get()) && is_sealed(text) {
        stop(Exhausted::Secret);
    }
}

/// Pays for one node of the interpreter, and looks at the stack.
pub(crate) fn charge_node() {
    charge_steps(1);
    METER.with(|meter| {
        if meter.active.get() && stack_pointer() < meter.stack_floor.get() {
            stop(Exhausted::Stack);
        }
    });
}

/// What this thread has used of the processors.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[inline(never)]
fn stack_pointer() -> usize {
    let here = 0u8;
    std::ptr::from_ref(&here) as usize
}
