//! The metric series of a connection's requests: nearly all of them have one of a few sets of labels, and looking a series
//! up by two dozen labels costs more than counting in it.

use ambit_telemetry::{RequestFlag, RequestSeries};
use parking_lot::Mutex;

/// Series that are remembered for one connection.
const MOST: usize = 8;

/// What of a request's labels differs among the requests of a connection. The service that is asked for does too on a
/// gateway's connections; it goes with the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeriesKey {
    /// The endpoint's number; 0 for none.
    pub endpoint: u64,
    pub status: u16,
    /// The status of a gRPC call, if there was one.
    pub grpc: Option<Option<u32>>,
    pub flag: RequestFlag,
}

/// The series that were used last, the last at the end.
#[derive(Debug, Default)]
pub(crate) struct KnownSeries(Mutex<Vec<(SeriesKey, RequestSeries)>>);

// === impl KnownSeries ===

impl KnownSeries {
    /// The series of `key`, which `find` looks up where it is not known. Where nobody answered, the labels depend on more
    /// than the key, and nothing is remembered.
    pub(crate) fn get(
        &self,
        key: SeriesKey,
        find: impl FnOnce() -> RequestSeries,
    ) -> RequestSeries {
        if key.endpoint == 0 {
            return find();
        }
        let mut known = self.0.lock();
        if let Some((_, series)) = known.iter().rfind(|(other, _)| *other == key) {
            return series.clone();
        }
        let series = find();
        if known.len() == MOST {
            known.remove(0);
        }
        known.push((key, series.clone()));
        series
    }
}
