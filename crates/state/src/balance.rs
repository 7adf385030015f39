//! Which of several endpoints takes a connection: locality first, then chance by capacity.

use std::sync::Arc;

use ambit_model::{LoadBalancer, LoadBalancerMode, LoadBalancerScope, Workload};
use rand::RngExt;

use crate::record::Record;

/// How near an endpoint is to a client, as its service's preferences see it; more is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Whether it is on the client's network, where the preferences begin with that.
    pub same_network: bool,
    /// How many leading preferences it meets.
    pub scopes: usize,
}

/// Chooses among `candidates` (protocol facts 7): of the nearest rank, at random by capacity.
///
/// Candidates without capacity take no traffic. The candidates are walked twice and nothing is allocated.
pub(crate) fn choose<'a>(
    balancer: Option<&LoadBalancer>,
    source: &Workload,
    candidates: impl Iterator<Item = &'a Arc<Record>> + Clone,
    rng: &mut impl rand::Rng,
) -> Option<&'a Arc<Record>> {
    let ranked = candidates
        .filter(|record| record.capacity > 0)
        .filter_map(|record| Some((rank(balancer, source, record)?, record)));
    let mut best = Rank::default();
    let mut total = 0;
    for (rank, record) in ranked.clone() {
        if rank > best {
            (best, total) = (rank, 0);
        }
        if rank == best {
            total += u64::from(record.capacity);
        }
    }
    let nearest = ranked.filter(|(rank, _)| *rank == best);
    draw(nearest.map(|(_, record)| (record.capacity, record)), total, rng)
}

/// One of `items` at random in proportion to their weights; none if they have no weight at all.
pub(crate) fn sample<T>(
    items: impl Iterator<Item = (u32, T)> + Clone,
    rng: &mut impl rand::Rng,
) -> Option<T> {
    let total = items.clone().map(|(weight, _)| u64::from(weight)).sum();
    draw(items, total, rng)
}

/// One of `items`, whose weights add up to `total`.
fn draw<T>(
    items: impl Iterator<Item = (u32, T)>,
    total: u64,
    rng: &mut impl rand::Rng,
) -> Option<T> {
    let mut left = (total > 0).then(|| rng.random_range(0..total))?;
    for (weight, item) in items {
        match left.checked_sub(u64::from(weight)) {
            Some(rest) => left = rest,
            None => return Some(item),
        }
    }
    None
}

/// The rank of an endpoint, or `None` where it must not be used.
pub(crate) fn rank(
    balancer: Option<&LoadBalancer>,
    source: &Workload,
    record: &Record,
) -> Option<Rank> {
    let Some(LoadBalancer { routing_preferences: scopes, mode, .. }) = balancer else {
        return Some(Rank::default());
    };
    let shared = |scope: &&LoadBalancerScope| shares(**scope, source, record);
    match mode {
        LoadBalancerMode::Standard | LoadBalancerMode::Passthrough => Some(Rank::default()),
        LoadBalancerMode::Strict => scopes.iter().all(|scope| shared(&scope)).then(Rank::default),
        // An endpoint of another network is ranked by the other scopes, below every one of the client's network.
        LoadBalancerMode::Failover => Some(match scopes.split_first() {
            Some((LoadBalancerScope::Network, rest)) => Rank {
                same_network: source.network == record.shape.network,
                scopes: rest.iter().take_while(shared).count(),
            },
            _ => Rank { same_network: false, scopes: scopes.iter().take_while(shared).count() },
        }),
    }
}

/// Whether client and endpoint have the scope in common; two empty values are equal.
fn shares(scope: LoadBalancerScope, source: &Workload, record: &Record) -> bool {
    let place = &record.place;
    match scope {
        LoadBalancerScope::Region => source.locality.region == place.locality.region,
        LoadBalancerScope::Zone => source.locality.zone == place.locality.zone,
        LoadBalancerScope::Subzone => source.locality.subzone == place.locality.subzone,
        LoadBalancerScope::Node => source.node == place.node,
        LoadBalancerScope::Cluster => source.cluster_id == record.shape.cluster_id,
        LoadBalancerScope::Network => source.network == record.shape.network,
    }
}

#[cfg(test)]
mod tests;
