//! What all connections share, and what those of one worker share.

use std::sync::Arc;

use ambit_bootstrap::{Turns, Worker};
use ambit_identity::Identities;
use ambit_model::{Identity, NamespacedHostname};
use ambit_tunnel::{Security, Tunnels};

use crate::config::Config;
use crate::destination::Destinations;
use crate::labels::KnownLabels;
use crate::metrics::Metrics;
use crate::rules;
use crate::spans::Spans;

/// Shared by all connections of the process.
pub(crate) struct Context {
    pub config: Config,
    /// Who this process is.
    pub identity: Identity,
    /// The service by which workloads name this waypoint.
    pub own: NamespacedHostname,
    pub state: ambit_state::Reader,
    pub rules: rules::Reader,
    pub destinations: Destinations,
    pub labels: KnownLabels,
    pub identities: Identities,
    pub security: Security,
    pub metrics: Metrics,
    pub spans: Spans,
    pub workers: Vec<Worker>,
}

/// Shared by all connections of one worker.
pub(crate) struct Local {
    pub context: Arc<Context>,
    /// HBONE connections of this worker.
    pub tunnels: Tunnels,
    /// Turns of peers.
    pub turns: Turns,
    /// This worker's place in [`Context::workers`].
    pub worker: usize,
}
