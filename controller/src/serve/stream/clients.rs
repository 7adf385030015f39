//! Who is connected, and how far each has come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use ambit_model::Str;
use parking_lot::Mutex;
use serde::Serialize;

use super::Discovery;
use crate::serve::propagation::Propagation;
use crate::serve::{Caller, Metrics};

/// The connected proxies.
#[derive(Clone, Debug, Default)]
pub struct Clients(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    propagation: Propagation,
    clients: BTreeMap<u64, Client>,
}

/// A connected proxy.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// The id it gave itself.
    pub id: String,
    /// The node of its token.
    pub node: Str,
    /// The last generation that it has answered.
    pub acked: u64,
    /// What it refused last, if it refused anything.
    pub refused: Option<String>,
}

/// A proxy's place in the list, for as long as it is connected.
pub(super) struct Joined {
    clients: Clients,
    metrics: Metrics,
    number: u64,
}

// === impl Clients ===

impl Clients {
    /// Takes in that a state was published.
    pub(crate) fn published(&self, generation: u64, seen: Instant, metrics: &Metrics) {
        let mut inner = self.0.lock();
        inner.propagation.published(generation, seen);
        metrics.changes_waiting(inner.propagation.waiting());
    }

    /// Everybody who is connected.
    pub fn list(&self) -> Vec<Client> {
        self.0.lock().clients.values().cloned().collect()
    }
}

// === impl Client ===

impl Client {
    pub(super) fn new(id: &str, caller: &Caller) -> Self {
        Self { id: id.to_owned(), node: caller.node.clone(), acked: 0, refused: None }
    }
}

// === impl Joined ===

impl Joined {
    pub(super) fn new(service: &Discovery, client: Client, generation: u64) -> Self {
        let clients = service.clients.clone();
        let number = {
            let mut inner = clients.0.lock();
            let number = inner.propagation.join(generation);
            inner.clients.insert(number, client);
            service.metrics.proxies(inner.propagation.proxies());
            number
        };
        Self { clients, metrics: service.metrics.clone(), number }
    }

    pub(super) fn acked(&self, generation: u64, now: Instant) {
        let mut inner = self.clients.0.lock();
        if let Some(client) = inner.clients.get_mut(&self.number) {
            client.acked = generation;
        }
        self.metrics.propagated(inner.propagation.acked(self.number, generation, now));
        self.metrics.changes_waiting(inner.propagation.waiting());
    }

    pub(super) fn refused(&self, reason: &str) {
        if let Some(client) = self.clients.0.lock().clients.get_mut(&self.number) {
            client.refused = Some(reason.to_owned());
        }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        let mut inner = self.clients.0.lock();
        inner.clients.remove(&self.number);
        self.metrics.propagated(inner.propagation.leave(self.number, Instant::now()));
        self.metrics.proxies(inner.propagation.proxies());
        self.metrics.changes_waiting(inner.propagation.waiting());
    }
}
