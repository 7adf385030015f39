//! Logs, traffic metrics and trace context: what every process of the mesh tells, in Istio's words.
//!
//! Names, labels and line formats are those that dashboards and log parsers of Istio ambient know, so that both
//! keep working when a proxy is replaced.

mod access;
mod chain;
mod labels;
mod logs;
mod requests;
mod trace;
mod traffic;

pub use access::{AccessLog, AccessPeer, Direction, Outcome};
pub use chain::Chain;
pub use labels::{
    ConnectionSecurity, LabelValue, PeerLabels, Reporter, RequestFlag, RequestProtocol,
    ResponseFlags, ServiceLabels, TrafficLabels,
};
pub use logs::{Filter, Format, LogError, LogGuard, LogHandle, ParseFilterError, init};
pub use requests::{RequestFigures, RequestLabels, RequestMetrics, RequestSeries};
pub use trace::TraceParent;
pub use traffic::{ConnectionMetrics, SocketGuard, TrafficMetrics};
