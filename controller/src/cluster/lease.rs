//! Which replica writes: the holder of a Lease.
//!
//! A replica leads from when it has written its name into the Lease until it could not renew it for [`DEADLINE`].
//! Others take the Lease over when it has not been renewed for [`DURATION`] by their own clock, so clocks need not agree.

mod step;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::FIELD_MANAGER;
use crate::serve::Metrics;
use crate::watch::api_error;

use step::{Observed, Step};

/// How long a Lease counts that is not renewed.
const DURATION: Duration = Duration::from_secs(15);
/// How long a holder leads without renewing it.
const DEADLINE: Duration = Duration::from_secs(10);
/// Between two renewals, and two looks of those who wait.
const RENEW: Duration = Duration::from_secs(4);
/// Between two tries after a failure.
const RETRY: Duration = Duration::from_secs(2);
/// How long to wait for the API server.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The Lease and who wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// The name of this replica, unlike that of any other.
    pub identity: String,
}

/// Takes part in the election.
pub struct Election {
    leases: Api<Lease>,
    settings: LeaseSettings,
    metrics: Metrics,
    leads: watch::Sender<bool>,
}

// === impl Election ===

impl Election {
    /// Takes part as `settings` say, from [`Election::run`] on.
    pub fn new(client: Client, settings: LeaseSettings, metrics: Metrics) -> Self {
        let leases = Api::namespaced(client, &settings.namespace);
        Self { leases, settings, metrics, leads: watch::Sender::new(false) }
    }

    /// Whether this replica leads, now and from now on.
    pub fn leads(&self) -> watch::Receiver<bool> {
        self.leads.subscribe()
    }

    /// Takes part until `closing`; gives up the Lease at the end, so that another replica need not wait for it to run
    /// out.
    pub async fn run(self, closing: CancellationToken) {
        tokio::select! {
            () = self.take_part() => {}
            () = closing.cancelled() => {}
        }
        if *self.leads.borrow() {
            self.lead(false);
            // It runs out by itself where that fails.
            if let Ok(Err(error)) = tokio::time::timeout(TIMEOUT, self.give_up()).await {
                tracing::debug!(%error, "the lease was not given up");
            }
        }
    }

    async fn take_part(&self) {
        let mut observed = Observed::default();
        let mut renewed = Instant::now();
        let mut complaint = String::new();
        self.metrics.leads(false);
        loop {
            let began = Instant::now();
            let step = tokio::time::timeout(TIMEOUT, self.step(&mut observed, began)).await;
            let error = match step {
                Ok(Ok(leads)) => {
                    renewed = began;
                    complaint.clear();
                    self.lead(leads);
                    tokio::time::sleep(RENEW).await;
                    continue;
                }
                Ok(Err(error)) => api_error(&error),
                Err(_) => "the API server does not answer".to_owned(),
            };
            if complaint != error {
                let LeaseSettings { namespace, name, .. } = &self.settings;
                tracing::warn!("Lease {namespace}/{name}: cannot be held: {error}");
                complaint = error;
            }
            // The next try must end before the deadline.
            self.lead(*self.leads.borrow() && renewed.elapsed() + RETRY + TIMEOUT <= DEADLINE);
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Looks at the Lease and does what there is to do. Returns whether this replica holds it.
    async fn step(&self, observed: &mut Observed, now: Instant) -> kube::Result<bool> {
        let LeaseSettings { name, identity, .. } = &self.settings;
        let lease = self.leases.get_opt(name).await?;
        let step =
            observed.step(lease.as_ref().and_then(|lease| lease.spec.as_ref()), identity, now);
        let parameters =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), dry_run: false };
        let written = match (step, lease) {
            (Step::Wait, _) => return Ok(false),
            (Step::Take | Step::Renew, None) => {
                let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
                let lease = Lease { metadata, spec: Some(self.spec(None, true)) };
                self.leases.create(&parameters, &lease).await
            }
            (step, Some(mut lease)) => {
                // The version that was read goes along: of several who take it only one succeeds.
                lease.spec = Some(self.spec(lease.spec, step != Step::Renew));
                self.leases.replace(name, &parameters, &lease).await
            }
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn give_up(&self) -> kube::Result<()> {
        let LeaseSettings { name, identity, .. } = &self.settings;
        let Some(mut lease) = self.leases.get_opt(name).await? else { return Ok(()) };
        let held =
            lease.spec.as_mut().filter(|spec| spec.holder_identity.as_ref() == Some(identity));
        let Some(spec) = held else { return Ok(()) };
        spec.holder_identity = None;
        let parameters =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), dry_run: false };
        self.leases.replace(name, &parameters, &lease).await?;
        Ok(())
    }

    fn spec(&self, old: Option<LeaseSpec>, taken: bool) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let old = old.unwrap_or_default();
        let transitions = old.lease_transitions.unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.settings.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: if taken { Some(now.clone()) } else { old.acquire_time },
            renew_time: Some(now),
            lease_transitions: Some(if taken {
                transitions.saturating_add(1)
            } else {
                transitions
            }),
            ..LeaseSpec::default()
        }
    }

    fn lead(&self, leads: bool) {
        let changed = self.leads.send_if_modified(|known| std::mem::replace(known, leads) != leads);
        if changed {
            self.metrics.leads(leads);
            let identity = &self.settings.identity;
            if leads {
                tracing::info!(identity, "this replica writes to the cluster now");
            } else {
                tracing::info!(identity, "this replica no longer writes to the cluster");
            }
        }
    }
}
