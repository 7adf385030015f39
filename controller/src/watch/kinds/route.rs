//! The routes of the Gateway API: `HTTPRoute`, `GRPCRoute`, `TLSRoute` and `TCPRoute`. They differ in what they match;
//! what is left of them after trimming has one shape.

mod cors;
mod filters;
mod grpc;
mod http;
mod paths;
mod references;
mod retry;
mod stream;

use ambit_model::Str;
use ambit_proto::ambit as proto;
use serde_json::Value;

use super::{Key, Kind, Meta, Problem, network};

pub use references::{BackendRef, ParentRef};

/// A route.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Which kind it is of.
    pub kind: Kind,
    /// Its metadata.
    pub meta: Meta,
    /// What it is attached to.
    pub parents: Vec<ParentRef>,
    /// The hosts that it is for, in lower case; all where empty.
    pub hostnames: Vec<Str>,
    /// Its rules, at least one.
    pub rules: Vec<RouteRule>,
}

/// A rule of a route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteRule {
    /// Its name; may be empty.
    pub name: Str,
    /// What it is for; at least one for HTTP and gRPC, none for TLS and TCP.
    pub matches: Vec<Match>,
    /// What is done to requests.
    pub filters: Vec<Edit>,
    /// Where they go.
    pub backends: Vec<RouteBackend>,
    /// Milliseconds that a request may take.
    pub request_timeout: Option<u64>,
    /// Milliseconds that one try may take.
    pub backend_timeout: Option<u64>,
    /// Whether it is tried again.
    pub retry: Option<proto::Retry>,
}

/// What requests look like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Match {
    /// Its place among the matches of a host.
    pub rank: Rank,
    /// The match.
    pub http: proto::HttpMatch,
}

/// How specific a match is; the greater goes first. What the numbers stand for differs between kinds of routes.
pub type Rank = [u32; 5];

/// A filter.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// As the proxy carries it out.
    Filter(proto::Filter),
    /// A share of the requests, in parts per million, is sent somewhere else as well.
    Mirror(BackendRef, u32),
    /// One that nobody carries out: requests must not pass without it.
    Unsupported(Problem),
}

/// A backend and its share.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteBackend {
    /// Its weight.
    pub weight: u32,
    /// The backend.
    pub target: BackendRef,
    /// What is done to requests that it gets.
    pub filters: Vec<Edit>,
}

/// Files have no schema that limits a route.
const MAX_RULES: usize = 256;
const MAX_MATCHES: usize = 1024;
const MAX_LIST: usize = 256;

pub(super) fn trim(
    kind: Kind,
    meta: Meta,
    value: &Value,
    problems: &mut Vec<Problem>,
) -> Result<Route, Problem> {
    let route = match kind {
        Kind::GrpcRoute => grpc::trim(meta, value, problems)?,
        Kind::TcpRoute | Kind::TlsRoute => stream::trim(kind, meta, value, problems)?,
        _ => http::trim(meta, value, problems)?,
    };
    let matches: usize = route.rules.iter().map(|rule| rule.matches.len()).sum();
    bounded("spec.rules", route.rules.len(), MAX_RULES)?;
    bounded("spec.rules[].matches", matches, MAX_MATCHES)?;
    Ok(route)
}

// === impl Route ===

impl Route {
    /// What it is found by.
    pub fn key(&self) -> Key {
        Key::new(self.kind, self.meta.namespace.clone(), self.meta.name.clone())
    }

    /// Everything that it sends traffic to, mirrors too.
    pub fn targets(&self) -> impl Iterator<Item = &BackendRef> {
        self.rules.iter().flat_map(RouteRule::targets)
    }
}

// === impl RouteRule ===

impl RouteRule {
    fn targets(&self) -> impl Iterator<Item = &BackendRef> {
        let mirrors = self.filters.iter().filter_map(|edit| match edit {
            Edit::Mirror(target, _) => Some(target),
            Edit::Filter(_) | Edit::Unsupported(_) => None,
        });
        self.backends.iter().map(|backend| &backend.target).chain(mirrors)
    }
}

fn bounded(field: &str, count: usize, most: usize) -> Result<(), Problem> {
    if count <= most {
        return Ok(());
    }
    Err(Problem::new(field, format!("{count} are too many; {most} are the most")))
}

fn hostnames(list: Vec<String>) -> Result<Vec<Str>, Problem> {
    bounded("spec.hostnames", list.len(), MAX_LIST)?;
    let host = |(i, host): (usize, String)| {
        network::hostname(&format!("spec.hostnames[{i}]"), &host)?;
        Ok(Str::from(host.to_ascii_lowercase()))
    };
    list.into_iter().enumerate().map(host).collect()
}

/// Reads each element of a list; a problem says which element it is about.
fn each<T, U>(
    field: &str,
    list: Vec<T>,
    read: impl Fn(T) -> Result<U, Problem>,
) -> Result<Vec<U>, Problem> {
    list.into_iter()
        .enumerate()
        .map(|(i, raw)| read(raw).map_err(|problem| problem.within(&format!("{field}[{i}]"))))
        .collect()
}

#[cfg(test)]
mod tests;
