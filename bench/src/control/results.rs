//! What was found out about a control plane.

use serde::Serialize;

use super::figures::Id;
use super::shape::Shape;
use crate::machine::Machine;

/// The JSON file's content.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) command: String,
    /// The control plane: a program, or where a live one is.
    pub(crate) subject: String,
    /// Where its objects are.
    pub(crate) source: &'static str,
    pub(crate) shape: Shape,
    pub(crate) figures: Vec<Figure>,
    pub(crate) phases: Vec<Phase>,
    pub(crate) took_seconds: f64,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) id: Id,
    /// Seconds, bytes or a rate.
    pub(crate) value: f64,
}

/// CPU time of everybody who shares the machine during a part of the measurement, seconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) seconds: f64,
    pub(crate) subject: Option<f64>,
    /// The simulated proxies and whoever makes the changes.
    pub(crate) driver: f64,
    pub(crate) api_server: f64,
}

/// The value that a share of all values does not exceed.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(&values, 0.5), Some(100.0));
        assert_eq!(percentile(&values, 0.99), Some(198.0));
        assert_eq!(percentile(&[7.0], 0.99), Some(7.0));
        assert_eq!(percentile(&[], 0.5), None);
    }
}
