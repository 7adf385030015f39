//! The headers of a CONNECT: baggage, forwarded, trace context, network.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderValue};

use crate::authority::is_hostname;

/// Longest baggage that is read, bytes. Ours stays far below; a longer one is taken as absent.
const MAX_BAGGAGE: usize = 8 << 10;

/// What a proxy tells its peer about a workload, in the order in which it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Baggage {
    pub cluster: Option<String>,
    pub namespace: Option<String>,
    /// `deployment`, `cronjob`, `pod` or `job`.
    pub workload_type: Option<String>,
    pub workload: Option<String>,
    pub service: Option<String>,
    pub revision: Option<String>,
    pub region: Option<String>,
    pub zone: Option<String>,
}

/// The `forwarded` header: who opened the connection, and to which service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// The client's address.
    pub source: SocketAddr,
    /// The hostname of the service that was called, if it was one.
    pub host: Option<String>,
}

/// The headers of a CONNECT besides its authority; each absent one stays away from the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectHeaders {
    /// `baggage`, ready to send.
    pub baggage: Option<HeaderValue>,
    /// `forwarded`, ready to send.
    pub forwarded: Option<HeaderValue>,
    /// `traceparent`, ready to send.
    pub traceparent: Option<HeaderValue>,
    /// `x-forwarded-network`: the source's network, on the inner CONNECT of double HBONE.
    pub network: Option<HeaderValue>,
}

// === impl Baggage ===

const WORKLOAD_TYPES: [&str; 4] = ["deployment", "cronjob", "pod", "job"];

impl Baggage {
    /// Reads a header; unknown keys, empty values and anything malformed count as absent.
    pub fn parse(text: &str) -> Self {
        let mut baggage = Self::default();
        if text.len() > MAX_BAGGAGE {
            return baggage;
        }
        for (key, value) in text.split(',').filter_map(|pair| pair.trim().split_once('=')) {
            if !value.is_empty() {
                baggage.set(key, value.to_owned());
            }
        }
        baggage
    }

    fn set(&mut self, key: &str, value: String) {
        let slot = match key {
            "k8s.cluster.name" => &mut self.cluster,
            "k8s.namespace.name" => &mut self.namespace,
            "service.name" => &mut self.service,
            "service.version" => &mut self.revision,
            "cloud.region" => &mut self.region,
            "cloud.availability_zone" => &mut self.zone,
            _ => {
                let kind = key.strip_prefix("k8s.").and_then(|k| k.strip_suffix(".name"));
                let Some(kind) = kind.filter(|kind| WORKLOAD_TYPES.contains(kind)) else { return };
                self.workload_type = Some(kind.to_owned());
                &mut self.workload
            }
        };
        *slot = Some(value);
    }

    /// The header's value; `None` if nothing is known. A value that would be read as something else stays away.
    pub fn to_header(&self) -> Option<HeaderValue> {
        let mut text = String::with_capacity(192);
        let workload_key = format!("k8s.{}.name", self.workload_type.as_deref().unwrap_or("pod"));
        for (key, value) in [
            ("k8s.cluster.name", &self.cluster),
            ("k8s.namespace.name", &self.namespace),
            (workload_key.as_str(), &self.workload),
            ("service.name", &self.service),
            ("service.version", &self.revision),
            ("cloud.region", &self.region),
            ("cloud.availability_zone", &self.zone),
        ] {
            if let Some(value) = value.as_deref().filter(|v| can_stand(v)) {
                if !text.is_empty() {
                    text.push(',');
                }
                text.push_str(key);
                text.push('=');
                text.push_str(value);
            }
        }
        if text.is_empty() { None } else { HeaderValue::try_from(text).ok() }
    }

    /// Reads the `baggage` header of a request or response.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        Some(Self::parse(headers.get("baggage")?.to_str().ok()?))
    }
}

