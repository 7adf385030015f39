//! Readiness: the process is ready when every task that registered has finished starting.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The tasks that are still starting.
#[derive(Clone, Debug, Default)]
pub struct Ready(Arc<Mutex<BTreeMap<&'static str, usize>>>);

/// A task that is still starting. One that is dropped without [`ReadyTask::done`] has failed: it is waited for forever.
#[derive(Debug)]
#[must_use = "without a call of `done` the process never becomes ready"]
pub struct ReadyTask {
    ready: Ready,
    name: &'static str,
}

impl Ready {
    /// No task: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the process unready until the returned task is done.
    pub fn register(&self, name: &'static str) -> ReadyTask {
        *self.0.lock().entry(name).or_default() += 1;
        ReadyTask { ready: self.clone(), name }
    }

    /// The names of tasks that are still starting, sorted.
    pub fn pending(&self) -> Vec<&'static str> {
        self.0.lock().keys().copied().collect()
    }
}

impl ReadyTask {
    /// The task has started.
    pub fn done(self) {
        let mut tasks = self.ready.0.lock();
        if let Some(count) = tasks.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                tasks.remove(self.name);
            }
        }
        let left = tasks.len();
        drop(tasks);
        tracing::info!(task = self.name, pending = left, "task is ready");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_task_is() {
        let ready = Ready::new();
        assert!(ready.pending().is_empty());
        let state = ready.register("state manager");
        let (one, two) = (ready.register("proxy"), ready.register("proxy"));
        assert_eq!(ready.pending(), ["proxy", "state manager"]);
        state.done();
        one.done();
        assert_eq!(ready.pending(), ["proxy"]);
        two.done();
        assert!(ready.pending().is_empty());
    }

    #[test]
    fn a_task_that_failed_is_never_ready() {
        let ready = Ready::new();
        drop(ready.register("proxy"));
        assert_eq!(ready.pending(), ["proxy"]);
    }
}
