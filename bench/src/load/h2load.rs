//! Runs h2load, which offers requests at a fixed rate and speaks HTTP/2, and reads the log that it writes.

use std::path::Path;
use std::time::Duration;

use ambit_sandbox::Room;
use anyhow::{Context as _, ensure};

use super::{GRACE, Latency, Outcome};
use crate::program;
use crate::results::percentile;

/// Runs it with `options` from a client's namespace for `seconds`, with one thread.
///
/// # Errors
/// It failed, or nothing was answered.
pub(crate) async fn run(
    program: &Path,
    client: &Room,
    options: &[&str],
    seconds: u32,
) -> anyhow::Result<Outcome> {
    let log = tempfile::NamedTempFile::new()?;
    let mut command = client.command(program);
    command.args(["--threads", "1", "--duration", &seconds.to_string()]);
    command.arg("--log-file").arg(log.path()).args(options);
    let limit = Duration::from_secs(seconds.into()) + GRACE;
    let text = program::output("h2load", client, command, limit).await?;
    let log = std::fs::read_to_string(log.path()).context("h2load left no log")?;
    parse(&log, seconds).with_context(|| {
        let words: Vec<_> = text.split_whitespace().collect();
        format!("h2load says: {}", words.join(" "))
    })
}

/// Lines of start, status and duration, in microseconds.
fn parse(log: &str, seconds: u32) -> anyhow::Result<Outcome> {
    let mut latencies = Vec::new();
    let mut errors = 0;
    for line in log.lines() {
        let mut fields = line.split('\t').skip(1);
        let (status, took) = (fields.next(), fields.next());
        let took = took.and_then(|took| took.parse::<f64>().ok());
        match (status, took) {
            (Some(status), Some(took)) if status.starts_with('2') => latencies.push(took / 1e6),
            _ => errors += 1,
        }
    }
    ensure!(!latencies.is_empty(), "no request was answered, {errors} failed");
    latencies.sort_by(f64::total_cmp);
    let at = |share| percentile(&latencies, share);
    let latency = at(0.5).zip(at(0.99)).map(|(p50, p99)| Latency { p50, p99 });
    Ok(Outcome { work: latencies.len() as f64, seconds: seconds.into(), latency, errors })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_failures_are_told_apart() {
        let line = |status: u32, took: u32| format!("1700000000000000\t{status}\t{took}\n");
        let log: String = (1..=100).map(|n| line(200, n * 10)).collect();
        let outcome = parse(&(log + &line(503, 5) + "broken\n"), 2).unwrap();
        assert_eq!((outcome.work, outcome.seconds, outcome.errors), (100.0, 2.0, 2));
        assert_eq!(outcome.latency, Some(Latency { p50: 500e-6, p99: 990e-6 }));
    }

    #[test]
    fn nothing_answered_is_an_error() {
        assert!(parse("", 2).is_err());
        assert_eq!(
            parse("1\t503\t7\n", 2).unwrap_err().to_string(),
            "no request was answered, 1 failed"
        );
    }
}
