//! What changes while a sandbox runs, in one short line each.

use std::fmt;
use std::net::IpAddr;

use crate::cluster::PodKey;
use crate::manifest::ObjectRef;

/// Something changed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A pod takes traffic.
    PodReady {
        /// Which.
        pod: PodKey,
        /// Where it runs.
        node: String,
        /// Its address.
        ip: Option<IpAddr>,
        /// Whether the mesh captures its traffic.
        meshed: bool,
    },
    /// A pod takes no traffic any more, and still exists.
    PodNotReady {
        /// Which.
        pod: PodKey,
    },
    /// A container was started again.
    PodRestarted {
        /// The pod.
        pod: PodKey,
        /// The container.
        container: String,
        /// Why.
        reason: String,
    },
    /// All containers of a pod have ended for good.
    PodEnded {
        /// Which.
        pod: PodKey,
        /// Whether all of them were successful.
        succeeded: bool,
    },
    /// A pod entered the mesh, or left it.
    PodMesh {
        /// Which.
        pod: PodKey,
        /// Whether its traffic is captured now.
        meshed: bool,
    },
    /// Something keeps a pod from starting or from being captured; it is tried again.
    PodProblem {
        /// Which.
        pod: PodKey,
        /// What, and what to do about it.
        problem: String,
    },
    /// A pod is gone.
    PodRemoved {
        /// Which.
        pod: PodKey,
    },
    /// An object is in force.
    Applied {
        /// Which.
        object: ObjectRef,
    },
    /// An object is in force in a new version.
    Changed {
        /// Which.
        object: ObjectRef,
    },
    /// An object is not in force any more.
    Deleted {
        /// Which.
        object: ObjectRef,
    },
    /// A file, document or object cannot be used.
    Refused {
        /// Which.
        origin: String,
        /// Why, and what to do about it.
        reason: String,
    },
    /// Part of an object has no effect here.
    Unused {
        /// The object.
        object: String,
        /// What of it, and why.
        what: String,
    },
    /// A program of the mesh ended and is started again, or said something that the user should know.
    Component {
        /// Which.
        component: String,
        /// What.
        news: String,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PodReady { pod, node, ip, meshed } => {
                write!(f, "pod {pod} ready on {node}")?;
                if let Some(ip) = ip {
                    write!(f, ", {ip}")?;
                }
                f.write_str(if *meshed { ", in the mesh" } else { "" })
            }
            Self::PodNotReady { pod } => write!(f, "pod {pod} not ready"),
            Self::PodRestarted { pod, container, reason } => {
                write!(f, "pod {pod} container {container} restarted: {reason}")
            }
            Self::PodEnded { pod, succeeded: true } => write!(f, "pod {pod} completed"),
            Self::PodEnded { pod, succeeded: false } => write!(f, "pod {pod} failed"),
            Self::PodMesh { pod, meshed: true } => write!(f, "pod {pod} joined the mesh"),
            Self::PodMesh { pod, meshed: false } => write!(f, "pod {pod} left the mesh"),
            Self::PodProblem { pod, problem } => write!(f, "pod {pod}: {problem}"),
            Self::PodRemoved { pod } => write!(f, "pod {pod} removed"),
            Self::Applied { object } => write!(f, "{object} applied"),
            Self::Changed { object } => write!(f, "{object} changed"),
            Self::Deleted { object } => write!(f, "{object} deleted"),
            Self::Refused { origin, reason } => write!(f, "refused {origin}: {reason}"),
            Self::Unused { object, what } => write!(f, "{object} {what}"),
            Self::Component { component, news } => write!(f, "{component} {news}"),
        }
    }
}
