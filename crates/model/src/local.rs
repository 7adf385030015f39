//! The state of a mesh as one document: what `LOCAL_XDS_PATH` files hold.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{Authorization, HealthStatus, NamespacedHostname, PortMap, Service, Str, Workload};

/// Everything a node proxy needs to know, in upstream's schema for local files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LocalState {
    /// Workloads with the services they belong to.
    pub workloads: Vec<Workload>,
    /// Authorization policies.
    pub policies: Vec<Authorization>,
    /// Services.
    pub services: Vec<Service>,
}

/// A workload's part in a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// The workload.
    pub workload_uid: Str,
    /// Service port → the workload's own port.
    pub port: PortMap,
    /// Whether it takes traffic.
    #[serde(default)]
    pub status: HealthStatus,
}

/// What makes a local state unusable as a whole; the message names the entry.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidLocalState {
    /// Two workloads share a uid.
    #[error("workloads: uid {0:?} is used twice; give each workload its own")]
    DuplicateUid(Str),
    /// A workload cannot be told from others.
    #[error("workloads[{0}]: uid is missing")]
    MissingUid(usize),
    /// Two policies share a name.
    #[error("policies: {0:?} is defined twice")]
    DuplicatePolicy(Str),
    /// Two services share a name.
    #[error("services: {0:?} is defined twice")]
    DuplicateService(String),
    /// An endpoint of a workload that is not there.
    #[error("services: {service}: endpoint {workload:?} names no workload of this file")]
    UnknownWorkload {
        /// The service.
        service: String,
        /// The endpoint's workload.
        workload: Str,
    },
}

// === impl LocalState ===

impl LocalState {
    /// Makes the endpoint's workload a member of `service`, as if the workload itself had named it.
    ///
    /// # Errors
    /// The document has no such workload.
    pub fn add_endpoint(
        &mut self,
        service: &NamespacedHostname,
        endpoint: Endpoint,
    ) -> Result<(), InvalidLocalState> {
        let workload = self.workloads.iter_mut().find(|w| w.uid == endpoint.workload_uid);
        let Some(workload) = workload else {
            return Err(InvalidLocalState::UnknownWorkload {
                service: service.to_string(),
                workload: endpoint.workload_uid,
            });
        };
        workload.services.insert(service.clone(), endpoint.port);
        if endpoint.status == HealthStatus::Unhealthy {
            workload.status = HealthStatus::Unhealthy;
        }
        Ok(())
    }

    /// Checks that every entry has a key of its own.
    ///
    /// # Errors
    /// The first entry that has not.
    pub fn validate(&self) -> Result<(), InvalidLocalState> {
        let mut uids = BTreeSet::new();
        for (i, workload) in self.workloads.iter().enumerate() {
            if workload.uid.is_empty() {
                return Err(InvalidLocalState::MissingUid(i));
            }
            if !uids.insert(workload.uid.clone()) {
                return Err(InvalidLocalState::DuplicateUid(workload.uid.clone()));
            }
        }
        let mut names = BTreeSet::new();
        for policy in &self.policies {
            if !names.insert(policy.key()) {
                return Err(InvalidLocalState::DuplicatePolicy(policy.key().0));
            }
        }
        let mut keys = BTreeSet::new();
        for service in &self.services {
            if !keys.insert(service.key()) {
                return Err(InvalidLocalState::DuplicateService(service.key().to_string()));
            }
        }
        Ok(())
    }
}
