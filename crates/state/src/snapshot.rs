//! One consistent view of everything known.

use std::net::IpAddr;
use std::sync::Arc;

use ambit_model::{
    Authorization, GatewayAddress, GatewayDestination, HealthStatus, Identity, NamespacedHostname,
    Service, Str, Workload,
};
use ambit_policy::Candidate;

use crate::balance::{Rank, rank};
use crate::described::described;
use crate::group::{Viewpoint, best};
use crate::policies::Policies;
use crate::record::Record;
use crate::services::Services;
use crate::workloads::Workloads;

/// An immutable view. Lookups by key cost about the same however many workloads there are.
///
/// Workloads are kept compactly and described in full when asked for, at about half a microsecond each where the thread
/// has not done so lately; those of this node are kept as they are.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub(crate) version: u64,
    pub(crate) policies_version: u64,
    pub(crate) addresses_synced: bool,
    pub(crate) policies_synced: bool,
    pub(crate) workloads: Workloads,
    pub(crate) services: Services,
    pub(crate) policies: Policies,
}

/// An endpoint of a service: a workload that names it, with what a DNS answer needs at hand.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint<'a> {
    record: &'a Arc<Record>,
}

// === impl Snapshot ===

impl Snapshot {
    /// Grows by one with every batch applied.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The version by which a decision about a live inbound connection of this node may have changed last.
    pub fn policies_version(&self) -> u64 {
        self.policies_version
    }

    /// Whether the first complete sets of addresses and of policies have both arrived. Decide nothing before.
    pub fn synced(&self) -> bool {
        self.addresses_synced && self.policies_synced
    }

    /// The workload with that uid.
    pub fn workload(&self, uid: &str) -> Option<Arc<Workload>> {
        self.workloads.get(uid).map(described)
    }

    /// The workload at `ip` on `network`. Where several claim it, a pod inside the mesh wins over a pod, a pod over
    /// anything in the mesh, and that over the rest (protocol fact 3.1). Workloads on their host's network have no
    /// address of their own and are not found.
    pub fn workload_at(&self, network: &str, ip: IpAddr) -> Option<Arc<Workload>> {
        self.workloads.at(network, ip).map(described)
    }

    /// The workload of this node that a node agent names.
    pub fn local_workload(
        &self,
        namespace: &str,
        name: &str,
        service_account: &str,
    ) -> Option<Arc<Workload>> {
        let named = self.workloads.local(name).iter();
        let mut matching =
            named.filter(|w| &*w.namespace == namespace && &*w.service_account == service_account);
        matching.next().cloned()
    }

