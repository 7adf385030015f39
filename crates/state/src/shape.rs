//! What workloads have in common: with the replicas of their deployment, and with the workloads of their node.

use std::collections::BTreeMap;

use ambit_model::{
    ApplicationTunnel, GatewayAddress, HealthStatus, Locality, NamespacedHostname, NetworkMode,
    PortMap, Str, TunnelProtocol, Workload, WorkloadType,
};

/// What the replicas of one deployment have in common.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    /// The uid up to and with its last slash.
    pub(crate) uid_prefix: Str,
    pub(crate) namespace: Str,
    pub(crate) trust_domain: Str,
    pub(crate) service_account: Str,
    pub(crate) network: Str,
    pub(crate) cluster_id: Str,
    pub(crate) authorization_policies: Box<[Str]>,
    /// Ordered by service.
    services: Box<[Membership]>,
    pub(crate) protocol: TunnelProtocol,
    pub(crate) network_mode: NetworkMode,
    workload_type: WorkloadType,
    workload_name: Str,
    canonical_name: Str,
    canonical_revision: Str,
    /// Absent where nothing of it is set.
    rare: Option<Box<Rare>>,
}

/// What few workloads have.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct Rare {
    /// The name, where it is not the last segment of the uid.
    name: Option<Str>,
    hostname: Str,
    waypoint: Option<GatewayAddress>,
    network_gateway: Option<GatewayAddress>,
    application_tunnel: Option<ApplicationTunnel>,
    native_tunnel: bool,
    encrypt_local: bool,
}

/// A workload's part in a service.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Membership {
    service: NamespacedHostname,
    /// Service port → own port, ordered.
    ports: Box<[(u16, u16)]>,
}

/// What the workloads of one node have in common.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) node: Str,
    pub(crate) locality: Locality,
}

// === impl Shape ===

impl Shape {
    /// The part of `workload` that is shared.
    pub(crate) fn of(workload: Workload) -> Self {
        let (prefix, tail) = split_uid(&workload.uid);
        let rare = Rare {
            name: (tail != &*workload.name).then_some(workload.name),
            hostname: workload.hostname,
            waypoint: workload.waypoint,
            network_gateway: workload.network_gateway,
            application_tunnel: workload.application_tunnel,
            native_tunnel: workload.native_tunnel,
            encrypt_local: workload.encrypt_local,
        };
        let services = workload
            .services
            .into_iter()
            .map(|(service, ports)| Membership { service, ports: ports.into_iter().collect() });
        Self {
            uid_prefix: prefix.into(),
            namespace: workload.namespace,
            trust_domain: workload.trust_domain,
            service_account: workload.service_account,
            network: workload.network,
            cluster_id: workload.cluster_id,
            authorization_policies: workload.authorization_policies.into(),
            services: services.collect(),
            protocol: workload.protocol,
            network_mode: workload.network_mode,
            workload_type: workload.workload_type,
            workload_name: workload.workload_name,
            canonical_name: workload.canonical_name,
            canonical_revision: workload.canonical_revision,
            rare: (rare != Rare::default()).then(|| Box::new(rare)),
        }
    }

    /// Whether its workloads are called through tunnels, for which they need a certificate.
    pub(crate) fn takes_tunnels(&self) -> bool {
        self.protocol == TunnelProtocol::Hbone
            || self.rare.as_ref().is_some_and(|rare| rare.native_tunnel)
    }

    /// The description of a workload with this shape; the caller fills in what is its own.
    pub(crate) fn to_workload(&self) -> Workload {
        // One by one: collecting would sort what is in order.
        let mut services = BTreeMap::new();
        for Membership { service, ports } in &self.services {
            let mut own = PortMap::new();
            own.extend(ports.iter().copied());
            services.insert(service.clone(), own);
        }
        Workload {
            uid: Str::default(),
            name: Str::default(),
            workload_ips: Vec::new(),
            node: Str::default(),
            locality: Locality::default(),
            status: HealthStatus::default(),
            capacity: 1,
            namespace: self.namespace.clone(),
            trust_domain: self.trust_domain.clone(),
            service_account: self.service_account.clone(),
            network: self.network.clone(),
            waypoint: self.waypoint().cloned(),
            network_gateway: self.network_gateway().cloned(),
            protocol: self.protocol,
            network_mode: self.network_mode,
            workload_name: self.workload_name.clone(),
            workload_type: self.workload_type,
            canonical_name: self.canonical_name.clone(),
            canonical_revision: self.canonical_revision.clone(),
            hostname: self.hostname().cloned().unwrap_or_default(),
            native_tunnel: self.rare.as_ref().is_some_and(|rare| rare.native_tunnel),
            encrypt_local: self.rare.as_ref().is_some_and(|rare| rare.encrypt_local),
            application_tunnel: self.rare.as_ref().and_then(|r| r.application_tunnel.clone()),
            authorization_policies: self.authorization_policies.to_vec(),
            cluster_id: self.cluster_id.clone(),
            services,
        }
    }

    /// The name, where it is not the last segment of the uid.
    pub(crate) fn name(&self) -> Option<&Str> {
        self.rare.as_ref()?.name.as_ref()
    }

    pub(crate) fn hostname(&self) -> Option<&Str> {
        self.rare.as_ref().map(|rare| &rare.hostname).filter(|hostname| !hostname.is_empty())
    }

    pub(crate) fn waypoint(&self) -> Option<&GatewayAddress> {
        self.rare.as_ref()?.waypoint.as_ref()
    }

    pub(crate) fn network_gateway(&self) -> Option<&GatewayAddress> {
        self.rare.as_ref()?.network_gateway.as_ref()
    }

    pub(crate) fn has_application_tunnel(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.application_tunnel.is_some())
    }

    /// The services its workloads are endpoints of, in order.
    pub(crate) fn services(&self) -> impl Iterator<Item = &NamespacedHostname> {
        self.services.iter().map(|membership| &membership.service)
    }

    /// The workloads' own port behind `port` of `service`, where they have named one.
    pub(crate) fn port(&self, service: &NamespacedHostname, port: u16) -> Option<u16> {
        let at = self.services.binary_search_by(|m| m.service.cmp(service)).ok()?;
        let ports = &self.services.get(at)?.ports;
        let at = ports.binary_search_by_key(&port, |(from, _)| *from).ok()?;
        ports.get(at).map(|(_, own)| *own)
    }

    /// The strings that other shapes are likely to have as well.
    pub(crate) fn strings_mut(&mut self) -> impl Iterator<Item = &mut Str> {
        let services = self.services.iter_mut().map(|membership| &mut membership.service);
        [
            &mut self.uid_prefix,
            &mut self.namespace,
            &mut self.trust_domain,
            &mut self.service_account,
            &mut self.network,
            &mut self.cluster_id,
            &mut self.workload_name,
            &mut self.canonical_name,
            &mut self.canonical_revision,
        ]
        .into_iter()
        .chain(self.authorization_policies.iter_mut())
        .chain(services.flat_map(|key| [&mut key.namespace, &mut key.hostname]))
    }
}

// === impl Place ===

impl Place {
    pub(crate) fn strings_mut(&mut self) -> impl Iterator<Item = &mut Str> {
        let Locality { region, zone, subzone } = &mut self.locality;
        [&mut self.node, region, zone, subzone].into_iter()
    }
}

/// Cuts a uid after its last slash: what siblings share, and what tells them apart.
pub(crate) fn split_uid(uid: &str) -> (&str, &str) {
    uid.split_at(uid.rfind('/').map_or(0, |slash| slash + 1))
}
