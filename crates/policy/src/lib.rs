//! Authorization decisions as pure functions.
//!
//! [`decide`] answers, for one connection and the policies that apply to its destination, whether the connection may
//! live, which policy said so and why. It performs no IO, keeps no state and, on a path with nothing to report,
//! allocates nothing. The semantics are those of Istio's node proxies at layer 4, with one difference: a policy that a
//! workload refers to and that nobody has seen denies (see [`UnknownPolicy`]).
//!
//! [`decide_request`] answers the same for one request at layer 7. What it is told of the path is a [`RequestPath`], which
//! only [`RequestPath::parse`] makes: in one form, and that form is what is forwarded.

mod decide;
mod decision;
mod matching;
mod path;
mod request;
mod sources;

pub use decide::{Candidate, Facts, UnknownPolicy, decide};
pub use decision::{Decision, DryRun, PolicyRef, Reason};
pub use matching::matches;
pub use path::{EncodedSlashes, RefusedPath, RequestPath, unreachable_pattern};
pub use request::{
    Ask, CompiledPolicy, ConnectionFacts, HeaderValues, RequestAuth, RequestDecision, RequestFacts,
    RequestHit, RequestPolicies, decide_connection, decide_request,
};
pub use sources::{Source, Sources};
