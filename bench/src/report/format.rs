//! Figures with their units.

use crate::scenario::Load;

/// A peer's name for people.
pub(super) fn title(peer: &str) -> &str {
    match peer {
        "bare" => "bare network",
        "ambit" => "Ambit",
        other => other,
    }
}

/// Bytes or requests a second.
pub(super) fn rate(load: Load, per_second: f64) -> String {
    match load {
        Load::Stream { .. } => format!("{} Gb/s", digits(per_second * 8.0 / 1e9)),
        Load::Requests { .. } => format!("{} k/s", digits(per_second / 1e3)),
    }
}

/// CPU seconds for each byte or request.
pub(super) fn cpu(load: Load, seconds: f64) -> String {
    match load {
        Load::Stream { .. } => format!("{} s/GB", digits(seconds * 1e9)),
        Load::Requests { .. } => format!("{} µs", digits(seconds * 1e6)),
    }
}

/// Seconds as milliseconds.
pub(crate) fn latency(seconds: f64) -> String {
    format!("{} ms", digits(seconds * 1e3))
}

/// Bytes as megabytes.
pub(crate) fn megabytes(bytes: f64) -> String {
    format!("{} MB", digits(bytes / 1e6))
}

/// A share of all requests.
pub(super) fn per_mille(count: u64, of: f64) -> String {
    let count = u32::try_from(count).map_or(f64::INFINITY, f64::from);
    format!("{} ‰", digits(count * 1e3 / of))
}

/// A ratio that should be high.
pub(crate) fn at_least(ratio: Option<f64>, goal: Option<f64>) -> String {
    with_goal(ratio, goal, "≥", |ratio, goal| ratio >= goal)
}

/// A ratio that should be low.
pub(crate) fn at_most(ratio: Option<f64>, goal: Option<f64>) -> String {
    with_goal(ratio, goal, "≤", |ratio, goal| ratio <= goal)
}

fn with_goal(
    ratio: Option<f64>,
    goal: Option<f64>,
    sign: &str,
    met: fn(f64, f64) -> bool,
) -> String {
    match (ratio, goal) {
        (None, _) => String::new(),
        (Some(ratio), None) => format!("{ratio:.2} ×"),
        (Some(ratio), Some(goal)) => {
            let mark = if met(ratio, goal) { "" } else { " !" };
            format!("{ratio:.2} × [{sign} {goal:.2}]{mark}")
        }
    }
}

/// Three significant digits.
pub(crate) fn digits(value: f64) -> String {
    match value.abs() {
        large if large >= 99.95 => format!("{value:.0}"),
        middle if middle >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        let stream = Load::Stream { streams: 1 };
        let requests = Load::Requests { connections: 1, keep_alive: true };
        assert_eq!(rate(stream, 1.45e9), "11.6 Gb/s");
        assert_eq!(rate(requests, 4_321.0), "4.32 k/s");
        assert_eq!(cpu(stream, 0.92e-9), "0.92 s/GB");
        assert_eq!(cpu(requests, 211.4e-6), "211 µs");
        assert_eq!(
            (latency(0.0004), megabytes(14.2e6)),
            ("0.40 ms".to_owned(), "14.2 MB".to_owned())
        );
        assert_eq!(per_mille(3, 1500.0), "2.00 ‰");
    }

    #[test]
    fn missed_goals_are_marked() {
        assert_eq!(at_least(Some(1.5), Some(1.4)), "1.50 × [≥ 1.40]");
        assert_eq!(at_least(Some(1.3), Some(1.4)), "1.30 × [≥ 1.40] !");
        assert_eq!(at_most(Some(0.7), Some(0.6)), "0.70 × [≤ 0.60] !");
        assert_eq!(at_most(Some(0.7), None), "0.70 ×");
        assert_eq!(at_most(None, Some(0.6)), "");
    }
}
