//! VirtualServices: which one is for a host, and its rules as a table.

mod delegates;

use std::sync::Arc;

use ambit_model::{NamespacedHostname, Str};
use ambit_proto::ambit as proto;

use super::destinations::{Destination, Port};
use super::{backends, rules};
use crate::index::{World, inputs};
use crate::watch::kinds::{
    BackendRef, Destination as To, HttpCase, HttpRule, Share, StreamRule, VirtualService,
};

/// Where a table is for.
#[derive(Clone, Copy)]
struct Scene<'a> {
    world: World<'a>,
    service: &'a VirtualService,
    /// The namespace of the proxies.
    viewer: &'a Str,
    port: &'a Port,
}

/// The VirtualService for `host`: the one that names it most exactly, of those the one in the service's own namespace,
/// and then the oldest. Those that lose follow.
pub(super) fn candidates<'a>(
    world: World<'a>,
    host: &NamespacedHostname,
) -> Vec<&'a Arc<VirtualService>> {
    let found = world.inputs.hosts.virtual_services(&host.hostname).filter_map(|(rank, key)| {
        let service = world.inputs.virtual_service(key)?;
        let owner = &service.meta.namespace;
        let seen = rules::is_visible(&service.export_to, owner, &host.namespace);
        let other = *owner != host.namespace;
        (service.mesh && seen).then(|| ((rank, other, service.meta.age()), service))
    });
    let mut found: Vec<_> = found.collect();
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found.into_iter().map(|(_, service)| service).collect()
}

/// The table of a port of `host`, as proxies in the namespace `viewer` have it; `None` where nothing is said about it.
pub(super) fn table(
    world: World<'_>,
    host: &NamespacedHostname,
    viewer: &Str,
    port: &Port,
) -> Option<proto::Table> {
    let service = *candidates(world, host).first()?;
    let scene = Scene { world, service, viewer, port };
    let mut table = proto::Table { port: port.number.into(), ..proto::Table::default() };
    if port.is_http() {
        for (number, rule) in service.http.iter().enumerate() {
            for (name, rule) in delegates::expand(world, service, number, rule) {
                scene.http(name, &rule, &mut table);
            }
        }
    }
    for (number, rule) in service.tls.iter().enumerate() {
        scene.tls(number, rule, &mut table);
    }
    for (number, rule) in service.tcp.iter().enumerate() {
        scene.tcp(number, rule, &mut table);
    }
    let empty = table.http.is_empty() && table.tls.is_empty() && table.tcp.is_empty();
    (!empty).then_some(table)
}

// === impl Scene ===

impl Scene<'_> {
    fn http(&self, name: String, rule: &HttpRule, table: &mut proto::Table) {
        let here = |case: &&HttpCase| case.port.is_none_or(|port| port == self.port.number);
        let mut cases: Vec<proto::HttpMatch> =
            rule.matches.iter().filter(here).map(|case| case.http.clone()).collect();
        if rule.matches.is_empty() {
            cases.push(proto::HttpMatch::default());
        }
        if cases.is_empty() {
            return;
        }
        let number = u32::try_from(table.actions.len()).unwrap_or(u32::MAX);
        let mut action = proto::HttpAction { name, ..rule.action.clone() };
        if !action.filters.iter().any(super::actions::ends) {
            action.backends = self.shares(&rule.routes);
        }
        action.mirrors = rule
            .mirrors
            .iter()
            .map(|(to, share)| {
                let backend = Some(proto::Backend { weight: 1, ..self.backend(to) });
                proto::Mirror { backend, share: *share }
            })
            .collect();
        action.mirrors.retain(|m| m.backend.as_ref().is_some_and(|b| b.invalid.is_empty()));
        table.actions.push(action);
        let entry = |case| proto::HttpEntry { r#match: Some(case), action: number };
        table.http.extend(cases.into_iter().map(entry));
    }

    fn tls(&self, number: usize, rule: &StreamRule, table: &mut proto::Table) {
        let here =
            rule.matches.iter().filter(|case| case.port.is_none_or(|p| p == self.port.number));
        table.tls.extend(here.map(|case| proto::TlsEntry {
            name: self.name("tls", number),
            sni: case.sni.clone(),
            source: case.source.clone(),
            destinations: case.destinations.clone(),
            backends: self.shares(&rule.routes),
        }));
    }

    fn tcp(&self, number: usize, rule: &StreamRule, table: &mut proto::Table) {
        let entry = |destinations, source| proto::TcpEntry {
            name: self.name("tcp", number),
            destinations,
            source,
            backends: self.shares(&rule.routes),
        };
        if rule.matches.is_empty() {
            table.tcp.push(entry(Vec::new(), None));
        }
        let here =
            rule.matches.iter().filter(|case| case.port.is_none_or(|p| p == self.port.number));
        table.tcp.extend(here.map(|case| entry(case.destinations.clone(), case.source.clone())));
    }

    fn name(&self, family: &str, number: usize) -> String {
        let meta = &self.service.meta;
        format!("VirtualService {}/{} {family} {number}", meta.namespace, meta.name)
    }

    /// Where there is one destination alone it needs no weight.
    fn shares(&self, list: &[Share]) -> Vec<proto::Backend> {
        let alone = list.len() == 1;
        let shares = list.iter().map(|share| proto::Backend {
            weight: if alone { 1 } else { share.weight },
            filters: share.filters.clone(),
            ..self.backend(&share.to)
        });
        let shares: Vec<_> = shares.filter(|share| share.weight > 0).collect();
        if shares.is_empty() {
            return vec![backends::refused("the rule has no destination with a weight")];
        }
        shares
    }

    fn backend(&self, to: &To) -> proto::Backend {
        let domain = &self.world.settings.cluster_domain;
        let host = inputs::full(&to.host, &self.service.meta.namespace, domain);
        let reference = BackendRef {
            namespace: self.service.meta.namespace.clone(),
            ..BackendRef::host(&host)
        };
        let Ok(Some(destination)) = Destination::find(self.world, &reference) else {
            return backends::refused(format!("there is no service {host}"));
        };
        let number = to.port.unwrap_or(match &destination.ports[..] {
            [only] => only.number,
            _ => self.port.number,
        });
        let (Some(port), Some(host)) = (destination.port(number), destination.hosts.first()) else {
            return backends::refused(format!("{host} has no TCP port {number}"));
        };
        let mut backend = proto::Backend {
            service: host.to_string(),
            port: number.into(),
            protocol: port.protocol.into(),
            ..proto::Backend::default()
        };
        if !to.subset.is_empty() {
            let rule = rules::chosen(self.world, host, self.viewer);
            let subset = rule.and_then(|rule| rule.subsets.iter().find(|s| s.name == to.subset));
            match subset {
                Some(subset) => backend.subset_labels.clone_from(&subset.labels),
                None => {
                    let message = format!(
                        "no DestinationRule has the subset {} of {}",
                        to.subset, host.hostname
                    );
                    return backends::refused(message);
                }
            }
            backend.subset = to.subset.to_string();
        }
        backend
    }
}
