//! One line of a report: a figure of every peer, and what is expected of Ambit's.

use serde::Serialize;

/// A figure as it was measured for each peer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// What it is about, for people.
    pub(crate) title: String,
    pub(crate) unit: Unit,
    pub(crate) values: Vec<Value>,
    pub(crate) bar: Option<Bar>,
    /// `None` where there is no bar, or nobody to compare with.
    pub(crate) reached: Option<bool>,
}

/// A peer's figure.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Value {
    pub(crate) peer: &'static str,
    pub(crate) value: f64,
}

/// What a figure counts; the base units are bytes and seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Unit {
    /// Shown in bits.
    BytesPerSecond,
    PerSecond,
    SecondsPerByte,
    Seconds,
    Bytes,
    Times,
    Count,
}

/// What Ambit aims at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bar {
    /// Its figure divided by the other proxy's.
    Ratio(Limit),
    /// Its figure alone.
    Value(Limit),
}

/// A limit, which is reached at the limit itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

/// The peer whose figures the bars are about.
pub(crate) const SUBJECT: &str = "ambit";
/// The peer that it is compared with.
pub(crate) const OTHER: &str = "peer";

// === impl Figure ===

impl Figure {
    /// A figure of several peers; those that have none are left out.
    pub(crate) fn new(
        title: impl Into<String>,
        unit: Unit,
        values: impl IntoIterator<Item = (&'static str, Option<f64>)>,
        bar: Option<Bar>,
    ) -> Self {
        let values =
            values.into_iter().filter_map(|(peer, value)| Some(Value { peer, value: value? }));
        let mut figure =
            Self { title: title.into(), unit, values: values.collect(), bar, reached: None };
        figure.reached = figure.judged();
        figure
    }

    /// What was measured for a peer.
    pub(crate) fn of(&self, peer: &str) -> Option<f64> {
        self.values.iter().find(|value| value.peer == peer).map(|value| value.value)
    }

    /// Ambit's in proportion to the other proxy's, unless that is nothing.
    pub(crate) fn ratio(&self) -> Option<f64> {
        let ratio = self.of(SUBJECT)? / self.of(OTHER)?;
        ratio.is_finite().then_some(ratio)
    }

    /// The bar in the figure's own unit, where that is known.
    pub(crate) fn limit(&self) -> Option<f64> {
        match self.bar? {
            Bar::Value(limit) => Some(limit.number()),
            Bar::Ratio(limit) => Some(limit.number() * self.of(OTHER)?),
        }
    }

    fn judged(&self) -> Option<bool> {
        match self.bar? {
            Bar::Value(limit) => Some(limit.reached(self.of(SUBJECT)?)),
            Bar::Ratio(limit) => Some(limit.reached(self.ratio()?)),
        }
    }
}

// === impl Bar ===

impl Bar {
    /// The bar as text, in the unit of its figure.
    pub(crate) fn text(self, unit: Unit) -> String {
        let (limit, unit) = match self {
            Self::Ratio(limit) => (limit, Unit::Times),
            Self::Value(limit) => (limit, unit),
        };
        let sign = match limit {
            Limit::AtLeast(_) => "≥",
            Limit::AtMost(_) => "≤",
        };
        format!("{sign} {}", unit.text(limit.number()))
    }
}

// === impl Limit ===

impl Limit {
    pub(crate) fn number(self) -> f64 {
        match self {
            Self::AtLeast(number) | Self::AtMost(number) => number,
        }
    }

    pub(crate) fn reached(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

// === impl Unit ===

impl Unit {
    /// A value with three digits and the unit that suits it.
    pub(crate) fn text(self, value: f64) -> String {
        let (scaled, unit) = match self {
            Self::BytesPerSecond => (value * 8.0 / 1e9, " Gb/s"),
            Self::PerSecond if value < 1e3 => (value, " /s"),
            Self::PerSecond => (value / 1e3, " k/s"),
            Self::SecondsPerByte => (value * 1e9, " s/GB"),
            Self::Seconds if value.abs() < 1e-6 => (value * 1e9, " ns"),
            Self::Seconds if value.abs() < 1e-3 => (value * 1e6, " µs"),
            Self::Seconds if value.abs() < 1.0 => (value * 1e3, " ms"),
            Self::Seconds => (value, " s"),
            Self::Bytes if value.abs() < 1e6 => (value / 1e3, " kB"),
            Self::Bytes => (value / 1e6, " MB"),
            Self::Times => return format!("{value:.2} ×"),
            Self::Count => return format!("{value:.0}"),
        };
        digits(scaled) + unit
    }
}

/// A number of things: `1 worker`, `2 workers`.
pub(crate) fn counted(count: u32, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
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
    fn values_have_three_digits_and_a_unit() {
        for (unit, value, expected) in [
            (Unit::BytesPerSecond, 1.45e9, "11.6 Gb/s"),
            (Unit::PerSecond, 4_321.0, "4.32 k/s"),
            (Unit::PerSecond, 432.0, "432 /s"),
            (Unit::SecondsPerByte, 0.92e-9, "0.92 s/GB"),
            (Unit::Seconds, 96e-9, "96.0 ns"),
            (Unit::Seconds, 211.4e-6, "211 µs"),
            (Unit::Seconds, 0.0034, "3.40 ms"),
            (Unit::Seconds, 2.5, "2.50 s"),
            (Unit::Bytes, 6_600.0, "6.60 kB"),
            (Unit::Bytes, 14.2e6, "14.2 MB"),
            (Unit::Times, 0.7, "0.70 ×"),
            (Unit::Count, 2.0, "2"),
        ] {
            assert_eq!(unit.text(value), expected);
        }
    }

    #[test]
    fn bars_are_about_ambit_alone_or_beside_the_other_proxy() {
        let ours = ("ambit", Some(6.0));
        for (values, bar, reached, limit) in [
            (vec![ours], Bar::Value(Limit::AtMost(6.0)), Some(true), Some(6.0)),
            (vec![ours], Bar::Value(Limit::AtLeast(6.1)), Some(false), Some(6.1)),
            (vec![ours], Bar::Ratio(Limit::AtMost(0.6)), None, None),
            (
                vec![ours, ("peer", Some(10.0))],
                Bar::Ratio(Limit::AtMost(0.6)),
                Some(true),
                Some(6.0),
            ),
            (
                vec![ours, ("peer", Some(5.0))],
                Bar::Ratio(Limit::AtLeast(1.4)),
                Some(false),
                Some(7.0),
            ),
            (
                vec![("ambit", None), ("peer", Some(5.0))],
                Bar::Value(Limit::AtMost(1.0)),
                None,
                Some(1.0),
            ),
        ] {
            let figure = Figure::new("f", Unit::Count, values, Some(bar));
            assert_eq!((figure.reached, figure.limit()), (reached, limit), "{figure:?}");
        }
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!(counted(1, "policy", "policies"), "1 policy");
        assert_eq!(counted(0, "policy", "policies"), "0 policies");
    }

    #[test]
    fn bars_say_what_they_are_about() {
        assert_eq!(Bar::Ratio(Limit::AtLeast(1.4)).text(Unit::BytesPerSecond), "≥ 1.40 ×");
        assert_eq!(Bar::Value(Limit::AtMost(9e6)).text(Unit::Bytes), "≤ 9.00 MB");
    }
}
