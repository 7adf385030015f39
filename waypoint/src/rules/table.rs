//! The rules of one port: which of them a request or a connection falls to.

use std::net::IpAddr;
use std::sync::Arc;

use ambit_proto::ambit as proto;
use http::HeaderMap;

use super::action::{Shares, backends};
use super::matching::{HeaderMatch, QueryMatch, SourceMatch};
use super::path::PathIndex;
use super::{Action, Caller, Invalid, PathMatch, TextMatch};
use crate::destination::Destinations;

/// The rules of one port, in order of precedence.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: Vec<Entry>,
    paths: PathIndex,
    tls: Vec<TlsEntry>,
    tcp: Vec<TcpEntry>,
}

#[derive(Debug)]
struct Entry {
    path: PathMatch,
    method: Option<TextMatch>,
    scheme: Option<TextMatch>,
    authority: Option<TextMatch>,
    headers: Vec<HeaderMatch>,
    query: Vec<QueryMatch>,
    source: Option<SourceMatch>,
    action: Arc<Action>,
}

#[derive(Debug)]
struct TlsEntry {
    sni: Vec<Box<str>>,
    destinations: Vec<ipnet::IpNet>,
    source: Option<SourceMatch>,
    shares: Arc<Shares>,
}

#[derive(Debug)]
struct TcpEntry {
    destinations: Vec<ipnet::IpNet>,
    source: Option<SourceMatch>,
    shares: Arc<Shares>,
}

/// What of a request decides on its rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub method: &'a str,
    pub scheme: &'a str,
    pub authority: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub caller: &'a Caller,
}

/// The rule that a request falls to.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    pub action: &'a Arc<Action>,
    /// How much of the path the rule's prefix took.
    pub matched: usize,
}

// === impl Table ===

