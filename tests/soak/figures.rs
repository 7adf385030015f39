//! What the programs of the mesh use, before and after.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use ambit_tests::Usage;
use tokio::time::sleep;

use crate::stage::Stage;

/// How long programs may take to let go of what they do not need any more.
const SETTLE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_secs(2);
/// Looks in a row that have to be alike before programs count as settled.
const ALIKE: usize = 4;
/// Descriptors, tasks and threads more than before that are nobody's loss: whoever looks makes a connection, and some
/// work for it.
const MORE: u64 = 2;

/// What each program uses.
pub(crate) struct Figures(BTreeMap<String, Figure>);

#[derive(Clone, Copy, Debug)]
struct Figure {
    usage: Usage,
    /// Of the runtime.
    tasks: u64,
}

/// The sum of all series of a metric whose text begins so.
pub(crate) fn metric(metrics: &str, name: &str) -> f64 {
    let series = metrics.lines().filter(|line| line.starts_with(name));
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

// === impl Figures ===

impl Figures {
    async fn now(stage: &Stage) -> Self {
        let mut all = BTreeMap::new();
        for (component, port) in Stage::components() {
            let metrics = stage.metrics(&component, port).await;
            let tasks = metric(&metrics, "tokio_num_alive_tasks") as u64;
            let pid = stage.sandbox.component_pid(&component).ok().flatten();
            let usage = Usage::of(pid.expect("the program runs"));
            all.insert(component.to_string(), Figure { usage, tasks });
        }
        Self(all)
    }

    /// Once nothing changes any more.
    pub(crate) async fn settled(stage: &Stage) -> Self {
        let (mut last, mut alike, began) = (Self::now(stage).await, 0, Instant::now());
        while alike < ALIKE && began.elapsed() < SETTLE {
            sleep(POLL).await;
            let now = Self::now(stage).await;
            alike = if now.is_like(&last) { alike + 1 } else { 0 };
            last = now;
        }
        last
    }

    /// Once they are what they were, or do not become it.
    pub(crate) async fn back_to(stage: &Stage, before: &Self) -> Self {
        let began = Instant::now();
        loop {
            let now = Self::now(stage).await;
            if now.differences(before).is_empty() || began.elapsed() > SETTLE {
                return now;
            }
            sleep(POLL).await;
        }
    }

    /// Whether nothing but a look lies between two of them. Threads for blocking work come and go by themselves.
    fn is_like(&self, other: &Self) -> bool {
        let counts = |figure: &Figure| [figure.usage.descriptors as u64, figure.tasks];
        let pairs = self.0.values().zip(other.0.values());
        pairs.into_iter().all(|(one, other)| {
            let mut counts = counts(one).into_iter().zip(counts(other));
            counts.all(|(one, other)| one.abs_diff(other) <= MORE)
        })
    }

    /// What is more than it was. Memory may be an eighth and 2 MiB more, as allocators keep some.
    pub(crate) fn differences(&self, before: &Self) -> Vec<String> {
        let mut all = Vec::new();
        for (name, now) in &self.0 {
            let Some(before) = before.0.get(name) else { continue };
            let (was, is) = (before.usage, now.usage);
            let fds = |usage: Usage| usage.descriptors as u64;
            for (what, was, is, most) in [
                ("bytes of memory", was.memory, is.memory, was.memory * 9 / 8 + (2 << 20)),
                ("descriptors", fds(was), fds(is), fds(was) + MORE),
                ("threads", was.threads, is.threads, was.threads + MORE),
                ("tasks", before.tasks, now.tasks, before.tasks + MORE),
            ] {
                if is > most {
                    all.push(format!("{name}: {is} {what}, {was} before"));
                }
            }
        }
        all
    }

    /// For people.
    pub(crate) fn table(&self, before: &Self) -> String {
        let mut text = format!(
            "{:20} {:>16} {:>13} {:>11} {:>11}",
            "", "MiB", "descriptors", "tasks", "threads"
        );
        for (name, now) in &self.0 {
            let Some(before) = before.0.get(name) else { continue };
            let mib = |usage: Usage| usage.memory as f64 / f64::from(1 << 20);
            let (was, is) = (before.usage, now.usage);
            let _ = write!(
                text,
                "\n{name:20} {:>16} {:>13} {:>11} {:>11}",
                format!("{:.1} → {:.1}", mib(was), mib(is)),
                format!("{} → {}", was.descriptors, is.descriptors),
                format!("{} → {}", before.tasks, now.tasks),
                format!("{} → {}", was.threads, is.threads),
            );
        }
        text
    }
}
