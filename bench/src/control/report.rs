//! The results as text for people.

use comfy_table::Table;

use super::figures::{Bar, Definition, FIGURES, Unit};
use super::results::Results;
use crate::figure::digits;
use crate::report::{STYLE, aligned};

/// The whole report.
pub(crate) fn render(results: &Results) -> String {
    format!("{}\n{}\n\n{}\n{}", header(results), figures(results), phases(results), FOOTER)
}

const FOOTER: &str = "\nA change has arrived when the last proxy has sent its acknowledgement; it counts from the moment the API server's\n\
    answer was there, or where the figure says so from when it was sent. CPU in seconds.\n";

fn header(results: &Results) -> String {
    let (machine, load) = results.machine.described();
    let shape = results.shape;
    let mut text = format!(
        "{}\n{}, objects from {}: {} pods, {} services, {} subscribers\n\
         {machine}, {load}; {:.0} s in all\n",
        results.command,
        results.subject,
        results.source,
        shape.pods,
        shape.services,
        shape.nodes,
        results.took_seconds,
    );
    if results.machine.busy() {
        text.push_str("The machine is busy, or was a minute ago: look at the CPU times only.\n");
    }
    text
}

fn figures(results: &Results) -> String {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(["", "measured", "bar", "", "istiod"]);
    for definition in FIGURES {
        let Some(figure) = results.figures.iter().find(|f| f.id == definition.id) else { continue };
        let (bar, istiod) = definition.reference(results.shape);
        table.add_row([
            definition.title.to_owned(),
            text(definition.unit, figure.value),
            bar.map(|bar| bar_text(definition, bar)).unwrap_or_default(),
            bar.map(|bar| mark(bar.is_met(figure.value))).unwrap_or_default().to_owned(),
            istiod.to_owned(),
        ]);
    }
    aligned(table, 1)
}

fn phases(results: &Results) -> String {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(["CPU", "took", "control plane", "driver", "API server"]);
    for phase in &results.phases {
        let seconds = |value: f64| format!("{} s", digits(value));
        table.add_row([
            phase.name.to_owned(),
            seconds(phase.seconds),
            phase.subject.map(seconds).unwrap_or_default(),
            seconds(phase.driver),
            seconds(phase.api_server),
        ]);
    }
    aligned(table, 1)
}

fn mark(met: bool) -> &'static str {
    if met { "✓" } else { "✗" }
}

fn bar_text(definition: &Definition, bar: Bar) -> String {
    match bar {
        Bar::AtMost(most) => format!("≤ {}", text(definition.unit, most)),
        Bar::AtLeast(least) => format!("≥ {}", text(definition.unit, least)),
    }
}

fn text(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Seconds if value < 1.0 => format!("{} ms", digits(value * 1e3)),
        Unit::Seconds | Unit::CpuSeconds => format!("{} s", digits(value)),
        Unit::Bytes => format!("{} MB", digits(value / 1e6)),
        Unit::PerCpuSecond => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::figures::Id;
    use crate::control::results::{Figure, Phase};
    use crate::control::shape::Shape;
    use crate::machine::Machine;

    fn results(shape: Shape, load: f64, figures: &[(Id, f64)], subject: Option<f64>) -> Results {
        let figures = figures.iter().map(|(id, value)| Figure { id: *id, value: *value });
        let phase = |name| Phase { name, seconds: 8.21, subject, driver: 6.5, api_server: 0.04 };
        Results {
            machine: Machine {
                processor: "Some CPU".to_owned(),
                cores: 2,
                kernel: "6.18.0".to_owned(),
                load: Some(load),
            },
            command: "bench control".to_owned(),
            subject: "/opt/ambit/controller".to_owned(),
            source: "an API server",
            shape,
            figures: figures.collect(),
            phases: vec![phase("all connect at once"), phase("burst of changes")],
            took_seconds: 230.4,
        }
    }

    #[test]
    fn a_run_of_the_usual_mesh_reads_as_recorded() {
        let figures = [
            (Id::StartTime, 1.234),
            (Id::StartCpu, 3.4),
            (Id::StartPeak, 150e6),
            (Id::MemoryAlone, 120e6),
            (Id::OneSync, 0.0421),
            (Id::OneSyncBytes, 7_612_345.0),
            (Id::BurstP50, 0.09),
            (Id::BurstP99, 0.151),
            (Id::FastP50, 1.5),
            (Id::Certificates, 2_345.6),
        ];
        insta::assert_snapshot!(render(&results(Shape::USUAL, 0.1, &figures, Some(7.9))));
    }

    #[test]
    fn a_live_control_plane_of_another_mesh_reads_as_recorded() {
        let figures = [(Id::OneSync, 0.3), (Id::SlowP99, 0.2)];
        insta::assert_snapshot!(render(&results(Shape::LARGE, 3.0, &figures, None)));
    }

    #[test]
    fn the_file_has_every_figure_by_name() {
        let results = results(Shape::USUAL, 0.1, &[(Id::OneSync, 0.05)], Some(1.0));
        let json = serde_json::to_value(results).unwrap();
        assert_eq!(json["figures"][0], serde_json::json!({"id": "one-sync", "value": 0.05}));
        assert_eq!(json["phases"][1]["name"], "burst of changes");
        assert_eq!(json["shape"]["pods"], 20_000);
    }
}
