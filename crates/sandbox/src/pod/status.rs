//! What a pod's containers amount to.

use super::container::{News, State};

/// A pod as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PodStatus {
    pub(crate) containers: Vec<ContainerStatus>,
    pub(crate) mesh: Mesh,
    /// Why it does not start, where it does not.
    pub(crate) obstacle: Option<String>,
}

/// A container as it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ContainerStatus {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) state: State,
    pub(crate) ready: bool,
    pub(crate) restarts: u32,
}

/// Whether a pod's traffic is captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mesh {
    #[default]
    Out,
    /// It should be, and is not yet.
    Pending,
    In,
}

/// Kubernetes' one-word summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

// === impl PodStatus ===

impl PodStatus {
    pub(crate) fn phase(&self) -> Phase {
        let ended: Vec<i32> = self.containers.iter().filter_map(|of| of.state.ended()).collect();
        let begun =
            |of: &ContainerStatus| of.restarts > 0 || !matches!(of.state, State::Waiting { .. });
        if self.obstacle.is_some() || self.containers.is_empty() {
            Phase::Pending
        } else if ended.len() == self.containers.len() {
            if ended.iter().all(|code| *code == 0) { Phase::Succeeded } else { Phase::Failed }
        } else if self.containers.iter().all(begun) {
            Phase::Running
        } else {
            Phase::Pending
        }
    }

    /// Whether it takes traffic through its services.
    pub(crate) fn is_ready(&self) -> bool {
        self.phase() == Phase::Running && self.containers.iter().all(|container| container.ready)
    }

    /// Takes note of what happened to one container.
    pub(crate) fn note(&mut self, container: usize, news: &News) {
        let Some(container) = self.containers.get_mut(container) else { return };
        match news {
            News::State(state) => container.state = state.clone(),
            News::Ready(ready) => container.ready = *ready,
            News::Restarts { .. } => container.restarts += 1,
        }
    }
}

// === impl State ===

impl State {
    /// The exit code, if it has ended for good.
    pub(crate) fn ended(&self) -> Option<i32> {
        match self {
            Self::Ended { code } => Some(*code),
            _ => None,
        }
    }
}

// === impl Phase ===

impl Phase {
    /// As Kubernetes spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_containers() {
        let waiting = || State::Waiting { reason: String::new() };
        let ended = |code| State::Ended { code };
        for (states, phase) in [
            (vec![], Phase::Pending),
            (vec![waiting()], Phase::Pending),
            (vec![State::Running, waiting()], Phase::Pending),
            (vec![State::Running, State::Running], Phase::Running),
            (vec![State::Running, ended(1)], Phase::Running),
            (vec![ended(0), ended(0)], Phase::Succeeded),
            (vec![ended(0), ended(1)], Phase::Failed),
        ] {
            let container = |state: &State| ContainerStatus {
                name: String::new(),
                image: String::new(),
                state: state.clone(),
                ready: true,
                restarts: 0,
            };
            let containers = states.iter().map(container).collect();
            let mut status = PodStatus { containers, ..PodStatus::default() };
            assert_eq!(status.phase(), phase, "{states:?}");
            assert_eq!(status.is_ready(), phase == Phase::Running);
            status.note(0, &News::Restarts { reason: String::new() });
            status.note(0, &News::State(waiting()));
            let again = status.phase();
            assert!(again != Phase::Succeeded && again != Phase::Failed, "{states:?}");
        }
    }
}
