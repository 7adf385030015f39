//! Reads what `iperf3 --json` prints.

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use super::Outcome;
use crate::scenario::CONGESTION_CONTROL;

#[derive(Deserialize)]
struct Report {
    error: Option<String>,
    end: End,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct End {
    sum_received: Option<Sum>,
    sender_tcp_congestion: Option<String>,
}

#[derive(Deserialize)]
struct Sum {
    seconds: f64,
    bytes: f64,
}

/// What the receiver got.
///
/// # Errors
/// iperf3 reports one, or used another congestion control than it should have.
pub(super) fn parse(json: &str) -> anyhow::Result<Outcome> {
    let report: Report = serde_json::from_str(json).context("iperf3 did not print its report")?;
    if let Some(error) = report.error {
        bail!("iperf3: {error}");
    }
    let used = report.end.sender_tcp_congestion.unwrap_or_default();
    ensure!(
        used == CONGESTION_CONTROL,
        "iperf3 sent with the congestion control {used:?} instead of {CONGESTION_CONTROL:?}"
    );
    let sum = report.end.sum_received.context("iperf3 reports no sum of bytes received")?;
    ensure!(sum.bytes > 0.0 && sum.seconds > 0.0, "iperf3 received nothing");
    Ok(Outcome { work: sum.bytes, seconds: sum.seconds, latency: None, errors: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{
        "start": {"version": "iperf 3.12"}, "intervals": [],
        "end": {
            "streams": [],
            "sum_sent": {"seconds": 2.0, "bytes": 3100000000, "bits_per_second": 1},
            "sum_received": {"start": 0, "end": 2.01, "seconds": 2.01, "bytes": 3000000000},
            "sender_tcp_congestion": "cubic", "receiver_tcp_congestion": "cubic"
        }
    }"#;

    #[test]
    fn the_receivers_bytes_count() {
        let outcome = parse(GOOD).unwrap();
        assert_eq!((outcome.work, outcome.seconds), (3e9, 2.01));
    }

    #[test]
    fn failures_are_told() {
        let refused = r#"{"start": {}, "end": {}, "error": "unable to connect to server"}"#;
        assert_eq!(parse(refused).unwrap_err().to_string(), "iperf3: unable to connect to server");
        let paced = parse(&GOOD.replace("cubic", "bbr")).unwrap_err().to_string();
        assert!(paced.contains("\"bbr\" instead of \"cubic\""), "{paced}");
        for broken in ["", "{}", r#"{"end": {"sender_tcp_congestion": "cubic"}}"#] {
            assert!(parse(broken).is_err(), "{broken}");
        }
        assert!(parse(&GOOD.replace("3000000000", "0")).is_err());
    }
}
