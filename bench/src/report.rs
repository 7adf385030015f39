//! The results as text for people.

mod format;

use comfy_table::{CellAlignment, ContentLineStyle, LineStyle, Table, TableStyle};

use crate::memory::{MemorySample, Moment};
use crate::results::{Results, Summary, median};
use crate::scenario::{Goal, Load, MEMORY_GOALS, Placement, Scenario};
pub(crate) use format::digits;
pub(crate) use format::{at_least, at_most, latency, megabytes};
use format::{cpu, per_mille, rate, title};

/// Two-dimensional at a glance, and still readable when pasted somewhere.
pub(crate) const STYLE: TableStyle = TableStyle::new()
    .header_separator(LineStyle::none().fill('-').junction('-'))
    .content_lines(ContentLineStyle::none());

/// The whole report.
pub(crate) fn render(results: &Results, scenarios: &[Scenario]) -> String {
    let mut text = header(results);
    text.push_str(&format!("\n{}\n", loads(results, scenarios)));
    if !results.memory.is_empty() {
        text.push_str(&format!("\n{}\n", memory(results)));
    }
    text.push_str(&footer(results));
    text
}

fn header(results: &Results) -> String {
    let (machine, load) = results.machine.described();
    let mut text = format!(
        "{}\n{machine}, {} in all namespaces, {load}\n\
         medians of {} × {} s, peers taking turns; {:.0} s in all\n",
        results.command,
        results.congestion_control,
        results.rounds,
        results.seconds,
        results.took_seconds,
    );
    for peer in &results.peers {
        if let Some(program) = &peer.program {
            text.push_str(&format!("{}: {program}\n", title(peer.name)));
        }
    }
    if results.machine.busy() {
        text.push_str("The machine is busy, or was a minute ago: look at the ratios only.\n");
    }
    text
}

fn loads(results: &Results, scenarios: &[Scenario]) -> String {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(["", "", "", "rate", "p99", "CPU, all proxies"]);
    for scenario in scenarios {
        for placement in Placement::ALL {
            let mut names = [scenario.title, placement.title()];
            for row in group(results, scenario, placement) {
                let cells = names.map(str::to_owned).into_iter().chain(row);
                table.add_row(cells.collect::<Vec<_>>());
                names = ["", ""];
            }
        }
    }
    aligned(table, 3)
}

/// The lines of one scenario: each peer, then Ambit in proportion to each other proxy.
fn group(results: &Results, scenario: &Scenario, placement: Placement) -> Vec<[String; 4]> {
    let of = |peer: &str| {
        let matches = |s: &&Summary| {
            (s.of.scenario, s.of.placement, s.of.peer) == (scenario.id, placement, peer)
        };
        results.summaries.iter().find(matches)
    };
    let mut rows: Vec<_> =
        results.peers.iter().map(|peer| figures(scenario.load, peer.name, of(peer.name))).collect();
    for (subject, other) in pairs(results) {
        if let (Some(ours), Some(theirs)) = (of(subject), of(other)) {
            rows.push(ratios(ours, theirs, scenario.goal(placement)));
        }
    }
    rows
}

/// Who is compared with whom: the subject with every other that has a proxy.
fn pairs(results: &Results) -> impl Iterator<Item = (&'static str, &'static str)> {
    let proxied = || results.peers.iter().filter(|peer| peer.program.is_some());
    let subjects = proxied().filter(|peer| peer.subject);
    subjects.flat_map(move |subject| {
        proxied().filter(|peer| !peer.subject).map(|other| (subject.name, other.name))
    })
}

fn figures(load: Load, peer: &str, summary: Option<&Summary>) -> [String; 4] {
    let Some(summary) = summary else {
        return [title(peer).to_owned(), "failed".to_owned(), String::new(), String::new()];
    };
    [
        title(peer).to_owned(),
        rate(load, summary.rate),
        summary.p99_seconds.map(latency).unwrap_or_default(),
        summary.cpu.map(|seconds| cpu(load, seconds)).unwrap_or_default(),
    ]
}

