//! To an endpoint and back: choose one, send, and try again where that is allowed.

use std::sync::Arc;
use std::time::Instant;

use ambit_model::Str;
use ambit_telemetry::RequestFlag;
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::time::{Instant as Deadline, sleep, timeout_at};

use super::answer::Answer;
use super::exchange::Exchange;
use super::head::{Head, strip_hop_by_hop};
use super::response::{Content, Edit, Passed};
use super::retry::{Tried, pause};
use super::source::Source;
use super::version::wants_http2;
use super::{Routed, mirror, sticky, upgrade};
use crate::body::Body;
use crate::destination::{
    Active, Destination, Endpoint, Outcome, Permit, Request as Asked, Settings,
};
use crate::rules::{Backend, Filter, RetryPolicy};
use crate::upstream::{Refused, SendError, Sent, Try, send};

/// Where no rule says otherwise: what the endpoint has certainly not seen is given to another one.
const UNSENT_ONLY: u32 = 2;

/// A request that has passed every filter.
struct Forward<'a> {
    exchange: &'a mut Exchange,
    head: Head,
    destination: Arc<Destination>,
    settings: Arc<Settings>,
    policy: RetryPolicy,
    /// When the whole request's time is over, and how long one try may take.
    deadline: Option<Deadline>,
    try_limit: Option<std::time::Duration>,
    body: Source,
    http2: bool,
    hash: Option<u64>,
    client: Option<OnUpgrade>,
    permit: Permit,
    /// Of the try that is under way, if it is not the first.
    retry: Option<Permit>,
}

/// Sends the request to the backend that its rule chooses, and gives the endpoint's response.
///
/// # Errors
/// The answer that is given in place of a response.
pub(super) async fn forward(
    exchange: &mut Exchange,
    mut head: Head,
    body: Incoming,
    routed: Routed,
) -> Result<Response<Content>, Answer> {
    let backend = backend(&routed)?;
    if let Some(backend) = &backend {
        backend_filters(exchange, &mut head, backend, routed.matched)?;
    }
    let destination = match &backend {
        Some(backend) => backend.to.clone().map_err(|why| {
            Answer::new(StatusCode::INTERNAL_SERVER_ERROR, RequestFlag::NoRoute, &*why)
        })?,
        None => routed.default.clone().ok_or_else(|| Answer::no_route("nothing to forward to"))?,
    };
    exchange.destination = Some(destination.clone());
    let settings = destination.settings().clone();
    let http2 = wants_http2(&exchange.connection, &destination, &head);
    let action = routed.action.as_deref();
    let policy = action.and_then(|action| action.retry.clone());
    let mirrors = action.is_some_and(|action| !action.mirrors.is_empty());
    let body = Source::new(exchange, body, policy.is_some() || mirrors);
    if let Some(action) = action.filter(|_| mirrors) {
        mirror::mirror(&exchange.connection, action, &head, &|| body.copy());
    }
    let hash = sticky::hash(exchange, &settings, &head);
    let began = Deadline::from_std(exchange.began);
    let client = head.upgrade.is_some().then(|| head.extensions.remove::<OnUpgrade>()).flatten();
    let permit = destination.requests.acquire(settings.pool.max_requests);
    let permit = permit.ok_or_else(|| refused(Refused::Requests))?;
    let policy = policy.unwrap_or_else(|| RetryPolicy {
        attempts: UNSENT_ONLY,
        connect_failure: true,
        ..RetryPolicy::default()
    });
    let tries = [policy.per_try_timeout, action.and_then(|action| action.backend_timeout)];
    let deadline = action.and_then(|action| action.request_timeout).filter(|t| !t.is_zero());
    let forward = Forward {
        try_limit: tries.into_iter().flatten().filter(|limit| !limit.is_zero()).min(),
        deadline: deadline.map(|timeout| began + timeout),
        exchange,
        head,
        destination,
        settings,
        policy,
        body,
        http2,
        hash,
        client,
        permit,
        retry: None,
    };
    forward.run().await
}

/// The backend that the request falls to; none where there are no rules.
fn backend(routed: &Routed) -> Result<Option<Arc<Backend>>, Answer> {
    let Some(action) = &routed.action else { return Ok(None) };
    match action.shares.choose(&mut rand::rng()) {
        Some(backend) => Ok(Some(backend.clone())),
        None => {
            let reason = "the rule has no backend with a weight";
            Err(Answer::new(StatusCode::INTERNAL_SERVER_ERROR, RequestFlag::NoRoute, reason))
        }
    }
}

