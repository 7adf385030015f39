//! How a destination is treated, compiled from a TrafficPolicy.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use ambit_model::{Locality, Str};
use ambit_proto::ambit as proto;
use ambit_tls::{Expected, FrontCertificate, origination_config};
use http::HeaderName;
use prost::Message as _;
use proto::balancer::Algorithm;
use proto::hash_key::Kind;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::budget::BudgetSettings;
use super::health::OutlierDetection;
use crate::rules::Invalid;

/// How a destination is treated.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Tells apart what was said at different times.
    pub number: u64,
    pub port: u16,
    pub subset: Str,
    pub algorithm: Algorithm,
    pub hash: Option<HashSource>,
    pub locality: LocalitySettings,
    pub warmup: Option<Duration>,
    pub pool: PoolSettings,
    pub outlier: Option<OutlierDetection>,
    pub budget: BudgetSettings,
    pub tls: Option<Result<Arc<Origination>, Str>>,
}

/// TLS that this process opens to endpoints.
#[derive(Clone, Debug)]
pub(crate) struct Origination {
    pub http1: Arc<ClientConfig>,
    pub http2: Arc<ClientConfig>,
    /// For what is not looked into.
    pub opaque: Arc<ClientConfig>,
    pub name: ServerName<'static>,
    /// The same for the same settings: connections that were opened with others are no good.
    pub number: u64,
}

/// What of a request is hashed.
#[derive(Clone, Debug)]
pub(crate) enum HashSource {
    Header(HeaderName),
    Query(Box<str>),
    Cookie { name: Box<str>, path: Box<str>, ttl: Option<Duration> },
    SourceAddress,
}

/// Which localities take which part.
#[derive(Clone, Debug, Default)]
pub(crate) struct LocalitySettings {
    pub disabled: bool,
    /// From where, and which weight each locality has then.
    pub distribute: Vec<(LocalityPattern, Vec<(LocalityPattern, u32)>)>,
    /// Region → the region that takes over.
    pub failover: BTreeMap<Str, Str>,
}

/// `region/zone/subzone`, cut short or with `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalityPattern(Vec<Box<str>>);

/// What connections there may be.
#[derive(Clone, Debug, Default)]
pub(crate) struct PoolSettings {
    pub max_connections: Option<u32>,
    pub connect_timeout: Option<Duration>,
    pub max_pending: Option<u32>,
    pub max_requests: Option<u32>,
    pub max_requests_per_connection: Option<u32>,
    pub max_retries: Option<u32>,
    pub idle_timeout: Option<Duration>,
    pub http2: Option<bool>,
}

// === impl Settings ===

impl Settings {
    pub(crate) fn compile(message: &proto::Settings) -> Result<Self, Invalid> {
        let port = u16::try_from(message.port).map_err(|_| Invalid::Port(message.port))?;
        let balancer = message.balancer.clone().unwrap_or_default();
        Ok(Self {
            number: 0,
            port,
            subset: message.subset.as_str().into(),
            algorithm: balancer.algorithm(),
            hash: balancer.hash.and_then(|hash| hash.kind).map(HashSource::compile).transpose()?,
            locality: LocalitySettings {
                disabled: balancer.locality_disabled,
                distribute: balancer
                    .distribute
                    .into_iter()
                    .map(|share| {
                        let to = share.to.iter();
                        let to = to.map(|(to, weight)| (LocalityPattern::new(to), *weight));
                        (LocalityPattern::new(&share.from), to.collect())
                    })
                    .collect(),
                failover: balancer
                    .failover
                    .into_iter()
                    .map(|(from, to)| (from.into(), to.into()))
                    .collect(),
            },
            warmup: (balancer.warmup > 0).then(|| Duration::from_millis(balancer.warmup)),
            pool: message.connection_pool.map(PoolSettings::from).unwrap_or_default(),
            outlier: message.outlier_detection.map(OutlierDetection::from),
            budget: message.retry_budget.map(BudgetSettings::from).unwrap_or_default(),
            tls: message.tls.as_ref().and_then(Origination::compile),
        })
    }
}

impl Settings {
    /// How near an endpoint is, where nearness counts: with outlier detection, as Istio has it, or where failover is
    /// given. Elsewhere the service's own preferences decide alone.
    pub(crate) fn nearness(&self, own: &Locality, theirs: &Locality) -> usize {
        let counts = self.outlier.is_some() || !self.locality.failover.is_empty();
        if self.locality.disabled || !self.locality.distribute.is_empty() || !counts {
            return 0;
        }
        self.locality.nearness(own, theirs)
    }
}

// === impl LocalitySettings, LocalityPattern ===

impl LocalitySettings {
    /// How near `theirs` is to `own`; more is better. (Istio: subzone, zone, region, the region that takes over, others.)
    pub(crate) fn nearness(&self, own: &Locality, theirs: &Locality) -> usize {
        if own.region != theirs.region {
            return usize::from(self.failover.get(&own.region) == Some(&theirs.region));
        }
        let zone = own.zone == theirs.zone;
        2 + usize::from(zone) + usize::from(zone && own.subzone == theirs.subzone)
    }

    /// The weights of localities for what comes from `own`.
    pub(crate) fn shares(&self, own: &Locality) -> Option<&[(LocalityPattern, u32)]> {
        self.distribute.iter().find(|(from, _)| from.covers(own)).map(|(_, to)| &to[..])
    }
}

impl LocalityPattern {
    fn new(text: &str) -> Self {
        Self(text.split('/').map(Into::into).collect())
    }

    pub(crate) fn covers(&self, locality: &Locality) -> bool {
        let parts = [&locality.region, &locality.zone, &locality.subzone];
        self.0.iter().zip(parts).all(|(wanted, part)| **wanted == *"*" || **wanted == **part)
    }
}

