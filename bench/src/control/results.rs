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
