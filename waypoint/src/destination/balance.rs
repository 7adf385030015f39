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
        if let [tier] = &endpoints.tiers[..]
            && let [only] = &tier.members[..]
        {
            // Better one that fails than none at all.
            return Some(only);
        }
        self.blindly(endpoints, settings, request, rng)
            .or_else(|| self.with_care(endpoints, settings, request, rng))
    }

    /// One of the nearest, where all of them count alike, without a look at the others; none where the one that is drawn
    /// cannot be used, or nobody may be drawn.
    fn blindly<'a>(
        &self,
        endpoints: &'a Endpoints,
        settings: &Settings,
        request: &Request<'_>,
        rng: &mut impl rand::Rng,
    ) -> Option<&'a Arc<Endpoint>> {
        let nearest = endpoints.tiers.first()?;
        let members = &nearest.members;
        let sticky = settings.algorithm == Algorithm::ConsistentHash && request.hash.is_some();
        if !nearest.is_even || settings.warmup.is_some() || sticky {
            return None;
        }
        let chosen = match settings.algorithm {
            Algorithm::RoundRobin => members.get(self.turn.fetch_add(1, Relaxed) % members.len()),
            algorithm => by_draw(algorithm, || members.get(random(members.len(), rng))),
        }?;
        let usable = !chosen.health.is_ejected(request.now) && !request.tried.contains(&chosen.uid);
        usable.then_some(chosen)
    }

    fn with_care<'a>(
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
        let mut everybody: Vec<Candidate<'a>> = Vec::new();
        for tier in &endpoints.tiers {
            let all = tier.members.iter().enumerate().map(|(at, endpoint)| {
                let given = tier.weights.as_ref().and_then(|weights| weights.get(at));
                let own = u64::from(endpoint.workload.capacity) * 100;
                let full = given.copied().unwrap_or(own);
                (endpoint, weight(endpoint, full, settings.warmup, request.now))
            });
            let members: Vec<Candidate<'a>> =
                all.clone().filter(|(endpoint, _)| usable(endpoint)).collect();
            if let Some(chosen) = self.among(&members, settings, request, rng) {
                return Some(chosen);
            }
            everybody.extend(all);
        }
        // Better one that failed before than none at all.
        self.among(&everybody, settings, request, rng)
    }

    fn among<'a>(
        &self,
        members: &[Candidate<'a>],
        settings: &Settings,
        request: &Request<'_>,
        rng: &mut impl rand::Rng,
    ) -> Option<&'a Arc<Endpoint>> {
        let ((first, weight), rest) = members.split_first()?;
        if rest.is_empty() {
            return Some(first);
        }
        let even = rest.iter().all(|(_, other)| other == weight);
        let draw = || {
            let drawn =
                if even { members.get(random(members.len(), rng)) } else { weighted(members, rng) };
            drawn.map(|(endpoint, _)| *endpoint)
        };
        match (settings.algorithm, request.hash) {
            (Algorithm::ConsistentHash, Some(hash)) => {
                let all = members.iter().map(|(endpoint, _)| *endpoint);
                all.max_by(|a, b| {
                    let score = |e: &Endpoint| score(hash, &e.uid, e.workload.capacity);
                    score(a).total_cmp(&score(b))
                })
            }
            (Algorithm::RoundRobin, _) if even => {
                let next = members.get(self.turn.fetch_add(1, Relaxed) % members.len());
                next.map(|(endpoint, _)| *endpoint)
            }
            (algorithm, _) => by_draw(algorithm, draw),
        }
    }
}

/// An endpoint and its weight.
type Candidate<'a> = (&'a Arc<Endpoint>, u64);

/// The better of two that are drawn, where the algorithm says what is better; else the first that is.
fn by_draw<'a>(
    algorithm: Algorithm,
    mut draw: impl FnMut() -> Option<&'a Arc<Endpoint>>,
) -> Option<&'a Arc<Endpoint>> {
    let first = draw()?;
    let better = |cost: fn(&Endpoint) -> f64, second: &'a Arc<Endpoint>| {
        if cost(second) < cost(first) { second } else { first }
    };
    Some(match algorithm {
        Algorithm::LeastRequest => better(|e| f64::from(e.active()), draw()?),
        Algorithm::PeakEwma => better(Endpoint::cost, draw()?),
        _ => first,
    })
}

/// A number below `n`.
fn random(n: usize, rng: &mut impl rand::Rng) -> usize {
    rng.random_range(0..n.max(1))
}

/// One of `members` at random by weight.
fn weighted<'a, 'b>(
    members: &'b [Candidate<'a>],
    rng: &mut impl rand::Rng,
) -> Option<&'b Candidate<'a>> {
    let total: u64 = members.iter().map(|(_, weight)| weight).sum();
    let mut left = (total > 0).then(|| rng.random_range(0..total))?;
    members.iter().find(|(_, weight)| match left.checked_sub(*weight) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    })
}

/// An endpoint's weight, `full` once it has warmed up; a new one's grows over that time, from a tenth.
fn weight(endpoint: &Endpoint, full: u64, warmup: Option<Duration>, now: Instant) -> u64 {
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
