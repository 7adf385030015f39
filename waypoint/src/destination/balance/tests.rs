//! Who is chosen.

use std::collections::HashMap;

use ambit_model::Workload;

use super::super::endpoint::Dial;
use super::super::health::OutlierDetection;
use super::*;
use crate::destination::endpoints::Tier;

fn endpoint(name: &str, capacity: u32) -> Arc<Endpoint> {
    let workload = Workload { uid: name.into(), capacity, ..Workload::default() };
    let dial = Dial::Tcp("10.0.0.1:80".parse().unwrap());
    Arc::new(Endpoint::new(Arc::new(workload), dial, 1, Instant::now()))
}

fn endpoints(tiers: &[&[(&str, u32)]]) -> Endpoints {
    let tier = |members: &&[(&str, u32)]| {
        Tier::of(members.iter().map(|(name, capacity)| endpoint(name, *capacity)).collect())
    };
    Endpoints { tiers: tiers.iter().map(tier).collect(), ..Endpoints::default() }
}

fn request(tried: &[Str]) -> Request<'_> {
    Request { hash: None, tried, now: Instant::now() }
}

fn hits(endpoints: &Endpoints, settings: &Settings, tried: &[Str]) -> HashMap<String, u32> {
    let (choice, mut rng) = (Choice::default(), rand::rng());
    let mut hits = HashMap::new();
    for _ in 0..10_000 {
        let chosen = choice.choose(endpoints, settings, &request(tried), &mut rng).unwrap();
        *hits.entry(chosen.uid.to_string()).or_default() += 1;
    }
    hits
}

fn by(algorithm: Algorithm) -> Settings {
    Settings { algorithm, ..Settings::default() }
}

#[test]
fn every_algorithm_spreads_and_keeps_to_weights() {
    use Algorithm::{LeastRequest, PeakEwma, Random, RoundRobin};
    for algorithm in [LeastRequest, RoundRobin, Random, PeakEwma] {
        let even = hits(&endpoints(&[&[("a", 1), ("b", 1)]]), &by(algorithm), &[]);
        assert!(even.values().all(|hits| (4_500..5_500).contains(hits)), "{algorithm:?} {even:?}");
        let skewed = hits(&endpoints(&[&[("a", 1), ("b", 3)]]), &by(algorithm), &[]);
        assert!((7_200..7_800).contains(&skewed["b"]), "{algorithm:?} {skewed:?}");
    }
}

#[test]
fn nearer_endpoints_go_first_and_failed_ones_last() {
    let all = endpoints(&[&[("near", 1)], &[("far", 1)]]);
    let tried = |names: &[&str]| names.iter().map(|name| Str::from(*name)).collect::<Vec<_>>();
    let settings = by(Algorithm::Random);
    for (names, expected) in [(&[][..], "near"), (&["near"], "far"), (&["far"], "near")] {
        let hits = hits(&all, &settings, &tried(names));
        assert_eq!(hits.keys().collect::<Vec<_>>(), [expected]);
    }
    // All have failed: better one of those than none.
    assert_eq!(hits(&all, &settings, &tried(&["near", "far"])).len(), 2);
    let choice = Choice::default();
    let none = Endpoints::default();
    assert!(choice.choose(&none, &settings, &request(&[]), &mut rand::rng()).is_none());
}

#[test]
fn the_less_busy_of_two_is_chosen() {
    let all = endpoints(&[&[("busy", 1), ("idle", 1)]]);
    let busy = all.iter().find(|endpoint| &*endpoint.uid == "busy").unwrap();
    let _requests: Vec<_> = (0..5).map(|_| busy.enter()).collect();
    let hits = hits(&all, &by(Algorithm::LeastRequest), &[]);
    // Busy is chosen only where it was drawn twice.
    assert!((7_200..7_800).contains(&hits["idle"]), "{hits:?}");
}

#[test]
fn the_faster_of_two_is_chosen() {
    let all = endpoints(&[&[("slow", 1), ("fast", 1)]]);
    for endpoint in all.iter() {
        let time = if &*endpoint.uid == "slow" { 100 } else { 1 };
        endpoint.responded(Duration::from_millis(time), Instant::now());
    }
    let hits = hits(&all, &by(Algorithm::PeakEwma), &[]);
    assert!((7_200..7_800).contains(&hits["fast"]), "{hits:?}");
}

#[test]
fn a_hash_sticks_until_its_endpoint_fails() {
    let all = endpoints(&[&[("a", 1), ("b", 1), ("c", 1)]]);
    let settings = by(Algorithm::ConsistentHash);
    let (choice, mut rng) = (Choice::default(), rand::rng());
    for hash in 0..100 {
        let mut chosen = |tried: &[Str]| {
            let request = Request { hash: Some(hash), tried, now: Instant::now() };
            choice.choose(&all, &settings, &request, &mut rng).unwrap().uid.clone()
        };
        let first = chosen(&[]);
        assert_eq!(chosen(&[]), first);
        assert_ne!(chosen(std::slice::from_ref(&first)), first);
    }
}

#[test]
fn the_ejected_are_left_out_unless_too_few_are_left() {
    let outlier = OutlierDetection {
        consecutive_5xx: 1,
        consecutive_gateway_errors: 0,
        consecutive_local_failures: 0,
        interval: Duration::from_secs(10),
        base_ejection: Duration::from_secs(30),
        max_ejection_percent: 100,
        min_health_percent: 40,
    };
    let settings = Settings { outlier: Some(outlier), ..by(Algorithm::Random) };
    let all = endpoints(&[&[("a", 1), ("b", 1), ("c", 1)]]);
    let eject = |name: &str| {
        let endpoint = all.iter().find(|endpoint| *endpoint.uid == *name).unwrap();
        endpoint.health.eject(&outlier, Instant::now());
    };
    eject("a");
    assert_eq!(hits(&all, &settings, &[]).len(), 2);
    eject("b");
    assert_eq!(hits(&all, &settings, &[]).len(), 3, "a third is less than 40 %");
}

#[test]
fn a_new_endpoint_warms_up() {
    let settings = Settings { warmup: Some(Duration::from_secs(100)), ..by(Algorithm::Random) };
    let all = endpoints(&[&[("a", 1), ("b", 1)]]);
    let (new, now) = (all.iter().next().unwrap(), Instant::now());
    let after = |seconds| weight(new, 100, settings.warmup, now + Duration::from_secs(seconds));
    assert_eq!((after(0), after(50), after(100)), (10, 50, 100));
}
