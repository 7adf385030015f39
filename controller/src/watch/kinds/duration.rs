//! Durations in objects, such as `1h30m` or `500ms`.

use super::Problem;

/// No duration may be longer: a year.
const MAX: f64 = 365.0 * 86_400_000.0;

/// Milliseconds; less than one rounds up to one, but for zero.
pub(super) fn milliseconds(field: &str, text: &str) -> Result<u64, Problem> {
    parse(text).ok_or_else(|| {
        Problem::new(
            field,
            format!("{text:?} is not a duration; write it like 1h30m, 10s or 500ms"),
        )
    })
}

fn parse(text: &str) -> Option<u64> {
    let mut total = 0.0;
    let mut rest = text;
    if rest == "0" {
        return Some(0);
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let number: f64 = number.parse().ok()?;
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(end)?;
        total += number * unit_in_milliseconds(unit)?;
        rest = tail;
    }
    let valid = !text.is_empty() && total.is_finite() && total <= MAX;
    // Bounded and not negative.
    valid.then(|| total.ceil() as u64)
}

fn unit_in_milliseconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "h" => 3_600_000.0,
        "m" => 60_000.0,
        "s" => 1000.0,
        "ms" => 1.0,
        "us" | "µs" => 0.001,
        "ns" => 0.000_001,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_they_are_written() {
        for (text, expected) in [
            ("0s", Some(0)),
            ("0", Some(0)),
            ("500ms", Some(500)),
            ("1.5s", Some(1500)),
            ("1h2m3s4ms", Some(3_723_004)),
            ("10us", Some(1)),
            ("", None),
            ("s", None),
            ("10", None),
            ("-1s", None),
            ("1d", None),
            ("1..2s", None),
            ("99999999h", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
