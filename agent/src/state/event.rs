//! What the state is told, and what it wants done.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::pod::Pod;

/// Somebody who waits for a reply.
pub(crate) type RequestId = u64;
/// A connected ztunnel; later ones have larger numbers.
pub(crate) type ZtunnelId = u64;
/// Done, or why not.
pub(crate) type Outcome = Result<(), String>;

/// What has happened. `N` is a network namespace.
#[derive(Clone, Debug)]
pub(crate) enum Event<N> {
    /// A pod is to be captured and served.
    Add(Addition<N>),
    /// A pod is to be let go.
    Remove(Removal),
    /// Somebody does not want to wait any longer.
    GiveUp(RequestId),
    /// [`Work::Capture`] has ended.
    Captured { uid: String, outcome: Outcome },
    /// [`Work::Release`] has ended.
    Released { uid: String, outcome: Outcome },
    /// [`Work::Clear`] has ended.
    Cleared { uid: String, outcome: Outcome },
    /// [`Work::Verify`] has ended.
    Verified { uid: String },
    /// A ztunnel has said hello.
    Connected(ZtunnelId),
    /// A ztunnel has gone.
    Gone(ZtunnelId),
    /// A ztunnel has answered [`Order::Offer`].
    Offered(Offered),
    /// A ztunnel has answered [`Order::Withdraw`].
    Withdrawn { ztunnel: ZtunnelId, uid: String },
    /// Time has passed.
    Tick,
}

/// A pod to capture and serve.
#[derive(Clone, Debug)]
pub(crate) struct Addition<N> {
    pub(crate) request: Option<RequestId>,
    pub(crate) pod: Arc<Pod>,
    pub(crate) netns: N,
    /// Whether it was captured before this process began.
    pub(crate) restored: bool,
}

/// A pod to let go.
#[derive(Clone, Debug)]
pub(crate) struct Removal {
    pub(crate) request: Option<RequestId>,
    pub(crate) uid: String,
    /// Whether it may live on, so that its rules have to be taken out.
    pub(crate) alive: bool,
}

/// A ztunnel's answer to an offer.
#[derive(Clone, Debug)]
pub(crate) struct Offered {
    pub(crate) ztunnel: ZtunnelId,
    pub(crate) uid: String,
    /// Which description of the pod it is about.
    pub(crate) version: u64,
    pub(crate) outcome: Outcome,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect<N> {
    /// Work on a pod's rules, reported when it has ended.
    Work(Work<N>),
    /// Tell a ztunnel something, after what it is being told already.
    Tell(ZtunnelId, Order<N>),
    /// The pod is none of ours any more.
    Forget { uid: String },
    /// Tell somebody how it went.
    Reply { request: RequestId, outcome: Outcome },
}

/// Work on a pod's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Work<N> {
    /// Put them into its namespace; if it is `fresh`, a failure has to leave nothing behind.
    Capture { pod: Arc<Pod>, netns: N, fresh: bool },
    /// Let new connections pass, while those that are captured go on.
    Release { pod: Arc<Pod>, netns: N },
    /// Take them out.
    Clear { uid: String, netns: N },
    /// Look after them and repair them.
    Verify { pod: Arc<Pod>, netns: N },
}

/// What a ztunnel is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order<N> {
    /// To serve the pod.
    Offer { pod: Arc<Pod>, netns: N, version: u64 },
    /// To go on with a pod if it serves it.
    Keep { uid: String },
    /// That it knows all pods.
    SnapshotSent,
    /// That the pod is gone.
    Withdraw { uid: String },
}

/// How many pods are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    /// Pods captured and served by the latest ztunnel.
    pub(crate) served: usize,
    /// Pods on the way there.
    pub(crate) pending: usize,
    /// Pods on the way out.
    pub(crate) leaving: usize,
    /// Connected ztunnels.
    pub(crate) ztunnels: usize,
}

/// A set of ztunnels.
pub(crate) type Ztunnels = BTreeSet<ZtunnelId>;
