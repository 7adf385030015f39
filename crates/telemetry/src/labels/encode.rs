//! How labels are written: their names, their order, and `unknown` for what is missing.

use std::fmt;

use prometheus_client::encoding::{
    EncodeLabel, EncodeLabelSet, EncodeLabelValue, LabelSetEncoder, LabelValueEncoder,
};

use super::{LabelValue, PeerLabels, Reporter, ResponseFlags, ServiceLabels, TrafficLabels};
use crate::requests::RequestLabels;

/// What a label says where the value is not known.
const UNKNOWN: &str = "unknown";

/// The label set of one exposed sample: the series' own labels and the flags of that sample.
pub(crate) struct FlaggedLabels<'a> {
    pub(crate) labels: &'a TrafficLabels,
    pub(crate) flags: ResponseFlags,
}

impl EncodeLabelSet for FlaggedLabels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let Self { labels, flags } = self;
        let nobody = PeerLabels::default();
        let no_service = ServiceLabels::default();
        let source = labels.source.as_ref().unwrap_or(&nobody);
        let destination = labels.destination.as_ref().unwrap_or(&nobody);
        let service = labels.destination_service.as_ref().unwrap_or(&no_service);

        let mut sink = Sink(encoder);
        sink.put("reporter", labels.reporter.as_str())?;
        source.encode_as("source", &mut sink)?;
        sink.put_value("destination_service", &service.hostname)?;
        sink.put_value("destination_service_namespace", &service.namespace)?;
        sink.put_value("destination_service_name", &service.name)?;
        destination.encode_as("destination", &mut sink)?;
        sink.put("request_protocol", labels.request_protocol.as_str())?;
        sink.put("response_flags", flags.as_str())?;
        sink.put("connection_security_policy", labels.security.as_str())?;
        if labels.source.is_some() || labels.destination.is_some() {
            sink.put_value("source_region", &source.region)?;
            sink.put_value("source_zone", &source.zone)?;
            sink.put_value("destination_region", &destination.region)?;
            sink.put_value("destination_zone", &destination.zone)?;
        }
        Ok(())
    }
}

/// A request's labels; unlike those of connections there are always all of them.
impl EncodeLabelSet for RequestLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let mut sink = Sink(encoder);
        sink.put("reporter", self.reporter.as_str())?;
        self.source.encode_as("source", &mut sink)?;
        let service = &self.destination_service;
        sink.put_value("destination_service", &service.hostname)?;
        sink.put_value("destination_service_namespace", &service.namespace)?;
        sink.put_value("destination_service_name", &service.name)?;
        self.destination.encode_as("destination", &mut sink)?;
        sink.put("request_protocol", self.protocol.as_str())?;
        sink.put("response_code", &self.response_code.to_string())?;
        let grpc = self.grpc_status.map(|status| status.to_string()).unwrap_or_default();
        sink.put("grpc_response_status", &grpc)?;
        sink.put("response_flags", self.flag.as_str())?;
        sink.put("connection_security_policy", self.security.as_str())
    }
}

// === impl LabelValue ===

/// For label sets that are derived elsewhere.
impl EncodeLabelValue for LabelValue {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.as_deref().unwrap_or(UNKNOWN).encode(encoder)
    }
}

// === impl PeerLabels ===

impl PeerLabels {
    fn encode_as(&self, side: &'static str, sink: &mut Sink<'_, '_>) -> fmt::Result {
        for (suffix, value) in [
            ("workload", &self.workload),
            ("canonical_service", &self.canonical_service),
            ("canonical_revision", &self.canonical_revision),
            ("workload_namespace", &self.namespace),
            ("principal", &self.principal),
            ("app", &self.app),
            ("version", &self.canonical_revision),
            ("cluster", &self.cluster),
        ] {
            sink.put_joined((side, suffix), value)?;
        }
        Ok(())
    }
}

/// The `source_*` labels alone, without locality, as the on-demand DNS metric has them.
impl EncodeLabelSet for PeerLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.encode_as("source", &mut Sink(encoder))
    }
}

/// A `reporter="…"` label alone, as gauges and revocation counters have it.
impl EncodeLabelSet for Reporter {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        Sink(encoder).put("reporter", self.as_str())
    }
}

/// Writes labels one by one.
struct Sink<'a, 'b>(&'a mut LabelSetEncoder<'b>);

impl Sink<'_, '_> {
    fn put(&mut self, key: &str, value: &str) -> fmt::Result {
        EncodeLabel::encode(&(key, value), self.0.encode_label())
    }

    fn put_value(&mut self, key: &str, value: &LabelValue) -> fmt::Result {
        self.put(key, value.as_deref().unwrap_or(UNKNOWN))
    }

    fn put_joined(&mut self, (side, suffix): (&str, &str), value: &LabelValue) -> fmt::Result {
        use fmt::Write;

        let mut encoder = self.0.encode_label();
        let mut key = encoder.encode_label_key()?;
        write!(key, "{side}_{suffix}")?;
        let mut encoder = key.encode_label_value()?;
        EncodeLabelValue::encode(value, &mut encoder)?;
        encoder.finish()
    }
}
