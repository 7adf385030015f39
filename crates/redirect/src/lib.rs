//! Traffic capture in a pod's network namespace: what is captured as data, and two back ends that put it there.
//!
//! [`Capture`] says what a pod wants; [`rules()`] turns it, without IO, into a [`RuleSet`]; a [`Backend`] renders that
//! for nftables or iptables. [`apply`], [`verify`] and [`remove`] do the work in a namespace. All three block for some
//! milliseconds while they run `nft`, `iptables-restore` and `ip`: call them from a blocking task.
//!
//! Everything a neighbour can observe (marks, table and chain names, the order of rules) follows Istio ambient, so
//! that its own tooling recognises what it finds and either agent can take over from the other.

mod backend;
mod capture;
mod drift;
mod error;
mod host;
mod iptables;
mod nft;
mod reference;
mod routes;
mod rules;
mod run;

use std::os::fd::AsFd;

pub use backend::Backend;
pub use capture::{
    AS_CLIENT_MARK, Capture, DNS_PORT, HBONE_PORT, INBOUND_PORT, InterfaceName,
    InvalidInterfaceName, OUTBOUND_PORT, PACKET_MARK, PROBE_V4, PROBE_V6,
};
pub use drift::{Change, Drift};
pub use error::Error;
pub use host::HostProbes;
pub use rules::{Chain, Family, Match, Rule, RuleSet, Table, Verdict, rules};

use run::Netns;

/// Makes the namespace capture what `capture` says, and nothing else. Applying again changes nothing.
///
/// Rules of the *other* back end are left alone: [`remove`] first when changing it.
///
/// # Errors
/// A program is missing or refuses, or there are no privileges; each message names the next step. The rules are then
/// as they were, or complete without the routes: apply again, or [`remove`].
pub fn apply(netns: impl AsFd, capture: &Capture, backend: Backend) -> Result<(), Error> {
    let rules = rules(capture);
    Netns::enter(netns.as_fd(), move |netns| {
        backend.apply(netns, &rules)?;
        routes::apply(netns, rules.ipv6)
    })
}

/// What is different in the namespace from what [`apply`] would leave there; empty when all is as it should be.
///
/// At most some dozens of differences are listed. Rules of others are none of our business and not reported.
///
/// # Errors
/// As for [`apply`].
pub fn verify(netns: impl AsFd, capture: &Capture, backend: Backend) -> Result<Vec<Drift>, Error> {
    let wanted = reference::of(capture, backend)?;
    Netns::enter(netns.as_fd(), move |netns| {
        let found = backend.list(netns)?;
        let mut drifts = drift::compare(&wanted, &found);
        drifts.extend(routes::verify(netns, capture.ipv6)?);
        Ok(drifts)
    })
}

/// Makes the namespace capture nothing new, while connections that were captured go on: what [`apply`] put in for
/// `capture` stays without its redirections. Without any rule the kernel would not even translate the addresses of what is
/// under way. [`remove`] takes out the rest.
///
/// # Errors
/// As for [`apply`].
pub fn pass(netns: impl AsFd, capture: &Capture, backend: Backend) -> Result<(), Error> {
    let rules = rules(capture).without_redirections();
    Netns::enter(netns.as_fd(), move |netns| backend.apply(netns, &rules))
}

/// Takes out everything that [`apply`] puts in, by either back end. Removing again changes nothing.
///
/// # Errors
/// As for [`apply`]; a back end whose program is not installed is passed over.
pub fn remove(netns: impl AsFd) -> Result<(), Error> {
    Netns::enter(netns.as_fd(), |netns| {
        let nft = nft::remove(netns);
        let iptables = iptables::remove(netns);
        match (nft, iptables) {
            (Err(Error::Missing { .. }), other) | (other, Err(Error::Missing { .. })) => other?,
            (nft, iptables) => nft.and(iptables)?,
        }
        routes::remove(netns)
    })
}

/// Makes the node (the namespace of its kubelet) exempt the probes of `probes` from capture, and no others. Applying
/// again changes nothing. Rules of the *other* back end are left alone: [`remove_host`] first when changing it.
///
/// # Errors
/// As for [`apply`]; each family's rules are then as they were.
pub fn apply_host(netns: impl AsFd, probes: &HostProbes, backend: Backend) -> Result<(), Error> {
    Netns::enter(netns.as_fd(), |netns| host::apply(netns, probes, backend))
}

/// Takes out everything that [`apply_host`] puts in, by either back end. Removing again changes nothing.
///
/// # Errors
/// As for [`apply`]; a back end whose program is not installed is passed over.
pub fn remove_host(netns: impl AsFd) -> Result<(), Error> {
    Netns::enter(netns.as_fd(), host::remove)
}

#[cfg(test)]
mod tests;
