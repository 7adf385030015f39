//! Authorization decisions as pure functions.
//!
//! [`decide`] answers, for one connection and the policies that apply to its destination, whether the connection may
//! live, which policy said so and why. It performs no IO, keeps no state and, on a path with nothing to report,
//! allocates nothing. The semantics are those of Istio's node proxies at layer 4, with one difference: a policy that a
//! workload refers to and that nobody has seen denies (see [`UnknownPolicy`]).

mod decide;
mod decision;
mod matching;

pub use decide::{Candidate, Facts, UnknownPolicy, decide};
pub use decision::{Decision, DryRun, PolicyRef, Reason};
pub use matching::matches;
