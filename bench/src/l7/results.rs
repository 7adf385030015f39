//! What was measured, and its medians.

use serde::Serialize;

use crate::machine::Machine;
use crate::results::median;

/// Everything that a run found out; the JSON file's content.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) congestion_control: &'static str,
    pub(crate) command: String,
    pub(crate) rounds: u32,
    pub(crate) seconds: u32,
    /// Name and version.
    pub(crate) peers: Vec<(&'static str, String)>,
    pub(crate) summaries: Vec<Summary>,
    pub(crate) updates: Vec<Updates>,
    pub(crate) failures: Vec<Failure>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) took_seconds: f64,
}

/// How long changes of a route take to be in force, seconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Updates {
    /// How many routes the gateway has.
    pub(crate) routes: u32,
    pub(crate) seconds: Vec<f64>,
}

/// What a figure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Key {
    pub(crate) scenario: &'static str,
    pub(crate) peer: &'static str,
}

/// One load, run once.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    #[serde(flatten)]
    pub(crate) of: Key,
    pub(crate) round: u32,
    pub(crate) requests: f64,
    pub(crate) seconds: f64,
    pub(crate) p50_seconds: Option<f64>,
    pub(crate) p99_seconds: Option<f64>,
    pub(crate) errors: u64,
    /// Of the proxy, all its processes.
    pub(crate) cpu_seconds: Option<f64>,
    /// Of the node's tunnel, where it is in the path.
    pub(crate) tunnel_cpu_seconds: Option<f64>,
    /// The most that was resident, all processes of the proxy added.
    pub(crate) memory_bytes: Option<u64>,
}

/// A load that could not be run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Failure {
    #[serde(flatten)]
    pub(crate) of: Key,
    pub(crate) round: u32,
    pub(crate) error: String,
}

/// Medians over all rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    #[serde(flatten)]
    pub(crate) of: Key,
    /// Requests a second.
    pub(crate) rate: f64,
    pub(crate) p50_seconds: Option<f64>,
    pub(crate) p99_seconds: Option<f64>,
    /// CPU time of the proxy for each request, seconds.
    pub(crate) cpu: Option<f64>,
    /// The same of the node's tunnel.
    pub(crate) tunnel_cpu: Option<f64>,
    /// In the first round, before the heavier loads of the others.
    pub(crate) memory_bytes: Option<f64>,
    pub(crate) errors: u64,
}

// === impl Summary ===

impl Summary {
    /// One for each scenario and peer with samples, in their order.
    pub(crate) fn all(samples: &[Sample]) -> Vec<Self> {
        let mut keys: Vec<Key> = Vec::new();
        for sample in samples {
            if !keys.contains(&sample.of) {
                keys.push(sample.of);
            }
        }
        keys.into_iter().filter_map(|key| Self::of(key, samples)).collect()
    }

    fn of(key: Key, samples: &[Sample]) -> Option<Self> {
        let samples: Vec<&Sample> = samples.iter().filter(|sample| sample.of == key).collect();
        let middle = |figure: fn(&Sample) -> Option<f64>| {
            median(&samples.iter().filter_map(|sample| figure(sample)).collect::<Vec<_>>())
        };
        Some(Self {
            of: key,
            rate: middle(|s| Some(s.requests / s.seconds))?,
            p50_seconds: middle(|s| s.p50_seconds),
            p99_seconds: middle(|s| s.p99_seconds),
            cpu: middle(|s| Some(s.cpu_seconds? / s.requests)),
            tunnel_cpu: middle(|s| Some(s.tunnel_cpu_seconds? / s.requests)),
            memory_bytes: samples.first().and_then(|s| Some(s.memory_bytes? as f64)),
            errors: samples.iter().map(|sample| sample.errors).sum(),
        })
    }
}
