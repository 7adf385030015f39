//! What every connection of the data plane shares, and what those of one pod on one worker share.

use std::sync::Arc;

use ambit_bootstrap::{Turns, Worker};
use ambit_identity::Identities;
use ambit_state::Reader;
use ambit_tls::Revocations;
use ambit_tunnel::{Security, Tunnels};

use crate::admission::Limits;
use crate::config::Config;
use crate::dns::DnsProxy;
use crate::metrics::Metrics;
use crate::pod::Pod;
use crate::pods::LocalPods;

/// Shared by all connections of the process.
pub(crate) struct Context {
    pub config: Config,
    pub state: Reader,
    pub identities: Identities,
    pub revocations: Revocations,
    pub security: Security,
    pub metrics: Metrics,
    /// Answers the pods' DNS queries, unless turned off.
    pub dns: Option<DnsProxy>,
    /// The pods whose traffic this process carries.
    pub pods: LocalPods,
    pub workers: Vec<Worker>,
    pub limits: Limits,
}

/// Shared by all connections of one pod on one worker.
pub(crate) struct Local {
    pub context: Arc<Context>,
    pub pod: Arc<Pod>,
    /// HBONE connections that this pod makes on this worker.
    pub pool: Tunnels,
    /// How HBONE connections of this pod are made, and what their streams' windows depend on.
    pub security: Security,
    /// Turns with peers, of either side's making.
    pub turns: Arc<Turns>,
    /// This worker's place in [`Context::workers`].
    pub worker: usize,
}
