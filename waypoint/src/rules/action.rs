//! What is done with a request that a rule matches.

use std::sync::Arc;
use std::time::Duration;

use ambit_model::Str;
use ambit_proto::ambit as proto;
use http::StatusCode;
use rand::RngExt;

use super::edit::{Filter, status};
use super::{Invalid, Labels};
use crate::destination::{Destination, Destinations};

/// The whole of a share.
const MILLION: u32 = 1_000_000;

/// What is done with a request.
#[derive(Debug)]
pub(crate) struct Action {
    pub shares: Shares,
    /// In order.
    pub filters: Vec<Filter>,
    pub mirrors: Vec<Mirror>,
    pub request_timeout: Option<Duration>,
    pub backend_timeout: Option<Duration>,
    pub retry: Option<RetryPolicy>,
    pub fault: Option<Fault>,
}

/// Backends with their weights.
#[derive(Debug)]
pub(crate) struct Shares {
    /// The object and rule that this stands in.
    pub name: Str,
    backends: Vec<(u32, Arc<Backend>)>,
    total: u64,
}

/// Where a share of the requests goes.
#[derive(Debug)]
pub(crate) struct Backend {
    /// Where, or why nowhere.
    pub to: Result<Arc<Destination>, Str>,
    pub filters: Vec<Filter>,
}

/// A copy of a share of the requests, whose answer nobody waits for.
#[derive(Debug)]
pub(crate) struct Mirror {
    pub backend: Arc<Backend>,
    share: u32,
}

/// When a request is tried again.
#[derive(Clone, Debug, Default)]
pub(crate) struct RetryPolicy {
    pub attempts: u32,
    pub connect_failure: bool,
    pub reset: bool,
    pub gateway_error: bool,
    pub server_error: bool,
    pub retriable_4xx: bool,
    pub codes: Vec<StatusCode>,
    pub grpc_codes: Vec<u32>,
    pub per_try_timeout: Option<Duration>,
    /// The first pause.
    pub backoff: Duration,
}

/// Trouble made on purpose.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    delay: Option<(u32, Duration)>,
    abort: Option<(u32, Abort)>,
}

/// How a request is answered on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Abort {
    Http(StatusCode),
    Grpc(u32),
}

// === impl Action ===

impl Action {
    pub(super) fn compile(message: proto::HttpAction, to: &Destinations) -> Result<Self, Invalid> {
        Ok(Self {
            shares: backends(message.name, message.backends, to)?,
            filters: message.filters.into_iter().map(Filter::compile).collect::<Result<_, _>>()?,
            mirrors: message
                .mirrors
                .into_iter()
                .map(|mirror| Mirror::compile(mirror, to))
                .collect::<Result<_, _>>()?,
            request_timeout: message.request_timeout.map(Duration::from_millis),
            backend_timeout: message.backend_timeout.map(Duration::from_millis),
            retry: message.retry.map(RetryPolicy::compile).transpose()?,
            fault: message.fault.map(Fault::compile).transpose()?,
        })
    }
}

// === impl Shares ===

impl Shares {
    /// One of the backends at random by weight; none where there is none with a weight.
    pub(crate) fn choose(&self, rng: &mut impl rand::Rng) -> Option<&Arc<Backend>> {
        if let [(weight, backend)] = &self.backends[..] {
            return (*weight > 0).then_some(backend);
        }
        let mut left = (self.total > 0).then(|| rng.random_range(0..self.total))?;
        for (weight, backend) in &self.backends {
            match left.checked_sub(u64::from(*weight)) {
                Some(rest) => left = rest,
                None => return Some(backend),
            }
        }
        None
    }
}

