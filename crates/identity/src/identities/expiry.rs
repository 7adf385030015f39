//! Whether certificates are about to expire, computed when asked for: time passes by itself.

use std::sync::Weak;
use std::time::SystemTime;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::entry::State;
use super::inner::Inner;

/// The gauges.
pub(super) struct Expiry(pub(super) Weak<Inner>);

// === impl Expiry ===

impl Collector for Expiry {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(inner) = self.0.upgrade() else {
            return Ok(());
        };
        let now = SystemTime::now();
        let mut earliest: Option<f64> = None;
        let mut unavailable = 0_i64;
        for entry in inner.entries.load().values() {
            if matches!(entry.state(now).state, State::Unavailable(_)) {
                unavailable += 1;
            }
            let Some(credential) = entry.credential() else {
                continue;
            };
            let left = match credential.validity().not_after.duration_since(now) {
                Ok(left) => left.as_secs_f64(),
                Err(since) => -since.duration().as_secs_f64(),
            };
            earliest = Some(earliest.map_or(left, |earliest| earliest.min(left)));
        }
        if let Some(earliest) = earliest {
            gauge(
                &mut encoder,
                ("certificate_earliest_expiry", Some(&Unit::Seconds)),
                "Time until the first certificate in use expires; negative when one has",
                &ConstGauge::new(earliest),
            )?;
        }
        gauge(
            &mut encoder,
            ("certificates_unavailable", None),
            "Identities without a certificate that counts",
            &ConstGauge::new(unavailable),
        )
    }
}

impl std::fmt::Debug for Expiry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Expiry")
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    (name, unit): (&str, Option<&Unit>),
    help: &str,
    value: &impl EncodeMetric,
) -> Result<(), std::fmt::Error> {
    value.encode(encoder.encode_descriptor(name, help, unit, value.metric_type())?)
}
