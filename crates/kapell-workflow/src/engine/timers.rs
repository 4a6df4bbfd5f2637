//! One heap for all timers of all runs.
//!
//! Timers are not taken out when they are no longer wanted: the run ignores an alarm that it does not wait for.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use kapell_store::StreamId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::partition::Command;
use super::{Shared, now};
use crate::core::Event;
use crate::core::record::{Time, TimerId};

/// The wall clock is looked at this often at least, in case it was set.
const LONGEST_SLEEP: i64 = 10_000;

pub(super) struct Alarm {
    pub(super) at: Time,
    pub(super) stream: StreamId,
    pub(super) wake: Wake,
}

pub(super) enum Wake {
    Timer(TimerId),
    Describe {
        sequence: u64,
    },
    /// The run is to be in memory again.
    Warm,
    /// If it has not ended by now, its object is to say that it runs.
    Announce,
}

impl PartialEq for Alarm {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Alarm {}

impl PartialOrd for Alarm {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By time; which of two at the same millisecond comes first does not matter.
impl Ord for Alarm {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}

pub(super) async fn run(shared: Arc<Shared>, mut alarms: mpsc::UnboundedReceiver<Alarm>, stop: CancellationToken) {
    let mut heap: BinaryHeap<Reverse<Alarm>> = BinaryHeap::new();
    loop {
        let present = now();
        while heap.peek().is_some_and(|Reverse(alarm)| alarm.at <= present) {
            if let Some(Reverse(alarm)) = heap.pop() {
                ring(&shared, alarm);
            }
        }
        // Gives memory back after a great many have rung.
        if heap.capacity() > 4_096 && heap.len() < heap.capacity() / 8 {
            heap.shrink_to(heap.len() * 2);
        }
        let sleep = heap.peek().map_or(LONGEST_SLEEP, |Reverse(alarm)| (alarm.at - present).min(LONGEST_SLEEP));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(sleep.unsigned_abs())) => {}
            alarm = alarms.recv() => match alarm {
                Some(alarm) => {
                    heap.push(Reverse(alarm));
                    // Without arming a timer for each of many.
                    heap.extend(std::iter::from_fn(|| alarms.try_recv().ok()).map(Reverse));
                }
                None => return,
            },
        }
    }
}

fn ring(shared: &Shared, alarm: Alarm) {
    let stream = alarm.stream;
    let command = match alarm.wake {
        Wake::Timer(timer) => Command::Event { stream, event: Event::TimerDue { timer } },
        Wake::Describe { sequence } => Command::Describe { stream, sequence },
        Wake::Warm => Command::Warm { stream },
        Wake::Announce => {
            let notices = shared.notices.lock();
            if let Some(notice) = notices.get(stream).filter(|notice| notice.ended.is_none()) {
                shared.queue.add(notice.key.clone());
            }
            return;
        }
    };
    shared.tell(stream, command);
}
