//! What is said about hosts: whose they are, and which objects of Istio's API are for them or send traffic to them.

use ambit_model::Str;

use super::links::Links;
use super::owners;
use crate::watch::kinds::{DestinationRule, VirtualService};
use crate::watch::{Key, Kind, Object};

/// Objects by host.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    /// Services and ServiceEntries.
    services: Links<Str>,
    /// VirtualServices, by the hosts that they are for.
    virtual_services: Links<Str>,
    /// VirtualServices, by the hosts that they send traffic to.
    sent: Links<Str>,
    /// VirtualServices, by those that they delegate to.
    delegates: Links<Key>,
    /// DestinationRules.
    rules: Links<Str>,
    /// Those of the last two that ask for a label.
    labels: Links<Str>,
}

// === impl Hosts ===

impl Hosts {
    pub(super) fn set(&mut self, key: &Key, object: Option<&Object>, domain: &str) {
        match key.kind {
            Kind::Service | Kind::ServiceEntry => {
                self.services.set(key, hosts(object, domain));
            }
            Kind::VirtualService => {
                let service = match object {
                    Some(Object::VirtualService(service)) => Some(&**service),
                    _ => None,
                };
                self.virtual_services
                    .set(key, service.map(|s| s.full_hosts(domain)).unwrap_or_default());
                let sent = service.map(|service| service.full_destinations(domain));
                self.sent.set(key, sent.unwrap_or_default());
                let delegates = service.into_iter().flat_map(VirtualService::delegates);
                self.delegates.set(key, delegates.collect());
                let labels = service.into_iter().flat_map(VirtualService::source_labels);
                self.labels.set(key, labels.map(|label| label.as_str().into()).collect());
            }
            Kind::DestinationRule => {
                let rule = match object {
                    Some(Object::DestinationRule(rule)) => Some(rule),
                    _ => None,
                };
                self.rules.set(key, rule.map(|rule| rule.full_host(domain)).into_iter().collect());
                let labels = rule.into_iter().flat_map(|rule| &rule.subsets);
                let labels = labels.flat_map(|subset| subset.labels.keys());
                self.labels.set(key, labels.map(|label| label.as_str().into()).collect());
            }
            _ => {}
        }
    }

    /// The services with this host.
    pub(crate) fn services(&self, host: &Str) -> impl Iterator<Item = &Key> {
        self.services.to(host)
    }

    /// The VirtualServices for `host`, those that name it most exactly first.
    pub(crate) fn virtual_services<'a>(
        &'a self,
        host: &'a str,
    ) -> impl Iterator<Item = (usize, &'a Key)> {
        let patterns = patterns(host).enumerate();
        patterns.flat_map(|(i, pattern)| {
            self.virtual_services.to(&pattern).map(move |key| (i, key)).collect::<Vec<_>>()
        })
    }

    /// The DestinationRules for `host`, those that name it most exactly first.
    pub(crate) fn rules<'a>(&'a self, host: &'a str) -> impl Iterator<Item = (usize, &'a Key)> {
        let patterns = patterns(host).enumerate();
        patterns.flat_map(|(i, pattern)| {
            self.rules.to(&pattern).map(move |key| (i, key)).collect::<Vec<_>>()
        })
    }

    /// The VirtualServices that send traffic to `host`.
    pub(crate) fn senders(&self, host: &Str) -> impl Iterator<Item = &Key> {
        self.sent.to(host)
    }

    /// The VirtualServices that delegate to this one.
    pub(crate) fn delegating(&self, key: &Key) -> impl Iterator<Item = &Key> {
        self.delegates.to(key)
    }

    /// Whether some selector asks for a label.
    pub(crate) fn asks_for(&self, label: &Str) -> bool {
        self.labels.to(label).next().is_some()
    }

    /// The labels that `key` asks for.
    pub(super) fn labels_of(&self, key: &Key) -> &[Str] {
        self.labels.from(key)
    }
}

/// The hosts of a service.
pub(crate) fn hosts(object: Option<&Object>, domain: &str) -> Vec<Str> {
    match object {
        Some(Object::Service(service)) => vec![owners::hostname(&service.meta, domain)],
        Some(Object::ServiceEntry(entry)) => entry.hosts.clone(),
        _ => Vec::new(),
    }
}

/// A host as objects of `namespace` mean it: one without dots is a Service of theirs.
pub(crate) fn full(host: &Str, namespace: &str, domain: &str) -> Str {
    if host.contains('.') || host.starts_with('*') {
        return host.clone();
    }
    format!("{host}.{namespace}.svc.{domain}").into()
}

/// What stands for `host`: itself, and wildcards from the longest to the shortest.
fn patterns(host: &str) -> impl Iterator<Item = Str> {
    let dots = host.match_indices('.').map(|(at, _)| format!("*{}", &host[at..]).into());
    std::iter::once(Str::from(host)).chain(dots).chain(std::iter::once(Str::from("*")))
}

impl VirtualService {
    /// The hosts that it sends traffic to, in full.
    pub(crate) fn full_destinations(&self, domain: &str) -> Vec<Str> {
        self.destinations().map(|to| full(&to.host, &self.meta.namespace, domain)).collect()
    }

    /// The hosts that it is for, in full.
    pub(crate) fn full_hosts(&self, domain: &str) -> Vec<Str> {
        self.hosts.iter().map(|host| full(host, &self.meta.namespace, domain)).collect()
    }
}

impl DestinationRule {
    /// Its host in full.
    pub(crate) fn full_host(&self, domain: &str) -> Str {
        full(&self.host, &self.meta.namespace, domain)
    }
}
