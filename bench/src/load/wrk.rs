//! Reads what `wrk --latency` prints.

use anyhow::{Context as _, ensure};

use super::{Latency, Outcome};

/// Requests answered, and how long they took.
///
/// # Errors
/// Something that wrk always prints is not there, or nothing was answered.
pub(super) fn parse(text: &str) -> anyhow::Result<Outcome> {
    let missing = |what: &str| format!("wrk's report has no {what}: {text:?}");
    let work: f64 = before(text, " requests in ").with_context(|| missing("number of requests"))?;
    // wrk prints the duration with two digits, the rate with seven.
    let rate: f64 = after(text, "Requests/sec:")
        .and_then(|word| word.parse().ok())
        .with_context(|| missing("rate"))?;
    ensure!(work > 0.0 && rate > 0.0, "wrk got no answer: {}", errors_line(text));
    let percentile = |name: &str| after(text, name).and_then(seconds);
    let p50 = percentile(" 50%").with_context(|| missing("median latency"))?;
    let p99 = percentile(" 99%").with_context(|| missing("99th percentile"))?;
    let latency = Some(Latency { p50, p99 });
    Ok(Outcome { work, seconds: work / rate, latency, errors: errors(text) })
}

/// The number before `mark`.
fn before(text: &str, mark: &str) -> Option<f64> {
    text.split_once(mark)?.0.split_whitespace().next_back()?.parse().ok()
}

/// The word after `mark`.
fn after<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    text.split_once(mark)?.1.split_whitespace().next()
}

/// A duration as wrk prints it: `27.45us`, `1.23ms`, `1.02s`, `2.00m`.
fn seconds(word: &str) -> Option<f64> {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale = match &word[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * scale)
}

/// Broken connections, late answers, and answers that are none.
fn errors(text: &str) -> u64 {
    let counts = errors_line(text);
    let broken: u64 = counts.split([' ', ',']).filter_map(|word| word.parse::<u64>().ok()).sum();
    let refused = after(text, "Non-2xx or 3xx responses:");
    broken + refused.and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn errors_line(text: &str) -> &str {
    text.lines()
        .find_map(|line| line.trim().strip_prefix("Socket errors:"))
        .map_or("no errors are reported", str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
Running 2s test @ http://10.244.2.2:8080/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.14ms    1.80ms  13.55ms   86.07%
    Req/Sec    18.36k     2.20k   22.45k    70.00%
  Latency Distribution
     50%   99.00us
     75%    1.77ms
     90%    3.67ms
     99%    7.65ms
  36830 requests in 2.01s, 2.63MB read
Requests/sec:  18273.33
Transfer/sec:      2.61MB
";

    #[test]
    fn requests_and_latency_are_read() {
        let outcome = parse(GOOD).unwrap();
        assert_eq!((outcome.work, outcome.errors), (36830.0, 0));
        assert!((outcome.seconds - 36830.0 / 18273.33).abs() < 1e-9);
        let latency = outcome.latency.unwrap();
        assert!((latency.p50 - 99e-6).abs() < 1e-12 && (latency.p99 - 7.65e-3).abs() < 1e-12);
    }

    #[test]
    fn errors_of_every_kind_are_counted() {
        let text = GOOD.replace(
            "Requests/sec",
            "  Socket errors: connect 0, read 3, write 0, timeout 20\n  Non-2xx or 3xx responses: 100\nRequests/sec",
        );
        assert_eq!(parse(&text).unwrap().errors, 123);
    }

    #[test]
    fn no_answers_are_an_error() {
        let text = GOOD.replace("36830 requests", "0 requests").replace(
            "Requests/sec:  18273.33",
            "  Socket errors: connect 64, read 0\nRequests/sec: 0.00",
        );
        assert_eq!(parse(&text).unwrap_err().to_string(), "wrk got no answer: connect 64, read 0");
        for broken in
            ["", "unable to connect", &GOOD.replace("99%", "98%"), &GOOD.replace("7.65ms", "7.65")]
        {
            assert!(parse(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn durations_have_units() {
        for (word, expected) in
            [("27.45us", 27.45e-6), ("1.50ms", 1.5e-3), ("1.02s", 1.02), ("2.00m", 120.0)]
        {
            assert!((seconds(word).unwrap() - expected).abs() < 1e-9, "{word}");
        }
        assert_eq!(seconds("12"), None);
        assert_eq!(seconds("us"), None);
    }
}
