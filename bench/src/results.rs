//! What was measured, and its medians.

use serde::Serialize;

use crate::load::Outcome;
use crate::machine::Machine;
use crate::memory::MemorySample;
use crate::scenario::{Placement, Scenario};

/// Everything that a run found out; the JSON file's content.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) congestion_control: &'static str,
    pub(crate) command: String,
    pub(crate) rounds: u32,
    pub(crate) seconds: u32,
    pub(crate) peers: Vec<PeerName>,
    pub(crate) summaries: Vec<Summary>,
    pub(crate) memory: Vec<MemorySample>,
    pub(crate) failures: Vec<Failure>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) took_seconds: f64,
}

/// Who was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PeerName {
    pub(crate) name: &'static str,
    /// Its proxy; `None` for the bare network.
    pub(crate) program: Option<String>,
    /// Whether the others are what it is compared with.
    pub(crate) subject: bool,
}

/// One load, run once.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    #[serde(flatten)]
    pub(crate) of: Key,
    pub(crate) round: u32,
    /// Bytes received or requests answered.
    pub(crate) work: f64,
    pub(crate) seconds: f64,
    /// CPU time of each proxy, the one on the client's node first.
    pub(crate) cpu_seconds: Vec<f64>,
    pub(crate) p50_seconds: Option<f64>,
    pub(crate) p99_seconds: Option<f64>,
    pub(crate) errors: u64,
}

/// A load that could not be run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Failure {
    #[serde(flatten)]
    pub(crate) of: Key,
    pub(crate) round: u32,
    pub(crate) error: String,
}

/// What a figure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Key {
    pub(crate) scenario: &'static str,
    pub(crate) placement: Placement,
    pub(crate) peer: &'static str,
}

/// Medians over all rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    #[serde(flatten)]
    pub(crate) of: Key,
    /// Bytes or requests a second.
    pub(crate) rate: f64,
    /// CPU time of all proxies for each byte or request, seconds; `None` where there are no proxies.
    pub(crate) cpu: Option<f64>,
    pub(crate) p50_seconds: Option<f64>,
    pub(crate) p99_seconds: Option<f64>,
    /// (highest − lowest) / (2 × median) of the rates.
    pub(crate) rate_spread: f64,
    /// The same of the CPU time.
    pub(crate) cpu_spread: Option<f64>,
    pub(crate) errors: u64,
}

// === impl Sample ===

impl Sample {
    pub(crate) fn new(of: Key, round: u32, outcome: &Outcome, cpu_seconds: Vec<f64>) -> Self {
        let Outcome { work, seconds, latency, errors } = *outcome;
        let (p50_seconds, p99_seconds) = (latency.map(|l| l.p50), latency.map(|l| l.p99));
        Self { of, round, work, seconds, cpu_seconds, p50_seconds, p99_seconds, errors }
    }

    fn cpu(&self) -> Option<f64> {
        (!self.cpu_seconds.is_empty()).then(|| self.cpu_seconds.iter().sum::<f64>() / self.work)
    }
}

// === impl Summary ===

impl Summary {
    /// One for each key that has samples, in the order of the report.
    pub(crate) fn all(scenarios: &[Scenario], peers: &[PeerName], samples: &[Sample]) -> Vec<Self> {
        let keys = scenarios.iter().flat_map(|scenario| {
            Placement::ALL.into_iter().flat_map(move |placement| {
                peers.iter().map(move |peer| Key {
                    scenario: scenario.id,
                    placement,
                    peer: peer.name,
                })
            })
        });
        keys.filter_map(|key| Self::of(key, samples)).collect()
    }

    fn of(key: Key, samples: &[Sample]) -> Option<Self> {
        let samples: Vec<&Sample> = samples.iter().filter(|sample| sample.of == key).collect();
        let all = |figure: fn(&Sample) -> Option<f64>| -> Vec<f64> {
            samples.iter().filter_map(|sample| figure(sample)).collect()
        };
        let (rates, cpu) = (all(|sample| Some(sample.work / sample.seconds)), all(Sample::cpu));
        Some(Self {
            of: key,
            rate: median(&rates)?,
            cpu: median(&cpu),
            p50_seconds: median(&all(|sample| sample.p50_seconds)),
            p99_seconds: median(&all(|sample| sample.p99_seconds)),
            rate_spread: spread(&rates)?,
            cpu_spread: spread(&cpu),
            errors: samples.iter().map(|sample| sample.errors).sum(),
        })
    }
}

/// The middle value, or the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(*upper);
    }
    Some((sorted.get(middle.checked_sub(1)?)? + upper) / 2.0)
}

/// The value that a share of all values does not exceed.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

fn spread(values: &[f64]) -> Option<f64> {
    let highest = values.iter().copied().max_by(f64::total_cmp)?;
    let lowest = values.iter().copied().min_by(f64::total_cmp)?;
    Some((highest - lowest) / (2.0 * median(values)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Latency;
    use crate::scenario::QUICK;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
        assert_eq!(spread(&[9.0, 10.0, 12.0]), Some(0.15));
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(&values, 0.5), Some(100.0));
        assert_eq!(percentile(&values, 0.99), Some(198.0));
        assert_eq!(percentile(&[7.0], 0.99), Some(7.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn samples_are_summed_up_by_what_they_are_of() {
        let scenario = QUICK[1];
        let peers = ["bare", "ambit"].map(|name| PeerName { name, program: None, subject: false });
        let sample = |peer, requests, cpu: &[f64]| {
            let of = Key { scenario: scenario.id, placement: Placement::SameNode, peer };
            let latency = Some(Latency { p50: 1e-3, p99: 2e-3 });
            let outcome = Outcome { work: requests, seconds: 2.0, latency, errors: 1 };
            Sample::new(of, 1, &outcome, cpu.to_vec())
        };
        let samples = [
            sample("bare", 5000.0, &[]),
            sample("ambit", 1000.0, &[0.5, 0.5]),
            sample("ambit", 4000.0, &[1.0, 1.0]),
            sample("ambit", 2000.0, &[0.25, 0.75]),
        ];
        let summaries = Summary::all(&[scenario], &peers, &samples);
        let [bare, ambit] = &summaries[..] else {
            panic!("one placement, two peers: {summaries:?}")
        };
        assert_eq!((bare.rate, bare.cpu), (2500.0, None));
        assert_eq!((ambit.rate, ambit.cpu, ambit.errors), (1000.0, Some(5e-4), 3));
        assert_eq!((ambit.p99_seconds, ambit.rate_spread), (Some(2e-3), 0.75));
    }
}
