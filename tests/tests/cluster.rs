//! Ambit on a real Kubernetes cluster: `make test-cluster` starts one, with Ambit in it, and runs these.
//!
//! Each test has a namespace of its own, so that they can share the cluster: [`together`]. Those that take something
//! away from everybody run [`alone`].

mod checks;
mod conformance;
mod enrolment;
mod faults;
mod kubectl;
mod load;
mod manifests;
mod network_policy;
mod outage;
mod peer;
mod pods;
mod policy;
mod removal;
mod rollout;
mod rotation;
mod shop;

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static CLUSTER: RwLock<()> = RwLock::const_new(());

/// The cluster beside other tests.
async fn together() -> RwLockReadGuard<'static, ()> {
    CLUSTER.read().await
}

/// The cluster without other tests.
async fn alone() -> RwLockWriteGuard<'static, ()> {
    CLUSTER.write().await
}
