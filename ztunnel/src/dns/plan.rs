//! What to do with a query: answer it from the state of the mesh, forward it, or refuse it. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use ambit_model::{IpFamilies, Service};
use ambit_state::Snapshot;
use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::names::{Candidate, Scope, candidates, with_wildcards};

/// How long answers about services may be kept, in seconds (protocol.md 7).
const TTL: u32 = 30;

/// The most addresses in one answer; a client tries a handful at best.
const MAX_ADDRESSES: usize = 1000;

/// What to do with a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// The mesh knows the name.
    Answer(Answer),
    /// Somebody else may know it.
    Forward,
    /// It is not answered.
    Refuse(ResponseCode),
}

/// An answer from the state of the mesh; without addresses, the name exists but not with that type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The name that the addresses belong to, if it is not the one in the query: the query's is then an alias.
    pub(super) alias_of: Option<Name>,
    /// Addresses of the type that was asked for.
    pub(super) addresses: Vec<IpAddr>,
    /// What the log says.
    pub(super) outcome: &'static str,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client<'a> {
    /// Where names are looked up from.
    pub(super) scope: Scope<'a>,
    /// The network whose addresses it can reach.
    pub(super) network: &'a str,
}

/// What the process is configured to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    pub(super) preferred_namespace: Option<&'a str>,
    pub(super) ipv6: bool,
}

/// Why a query is not even looked at, if so: it needs no client to say that.
pub(super) fn refusal(query: &Message) -> Option<ResponseCode> {
    if query.metadata.op_code != OpCode::Query {
        return Some(ResponseCode::NotImp);
    }
    if query.queries.len() != 1 {
        return Some(ResponseCode::FormErr);
    }
    // RFC 6891 6.1.3.
    query.edns.as_ref().filter(|edns| edns.version() > 0).map(|_| ResponseCode::BADVERS)
}

/// What to do with the question of a query, as `client` asks it.
pub(super) fn answer(
    question: &Query,
    client: Client<'_>,
    snapshot: &Snapshot,
    rules: Rules<'_>,
) -> Plan {
    let kind = question.query_type();
    let addresses = matches!(kind, RecordType::A | RecordType::AAAA);
    if !addresses || question.query_class() != DNSClass::IN {
        return Plan::Forward;
    }
    let Some((service, candidate, wildcard)) = find(question.name(), client, snapshot, rules)
    else {
        return Plan::Forward;
    };
    let empty = |outcome| Answer { alias_of: None, addresses: Vec::new(), outcome };
    if !allows(service, kind, rules) {
        return Plan::Answer(empty("service does not support this record type"));
    }
    let addresses = addresses_of(service, kind, client, snapshot);
    if addresses.is_empty() {
        return Plan::Answer(empty("no records"));
    }
    let alias_of = candidate.stripped.filter(|_| !wildcard).and_then(|name| fqdn(&name));
    Plan::Answer(Answer { alias_of, addresses, outcome: "success" })
}

/// The service that a name means to the client, how it was found, and whether by a wildcard.
fn find<'a>(
    name: &Name,
    client: Client<'_>,
    snapshot: &'a Snapshot,
    rules: Rules<'_>,
) -> Option<(&'a Arc<Service>, Candidate, bool)> {
    let name = name.to_ascii().to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    // A backslash stands for a byte that no hostname has; an empty name is the root.
    if name.is_empty() || name.contains('\\') {
        return None;
    }
    candidates(name, client.scope).into_iter().find_map(|candidate| {
        let (index, service) = with_wildcards(&candidate.name)
            .enumerate()
            .find_map(|(index, name)| Some((index, best(&name, client, snapshot, rules)?)))?;
        Some((service, candidate, index > 0))
    })
}

/// Of the services of a hostname that can be answered for: the client's own namespace, the canonical one, the
/// preferred namespace, the first.
fn best<'a>(
    hostname: &str,
    client: Client<'_>,
    snapshot: &'a Snapshot,
    rules: Rules<'_>,
) -> Option<&'a Arc<Service>> {
    let Scope { namespace, domain, .. } = client.scope;
    let rank = |service: &Service| {
        let own = &*service.namespace == namespace;
        let preferred = rules.preferred_namespace == Some(&service.namespace);
        (own, service.canonical, preferred)
    };
    snapshot
        .services_by_hostname(hostname)
        .iter()
        .filter(|service| service.visible_to(namespace))
        .filter(|service| !service.vips.is_empty() || is_kubernetes(service, domain))
        .reduce(|best, next| if rank(next) > rank(best) { next } else { best })
}

/// Whether a hostname is one of Kubernetes' own, so that no virtual address means headless and not "ask elsewhere".
fn is_kubernetes(service: &Service, domain: &str) -> bool {
    let parent = service.hostname.strip_suffix(domain).and_then(|rest| rest.strip_suffix('.'));
    parent.is_some_and(|parent| parent.ends_with(".svc"))
}

fn allows(service: &Service, kind: RecordType, rules: Rules<'_>) -> bool {
    match (service.ip_families, kind) {
        (_, RecordType::AAAA) if !rules.ipv6 => false,
        (Some(IpFamilies::V4), RecordType::AAAA) | (Some(IpFamilies::V6), RecordType::A) => false,
        _ => true,
    }
}

/// Virtual addresses that the client can reach, or one address of each endpoint where there are none.
fn addresses_of(
    service: &Service,
    kind: RecordType,
    client: Client<'_>,
    snapshot: &Snapshot,
) -> Vec<IpAddr> {
    let fits = |ip: &IpAddr| ip.is_ipv4() == (kind == RecordType::A);
    if service.vips.is_empty() {
        let endpoints = snapshot.endpoints(service);
        let reachable = endpoints.filter(|endpoint| endpoint.network() == client.network);
        return reachable
            .filter_map(|endpoint| endpoint.addresses().iter().copied().find(fits))
            .take(MAX_ADDRESSES)
            .collect();
    }
    let reachable = service.vips.iter().filter(|vip| &*vip.network == client.network);
    reachable.map(|vip| vip.address).filter(fits).take(MAX_ADDRESSES).collect()
}

// === impl Answer ===

impl Answer {
    /// The records, in the order of the addresses.
    pub(super) fn records(&self, question: &Query) -> Vec<Record> {
        let asked = question.name();
        let alias = self.alias_of.as_ref().map(|target| {
            Record::from_rdata(asked.clone(), TTL, RData::CNAME(CNAME(target.clone())))
        });
        let owner = self.alias_of.as_ref().unwrap_or(asked);
        let addresses = self.addresses.iter().map(|ip| {
            let data = match ip {
                IpAddr::V4(ip) => RData::A((*ip).into()),
                IpAddr::V6(ip) => RData::AAAA((*ip).into()),
            };
            Record::from_rdata(owner.clone(), TTL, data)
        });
        alias.into_iter().chain(addresses).collect()
    }
}

fn fqdn(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}

#[cfg(test)]
mod tests;
