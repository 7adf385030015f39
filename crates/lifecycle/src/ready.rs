//! Readiness: the process is ready when every task that registered has finished starting.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The tasks that are still starting.
#[derive(Clone, Debug, Default)]
pub struct Ready(Arc<Mutex<BTreeMap<&'static str, usize>>>);

/// A task that is still starting; dropping it says that it has started.
#[derive(Debug)]
#[must_use = "dropping it at once makes the task ready at once"]
pub struct ReadyTask {
    ready: Ready,
    name: &'static str,
}

impl Ready {
    /// No task: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the process unready until the returned task is dropped.
    pub fn register(&self, name: &'static str) -> ReadyTask {
        *self.0.lock().entry(name).or_default() += 1;
        ReadyTask { ready: self.clone(), name }
    }

    /// The names of tasks that are still starting, sorted.
    pub fn pending(&self) -> Vec<&'static str> {
        self.0.lock().keys().copied().collect()
    }
}

impl Drop for ReadyTask {
    fn drop(&mut self) {
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
        drop(state);
        drop(one);
        assert_eq!(ready.pending(), ["proxy"]);
        drop(two);
        assert!(ready.pending().is_empty());
    }
}