    /// Workloads of this node: those whose certificates are worth having early.
    pub fn local_workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.workloads.all_local()
    }

    /// The service with that key.
    pub fn service(&self, key: &NamespacedHostname) -> Option<&Arc<Service>> {
        self.services.get(key)
    }

    /// The service behind the virtual address `ip` on `network`, as a client in `namespace` sees it: an exact address
    /// before ranges; the client's own namespace, then the canonical service, then the first by name; of ranges, the
    /// own namespace, then the longest prefix, then the canonical one. Services invisible to the client are not found.
    pub fn service_at(&self, network: &str, ip: IpAddr, namespace: &str) -> Option<&Arc<Service>> {
        self.services.vips.at(network, ip.to_canonical(), Viewpoint::of(namespace))
    }

    /// All services of a hostname, visible or not, ordered by namespace.
    pub fn services_by_hostname(&self, hostname: &str) -> &[Arc<Service>] {
        self.services.by_hostname(hostname)
    }

    /// The service a client in `namespace` means by `hostname`: its own namespace's, then the canonical one, then
    /// `preferred_namespace`'s (DNS only), then the first. Services invisible to the client are not found.
    pub fn best_service(
        &self,
        hostname: &str,
        namespace: &str,
        preferred_namespace: Option<&str>,
    ) -> Option<&Arc<Service>> {
        let from = Viewpoint { namespace, preferred_namespace };
        best(self.services.by_hostname(hostname), from)
    }

    /// The endpoints of a service that take traffic, ordered by uid: the healthy ones, or all where it says so.
    pub fn endpoints<'a>(
        &'a self,
        service: &'a Service,
    ) -> impl Iterator<Item = Endpoint<'a>> + 'a {
        self.eligible(service).map(|record| Endpoint { record })
    }

    /// The known services that `workload` is an endpoint of.
    pub fn services_of<'a>(
        &'a self,
        workload: &'a Workload,
    ) -> impl Iterator<Item = &'a Arc<Service>> + 'a {
        workload.services.keys().filter_map(|key| self.services.get(key))
    }

    /// The policies that apply to connections of `identity` from `address` to `workload`: those of its namespace, the
    /// global ones, and those it names, known or not.
    pub fn policies_for<'a>(
        &'a self,
        workload: &'a Workload,
        identity: Option<&Identity>,
        address: IpAddr,
    ) -> impl Iterator<Item = Candidate<'a>> {
        self.policies.candidates(workload, identity, address)
    }

    /// Every workload, ordered by uid. Costly: for dumps.
    pub fn workloads(&self) -> impl Iterator<Item = Workload> {
        self.workloads.iter().map(|record| record.to_workload())
    }

    /// Every service, ordered by hostname and namespace.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.iter()
    }

    /// Every policy in force, ordered by name, also those retained.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Authorization>> {
        self.policies.iter()
    }

    /// How many workloads are known.
    pub fn workload_count(&self) -> usize {
        self.workloads.len()
    }

    /// How many services are known.
    pub fn service_count(&self) -> usize {
        self.services.len()
    }

    /// How many policies are in force, also those retained.
    pub fn policy_count(&self) -> usize {
        self.policies.len()
    }

    /// Names of removed policies that stay in force because a workload still refers to them.
    pub fn retained_policies(&self) -> impl Iterator<Item = &str> {
        self.policies.retained()
    }

    /// Names that workloads refer to and that no policy has.
    pub fn unknown_policies(&self) -> impl Iterator<Item = &str> {
        self.policies.unknown()
    }

    /// The members of a service that take traffic.
    pub(crate) fn eligible<'a>(
        &'a self,
        service: &'a Service,
    ) -> impl Iterator<Item = &'a Arc<Record>> + Clone {
        let all = service.allows_unhealthy();
        let members = self.services.members(&service.key());
        members.filter(move |record| all || record.status == HealthStatus::Healthy)
    }

    /// Whether any workload behind a gateway address, whatever its health, satisfies `is`.
    pub(crate) fn any_behind(
        &self,
        gateway: &GatewayAddress,
        is: impl Fn(&Record) -> bool,
    ) -> bool {
        let members =
            |service: &Service| self.services.members(&service.key()).any(|record| is(record));
        match &gateway.destination {
            GatewayDestination::Address(at) => match self.workloads.at(&at.network, at.address) {
                Some(record) => is(record),
                None => {
                    let ip = at.address.to_canonical();
                    self.services.vips.exactly(&at.network, ip).iter().any(|s| members(s))
                }
            },
            GatewayDestination::Hostname(key) => match self.services.get(key) {
                Some(service) => members(service),
                None => self.workloads.by_hostname(key).is_some_and(|record| is(record)),
            },
        }
    }
}

// === impl Endpoint ===

impl<'a> Endpoint<'a> {
    /// The workload's uid.
    pub fn uid(&self) -> Str {
        self.record.uid()
    }

    /// Its addresses; none where it is reached by hostname or through a gateway.
    pub fn addresses(&self) -> &'a [IpAddr] {
        self.record.addresses()
    }

    /// The network of its addresses.
    pub fn network(&self) -> &'a str {
        &self.record.shape.network
    }

    /// How near it is to `source`, which calls `service`; `None` where it must not be used.
    pub fn rank(&self, service: &Service, source: &Workload) -> Option<Rank> {
        rank(service.load_balancer.as_ref(), source, self.record)
    }

    /// Everything about it.
    pub fn workload(&self) -> Arc<Workload> {
        described(self.record)
    }
}
