//! The cluster's DNS, one server on each node: answers for services, forwards nothing.
//!
//! Names are those of Kubernetes: `<service>.<namespace>.svc.cluster.local`. Whatever else is asked for does not exist;
//! a sandbox has no way out.

mod server;

use std::collections::HashMap;
use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::services::ServiceView;

pub(crate) use server::DnsServer;

/// The cluster's domain.
pub(crate) const DOMAIN: &str = "cluster.local";
/// How long answers may be kept, in seconds: endpoints of headless services come and go.
const TTL: u32 = 2;
/// The size of answers that every client takes over UDP, in bytes.
const UDP_SIZE: u16 = 512;
/// The size that we take, and answer with at most, in bytes.
pub(crate) const MAX_SIZE: u16 = 4096;

/// What the servers know: names in lower case without the final dot.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Zone(HashMap<String, Entry>);

#[derive(Debug, PartialEq)]
enum Entry {
    Addresses(Vec<IpAddr>),
    Alias(Name),
}

// === impl Zone ===

impl Zone {
    /// The names of all services.
    pub(crate) fn new(services: &[ServiceView]) -> Self {
        let entry = |service: &ServiceView| {
            let name = format!("{}.{}.svc.{DOMAIN}", service.name, service.namespace);
            let entry = match service.external_name() {
                Some(target) => {
                    let mut target = Name::from_utf8(target).ok()?;
                    target.set_fqdn(true);
                    Entry::Alias(target)
                }
                None if service.vips.is_empty() => Entry::Addresses(
                    service.available().flat_map(|member| member.ips.iter().copied()).collect(),
                ),
                None => Entry::Addresses(service.vips.clone()),
            };
            Some((name, entry))
        };
        Self(services.iter().filter_map(entry).collect())
    }

    /// The answer to a request, as bytes for UDP or TCP; `None` for what is no request.
    pub(crate) fn answer(&self, request: &[u8], udp: bool) -> Option<Vec<u8>> {
        let request = Message::from_vec(request).ok()?;
        if request.metadata.message_type != MessageType::Query {
            return None;
        }
        let mut answer = Message::response(request.metadata.id, request.metadata.op_code);
        answer.metadata.recursion_desired = request.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.metadata.response_code = match request.queries.as_slice() {
            _ if request.metadata.op_code != OpCode::Query => ResponseCode::NotImp,
            [query] => {
                answer.add_query(query.clone());
                self.look_up(query.name(), query.query_type(), &mut answer)
            }
            _ => ResponseCode::FormErr,
        };
        let mut size = UDP_SIZE;
        if let Some(edns) = &request.edns {
            size = edns.max_payload().clamp(UDP_SIZE, MAX_SIZE);
            let mut edns = Edns::new();
            edns.set_max_payload(MAX_SIZE);
            answer.set_edns(edns);
        }
        let bytes = answer.to_vec().ok()?;
        if udp && bytes.len() > usize::from(size) {
            return answer.truncate().to_vec().ok();
        }
        Some(bytes)
    }

    fn look_up(&self, name: &Name, kind: RecordType, answer: &mut Message) -> ResponseCode {
        let text = |name: &Name| {
            let text = name.to_ascii().to_ascii_lowercase();
            text.trim_end_matches('.').to_owned()
        };
        answer.metadata.authoritative = text(name).ends_with(DOMAIN);
        let mut name = name.clone();
        let mut entry = self.0.get(&text(&name));
        if let Some(Entry::Alias(target)) = entry {
            let data = RData::CNAME(CNAME(target.clone()));
            answer.add_answer(Record::from_rdata(name, TTL, data));
            // Clients take the addresses of the target from the same answer. An alias of an alias is not followed.
            name = target.clone();
            entry = self.0.get(&text(&name));
        } else if entry.is_none() {
            return ResponseCode::NXDomain;
        }
        if let Some(Entry::Addresses(ips)) = entry {
            // Clients take the first: give each of them a turn.
            let turn = usize::from(answer.metadata.id) % ips.len().max(1);
            for ip in ips.iter().cycle().skip(turn).take(ips.len()) {
                let data = match ip {
                    IpAddr::V4(v4) => RData::A((*v4).into()),
                    IpAddr::V6(v6) => RData::AAAA((*v6).into()),
                };
                if data.record_type() == kind {
                    answer.add_answer(Record::from_rdata(name.clone(), TTL, data));
                }
            }
        }
        ResponseCode::NoError
    }
}

#[cfg(test)]
mod tests;