impl Table {
    pub(super) fn compile(message: proto::Table, to: &Destinations) -> Result<Self, Invalid> {
        let actions: Vec<Arc<Action>> = message
            .actions
            .into_iter()
            .map(|action| Action::compile(action, to).map(Arc::new))
            .collect::<Result<_, _>>()?;
        let mut table = Self::default();
        for (number, entry) in (0..).zip(message.http) {
            let action = usize::try_from(entry.action).ok().and_then(|at| actions.get(at));
            let action = action.ok_or(Invalid::Action(entry.action))?;
            let entry = Entry::compile(entry.r#match.unwrap_or_default(), action.clone())?;
            table.paths.insert(&entry.path, number);
            table.entries.push(entry);
        }
        table.tls = message
            .tls
            .into_iter()
            .map(|entry| TlsEntry::compile(entry, to))
            .collect::<Result<_, _>>()?;
        table.tcp = message
            .tcp
            .into_iter()
            .map(|entry| TcpEntry::compile(entry, to))
            .collect::<Result<_, _>>()?;
        Ok(table)
    }

    /// Whether there are rules for HTTP requests.
    pub(crate) fn has_http(&self) -> bool {
        !self.entries.is_empty()
    }

    /// The first rule that matches the request.
    pub(crate) fn request(&self, asked: &Asked<'_>) -> Option<Found<'_>> {
        let entry = |number: u32| usize::try_from(number).ok().and_then(|at| self.entries.get(at));
        let accepts = |number| entry(number).is_some_and(|entry| entry.accepts(asked));
        let found = entry(self.paths.first(asked.path, accepts)?)?;
        Some(Found { action: &found.action, matched: found.path.matched(asked.path) })
    }

    /// Whether there are rules for connections whose TLS is not ended here.
    pub(crate) fn has_tls(&self) -> bool {
        !self.tls.is_empty()
    }

    /// The first rule for a connection to this address with this SNI.
    pub(crate) fn tls(
        &self,
        sni: &str,
        destination: IpAddr,
        caller: &Caller,
    ) -> Option<&Arc<Shares>> {
        let named = |entry: &&TlsEntry| {
            entry.sni.is_empty() || entry.sni.iter().any(|name| covers(name, sni))
        };
        let from = |entry: &&TlsEntry| entry.source.as_ref().is_none_or(|s| s.matches(caller));
        let to = |entry: &&TlsEntry| within(&entry.destinations, destination);
        let mut entries = self.tls.iter();
        entries.find(|entry| named(entry) && to(entry) && from(entry)).map(|entry| &entry.shares)
    }

    /// Whether there are rules for connections that are not looked into.
    pub(crate) fn has_tcp(&self) -> bool {
        !self.tcp.is_empty()
    }

    /// The first rule for a connection to this address.
    pub(crate) fn tcp(&self, destination: IpAddr, caller: &Caller) -> Option<&Arc<Shares>> {
        let to = |entry: &&TcpEntry| within(&entry.destinations, destination);
        let from = |entry: &&TcpEntry| entry.source.as_ref().is_none_or(|s| s.matches(caller));
        self.tcp.iter().find(|entry| to(entry) && from(entry)).map(|entry| &entry.shares)
    }
}

/// Whether an address is in one of the networks, if there are any.
fn within(networks: &[ipnet::IpNet], address: IpAddr) -> bool {
    networks.is_empty() || networks.iter().any(|network| network.contains(&address))
}

fn networks(texts: Vec<String>) -> Result<Vec<ipnet::IpNet>, Invalid> {
    let network = |text: String| {
        let single = || text.parse::<IpAddr>().ok().map(ipnet::IpNet::from);
        text.parse().ok().or_else(single).ok_or_else(|| Invalid::Network(text.clone()))
    };
    texts.into_iter().map(network).collect()
}

/// Whether a host name is `pattern`, or covered by it where it begins with `*.`.
pub(crate) fn covers(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => {
            let start = name.len().checked_sub(suffix.len());
            let end = start.filter(|at| *at > 0).and_then(|at| name.get(at..));
            suffix.is_empty() || end.is_some_and(|end| end.eq_ignore_ascii_case(suffix))
        }
        None => pattern.eq_ignore_ascii_case(name),
    }
}

// === impl Entry ===

impl Entry {
    fn compile(message: proto::HttpMatch, action: Arc<Action>) -> Result<Self, Invalid> {
        Ok(Self {
            path: PathMatch::compile(message.path)?,
            method: message.method.map(TextMatch::compile).transpose()?,
            scheme: message.scheme.map(TextMatch::compile).transpose()?,
            authority: message.authority.map(TextMatch::compile).transpose()?,
            headers: message
                .headers
                .into_iter()
                .map(HeaderMatch::compile)
                .collect::<Result<_, _>>()?,
            query: message.query.into_iter().map(QueryMatch::compile).collect::<Result<_, _>>()?,
            source: message.source.map(SourceMatch::compile).transpose()?,
            action,
        })
    }

    /// Whether everything but the path is as it has to be.
    fn accepts(&self, asked: &Asked<'_>) -> bool {
        let text = |condition: &Option<TextMatch>, value: &str| {
            condition.as_ref().is_none_or(|condition| condition.matches(value.as_bytes()))
        };
        text(&self.method, asked.method)
            && text(&self.scheme, asked.scheme)
            && text(&self.authority, asked.authority)
            && self.headers.iter().all(|header| header.matches(asked.headers))
            && self.query.iter().all(|parameter| parameter.matches(asked.query))
            && self.source.as_ref().is_none_or(|source| source.matches(asked.caller))
    }
}

// === impl TlsEntry, TcpEntry ===

impl TlsEntry {
    fn compile(message: proto::TlsEntry, to: &Destinations) -> Result<Self, Invalid> {
        Ok(Self {
            sni: message.sni.into_iter().map(Into::into).collect(),
            destinations: networks(message.destinations)?,
            source: message.source.map(SourceMatch::compile).transpose()?,
            shares: Arc::new(backends(message.name, message.backends, to)?),
        })
    }
}

impl TcpEntry {
    fn compile(message: proto::TcpEntry, to: &Destinations) -> Result<Self, Invalid> {
        Ok(Self {
            destinations: networks(message.destinations)?,
            source: message.source.map(SourceMatch::compile).transpose()?,
            shares: Arc::new(backends(message.name, message.backends, to)?),
        })
    }
}

#[cfg(test)]
mod tests;
