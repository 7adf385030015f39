//! Conditions in the status of objects: what is wanted of each is compared with what it has, and the leading replica
//! writes the difference.

mod ledger;
mod outcome;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::{until, while_leading};
use crate::index::Index;
use crate::serve::Metrics;
use crate::watch::{Backoff, Key, Kind, Pace, Present, Standing, resource};

use ledger::{Ledger, Write};
use outcome::Failure;

/// Between two writes: an API server has others to serve.
const SPACING: Duration = Duration::from_millis(10);
/// How long to wait for the API server.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What objects should say about themselves, and what they say.
#[derive(Clone, Debug, Default)]
pub struct Statuses(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    ledger: Mutex<Ledger>,
    news: Notify,
}

/// Writes statuses while this replica leads.
pub struct StatusWriter {
    client: Client,
    statuses: Statuses,
    leads: watch::Receiver<bool>,
    pace: Pace,
    metrics: Metrics,
}

/// While nobody writes, nothing waits to be written.
struct Idle<'a>(&'a Metrics);

/// What is remembered of writing to one kind.
struct Desk {
    /// Which of the kind's versions the cluster serves, as far as is known.
    version: usize,
    backoff: Backoff,
    /// Nothing is written before.
    rests: Option<Instant>,
    complaint: String,
}

// === impl Statuses ===

impl Statuses {
    /// Takes in how objects stand and what `index` wants of them after its last changes.
    pub fn take(&self, standings: Vec<(Key, Standing)>, index: &Index) {
        let mut ledger = self.0.ledger.lock();
        let mut keys: Vec<Key> = index.touched().to_vec();
        for (key, standing) in standings {
            ledger.stand(&key, standing);
            keys.push(key);
        }
        for key in keys {
            let wanted = index.wanted(&key, ledger.problems(&key));
            ledger.want(&key, wanted);
        }
        drop(ledger);
        self.0.news.notify_one();
    }

    /// How many objects wait to be written.
    fn pending(&self) -> usize {
        self.0.ledger.lock().pending()
    }
}

// === impl StatusWriter ===

impl StatusWriter {
    /// Writes what `statuses` want while `leads`.
    pub fn new(
        client: Client,
        statuses: Statuses,
        leads: watch::Receiver<bool>,
        pace: Pace,
        metrics: Metrics,
    ) -> Self {
        Self { client, statuses, leads, pace, metrics }
    }

    /// Writes, for ever.
    pub async fn run(self) {
        while_leading(self.leads.clone(), || self.keep()).await;
    }

    async fn keep(&self) {
        let _idle = Idle(&self.metrics);
        let mut desks: HashMap<Kind, Desk> = HashMap::new();
        let mut last = None;
        loop {
            let news = self.statuses.0.news.notified();
            self.metrics.statuses_pending(self.statuses.pending());
            let now = Instant::now();
            let open =
                |kind| desks.get(&kind).is_none_or(|desk| desk.rests.is_none_or(|t| t <= now));
            let next = self.statuses.0.ledger.lock().next(last.as_ref(), open, &timestamp());
            match next {
                Some((key, writes)) => {
                    let desk = desks.entry(key.kind).or_insert_with(|| Desk::new(self.pace));
                    self.write(desk, &key, writes).await;
                    last = Some(key);
                    tokio::time::sleep(SPACING).await;
                }
                None => {
                    let again = desks.values().filter_map(|d| d.rests).filter(|t| *t > now).min();
                    tokio::select! {
                        () = news => {}
                        () = until(again) => {}
                    }
                }
            }
        }
    }

    /// Writes what one object lacks.
    async fn write(&self, desk: &mut Desk, key: &Key, writes: Vec<Write>) {
        for write in writes {
            let patched = tokio::time::timeout(TIMEOUT, self.patch(desk.version, key, &write));
            let failure = match patched.await {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(Failure::of(&error)),
                Err(_) => Some(Failure::Unreachable("the API server does not answer".to_owned())),
            };
            self.metrics.status_written(failure.as_ref().map_or("written", Failure::reason));
            match failure {
                None => {
                    desk.succeeded();
                    self.statuses.0.ledger.lock().written(key, &write);
                }
                Some(failure) => {
                    if desk.failed(key, &failure, self.pace) {
                        self.statuses.0.ledger.lock().give_up(key, &write);
                    }
                    return;
                }
            }
        }
    }

    async fn patch(&self, version: usize, key: &Key, write: &Write) -> kube::Result<()> {
        let versions = key.kind.versions();
        let resource = resource(key.kind, versions.get(version).unwrap_or(&"v1"));
        let api: Api<DynamicObject> = if key.kind.is_namespaced() {
            Api::namespaced_with(self.client.clone(), &key.namespace, &resource)
        } else {
            Api::all_with(self.client.clone(), &resource)
        };
        let mut status = Value::Object(write.fields.clone());
        if !write.conditions.is_empty() {
            let list: Vec<Value> = write.conditions.iter().map(Present::to_json).collect();
            status["conditions"] = list.into();
        }
        let mut patch = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": *key.name},
            "status": status,
        });
        if key.kind.is_namespaced() {
            patch["metadata"]["namespace"] = (*key.namespace).into();
        }
        if let Some(version) = &write.version {
            // Refused where somebody else has changed the list meanwhile.
            patch["metadata"]["resourceVersion"] = (**version).into();
            let parameters = PatchParams {
                field_manager: Some(write.manager.to_owned()),
                ..PatchParams::default()
            };
            api.patch_status(&key.name, &parameters, &Patch::Merge(patch)).await?;
            return Ok(());
        }
        // What these managers own is theirs alone; another value there is a leftover.
        let parameters = PatchParams::apply(write.manager).force();
        api.patch_status(&key.name, &parameters, &Patch::Apply(patch)).await?;
        Ok(())
    }
}

/// Now, as conditions say it.
fn timestamp() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

// === impl Idle ===

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.statuses_pending(0);
    }
}

// === impl Desk ===

impl Desk {
    fn new(pace: Pace) -> Self {
        Self { version: 0, backoff: Backoff::new(pace), rests: None, complaint: String::new() }
    }

    fn succeeded(&mut self) {
        self.backoff.succeeded();
        self.rests = None;
        self.complaint.clear();
    }

    /// Takes a failure in. Returns whether there is nothing more to do for this object.
    fn failed(&mut self, key: &Key, failure: &Failure, pace: Pace) -> bool {
        let pause = match failure {
            Failure::Gone | Failure::Changed => return true,
            Failure::Refused(why) => {
                tracing::warn!("{key}: its status cannot be written: {why}");
                return true;
            }
            Failure::NotServed if self.version + 1 < key.kind.versions().len() => {
                self.version += 1;
                return false;
            }
            Failure::NotServed => {
                self.version = 0;
                pace.absent
            }
            Failure::Forbidden(_) => pace.absent,
            Failure::Unreachable(_) => self.backoff.failed(),
        };
        self.rests = Some(Instant::now() + pause);
        let complaint = failure.complaint(key.kind);
        if complaint != self.complaint {
            tracing::warn!("{complaint}");
            self.complaint = complaint;
        }
        false
    }
}
