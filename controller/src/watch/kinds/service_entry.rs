//! `ServiceEntry`: services that Kubernetes does not know.

use std::net::IpAddr;

use ambit_model::Str;
use ambit_proto::workload::AppProtocol;
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;

use super::meta::shared;
use super::workload_entry::{RawWorkload, workload};
use super::{EntryWorkload, Meta, Problem, Selector, network, part, ports};

/// A ServiceEntry.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceEntry {
    /// Its metadata.
    pub meta: Meta,
    /// Its hosts, at least one.
    pub hosts: Vec<Str>,
    /// The addresses it says it has.
    pub addresses: Vec<EntryAddress>,
    /// Its ports.
    pub ports: Vec<EntryPort>,
    /// How its endpoints are found.
    pub resolution: Resolution,
    /// The endpoints written into it.
    pub endpoints: Vec<EntryWorkload>,
    /// The pods and WorkloadEntries behind it; nobody where absent.
    pub selector: Option<Selector>,
    /// Identities that its endpoints may have.
    pub subject_alt_names: Vec<Str>,
    /// Whether only its own namespace sees it.
    pub private: bool,
}

/// An address of a ServiceEntry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryAddress {
    /// One address.
    Ip(IpAddr),
    /// A range.
    Range(IpNet),
}

/// A port of a ServiceEntry.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryPort {
    /// Its name.
    pub name: Str,
    /// Its number.
    pub number: u16,
    /// The port of the endpoints.
    pub target: u16,
    /// What is spoken on it.
    pub app_protocol: AppProtocol,
}

/// How the endpoints of a ServiceEntry are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Connections go where they were going.
    None,
    /// They are written down.
    Static,
    /// They have DNS names, or the host is one.
    Dns,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSpec {
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    ports: Vec<RawPort>,
    #[serde(default)]
    resolution: Option<String>,
    #[serde(default)]
    endpoints: Vec<RawWorkload>,
    workload_selector: Option<RawLabels>,
    #[serde(default)]
    subject_alt_names: Vec<String>,
    #[serde(default)]
    export_to: Vec<String>,
}

#[derive(Deserialize)]
struct RawLabels {
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPort {
    number: i64,
    #[serde(default)]
    name: String,
    #[serde(default)]
    protocol: String,
    target_port: Option<i64>,
}

pub(super) fn trim(meta: Meta, value: &Value) -> Result<ServiceEntry, Problem> {
    let spec: RawSpec = part(value, "spec")?;
    let selector = spec.workload_selector.map(|s| Selector(shared(s.labels)));
    if selector.is_some() && !spec.endpoints.is_empty() {
        return Err(Problem::new(
            "spec.endpoints",
            "cannot stand beside workloadSelector; keep one",
        ));
    }
    let endpoints = spec.endpoints.into_iter().enumerate().map(|(i, raw)| {
        workload(raw).map_err(|problem| problem.within(&format!("spec.endpoints[{i}]")))
    });
    Ok(ServiceEntry {
        hosts: hosts(&spec.hosts)?,
        addresses: addresses(&spec.addresses)?,
        ports: entry_ports(spec.ports)?,
        resolution: resolution(spec.resolution.as_deref())?,
        endpoints: endpoints.collect::<Result<_, _>>()?,
        selector,
        subject_alt_names: spec.subject_alt_names.into_iter().map(Into::into).collect(),
        private: spec.export_to == ["."],
        meta,
    })
}

fn hosts(list: &[String]) -> Result<Vec<Str>, Problem> {
    if list.is_empty() {
        return Err(Problem::new("spec.hosts", "is missing"));
    }
    let mut hosts: Vec<Str> = Vec::new();
    for (i, host) in list.iter().enumerate() {
        let field = format!("spec.hosts[{i}]");
        network::hostname(&field, host)?;
        let host = host.to_ascii_lowercase().into();
        if hosts.contains(&host) {
            return Err(Problem::new(field, format!("{host} is named twice")));
        }
        hosts.push(host);
    }
    Ok(hosts)
}

fn addresses(list: &[String]) -> Result<Vec<EntryAddress>, Problem> {
    list.iter()
        .enumerate()
        .map(|(i, text)| {
            let field = format!("spec.addresses[{i}]");
            match text.parse::<IpNet>() {
                Ok(range) if range.prefix_len() < range.max_prefix_len() => {
                    Ok(EntryAddress::Range(range.trunc()))
                }
                Ok(host) => Ok(EntryAddress::Ip(host.addr())),
                Err(_) => network::unicast(&field, text).map(EntryAddress::Ip),
            }
        })
        .collect()
}

fn entry_ports(list: Vec<RawPort>) -> Result<Vec<EntryPort>, Problem> {
    let mut parsed: Vec<EntryPort> = Vec::new();
    for (i, raw) in list.into_iter().enumerate() {
        let field = |name: &str| format!("spec.ports[{i}].{name}");
        let number = ports::port(&field("number"), raw.number)?;
        if raw.protocol.eq_ignore_ascii_case("UDP") {
            continue;
        }
        if parsed.iter().any(|p| p.number == number) {
            return Err(Problem::new(field("number"), format!("{number} is used twice")));
        }
        let target = match raw.target_port {
            None | Some(0) => number,
            Some(target) => ports::port(&field("targetPort"), target)?,
        };
        let protocol = Some(raw.protocol.as_str()).filter(|p| !p.is_empty());
        let app_protocol = ports::app_protocol(protocol, &raw.name);
        parsed.push(EntryPort { name: raw.name.into(), number, target, app_protocol });
    }
    Ok(parsed)
}

fn resolution(text: Option<&str>) -> Result<Resolution, Problem> {
    match text {
        None | Some("" | "NONE") => Ok(Resolution::None),
        Some("STATIC") => Ok(Resolution::Static),
        Some("DNS" | "DNS_ROUND_ROBIN" | "DYNAMIC_DNS") => Ok(Resolution::Dns),
        Some(other) => Err(Problem::new(
            "spec.resolution",
            format!("{other:?} is none of NONE, STATIC, DNS, DNS_ROUND_ROBIN, DYNAMIC_DNS"),
        )),
    }
}
