//! `VirtualService`: what becomes of requests and connections to a host.

mod actions;
mod faults;
mod matches;
mod retries;
mod streams;

use ambit_model::Str;
use ambit_proto::ambit as proto;
use serde::Deserialize;
use serde_json::Value;

use super::{Key, Kind, Meta, Problem, network, part_of};

/// A VirtualService.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualService {
    /// Its metadata.
    pub meta: Meta,
    /// The hosts that it is for, as they are written, in lower case; none for one that others delegate to.
    pub hosts: Vec<Str>,
    /// Whether it is for traffic within the mesh.
    pub mesh: bool,
    /// The namespaces that see it; all where empty.
    pub export_to: Vec<Str>,
    /// What is done with requests, in order.
    pub http: Vec<HttpRule>,
    /// What is done with TLS connections, in order.
    pub tls: Vec<StreamRule>,
    /// What is done with other connections, in order.
    pub tcp: Vec<StreamRule>,
}

/// A rule for requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpRule {
    /// Its name; may be empty.
    pub name: Str,
    /// What it is for; everything where there is none.
    pub matches: Vec<HttpCase>,
    /// What is done but for where requests go.
    pub action: proto::HttpAction,
    /// Where they go.
    pub routes: Vec<Share>,
    /// Where copies go, with shares in parts per million.
    pub mirrors: Vec<(Destination, u32)>,
    /// The namespace and name of the VirtualService that has the rules instead.
    pub delegate: Option<(Str, Str)>,
}

/// A match, on one port or on every one.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct HttpCase {
    pub port: Option<u16>,
    pub http: proto::HttpMatch,
}

/// A rule for connections.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct StreamRule {
    pub matches: Vec<StreamCase>,
    pub routes: Vec<Share>,
}

/// A match of connections.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct StreamCase {
    pub port: Option<u16>,
    pub sni: Vec<String>,
    pub destinations: Vec<String>,
    pub source: Option<proto::SourceMatch>,
}

/// A destination and its share.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Share {
    pub weight: u32,
    pub to: Destination,
    pub filters: Vec<proto::Filter>,
}

/// Where traffic goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destination {
    /// The host as it is written, in lower case.
    pub host: Str,
    /// The subset; all endpoints where empty.
    pub subset: Str,
    /// The port; where absent, the one that the traffic came for, or the only one.
    pub port: Option<u16>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSpec {
    hosts: Vec<String>,
    gateways: Vec<String>,
    export_to: Vec<String>,
    http: Vec<actions::RawHttp>,
    tls: Vec<streams::RawStream>,
    tcp: Vec<streams::RawStream>,
}

/// The gateway that stands for the mesh itself.
const MESH: &str = "mesh";
/// Files have no schema that limits one.
const MAX_RULES: usize = 1024;

pub(super) fn trim(
    meta: Meta,
    value: &Value,
    problems: &mut Vec<Problem>,
) -> Result<VirtualService, Problem> {
    let spec: RawSpec = part_of(value, "spec", problems)?;
    let mesh = is_for_mesh(&spec.gateways);
    if let Some(other) = spec.gateways.iter().find(|gateway| *gateway != MESH) {
        let message = format!("{other:?} is not enforced: Gateways of Istio's API are not served");
        problems.push(Problem::remark("spec.gateways", message));
    }
    let rules = spec.http.len() + spec.tls.len() + spec.tcp.len();
    if rules > MAX_RULES {
        let message = format!("{rules} rules are too many; {MAX_RULES} are the most");
        return Err(Problem::new("spec", message));
    }
    let mut remarks = Vec::new();
    let http = each("spec.http", spec.http, |raw| actions::rule(&meta, raw, &mut remarks))?;
    problems.append(&mut remarks);
    Ok(VirtualService {
        hosts: each("spec.hosts", spec.hosts, host)?,
        mesh,
        export_to: spec.export_to.into_iter().filter(|ns| ns != "*").map(Into::into).collect(),
        http: http.into_iter().flatten().collect(),
        tls: each("spec.tls", spec.tls, streams::rule)?.into_iter().flatten().collect(),
        tcp: each("spec.tcp", spec.tcp, streams::rule)?.into_iter().flatten().collect(),
        meta,
    })
}

fn is_for_mesh(gateways: &[String]) -> bool {
    gateways.is_empty() || gateways.iter().any(|gateway| gateway == MESH)
}

/// A host; a lone star is every host.
fn host(text: String) -> Result<Str, Problem> {
    if text != "*" {
        network::hostname("", &text)?;
    }
    Ok(text.to_ascii_lowercase().into())
}

/// Reads each element of a list; a problem says which element it is about.
fn each<T, U>(
    field: &str,
    list: Vec<T>,
    mut read: impl FnMut(T) -> Result<U, Problem>,
) -> Result<Vec<U>, Problem> {
    list.into_iter()
        .enumerate()
        .map(|(i, raw)| read(raw).map_err(|problem| problem.within(&format!("{field}[{i}]"))))
        .collect()
}

// === impl VirtualService ===

impl VirtualService {
    /// What it is found by.
    pub fn key(&self) -> Key {
        Key::new(Kind::VirtualService, self.meta.namespace.clone(), self.meta.name.clone())
    }

    /// The VirtualServices that it delegates to.
    pub fn delegates(&self) -> impl Iterator<Item = Key> {
        let delegates = self.http.iter().filter_map(|rule| rule.delegate.as_ref());
        delegates.map(|(ns, name)| Key::new(Kind::VirtualService, ns.clone(), name.clone()))
    }

    /// Every destination that it names.
    pub fn destinations(&self) -> impl Iterator<Item = &Destination> {
        let http = self.http.iter().flat_map(|rule| {
            rule.routes.iter().map(|share| &share.to).chain(rule.mirrors.iter().map(|(to, _)| to))
        });
        let streams = self.tls.iter().chain(&self.tcp);
        http.chain(streams.flat_map(|rule| rule.routes.iter().map(|share| &share.to)))
    }

    /// The labels of callers that it asks for.
    pub fn source_labels(&self) -> impl Iterator<Item = &String> {
        let http = self.http.iter().flat_map(|rule| &rule.matches);
        let streams = self.tls.iter().chain(&self.tcp).flat_map(|rule| &rule.matches);
        let sources = http.filter_map(|case| case.http.source.as_ref());
        let sources = sources.chain(streams.filter_map(|case| case.source.as_ref()));
        sources.flat_map(|source| source.labels.keys())
    }
}
