//! The results as text for people.

use comfy_table::Table;

use super::scenario::Scenario;
use super::{Results, Update, Updates};
use crate::figure::{Bar, Limit, Unit};
use crate::report::{STYLE, aligned};
use crate::results::{Summary, percentile};
use crate::scenario::Goal;

/// Until a changed route is in force, seconds, from when the controller sees it.
const UPDATE_GOAL: f64 = 0.05;

/// The whole report.
pub(crate) fn render(results: &Results, scenarios: &[Scenario]) -> String {
    format!("{}\n{}\n{}", header(results), table(results, scenarios), footer(results))
}

fn header(results: &Results) -> String {
    let mut text = results.about.header();
    for (name, version) in &results.peers {
        text.push_str(&format!("{name}: {version}\n"));
    }
    text + "Every proxy has two threads.\n"
}

fn table(results: &Results, scenarios: &[Scenario]) -> String {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(["", "", "rate", "p50", "p99", "CPU", "most memory"]);
    for scenario in scenarios {
        let of = |peer: &str| {
            let matches = |s: &&Summary| (s.of.scenario, s.of.peer) == (scenario.id, peer);
            results.measured.summaries.iter().find(matches)
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
    let seconds = |seconds: Option<f64>| seconds.map(|s| Unit::Seconds.text(s)).unwrap_or_default();
    let limit = scenario.memory.filter(|_| summary.of.peer == "ambit");
    let own = [
        summary.of.peer.to_owned(),
        Unit::PerSecond.text(summary.rate),
        seconds(summary.p50_seconds),
        seconds(summary.p99_seconds),
        seconds(summary.cpu),
        judged(summary.memory_bytes, Unit::Bytes, limit.map(Limit::AtMost)),
    ];
    let mut rows = vec![own];
    if summary.tunnel_cpu.is_some() {
        let mut tunnel = <[String; 6]>::default();
        tunnel[0] = "its node's tunnel".to_owned();
        tunnel[4] = seconds(summary.tunnel_cpu);
        rows.push(tunnel);
    }
    rows
}

fn ratios(scenario: &Scenario, ours: &Summary, theirs: &Summary) -> [String; 6] {
    let Goal { rate, cpu, p99 } = scenario.goal;
    let ratio = |of: fn(&Summary) -> Option<f64>, limit| {
        judged(of(ours).zip(of(theirs)).map(|(ours, theirs)| ours / theirs), Unit::Times, limit)
    };
    [
        "ambit : envoy".to_owned(),
        ratio(|s| Some(s.rate), rate.map(Limit::AtLeast)),
        String::new(),
        ratio(|s| s.p99_seconds, p99.map(Limit::AtMost)),
        ratio(|s| s.cpu, cpu.map(Limit::AtMost)),
        ratio(|s| s.memory_bytes, scenario.memory_ratio.map(Limit::AtMost)),
    ]
}

/// A value, and the limit that it should keep to.
fn judged(value: Option<f64>, unit: Unit, limit: Option<Limit>) -> String {
    let Some(value) = value else { return String::new() };
    let Some(limit) = limit else { return unit.text(value) };
    let mark = if limit.reached(value) { "" } else { " !" };
    format!("{} [{}]{mark}", unit.text(value), Bar::Value(limit).text(unit))
}

fn footer(results: &Results) -> String {
    let mut text = String::from(
        "\nCPU is the proxy's for each request. In brackets what Ambit aims at beside Envoy; ! marks what it misses.\n\
         Memory of nginx counts what its processes share more than once.\n",
    );
    for Updates { routes, took } in &results.updates {
        let spread = |of: fn(&Update) -> f64| {
            let mut sorted: Vec<f64> = took.iter().map(of).collect();
            sorted.sort_by(f64::total_cmp);
            let middle = Unit::Seconds.text(percentile(&sorted, 0.5)?);
            Some(format!("{middle}, {} at worst", Unit::Seconds.text(*sorted.last()?)))
        };
        if let (Some(whole), Some(seen)) = (spread(|u| u.seconds), spread(|u| u.since_seen)) {
            text.push_str(&format!(
                "A changed route, beside {routes}: everywhere {seen} after the controller has seen it [≤ {}]; in force {whole} after it was written.\n",
                Unit::Seconds.text(UPDATE_GOAL),
            ));
        }
    }
    if !results.peers.iter().any(|(name, _)| *name == "envoy") {
        text.push_str("Name an Envoy with PEER_ENVOY=… to see Ambit beside it.\n");
    }
    for complaint in results.measured.complaints() {
        text.push_str(&format!("{complaint}\n"));
    }
    text
}