pub(super) fn backends(
    name: String,
    messages: Vec<proto::Backend>,
    to: &Destinations,
) -> Result<Shares, Invalid> {
    let backends: Vec<(u32, Arc<Backend>)> = messages
        .into_iter()
        .map(|message| Ok((message.weight, Arc::new(Backend::compile(message, to)?))))
        .collect::<Result<_, Invalid>>()?;
    let total = backends.iter().map(|(weight, _)| u64::from(*weight)).sum();
    Ok(Shares { name: name.into(), backends, total })
}

// === impl Backend ===

impl Backend {
    fn compile(message: proto::Backend, destinations: &Destinations) -> Result<Self, Invalid> {
        let filters = message.filters.into_iter().map(Filter::compile).collect::<Result<_, _>>()?;
        if !message.invalid.is_empty() {
            return Ok(Self { to: Err(message.invalid.into()), filters });
        }
        let service =
            message.service.parse().map_err(|_| Invalid::Service(message.service.clone()))?;
        let port = u16::try_from(message.port).map_err(|_| Invalid::Port(message.port))?;
        let protocol = proto::Protocol::try_from(message.protocol).unwrap_or_default();
        let labels: Labels =
            message.subset_labels.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        let to = destinations.get(service, port, message.subset.into(), labels, protocol);
        Ok(Self { to: Ok(to), filters })
    }
}

// === impl Mirror ===

impl Mirror {
    fn compile(message: proto::Mirror, to: &Destinations) -> Result<Self, Invalid> {
        let backend = message.backend.ok_or(Invalid::Missing("the backend of a mirror"))?;
        Ok(Self { backend: Arc::new(Backend::compile(backend, to)?), share: message.share })
    }

    /// Whether this request is one of those that are copied.
    pub(crate) fn wants(&self, rng: &mut impl rand::Rng) -> bool {
        hits(self.share, rng)
    }
}

fn hits(share: u32, rng: &mut impl rand::Rng) -> bool {
    share >= MILLION || (share > 0 && rng.random_range(0..MILLION) < share)
}

// === impl RetryPolicy ===

impl RetryPolicy {
    fn compile(message: proto::Retry) -> Result<Self, Invalid> {
        let on = |kind: proto::RetryOn| message.on.contains(&i32::from(kind));
        Ok(Self {
            attempts: message.attempts,
            connect_failure: on(proto::RetryOn::ConnectFailure),
            reset: on(proto::RetryOn::Reset),
            gateway_error: on(proto::RetryOn::GatewayError),
            server_error: on(proto::RetryOn::ServerError),
            retriable_4xx: on(proto::RetryOn::Retriable4xx),
            codes: message.codes.iter().map(|code| status(*code)).collect::<Result<_, _>>()?,
            per_try_timeout: message.per_try_timeout.map(Duration::from_millis),
            backoff: Duration::from_millis(match message.backoff {
                0 => 25,
                given => given,
            }),
            grpc_codes: message.grpc_codes,
        })
    }
}

// === impl Fault ===

impl Fault {
    fn compile(message: proto::Fault) -> Result<Self, Invalid> {
        use proto::abort::Kind;
        let abort = message.abort.map(|abort| -> Result<_, Invalid> {
            let kind = match abort.kind.ok_or(Invalid::Missing("the status of an abort"))? {
                Kind::HttpStatus(code) => Abort::Http(status(code)?),
                Kind::GrpcStatus(code) => Abort::Grpc(code),
            };
            Ok((abort.share, kind))
        });
        Ok(Self {
            delay: message.delay.map(|d| (d.share, Duration::from_millis(d.duration))),
            abort: abort.transpose()?,
        })
    }

    /// How long this request is held up.
    pub(crate) fn delay(&self, rng: &mut impl rand::Rng) -> Option<Duration> {
        let (share, duration) = self.delay?;
        hits(share, rng).then_some(duration)
    }

    /// How this request is answered instead of being sent on.
    pub(crate) fn abort(&self, rng: &mut impl rand::Rng) -> Option<Abort> {
        let (share, abort) = self.abort?;
        hits(share, rng).then_some(abort)
    }
}
