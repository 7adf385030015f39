//! The certificates that both nodes use, as their ztunnels show them.

use std::collections::BTreeSet;

use ambit_sandbox::Component;
use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::stage::Stage;
use crate::up::one_line;

/// The identities of the meshed pods; those that have spoken over the wire first.
const MESHED: [&str; 3] = [
    "spiffe://cluster.local/ns/hello/sa/server",
    "spiffe://cluster.local/ns/visitors/sa/visitor",
    "spiffe://cluster.local/ns/hello/sa/neighbour",
];
/// How many of them must have a certificate by now; the others get one when they need it.
const SPOKEN: usize = 2;

/// Shows every certificate, and checks that the meshed pods have theirs and nobody else has one.
pub(super) async fn show(stage: &Stage<'_>) -> Result<()> {
    let mut identities = BTreeSet::new();
    for node in stage.sandbox.nodes() {
        let ztunnel = Component::Ztunnel(node.name().to_owned());
        let (status, text) =
            stage.sandbox.get(&ztunnel, 15000, "/config_dump").await.map_err(one_line)?;
        ensure!(status == 200, "the ztunnel on {} answers {status}", node.name());
        let dump: Value = serde_json::from_str(&text).context("config_dump is no JSON")?;
        let all = dump.get("certificates").and_then(Value::as_array).cloned().unwrap_or_default();
        for certificate in &all {
            let text = |pointer: &str| {
                certificate.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
            };
            let identity = text("/identity");
            let (from, to) = (text("/certChain/0/validFrom"), text("/certChain/0/expirationTime"));
            let hours = hours(from, to).with_context(|| format!("{identity}: {from} to {to}"))?;
            let name = node.name();
            stage.say(&format!("   {name}  {identity:<46} until {to}, {hours} h"));
            ensure!(hours == 24, "{identity} has a certificate for {hours} hours instead of 24");
            identities.insert(identity.to_owned());
        }
    }
    for identity in MESHED.iter().take(SPOKEN) {
        ensure!(identities.contains(*identity), "there is no certificate for {identity}");
    }
    let strangers: Vec<&String> =
        identities.iter().filter(|identity| !MESHED.contains(&identity.as_str())).collect();
    ensure!(strangers.is_empty(), "there are certificates for {strangers:?}");
    stage.hold(
        "pods that spoke over the wire have their own, for 24 hours; the pod outside has none",
    );
    Ok(())
}

/// The hours between two times of one form, `2026-01-31T12:00:00Z`, less than a month apart; rounded.
fn hours(from: &str, to: &str) -> Option<i64> {
    let minutes = |time: &str| {
        let (date, clock) = time.trim_end_matches('Z').split_once('T')?;
        let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
        let mut clock = clock.split([':', '.']).map(|part| part.parse::<i64>().ok());
        let (year, month, day) = (date.next()??, date.next()??, date.next()??);
        let (hour, minute) = (clock.next()??, clock.next()??);
        Some((days(year, month, day) * 24 + hour) * 60 + minute)
    };
    let minutes = minutes(to)? - minutes(from)?;
    Some((minutes + 30) / 60)
}

/// Days since some day, by the Gregorian calendar with years that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month < 3 { year - 1 } else { year };
    let month = (month + 9) % 12;
    365 * year + year / 4 - year / 100 + year / 400 + (month * 306 + 5) / 10 + day
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_told_in_hours() {
        for (from, to, expected) in [
            ("2026-11-21T09:31:02Z", "2026-11-22T09:33:03Z", Some(24)),
            ("2026-12-31T23:59:59Z", "2027-01-01T23:59:59Z", Some(24)),
            ("2028-02-28T12:00:00Z", "2028-03-01T12:00:00Z", Some(48)),
            ("2027-02-28T12:00:00.123Z", "2027-03-01T13:00:00Z", Some(25)),
            ("2026-11-21T09:00:00Z", "2026-11-21T09:40:00Z", Some(1)),
            ("", "2026-11-21T09:40:00Z", None),
            ("2026-11T09:00Z", "2026-11-21T09:40:00Z", None),
        ] {
            assert_eq!(hours(from, to), expected, "{from} {to}");
        }
    }
}
