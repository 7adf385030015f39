//! What was measured of loads, and its medians.

use serde::Serialize;

use crate::load::Outcome;
use crate::scenario::Placement;
use crate::usage::Used;

/// What a figure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Key {
    pub(crate) scenario: &'static str,
    /// Where the server is, where that makes a difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) placement: Option<Placement>,
    pub(crate) peer: &'static str,
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
    pub(crate) p50_seconds: Option<f64>,
    pub(crate) p99_seconds: Option<f64>,
    pub(crate) errors: u64,
    #[serde(flatten)]
    pub(crate) used: Used,
}

/// A load that could not be run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Failure {
    #[serde(flatten)]
    pub(crate) of: Key,
    pub(crate) round: u32,
    pub(crate) error: String,
}

/// Everything that came of loads.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Measured {
    pub(crate) summaries: Vec<Summary>,
    pub(crate) failures: Vec<Failure>,
    pub(crate) samples: Vec<Sample>,
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
    /// The same of the node's tunnel.
    pub(crate) tunnel_cpu: Option<f64>,
    pub(crate) p50_seconds: Option<f64>,
    pub(crate) p99_seconds: Option<f64>,
    /// (highest − lowest) / (2 × median) of the rates.
    pub(crate) rate_spread: f64,
    /// The same of the CPU time.
    pub(crate) cpu_spread: Option<f64>,
    /// The most that all proxies together held in the first round, before the heavier loads of the others, bytes.
    pub(crate) memory_bytes: Option<f64>,
    pub(crate) errors: u64,
}

// === impl Measured ===

impl Measured {
    /// Keeps what a run came to. One that fails is noted and does not stop the others.
    pub(crate) fn note(&mut self, of: Key, round: u32, run: anyhow::Result<(Outcome, Used)>) {
        match run {
            Ok((outcome, used)) => self.samples.push(Sample::new(of, round, &outcome, used)),
            Err(error) => {
                let error = format!("{error:#}");
                eprintln!("  {} failed: {error}", of.peer);
                self.failures.push(Failure { of, round, error });
            }
        }
    }

    /// Sums up, one for each key that has samples, in their order.
    pub(crate) fn sum_up(&mut self) {
        let mut keys: Vec<Key> = Vec::new();
        for sample in &self.samples {
            if !keys.contains(&sample.of) {
                keys.push(sample.of);
            }
        }
        let summaries = keys.into_iter().filter_map(|key| Summary::of(key, &self.samples));
        self.summaries = summaries.collect();
    }

    /// What went wrong, for people.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let failed = self.summaries.iter().filter(|summary| summary.errors > 0).map(|summary| {
            let of = summary.of;
            let answered: f64 = self.samples.iter().filter(|s| s.of == of).map(|s| s.work).sum();
            format!("{}: {} requests failed, {answered:.0} did not", of.text(), summary.errors)
        });
        let not_run = self.failures.iter().map(|failure| {
            format!("{}, round {}: {}", failure.of.text(), failure.round, failure.error)
        });
        failed.chain(not_run).collect()
    }

    /// How far repeats differ, for people; nothing where there are none.
    pub(crate) fn spread(&self, rounds: u32) -> Option<String> {
        let of = |name: &str, values: Vec<f64>| {
            let worst = values.iter().copied().fold(0.0, f64::max);
            let middle = median(&values)?;
            Some(format!("{name} ±{:.0} % (worst ±{:.0} %)", middle * 100.0, worst * 100.0))
        };
        let rates = of("rate", self.summaries.iter().map(|s| s.rate_spread).collect());
        let cpu = of("CPU", self.summaries.iter().filter_map(|s| s.cpu_spread).collect());
        let spreads: Vec<_> = [rates, cpu].into_iter().flatten().collect();
        (rounds > 1 && !spreads.is_empty()).then(|| {
            format!("Repeats differ: {}; smaller differences mean nothing.", spreads.join(", "))
        })
    }
}

// === impl Key ===

impl Key {
    /// Who, what and where.
    pub(crate) fn text(&self) -> String {
        let Self { scenario, placement, peer } = self;
        match placement {
            Some(placement) => format!("{peer}, {scenario}, {}", placement.title()),
            None => format!("{peer}, {scenario}"),
        }
    }
}

// === impl Sample ===

impl Sample {
    pub(crate) fn new(of: Key, round: u32, outcome: &Outcome, used: Used) -> Self {
        let Outcome { work, seconds, latency, errors } = *outcome;
        let (p50_seconds, p99_seconds) = (latency.map(|l| l.p50), latency.map(|l| l.p99));
        Self { of, round, work, seconds, p50_seconds, p99_seconds, errors, used }
    }
}

// === impl Summary ===

impl Summary {
    fn of(key: Key, samples: &[Sample]) -> Option<Self> {
        let samples: Vec<&Sample> = samples.iter().filter(|sample| sample.of == key).collect();
        let all = |figure: fn(&Sample) -> Option<f64>| -> Vec<f64> {
            samples.iter().filter_map(|sample| figure(sample)).collect()
        };
        let rates = all(|sample| Some(sample.work / sample.seconds));
        let cpu = all(|sample| Some(sample.used.cpu()? / sample.work));
        Some(Self {
            of: key,
            rate: median(&rates)?,
            cpu: median(&cpu),
            tunnel_cpu: median(&all(|sample| Some(sample.used.tunnel_cpu_seconds? / sample.work))),
            p50_seconds: median(&all(|sample| sample.p50_seconds)),
            p99_seconds: median(&all(|sample| sample.p99_seconds)),
            rate_spread: spread(&rates)?,
            cpu_spread: spread(&cpu),
            memory_bytes: samples.first().and_then(|sample| sample.used.peak()),
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
        let mut measured = Measured::default();
        let mut note = |peer, requests, cpu: &[f64]| {
            let of = Key { scenario: "requests", placement: Some(Placement::SameNode), peer };
            let latency = Some(Latency { p50: 1e-3, p99: 2e-3 });
            let outcome = Outcome { work: requests, seconds: 2.0, latency, errors: 1 };
            let peak_bytes = vec![7; cpu.len()];
            let used = Used { cpu_seconds: cpu.to_vec(), peak_bytes, ..Used::default() };
            measured.note(of, 1, Ok((outcome, used)));
        };
        note("bare", 5000.0, &[]);
        note("ambit", 1000.0, &[0.5, 0.5]);
        note("ambit", 4000.0, &[1.0, 1.0]);
        note("ambit", 2000.0, &[0.25, 0.75]);
        measured.sum_up();
        let [bare, ambit] = &measured.summaries[..] else {
            panic!("one placement, two peers: {measured:?}")
        };
        assert_eq!((bare.rate, bare.cpu, bare.memory_bytes), (2500.0, None, None));
        assert_eq!((ambit.rate, ambit.cpu, ambit.errors), (1000.0, Some(5e-4), 3));
        assert_eq!((ambit.p99_seconds, ambit.rate_spread), (Some(2e-3), 0.75));
        assert_eq!(ambit.memory_bytes, Some(14.0));
        assert_eq!(
            measured.complaints()[1],
            "ambit, requests, same-node: 3 requests failed, 7000 did not"
        );
    }
}
