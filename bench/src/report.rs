//! Figures as text for people.

use comfy_table::{CellAlignment, ContentLineStyle, LineStyle, Table, TableStyle};

use crate::about::About;
use crate::figure::{Figure, OTHER, SUBJECT, Unit};
use crate::peer::PeerName;

/// Two-dimensional at a glance, and still readable when pasted somewhere.
pub(crate) const STYLE: TableStyle = TableStyle::new()
    .header_separator(LineStyle::none().fill('-').junction('-'))
    .content_lines(ContentLineStyle::none());

/// The whole report: circumstances, table, verdict, and what else is to be said.
pub(crate) fn render(
    about: &About,
    peers: &[PeerName],
    figures: &[Figure],
    notes: &[String],
) -> String {
    let mut text = about.header();
    for PeerName { name, program } in peers {
        if let Some(program) = program {
            text.push_str(&format!("{}: {program}\n", title(name)));
        }
    }
    text.push_str(&format!("\n{}\n\n{}\n", table(peers, figures), verdict(figures)));
    if !peers.iter().any(|peer| peer.name == OTHER) {
        text.push_str("Name another proxy with PEER_ZTUNNEL=… to see Ambit beside it.\n");
    }
    notes.iter().for_each(|note| text.push_str(&format!("{note}\n")));
    text
}

fn table(peers: &[PeerName], figures: &[Figure]) -> String {
    let compared = [SUBJECT, OTHER].iter().all(|name| peers.iter().any(|peer| peer.name == *name));
    let mut header = vec![String::new()];
    header.extend(peers.iter().map(|peer| title(peer.name).to_owned()));
    header.extend(compared.then(|| format!("{} : {}", title(SUBJECT), title(OTHER))));
    header.extend(["aim".to_owned(), String::new()]);
    let mut table = Table::new();
    table.load_style(STYLE).set_header(header);
    for figure in figures {
        let value = |name| figure.of(name).map(|value| figure.unit.text(value));
        let mut row = vec![figure.title.clone()];
        row.extend(peers.iter().map(|peer| value(peer.name).unwrap_or_default()));
        let ratio = || figure.ratio().map(|ratio| Unit::Times.text(ratio)).unwrap_or_default();
        row.extend(compared.then(ratio));
        row.push(figure.bar.map(|bar| bar.text(figure.unit)).unwrap_or_default());
        row.push(figure.reached.map(mark).unwrap_or_default().to_owned());
        table.add_row(row);
    }
    aligned(table, 1)
}

fn mark(reached: bool) -> &'static str {
    if reached { "reached" } else { "missed" }
}

/// How many aims are reached, and which are not.
fn verdict(figures: &[Figure]) -> String {
    let judged: Vec<_> = figures.iter().filter(|figure| figure.reached.is_some()).collect();
    let missed: Vec<_> = judged.iter().filter(|figure| figure.reached == Some(false)).collect();
    let mut text = format!("{} of {} aims are reached", judged.len() - missed.len(), judged.len());
    if !missed.is_empty() {
        let names: Vec<&str> = missed.iter().map(|figure| figure.title.as_str()).collect();
        text.push_str(&format!("; missed: {}", names.join("; ")));
    }
    let open = figures.iter().filter(|figure| figure.bar.is_some() && figure.reached.is_none());
    match open.count() {
        0 => text + ".",
        count => format!("{text}; {count} cannot be judged by what was measured."),
    }
}

/// A peer's name for people.
pub(crate) fn title(peer: &str) -> &str {
    match peer {
        "bare" => "bare network",
        "ambit" => "Ambit",
        other => other,
    }
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
mod tests {
    use super::*;
    use crate::figure::{Bar, Limit};
    use crate::machine::Machine;

    fn about(load: f64) -> About {
        About {
            machine: Machine {
                processor: "Some CPU".to_owned(),
                cores: 2,
                kernel: "6.18.0".to_owned(),
                load: Some(load),
            },
            congestion_control: "cubic",
            open_files: Some(1024),
            command: "bench tunnel".to_owned(),
            rounds: 5,
            seconds: 4,
            took_seconds: 65.4,
        }
    }

    fn figures(with_peer: bool) -> Vec<Figure> {
        let values = |bare, ambit, peer: f64| {
            [("bare", bare), ("ambit", ambit), ("peer", with_peer.then_some(peer))]
        };
        let at_most = |limit| Some(Bar::Ratio(Limit::AtMost(limit)));
        vec![
            Figure::new(
                "throughput, 1 stream, cross-node",
                Unit::BytesPerSecond,
                values(Some(4e9), Some(2e9), 1e9),
                Some(Bar::Ratio(Limit::AtLeast(1.4))),
            ),
            Figure::new(
                "its CPU",
                Unit::SecondsPerByte,
                values(None, Some(0.9e-9), 1e-9),
                at_most(0.8),
            ),
            Figure::new("p99", Unit::Seconds, values(Some(1e-3), None, 3e-3), at_most(1.0)),
            Figure::new(
                "memory, idle",
                Unit::Bytes,
                values(None, Some(9.5e6), 14e6),
                Some(Bar::Value(Limit::AtMost(9e6))),
            ),
            Figure::new("memory after all load", Unit::Bytes, values(None, Some(12e6), 20e6), None),
        ]
    }

    fn peers(with_peer: bool) -> Vec<PeerName> {
        let program = |name: &str| Some(format!("/opt/{name}/ztunnel"));
        let mut peers = vec![
            PeerName { name: "bare", program: None },
            PeerName { name: "ambit", program: program("ambit") },
        ];
        peers.extend(with_peer.then(|| PeerName { name: "peer", program: program("peer") }));
        peers
    }

    #[test]
    fn a_run_beside_a_peer_reads_as_recorded() {
        let notes = ["ambit, requests-64, same-node, round 1: wrk got no answer".to_owned()];
        insta::assert_snapshot!(render(&about(3.25), &peers(true), &figures(true), &notes));
    }

    #[test]
    fn a_run_without_a_peer_reads_as_recorded() {
        insta::assert_snapshot!(render(&about(0.1), &peers(false), &figures(false), &[]));
    }
}