/// Whether a value arrives as it is: parts are told apart by commas, and trimmed.
fn can_stand(value: &str) -> bool {
    let visible = value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b',');
    !value.is_empty() && visible && value.trim() == value
}

// === impl Forwarded ===

impl Forwarded {
    /// The header's value, without a host that is none.
    pub fn to_header(&self) -> Option<HeaderValue> {
        let text = match self.host.as_ref().filter(|host| is_hostname(host)) {
            Some(host) => format!("for=\"{}\";host={host}", self.source),
            None => format!("for=\"{}\"", self.source),
        };
        HeaderValue::try_from(text).ok()
    }

    /// The `host=` part of a request's `forwarded` header; non-ASCII is refused, quotes are stripped.
    pub fn host(headers: &HeaderMap) -> Option<String> {
        let text = headers.get("forwarded")?.to_str().ok()?;
        let host = text.split(';').find_map(|part| part.trim().strip_prefix("host="))?;
        let host = host.trim_matches('"');
        (!host.is_empty() && host.len() <= 253).then(|| host.to_owned())
    }
}

// === impl ConnectHeaders ===

impl ConnectHeaders {
    /// The same with the source's network named.
    pub fn with_network(self, network: &str) -> Self {
        Self { network: HeaderValue::try_from(network).ok(), ..self }
    }

    pub(crate) fn write(self, headers: &mut HeaderMap) {
        for (name, value) in [
            ("baggage", self.baggage),
            ("forwarded", self.forwarded),
            ("traceparent", self.traceparent),
            ("x-forwarded-network", self.network),
        ] {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn baggage_is_written_in_upstreams_order_without_empty_keys() {
        let baggage = Baggage {
            cluster: Some("Kubernetes".into()),
            namespace: Some("shop".into()),
            workload_type: Some("deployment".into()),
            workload: Some("cart".into()),
            service: Some("cart".into()),
            revision: Some(String::new()),
            region: Some("r1".into()),
            zone: None,
        };
        let header = baggage.to_header().unwrap();
        assert_eq!(
            header,
            "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=cart,service.name=cart,cloud.region=r1"
        );
        let read = Baggage::parse(header.to_str().unwrap());
        assert_eq!(read, Baggage { revision: None, ..baggage });
        assert_eq!(Baggage::default().to_header(), None);
        let comma = Baggage { zone: Some("a,service.name=b".into()), ..read };
        assert_eq!(comma.to_header().unwrap(), header);
    }

    #[test]
    fn malformed_baggage_is_absent() {
        assert_eq!(Baggage::parse("garbage,=,a=b,service.name="), Baggage::default());
        assert_eq!(Baggage::parse(&"service.name=x,".repeat(1000)), Baggage::default());
        assert_eq!(Baggage::parse("k8s.cronjob.name=nightly").workload.as_deref(), Some("nightly"));
        assert_eq!(Baggage::parse("k8s.node.name=n"), Baggage::default());
    }

    #[test]
    fn forwarded_carries_source_and_service() {
        let source = "[2001:db8::1]:4000".parse().unwrap();
        let plain = Forwarded { source, host: None };
        assert_eq!(plain.to_header().unwrap(), "for=\"[2001:db8::1]:4000\"");
        let header = Forwarded { source, host: Some("a.b".into()) }.to_header().unwrap();
        assert_eq!(header, "for=\"[2001:db8::1]:4000\";host=a.b");
        let other = Forwarded { source, host: Some("a;host=b".into()) };
        assert_eq!(other.to_header(), plain.to_header());
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("forwarded", HeaderValue::from_bytes(text.as_bytes()).unwrap());
            Forwarded::host(&headers)
        };
        assert_eq!(read(header.to_str().unwrap()).as_deref(), Some("a.b"));
        assert_eq!(read("for=x; host=\"q\"").as_deref(), Some("q"));
        assert_eq!(read("for=x"), None);
        assert_eq!(read("host=ü"), None);
    }
}
