//! Which endpoint takes a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ambit_model::Str;
use ambit_proto::ambit::balancer::Algorithm;
use rand::RngExt;

use super::endpoint::Endpoint;
use super::endpoints::Endpoints;
use super::hash::score;
use super::settings::Settings;

/// What the choice depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// The hash that sticks it to an endpoint.
    pub hash: Option<u64>,
    /// The endpoints that failed it already, which are chosen again only if there are no others.
    pub tried: &'a [Str],
    pub now: Instant,
}

/// Chooses endpoints.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    turn: AtomicUsize,
}

// === impl Choice ===

impl Choice {
    /// The endpoint for `request`: of those that are near, healthy and were not tried, by the algorithm of `settings`.
    pub(crate) fn choose<'a>(
        &self,
        endpoints: &'a Endpoints,
        settings: &Settings,
        request: &Request<'_>,
        rng: &mut impl rand::Rng,
    ) -> Option<&'a Arc<Endpoint>> {
        let all = endpoints.len();
        let healthy = endpoints.iter().filter(|e| !e.health.is_ejected(request.now)).count();
        let panic = settings.outlier.is_some_and(|outlier| outlier.is_panic(healthy, all));
        let usable = |endpoint: &&Arc<Endpoint>| {
            (panic || !endpoint.health.is_ejected(request.now))
                && !request.tried.contains(&endpoint.uid)
        };
        for tier in &endpoints.tiers {
            let members: Vec<&Arc<Endpoint>> = tier.members.iter().filter(usable).collect();
            if let Some(chosen) = self.among(&members, settings, request, rng) {
                return Some(chosen);
            }
        }
        // Better one that failed before than none at all.
        let everybody: Vec<&Arc<Endpoint>> = endpoints.iter().collect();
        self.among(&everybody, settings, request, rng)
    }

    fn among<'a>(
        &self,
        members: &[&'a Arc<Endpoint>],
        settings: &Settings,
        request: &Request<'_>,
        rng: &mut impl rand::Rng,
    ) -> Option<&'a Arc<Endpoint>> {
        let weight = |endpoint: &Endpoint| weight(endpoint, settings.warmup, request.now);
        let (first, rest) = members.split_first()?;
        if rest.is_empty() {
            return Some(first);
        }
        let even = rest.iter().all(|endpoint| weight(endpoint) == weight(first));
        let draw = |rng: &mut _| {
            if even {
                members.get(random(members.len(), rng))
            } else {
                weighted(members, weight, rng)
            }
        };
        let better = |cost: fn(&Endpoint) -> f64, rng: &mut _| {
            let (a, b) = (draw(rng)?, draw(rng)?);
            let (cost_a, cost_b) = (cost(a), cost(b));
            Some(if cost_b < cost_a { b } else { a })
        };
        let chosen = match (settings.algorithm, request.hash) {
            (Algorithm::ConsistentHash, Some(hash)) => members.iter().max_by(|a, b| {
                let score = |e: &Endpoint| score(hash, &e.uid, e.workload.capacity);
                score(a).total_cmp(&score(b))
            }),
            (Algorithm::RoundRobin, _) if even => {
                members.get(self.turn.fetch_add(1, Relaxed) % members.len())
            }
            (Algorithm::LeastRequest, _) => better(|e| f64::from(e.active()), rng),
            (Algorithm::PeakEwma, _) => better(Endpoint::cost, rng),
            _ => draw(rng),
        };
        chosen.copied()
    }
}

/// A number below `n`.
fn random(n: usize, rng: &mut impl rand::Rng) -> usize {
    rng.random_range(0..n.max(1))
}

/// One of `members` at random by weight.
fn weighted<'a, 'b>(
    members: &'b [&'a Arc<Endpoint>],
    weight: impl Fn(&Endpoint) -> u64,
    rng: &mut impl rand::Rng,
) -> Option<&'b &'a Arc<Endpoint>> {
    let total: u64 = members.iter().map(|endpoint| weight(endpoint)).sum();
    let mut left = rng.random_range(0..total.max(1));
    members.iter().find(|endpoint| match left.checked_sub(weight(endpoint)) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    })
}

/// An endpoint's weight, in hundredths; a new one's grows over the time that it has for warming up, from a tenth.
fn weight(endpoint: &Endpoint, warmup: Option<Duration>, now: Instant) -> u64 {
    let full = u64::from(endpoint.workload.capacity) * 100;
    let age = now.saturating_duration_since(endpoint.since);
    match warmup {
        Some(warmup) if age < warmup => {
            let share = (age.as_secs_f64() / warmup.as_secs_f64()).max(0.1);
            ((full as f64 * share) as u64).max(1)
        }
        _ => full,
    }
}

#[cfg(test)]
mod tests;