// === impl Origination ===

impl Origination {
    /// None where endpoints are spoken to as they are; an error where they must not be.
    fn compile(message: &proto::UpstreamTls) -> Option<Result<Arc<Self>, Str>> {
        use proto::upstream_tls::Mode;
        match message.mode() {
            Mode::Disabled if message.invalid.is_empty() => return None,
            // The mesh sees to that by itself.
            Mode::Mesh => return None,
            _ => {}
        }
        if !message.invalid.is_empty() {
            return Some(Err(message.invalid.as_str().into()));
        }
        Some(Self::new(message).map(Arc::new).map_err(|error| error.to_string().into()))
    }

    fn new(message: &proto::UpstreamTls) -> Result<Self, Invalid> {
        let expected = Expected {
            authorities: (!message.system_authorities).then_some(&*message.authorities),
            names: &message.subject_alt_names,
            anybody: message.insecure_skip_verify,
        };
        let identity = message.certificate.as_ref().map(|certificate| FrontCertificate {
            chain: &certificate.chain,
            key: &certificate.key,
        });
        let config = |alpn: &[&[u8]]| origination_config(&expected, identity, alpn);
        let name = ServerName::try_from(message.sni.clone())
            .map_err(|_| Invalid::Missing("a server name for TLS"))?;
        Ok(Self {
            http1: config(&[b"http/1.1"])?,
            http2: config(&[b"h2"])?,
            opaque: config(&[])?,
            name,
            number: number(message),
        })
    }
}

fn number(message: &proto::UpstreamTls) -> u64 {
    let mut hasher = DefaultHasher::new();
    message.encode_to_vec().hash(&mut hasher);
    hasher.finish()
}

// === impl HashSource ===

impl HashSource {
    pub(crate) fn compile(kind: Kind) -> Result<Self, Invalid> {
        Ok(match kind {
            Kind::Header(name) => {
                Self::Header(HeaderName::try_from(&name).map_err(|_| Invalid::HeaderName(name))?)
            }
            Kind::Query(name) => Self::Query(name.into()),
            Kind::Cookie(cookie) => {
                // It goes into a header of the response, and has to come back. Names are tokens (RFC 6265 4.1.1).
                let plain = |byte| (b' '..=b'~').contains(&byte) && byte != b';';
                if HeaderName::try_from(&cookie.name).is_err() || !cookie.path.bytes().all(plain) {
                    return Err(Invalid::HeaderValue("set-cookie".into()));
                }
                Self::Cookie {
                    name: cookie.name.into(),
                    path: cookie.path.into(),
                    ttl: cookie.ttl.map(Duration::from_millis),
                }
            }
            Kind::SourceAddress(_) => Self::SourceAddress,
        })
    }
}

// === impl PoolSettings, OutlierDetection, BudgetSettings ===

impl From<proto::ConnectionPool> for PoolSettings {
    fn from(pool: proto::ConnectionPool) -> Self {
        Self {
            max_connections: pool.max_connections,
            connect_timeout: pool.connect_timeout.map(Duration::from_millis),
            max_pending: pool.max_pending_requests,
            max_requests: pool.max_requests,
            max_requests_per_connection: pool.max_requests_per_connection.filter(|n| *n > 0),
            max_retries: pool.max_retries,
            idle_timeout: pool.idle_timeout.map(Duration::from_millis),
            http2: match (pool.upgrade_to_http2, pool.downgrade_to_http1) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            },
        }
    }
}

impl From<proto::OutlierDetection> for OutlierDetection {
    fn from(detection: proto::OutlierDetection) -> Self {
        Self {
            consecutive_5xx: detection.consecutive_5xx,
            consecutive_gateway_errors: detection.consecutive_gateway_errors,
            consecutive_local_failures: detection.consecutive_local_failures,
            interval: Duration::from_millis(detection.interval.max(1)),
            base_ejection: Duration::from_millis(detection.base_ejection),
            max_ejection_percent: detection.max_ejection_percent.min(100),
            min_health_percent: detection.min_health_percent.min(100),
        }
    }
}

impl From<proto::RetryBudget> for BudgetSettings {
    fn from(budget: proto::RetryBudget) -> Self {
        Self {
            percent: budget.percent,
            min: budget.min,
            interval: Duration::from_millis(budget.interval.max(10)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locality(text: &str) -> Locality {
        let mut parts = text.split('/').map(Str::from);
        let mut next = || parts.next().unwrap_or_default();
        Locality { region: next(), zone: next(), subzone: next() }
    }

    #[test]
    fn nearness_of_localities() {
        let failover = [("eu".into(), "us".into())].into();
        let settings = LocalitySettings { failover, ..LocalitySettings::default() };
        for (theirs, nearness) in
            [("eu/a/1", 4), ("eu/a/2", 3), ("eu/b/1", 2), ("us/a/1", 1), ("asia/a/1", 0)]
        {
            assert_eq!(
                settings.nearness(&locality("eu/a/1"), &locality(theirs)),
                nearness,
                "{theirs}"
            );
        }
    }

    #[test]
    fn patterns_cover_localities() {
        for (pattern, covered, other) in [
            ("eu/*", "eu/a/1", "us/a/1"),
            ("eu", "eu/a/1", "us/a/1"),
            ("eu/a", "eu/a/2", "eu/b/2"),
            ("eu/a/*", "eu/a/2", "eu/b/2"),
            ("eu/a/1", "eu/a/1", "eu/a/2"),
        ] {
            let pattern = LocalityPattern::new(pattern);
            assert!(
                pattern.covers(&locality(covered)) && !pattern.covers(&locality(other)),
                "{pattern:?}"
            );
        }
        assert!(LocalityPattern::new("*").covers(&locality("x")));
    }
}
