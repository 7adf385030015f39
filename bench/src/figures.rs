//! The figures of the node tunnel, from what was measured.

use crate::figure::{Bar, Figure, Limit, Unit};
use crate::memory::{self, MemorySample, Moment};
use crate::results::{Measured, Summary};
use crate::scenario::{CONNECTIONS_MEMORY, Goal, IDLE_MEMORY, Load, Placement, Scenario};

/// Rate, latency and CPU of every scenario, in its order.
pub(crate) fn of_loads(
    scenarios: &[Scenario],
    measured: &Measured,
    peers: &[&'static str],
) -> Vec<Figure> {
    let placed = |scenario| Placement::ALL.map(|placement| (scenario, placement));
    let all = scenarios.iter().flat_map(placed);
    all.flat_map(|(scenario, placement)| of_load(scenario, placement, measured, peers)).collect()
}

fn of_load(
    scenario: &Scenario,
    placement: Placement,
    measured: &Measured,
    peers: &[&'static str],
) -> Vec<Figure> {
    let of = |peer: &str| {
        let key = (scenario.id, Some(placement), peer);
        let is_it = |s: &&Summary| (s.of.scenario, s.of.placement, s.of.peer) == key;
        measured.summaries.iter().find(is_it)
    };
    let values = |value: fn(&Summary) -> Option<f64>| {
        let values = peers.iter().map(|peer| (*peer, of(peer).and_then(value)));
        values.collect::<Vec<_>>()
    };
    let title = |what| format!("{}, {}{what}", scenario.title, placement.title());
    let Goal { rate, cpu, p99 } = scenario.goal(placement);
    let at_most = |most: f64| Bar::Ratio(Limit::AtMost(most));
    let (rate_unit, cpu_unit) = units(scenario.load);
    let figures = [
        Figure::new(
            title(""),
            rate_unit,
            values(|summary| Some(summary.rate)),
            rate.map(|least| Bar::Ratio(Limit::AtLeast(least))),
        ),
        Figure::new(title(": CPU"), cpu_unit, values(|summary| summary.cpu), cpu.map(at_most)),
        Figure::new(title(": p99"), Unit::Seconds, values(|s| s.p99_seconds), p99.map(at_most)),
    ];
    let has_values = |figure: &Figure| !figure.values.is_empty() || figure.bar.is_some();
    figures.into_iter().filter(has_values).collect()
}

fn units(load: Load) -> (Unit, Unit) {
    match load {
        Load::Stream { .. } => (Unit::BytesPerSecond, Unit::SecondsPerByte),
        Load::Requests { .. } => (Unit::PerSecond, Unit::Seconds),
    }
}

/// Memory of a node's proxy, settled, and the most that any load took.
pub(crate) fn of_memory(
    samples: &[MemorySample],
    measured: &Measured,
    peers: &[&'static str],
) -> Vec<Figure> {
    let mut moments: Vec<Moment> = Vec::new();
    for sample in samples {
        if !moments.contains(&sample.moment) {
            moments.push(sample.moment);
        }
    }
    let at_most = |most| Bar::Value(Limit::AtMost(most));
    let mut figures: Vec<_> = moments
        .into_iter()
        .map(|moment| {
            let of = |peer| samples.iter().find(|s| (s.peer, s.moment) == (peer, moment));
            let values = peers.iter().map(|peer| (*peer, of(*peer).and_then(MemorySample::mean)));
            let (title, bar) = match moment {
                Moment::Idle => ("memory, idle".to_owned(), Some(at_most(IDLE_MEMORY))),
                Moment::Connections(count) => {
                    let (of, most) = CONNECTIONS_MEMORY;
                    let bar = (count == of).then_some(at_most(most));
                    (format!("memory, {count} open connections"), bar)
                }
                Moment::AfterLoad => ("memory after all load".to_owned(), None),
            };
            Figure::new(title, Unit::Bytes, values, bar)
        })
        .collect();
    let most = |peer: &str| {
        let of_peer = measured.samples.iter().filter(|sample| sample.of.peer == peer);
        of_peer.filter_map(|sample| memory::mean(&sample.used.peak_bytes)).reduce(f64::max)
    };
    let values = peers.iter().map(|peer| (*peer, most(peer)));
    figures.push(Figure::new("most memory under any load", Unit::Bytes, values, None));
    figures.retain(|figure| !figure.values.is_empty());
    figures
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Latency, Outcome};
    use crate::results::Key;
    use crate::scenario::SCENARIOS;
    use crate::usage::Used;

    const PEERS: [&str; 3] = ["bare", "ambit", "peer"];

    /// Every load once, Ambit twice as slow as the bare network and the peer four times.
    fn measured() -> Measured {
        let mut measured = Measured::default();
        for scenario in SCENARIOS {
            for placement in Placement::ALL {
                for (peer, slower) in PEERS.iter().zip([1.0, 2.0, 4.0]) {
                    let of = Key { scenario: scenario.id, placement: Some(placement), peer };
                    let has_latency = matches!(scenario.load, Load::Requests { .. });
                    let latency =
                        has_latency.then_some(Latency { p50: 1e-3 * slower, p99: 5e-3 * slower });
                    let outcome = Outcome { work: 8e9 / slower, seconds: 2.0, latency, errors: 0 };
                    let proxies = if *peer == "bare" { 0 } else { 2 };
                    let used = Used {
                        cpu_seconds: vec![slower; proxies],
                        peak_bytes: vec![slower as u64 * 1_000_000; proxies],
                        ..Used::default()
                    };
                    measured.note(of, 1, Ok((outcome, used)));
                }
            }
        }
        measured.sum_up();
        measured
    }

    #[test]
    fn every_goal_is_a_bar_of_a_figure() {
        let figures = of_loads(SCENARIOS, &measured(), &PEERS);
        let goals: usize = SCENARIOS
            .iter()
            .flat_map(|scenario| scenario.goals)
            .map(|(_, goal)| [goal.rate, goal.cpu, goal.p99].iter().flatten().count())
            .sum();
        let judged: Vec<_> = figures.iter().filter(|figure| figure.bar.is_some()).collect();
        assert_eq!(judged.len(), goals);
        assert!(judged.iter().all(|figure| figure.reached.is_some()), "{judged:?}");
        let first = &figures[0];
        assert_eq!(first.title, "throughput, 1 stream, cross-node");
        assert_eq!(
            (first.of("bare"), first.ratio(), first.reached),
            (Some(4e9), Some(2.0), Some(true))
        );
        assert_eq!(figures[1].ratio(), Some(0.25));
        assert_eq!(figures[1].of("bare"), None, "no proxy, no CPU");
    }

    #[test]
    fn memory_has_a_bar_for_the_number_of_connections_that_it_is_about() {
        let sample = |peer, moment, bytes: u64| MemorySample {
            peer,
            moment,
            resident_bytes: vec![bytes, bytes + 1_000_000],
        };
        let samples = [
            sample("ambit", Moment::Idle, 8_000_000),
            sample("ambit", Moment::Connections(4000), 26_000_000),
            sample("ambit", Moment::Connections(10), 9_000_000),
            sample("ambit", Moment::AfterLoad, 12_000_000),
        ];
        let figures = of_memory(&samples, &measured(), &PEERS);
        let reached: Vec<_> = figures.iter().map(|figure| figure.reached).collect();
        assert_eq!(reached, [Some(true), Some(false), None, None, None]);
        assert_eq!(figures[1].of("ambit"), Some(26.5e6));
        assert_eq!(figures[4].of("peer"), Some(4e6));
    }
}
