//! Addresses of workloads that are known by name only, from the process's own resolver.

use std::net::IpAddr;

use ambit_model::Str;
use ambit_state::Unresolved;
use rand::seq::IteratorRandom;

/// A name without an address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookUpError {
    #[error("cannot resolve {0}: {1}")]
    Failed(Str, #[source] std::io::Error),
    #[error("{0} has no address")]
    NoAddress(Str),
}

/// One of the addresses of `name`, of the preferred family if there is one.
///
/// # Errors
/// The resolver fails, or knows no address.
pub(crate) async fn look_up(name: &Unresolved) -> Result<IpAddr, LookUpError> {
    let found = tokio::net::lookup_host((&*name.host, 0))
        .await
        .map_err(|error| LookUpError::Failed(name.host.clone(), error))?;
    let addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    let preferred = addresses.iter().filter(|ip| ip.is_ipv6() == name.prefer_ipv6);
    preferred
        .choose(&mut rand::rng())
        .or(addresses.first())
        .copied()
        .ok_or_else(|| LookUpError::NoAddress(name.host.clone()))
}