fn backend_filters(
    exchange: &mut Exchange,
    head: &mut Head,
    backend: &Arc<Backend>,
    matched: usize,
) -> Result<(), Answer> {
    let mut edits = Vec::new();
    for (at, filter) in backend.filters.iter().enumerate() {
        match filter {
            Filter::RequestHeaders(edit) => head.edit(edit),
            Filter::ResponseHeaders(_) => edits.push(Edit::Backend(backend.clone(), at)),
            Filter::Rewrite(to) => head.rewrite(to, matched)?,
            Filter::Redirect(to) => return Err(super::redirect::answer(to, head, matched)),
            Filter::DirectResponse { status, body } => {
                return Err(Answer::given(*status, body.clone()));
            }
            Filter::Cors(_) => {}
        }
    }
    // The rule's own come after those of the backend.
    exchange.response_edits.splice(..0, edits);
    Ok(())
}

// === impl Forward ===

impl Forward<'_> {
    async fn run(mut self) -> Result<Response<Content>, Answer> {
        let mut now = Instant::now();
        self.destination.budget.earn(&self.settings.budget, now);
        let (mut tried, mut request) = (Vec::new(), None);
        loop {
            let endpoint = self.endpoint(&tried, now)?;
            let active = endpoint.enter();
            self.exchange.endpoint = Some(endpoint.clone());
            if request.is_none() {
                request = self.request()?;
            }
            let sent = self.attempt(&active, &mut request, now).await;
            let broken = || self.exchange.sent.as_ref().is_some_and(|sent| sent.is_broken());
            if !matches!(sent, Ok(Ok(_))) && broken() {
                return Err(Answer::invalid("the request's body ended early or is no body"));
            }
            let outcome = match &sent {
                Ok(Ok(sent)) => Tried::of_response(sent.response.status(), sent.response.headers()),
                Ok(Err(error)) => Tried::of_error(error),
                Err(_) => Tried::TimedOut,
            };
            self.blame(&active, outcome);
            if self.may_retry(outcome, request.is_some()) {
                let retries = self.destination.retries.acquire(self.settings.pool.max_retries);
                if let Some(permit) = retries
                    && self.destination.budget.spend(&self.settings.budget, Instant::now())
                {
                    self.exchange.retries += 1;
                    self.retry = Some(permit);
                    tried.push(endpoint.uid.clone());
                    self.pause(outcome).await?;
                    now = Instant::now();
                    continue;
                }
            }
            return match sent {
                Ok(Ok(sent)) => Ok(self.respond(sent, active)),
                Ok(Err(error)) => Err(self.failed(&error)),
                Err(_) => Err(timed_out()),
            };
        }
    }

    fn endpoint(&self, tried: &[Str], now: Instant) -> Result<Arc<Endpoint>, Answer> {
        let endpoints = self.destination.endpoints();
        let request = Asked { hash: self.hash, tried, now };
        let choice = &self.destination.choice;
        let chosen = choice.choose(&endpoints, &self.settings, &request, &mut rand::rng());
        chosen.cloned().ok_or_else(|| {
            let flag = RequestFlag::NoHealthyUpstream;
            Answer::new(StatusCode::SERVICE_UNAVAILABLE, flag, "no healthy upstream")
        })
    }

    /// The request as it is sent, with a body from its beginning.
    fn request(&mut self) -> Result<Option<Request<Body>>, Answer> {
        let mut parts = self.head.to_parts(self.http2)?;
        if self.exchange.connection.local.context.config.preserve_header_case {
            // The codec keeps the names as they were written there.
            parts.extensions.clone_from(&self.head.extensions);
        }
        Ok(self.body.next().map(|body| Request::from_parts(parts, body)))
    }

    /// One try, within its time.
    async fn attempt(
        &self,
        endpoint: &Active,
        request: &mut Option<Request<Body>>,
        began: Instant,
    ) -> Result<Result<Sent, SendError>, tokio::time::error::Elapsed> {
        let attempt = Try {
            local: &self.exchange.connection.local,
            destination: &self.destination,
            settings: &self.settings,
            endpoint,
            source: &self.exchange.connection.source,
            http2: self.http2,
            began,
        };
        let own = self.try_limit.map(|limit| Deadline::from_std(began + limit));
        let sent = match [own, self.deadline].into_iter().flatten().min() {
            None => Ok(send(&attempt, request).await),
            Some(deadline) => timeout_at(deadline, send(&attempt, request)).await,
        };
        if let Ok(Ok(_)) = &sent {
            let now = Instant::now();
            endpoint.responded(now - began, now);
        }
        sent
    }

    /// Lets the endpoint's record know, and leaves it out if it has failed too often.
    fn blame(&self, endpoint: &Active, tried: Tried) {
        let Some(outlier) = &self.settings.outlier else { return };
        let outcome = match tried {
            Tried::Responded { status, .. } => match status.as_u16() {
                502..=504 => Outcome::GatewayError,
                500.. => Outcome::ServerError,
                _ => Outcome::Success,
            },
            Tried::Unsent | Tried::Reset | Tried::TimedOut => Outcome::LocalFailure,
            Tried::Denied | Tried::Refused => return,
        };
        let now = Instant::now();
        if !endpoint.health.note(outcome, outlier, now) {
            return;
        }
        let endpoints = self.destination.endpoints();
        let ejected = endpoints.iter().filter(|e| e.health.is_ejected(now)).count();
        if outlier.may_eject(ejected, endpoints.len()) {
            let time = endpoint.health.eject(outlier, now);
            self.exchange.connection.local.context.metrics.ejected();
            tracing::warn!(endpoint = %endpoint.uid, service = %self.destination.service, ?time, "endpoint fails too often and is left out");
        }
    }

    fn may_retry(&self, outcome: Tried, unsent: bool) -> bool {
        let time = self.deadline.is_none_or(|deadline| Deadline::now() < deadline);
        time && self.exchange.retries < self.policy.attempts
            && outcome.is_retriable(&self.policy)
            && (unsent || self.body.is_repeatable())
            && !(outcome == Tried::TimedOut && self.try_limit.is_none())
    }

    /// Waits before the next try. Another endpoint is asked at once where the last has seen nothing.
    async fn pause(&self, outcome: Tried) -> Result<(), Answer> {
        if outcome == Tried::Unsent && self.exchange.retries == 1 {
            return Ok(());
        }
        let pause = pause(&self.policy, self.exchange.retries, &mut rand::rng());
        let until = Deadline::now() + pause;
        if self.deadline.is_some_and(|deadline| deadline <= until) {
            return Err(timed_out());
        }
        sleep(pause).await;
        Ok(())
    }

    fn respond(self, sent: Sent, active: Active) -> Response<Content> {
        let Sent { mut response, lease } = sent;
        let upgraded = response.headers().get(http::header::UPGRADE).cloned();
        strip_hop_by_hop(response.headers_mut());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let endpoint = Arc::clone(&active);
            upgrade::join(&self.exchange.connection, self.client, &mut response, endpoint.enter());
            let headers = response.headers_mut();
            if let Some(protocol) = upgraded {
                headers.insert(http::header::UPGRADE, protocol);
            }
            let value = http::HeaderValue::from_static("upgrade");
            headers.insert(http::header::CONNECTION, value);
        }
        let deadline = self.deadline.map(|at| Box::pin(tokio::time::sleep_until(at)));
        let (mut parts, body) = response.into_parts();
        parts.version = Version::HTTP_11;
        let permits = (self.permit, self.retry);
        let passed =
            Passed { body, lease: Some(lease), _active: active, deadline, _permits: permits };
        Response::from_parts(parts, Content::Passed(Box::new(passed)))
    }

    fn failed(&self, error: &SendError) -> Answer {
        if let SendError::Refused(limit) = error {
            return refused(*limit);
        }
        let flag = match error {
            _ if self.exchange.retries > 0 => RequestFlag::RetriesExhausted,
            SendError::Connect(_) => RequestFlag::ConnectFailure,
            _ => RequestFlag::UpstreamReset,
        };
        Answer::new(StatusCode::SERVICE_UNAVAILABLE, flag, error.to_string())
    }
}

fn refused(limit: Refused) -> Answer {
    Answer::new(StatusCode::SERVICE_UNAVAILABLE, RequestFlag::Overflow, limit.to_string())
}

fn timed_out() -> Answer {
    let reason = "upstream request timeout";
    Answer::new(StatusCode::GATEWAY_TIMEOUT, RequestFlag::Timeout, reason)
}
