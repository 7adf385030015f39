//! `WorkloadEntry`, and the endpoints of a ServiceEntry, which are written the same way.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ambit_model::{Locality, Str};
use serde::Deserialize;
use serde_json::Value;

use super::meta::{is_subdomain, shared};
use super::{Meta, Problem, network, part, ports};

/// A workload outside Kubernetes.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadEntry {
    /// Its metadata; the labels of the spec are among its labels.
    pub meta: Meta,
    /// The workload.
    pub workload: EntryWorkload,
}

/// The content of a WorkloadEntry or of a ServiceEntry's endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EntryWorkload {
    /// Where it is found.
    pub host: EntryHost,
    /// Its own numbers for ports of the service, by name.
    pub ports: BTreeMap<Str, u16>,
    /// Its labels.
    pub labels: BTreeMap<Str, Str>,
    /// The network of its address; the mesh's own where empty.
    pub network: Str,
    /// Where it runs.
    pub locality: Locality,
    /// Its share of the traffic.
    pub weight: u32,
    /// Its identity within its namespace.
    pub service_account: Str,
}

/// Where a workload outside Kubernetes is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryHost {
    /// At an address.
    Ip(IpAddr),
    /// At whatever a DNS name resolves to.
    Name(Str),
    /// Behind the gateway of its network.
    Network,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawWorkload {
    #[serde(default)]
    address: String,
    #[serde(default)]
    ports: BTreeMap<String, i64>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    network: String,
    #[serde(default)]
    locality: String,
    weight: Option<u32>,
    #[serde(default)]
    service_account: String,
}

pub(super) fn trim(mut meta: Meta, value: &Value) -> Result<WorkloadEntry, Problem> {
    let raw: RawWorkload = part(value, "spec")?;
    let workload = workload(raw).map_err(|problem| problem.within("spec"))?;
    let labels = workload.labels.iter().map(|(k, v)| (k.clone(), v.clone()));
    meta.labels.extend(labels);
    Ok(WorkloadEntry { meta, workload })
}

pub(super) fn workload(raw: RawWorkload) -> Result<EntryWorkload, Problem> {
    let host = match raw.address.as_str() {
        "" if raw.network.is_empty() => return Err(Problem::new("address", "is missing")),
        "" => EntryHost::Network,
        path if path.starts_with("unix:") => {
            return Err(Problem::new("address", "Unix sockets cannot be reached through the mesh"));
        }
        text => match text.parse::<IpAddr>() {
            Ok(_) => EntryHost::Ip(network::unicast("address", text)?),
            Err(_) => {
                network::hostname("address", text)?;
                EntryHost::Name(text.into())
            }
        },
    };
    let mut numbers = BTreeMap::new();
    for (name, number) in raw.ports {
        let number = ports::port(&format!("ports.{name}"), number)?;
        numbers.insert(name.into(), number);
    }
    let service_account =
        if raw.service_account.is_empty() { "default" } else { &raw.service_account };
    if !is_subdomain(service_account) {
        let message = format!("{service_account:?} is not a service account's name");
        return Err(Problem::new("serviceAccount", message));
    }
    Ok(EntryWorkload {
        host,
        ports: numbers,
        labels: shared(raw.labels),
        network: raw.network.into(),
        locality: locality(&raw.locality),
        weight: raw.weight.filter(|weight| *weight != 0).unwrap_or(1),
        service_account: service_account.into(),
    })
}

/// `region/zone/subzone`.
fn locality(text: &str) -> Locality {
    let mut parts = text.splitn(3, '/').map(Str::from);
    let mut next = || parts.next().unwrap_or_default();
    Locality { region: next(), zone: next(), subzone: next() }
}