fn ratios(ours: &Summary, theirs: &Summary, goal: Goal) -> [String; 4] {
    let ratio = |of: fn(&Summary) -> Option<f64>| Some(of(ours)? / of(theirs)?);
    [
        format!("{} : {}", title(ours.of.peer), title(theirs.of.peer)),
        at_least(ratio(|s| Some(s.rate)), goal.rate),
        at_most(ratio(|s| s.p99_seconds), goal.p99),
        at_most(ratio(|s| s.cpu), goal.cpu),
    ]
}

fn memory(results: &Results) -> String {
    let mut table = Table::new();
    let proxied: Vec<_> = results.peers.iter().filter(|peer| peer.program.is_some()).collect();
    let pairs: Vec<_> = pairs(results).collect();
    let mut header = vec!["resident memory, mean of the nodes".to_owned()];
    header.extend(proxied.iter().map(|peer| title(peer.name).to_owned()));
    header
        .extend(pairs.iter().map(|(ours, theirs)| format!("{} : {}", title(ours), title(theirs))));
    table.load_style(STYLE).set_header(header);

    let mut moments: Vec<Moment> = Vec::new();
    for sample in &results.memory {
        if !moments.contains(&sample.moment) {
            moments.push(sample.moment);
        }
    }
    for moment in moments {
        let of = |peer: &str| {
            let sample = results.memory.iter().find(|s| (s.peer, s.moment) == (peer, moment));
            sample.and_then(MemorySample::mean)
        };
        let (name, goal) = match moment {
            Moment::Idle => ("idle".to_owned(), Some(MEMORY_GOALS.idle)),
            Moment::Connections(count) => {
                let (of, goal) = MEMORY_GOALS.connections;
                (format!("{count} open connections"), (count == of).then_some(goal))
            }
            Moment::AfterLoad => ("after all load".to_owned(), None),
        };
        let ratio = |ours: &str, theirs: &str| Some(of(ours)? / of(theirs)?);
        let mut row = vec![name];
        row.extend(proxied.iter().map(|peer| of(peer.name).map(megabytes).unwrap_or_default()));
        row.extend(pairs.iter().map(|(ours, theirs)| at_most(ratio(ours, theirs), goal)));
        table.add_row(row);
    }
    aligned(table, 1)
}

fn footer(results: &Results) -> String {
    let mut text = String::from("\n");
    let spread = |name: &str, values: Vec<f64>| {
        let worst = values.iter().copied().fold(0.0, f64::max);
        median(&values).map(|median| {
            format!("{name} ±{:.0} % (worst ±{:.0} %)", median * 100.0, worst * 100.0)
        })
    };
    let rates = spread("rate", results.summaries.iter().map(|s| s.rate_spread).collect());
    let cpu = spread("CPU", results.summaries.iter().filter_map(|s| s.cpu_spread).collect());
    let spreads: Vec<_> = [rates, cpu].into_iter().flatten().collect();
    if results.rounds > 1 && !spreads.is_empty() {
        text.push_str(&format!(
            "Repeats differ: {}; smaller differences mean nothing.\n",
            spreads.join(", ")
        ));
    }
    if pairs(results).next().is_some() {
        text.push_str("In brackets what Ambit aims at; ! marks what it misses.\n");
    } else {
        text.push_str("Name another proxy with PEER_ZTUNNEL=… to see Ambit beside it.\n");
    }
    for summary in results.summaries.iter().filter(|summary| summary.errors > 0) {
        let requests: f64 =
            results.samples.iter().filter(|s| s.of == summary.of).map(|s| s.work).sum();
        let (of, share) = (&summary.of, per_mille(summary.errors, requests));
        text.push_str(&format!(
            "{}, {}, {}: {} requests failed ({share})\n",
            title(of.peer),
            of.scenario,
            of.placement.title(),
            summary.errors
        ));
    }
    for failure in &results.failures {
        let of = &failure.of;
        text.push_str(&format!(
            "{}, {}, {}, round {}: {}\n",
            title(of.peer),
            of.scenario,
            of.placement.title(),
            failure.round,
            failure.error
        ));
    }
    text
}

/// The table's text, columns from `numbers` on aligned to the right, nothing at the ends of lines.
pub(crate) fn aligned(mut table: Table, numbers: usize) -> String {
    for column in table.column_iter_mut().skip(numbers) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests;
