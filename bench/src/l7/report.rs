//! The results as text for people.

use comfy_table::Table;

use super::results::{Results, Summary, Updates};
use super::scenario::Scenario;
use crate::report::{STYLE, aligned, at_least, at_most, digits, latency, megabytes};
use crate::results::percentile;

/// Until a changed route is in force, seconds, from when the controller sees it.
const UPDATE_GOAL: f64 = 0.05;

/// The whole report.
pub(crate) fn render(results: &Results, scenarios: &[Scenario]) -> String {
    format!("{}\n{}\n{}", header(results), table(results, scenarios), footer(results))
}

fn header(results: &Results) -> String {
    let (machine, load) = results.machine.described();
    let mut text = format!(
        "{}\n{machine}, {} in all namespaces, {load}\n\
         medians of {} × {} s, peers taking turns; 2 threads each; {:.0} s in all\n",
        results.command,
        results.congestion_control,
        results.rounds,
        results.seconds,
        results.took_seconds,
    );
    for (name, version) in &results.peers {
        text.push_str(&format!("{name}: {version}\n"));
    }
    if results.machine.busy() {
        text.push_str("The machine is busy, or was a minute ago: look at the ratios only.\n");
    }
    text
}

fn table(results: &Results, scenarios: &[Scenario]) -> String {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(["", "", "rate", "p50", "p99", "CPU", "most memory"]);
    for scenario in scenarios {
        let of = |peer: &str| {
            let matches = |s: &&Summary| (s.of.scenario, s.of.peer) == (scenario.id, peer);
            results.summaries.iter().find(matches)
        };
        let mut rows: Vec<_> = results
            .peers
            .iter()
            .filter_map(|(name, _)| of(name))
            .flat_map(|summary| figures(scenario, summary))
            .collect();
        rows.extend(
            of("ambit").zip(of("envoy")).map(|(ours, theirs)| ratios(scenario, ours, theirs)),
        );
        let mut title = scenario.title;
        for row in rows {
            table.add_row([title.to_owned()].into_iter().chain(row).collect::<Vec<_>>());
            title = "";
        }
    }
    aligned(table, 2)
}

/// A line of a peer, and one of the node's tunnel where that is in the path.
fn figures(scenario: &Scenario, summary: &Summary) -> Vec<[String; 6]> {
    let cpu = |seconds: f64| format!("{} µs", digits(seconds * 1e6));
    let limit = scenario.memory.filter(|_| summary.of.peer == "ambit");
    let own = [
        summary.of.peer.to_owned(),
        format!("{} k/s", digits(summary.rate / 1e3)),
        summary.p50_seconds.map(latency).unwrap_or_default(),
        summary.p99_seconds.map(latency).unwrap_or_default(),
        summary.cpu.map(cpu).unwrap_or_default(),
        summary.memory_bytes.map(|bytes| memory(bytes, limit)).unwrap_or_default(),
    ];
    let mut rows = vec![own];
    if let Some(seconds) = summary.tunnel_cpu {
        let mut tunnel = <[String; 6]>::default();
        tunnel[0] = "its node's tunnel".to_owned();
        tunnel[4] = cpu(seconds);
        rows.push(tunnel);
    }
    rows
}

/// Bytes, and the most that there should be.
fn memory(bytes: f64, limit: Option<f64>) -> String {
    let Some(limit) = limit else { return megabytes(bytes) };
    let mark = if bytes <= limit { "" } else { " !" };
    format!("{} [≤ {}]{mark}", megabytes(bytes), megabytes(limit))
}

fn ratios(scenario: &Scenario, ours: &Summary, theirs: &Summary) -> [String; 6] {
    let goal = scenario.goal;
    let ratio = |of: fn(&Summary) -> Option<f64>| Some(of(ours)? / of(theirs)?);
    [
        "ambit : envoy".to_owned(),
        at_least(ratio(|s| Some(s.rate)), goal.rate),
        String::new(),
        at_most(ratio(|s| s.p99_seconds), goal.p99),
        at_most(ratio(|s| s.cpu), goal.cpu),
        at_most(ratio(|s| s.memory_bytes), scenario.memory_ratio),
    ]
}

fn footer(results: &Results) -> String {
    let mut text = String::from(
        "\nCPU is the proxy's for each request. In brackets what Ambit aims at beside Envoy; ! marks what it misses.\n\
         Memory of nginx counts what its processes share more than once.\n",
    );
    for Updates { routes, seconds } in &results.updates {
        let mut sorted = seconds.clone();
        sorted.sort_by(f64::total_cmp);
        if let (Some(middle), Some(worst)) = (percentile(&sorted, 0.5), sorted.last()) {
            text.push_str(&format!(
                "A changed route, beside {routes}, is in force after {}, {} at worst [≤ {}].\n",
                latency(middle),
                latency(*worst),
                latency(UPDATE_GOAL),
            ));
        }
    }
    if !results.peers.iter().any(|(name, _)| *name == "envoy") {
        text.push_str("Name an Envoy with PEER_ENVOY=… to see Ambit beside it.\n");
    }
    for summary in results.summaries.iter().filter(|summary| summary.errors > 0) {
        text.push_str(&format!(
            "{}, {}: {} requests failed\n",
            summary.of.peer, summary.of.scenario, summary.errors
        ));
    }
    for failure in &results.failures {
        text.push_str(&format!(
            "{}, {}, round {}: {}\n",
            failure.of.peer, failure.of.scenario, failure.round, failure.error
        ));
    }
    text
}
