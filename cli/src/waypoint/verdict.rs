//! Whether a waypoint works, and if not, why and what to do. Pure.

use std::fmt;

use super::gateway::{Condition, PodState, Waypoint};

/// How a waypoint stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    Works,
    /// Nobody has looked at the Gateway.
    Unseen,
    /// The controller does not take the Gateway.
    Refused(Condition),
    /// There is no pod.
    NoPods {
        namespace: String,
        name: String,
    },
    /// No pod is ready.
    NotReady {
        namespace: String,
        pod: String,
        obstacle: Option<String>,
    },
    /// Pods are ready, and the Gateway is not programmed yet.
    NotProgrammed(Condition),
}

/// Judges what is known of a waypoint, the cause before its consequences.
pub(super) fn verdict(waypoint: &Waypoint) -> Verdict {
    let Waypoint { namespace, name, accepted, programmed, pods, .. } = waypoint;
    if let Some(refused) = accepted.as_ref().filter(|condition| !condition.holds) {
        return Verdict::Refused(refused.clone());
    }
    let works = programmed.as_ref().is_some_and(|condition| condition.holds);
    let Some(PodState { name: pod, obstacle, .. }) = pods.iter().find(|pod| !pod.ready) else {
        return match (pods.is_empty(), programmed) {
            (true, None) if accepted.is_none() => Verdict::Unseen,
            (true, _) => Verdict::NoPods { namespace: namespace.clone(), name: name.clone() },
            (false, _) if works => Verdict::Works,
            (false, None) => Verdict::Unseen,
            (false, Some(condition)) => Verdict::NotProgrammed(condition.clone()),
        };
    };
    // While pods are replaced, the ready ones serve.
    if works && pods.iter().any(|pod| pod.ready) {
        return Verdict::Works;
    }
    Verdict::NotReady { namespace: namespace.clone(), pod: pod.clone(), obstacle: obstacle.clone() }
}

// === impl Verdict ===

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Works => f.write_str("works"),
            Self::Unseen => f.write_str(
                "no controller has looked at it yet; if that stays so: `ambit check` says whether the controller runs",
            ),
            Self::Refused(Condition { reason, message, .. }) => write!(
                f,
                "the controller does not accept it ({reason}): {message}; correct the Gateway and apply it again"
            ),
            Self::NoPods { namespace, name } => write!(
                f,
                "it has no pods; the controller's log says why: kubectl -n istio-system logs deployment/ambit-controller | grep {namespace}/{name}"
            ),
            Self::NotReady { namespace, pod, obstacle: Some(obstacle) } => {
                write!(f, "its pod {pod} does not run: {obstacle}; look at it with: kubectl -n {namespace} describe pod {pod}")
            }
            Self::NotReady { namespace, pod, obstacle: None } => {
                write!(f, "its pod {pod} is not ready; its log says why: kubectl -n {namespace} logs {pod}")
            }
            Self::NotProgrammed(Condition { reason, message, .. }) => {
                write!(f, "its pods are ready, and it is not programmed ({reason}): {message}")
            }
        }
    }
}
