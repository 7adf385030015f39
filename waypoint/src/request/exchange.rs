//! What is remembered of a request until its response has ended, for metrics and the access log.

use std::sync::Arc;
use std::time::Instant;

use ambit_telemetry::{
    PeerLabels, Reporter, RequestFigures, RequestFlag, RequestLabels, RequestProtocol,
    ServiceLabels,
};
use http::{Method, Request, Response};
use hyper::body::Incoming;

use super::Routed;
use super::answer::Answer;
use super::head::Head;
use super::response::{Content, Edit};
use crate::access::{self, RequestLog};
use crate::body::Seen;
use crate::connection::Connection;
use crate::destination::{Destination, Endpoint};
use crate::rules::Action;
use crate::series::SeriesKey;
use crate::spans;
use crate::target::Target;

/// A request from its first byte to its response's last.
pub(crate) struct Exchange {
    pub connection: Arc<Connection>,
    pub began: Instant,
    pub flag: RequestFlag,
    /// Why this process answered itself, in words.
    pub reason: Option<Box<str>>,
    /// The request's body, where it has one.
    pub sent: Option<Arc<Seen>>,
    /// What rules want of the response's head.
    pub response_edits: Vec<Edit>,
    pub destination: Option<Arc<Destination>>,
    pub endpoint: Option<Arc<Endpoint>>,
    /// Tries beyond the first.
    pub retries: u32,
    pub grpc: bool,
    rule: Option<Arc<Action>>,
    span: Option<spans::Open>,
    asked: Option<Box<Line>>,
    /// Whether it has been counted and logged.
    told: bool,
}

/// What the access log says of a request.
pub(crate) struct Line {
    pub method: Method,
    pub authority: Box<str>,
    pub path: Box<str>,
    pub version: http::Version,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct End {
    pub status: u16,
    pub grpc_status: Option<u32>,
    pub response_bytes: u64,
    /// Of a gRPC call.
    pub messages: u64,
}

// === impl Exchange ===

impl Exchange {
    pub(crate) fn begin(connection: Arc<Connection>, _message: &Request<Incoming>) -> Self {
        Self {
            connection,
            began: Instant::now(),
            flag: RequestFlag::None,
            reason: None,
            sent: None,
            response_edits: Vec::new(),
            destination: None,
            endpoint: None,
            retries: 0,
            grpc: false,
            rule: None,
            span: None,
            asked: None,
            told: false,
        }
    }

    /// The request's head has been read.
    pub(super) fn asked(&mut self, head: &mut Head) {
        self.span = self.connection.local.context.spans.begin(&mut head.headers);
        self.grpc = head.is_grpc();
        if access::enabled() || self.span.is_some() {
            self.asked = Some(Box::new(Line {
                method: head.method.clone(),
                authority: head.authority().into(),
                path: head.path_and_query().into(),
                version: head.version,
            }));
        }
    }

    /// Its rule has been found.
    pub(super) fn routed(&mut self, found: &Routed) {
        self.rule.clone_from(&found.action);
    }

    /// This process answers itself.
    pub(super) fn answer(&mut self, answer: Answer) -> Response<Content> {
        if answer.flag != RequestFlag::None {
            self.flag = answer.flag;
            self.reason = Some(answer.reason.clone());
        }
        answer.into_response(self.grpc).0
    }

    /// The response has ended, or will never end.
    pub(super) fn end(mut self, end: End) {
        self.tell(end);
    }

    fn tell(&mut self, end: End) {
        self.told = true;
        let figures = RequestFigures {
            duration: self.began.elapsed(),
            request_bytes: self.sent.as_ref().map_or(0, |sent| sent.bytes()),
            response_bytes: end.response_bytes,
        };
        let metrics = &self.connection.local.context.metrics;
        let key = SeriesKey {
            endpoint: self.endpoint.as_ref().map_or(0, |endpoint| endpoint.number),
            status: end.status,
            grpc: self.grpc.then_some(end.grpc_status),
            flag: self.flag,
        };
        let series = self.connection.series.get(key, || metrics.requests.series(&self.labels(end)));
        series.count(figures);
        if self.grpc {
            let sent = self.sent.as_ref().map_or(0, |sent| sent.messages());
            series.messages(sent, end.messages);
        }
        if let Some(span) = self.span.take() {
            let failed = end.status == 0 || end.status >= 500;
            let span = span.end(self.span_name(), failed, self.attributes(end));
            self.connection.local.context.spans.end(span);
        }
        if (self.asked.is_some() && access::enabled()) || self.reason.is_some() {
            self.log(end, figures);
        }
    }

    fn labels(&self, end: End) -> RequestLabels {
        // Behind a gateway, the service is the one that its rules chose.
        let chosen = || self.destination.as_ref().and_then(|to| to.endpoints().service.clone());
        let service = self.connection.target.service().cloned().or_else(chosen);
        let service =
            service.map_or_else(ServiceLabels::default, |service| ServiceLabels::from(&*service));
        let endpoint = self.endpoint.as_deref();
        let destination = endpoint.map_or_else(PeerLabels::default, |e| e.labels.clone());
        RequestLabels {
            reporter: Reporter::Waypoint,
            source: self.connection.labels.clone(),
            destination_service: service,
            destination,
            protocol: if self.grpc { RequestProtocol::Grpc } else { RequestProtocol::Http },
            response_code: end.status,
            grpc_status: end.grpc_status,
            flag: self.flag,
            security: self.connection.security,
        }
    }

    /// As Istio's proxies name spans: the service and port that were asked for.
    fn span_name(&self) -> String {
        match (&self.connection.target, &self.destination) {
            (Target::Service { service, port }, _) => format!("{}:{port}/*", service.hostname),
            (_, Some(to)) => format!("{}:{}/*", to.service.hostname, to.port),
            _ => "unknown/*".to_owned(),
        }
    }

    fn attributes(&self, end: End) -> Vec<(&'static str, spans::Value)> {
        use spans::Value::{Number, Text};
        let mut attributes = vec![
            ("http.response.status_code", Number(end.status.into())),
            ("network.peer.address", Text(self.connection.peer.ip().to_string())),
            ("response_flags", Text(self.flag.as_str().to_owned())),
        ];
        if let Some(line) = &self.asked {
            attributes.push(("http.request.method", Text(line.method.to_string())));
            attributes.push(("server.address", Text(line.authority.to_string())));
            let path = line.path.split('?').next().unwrap_or_default();
            attributes.push(("url.path", Text(path.to_owned())));
        }
        if let Some(status) = end.grpc_status {
            attributes.push(("rpc.grpc.status_code", Number(status.into())));
        }
        if let Some(endpoint) = &self.endpoint {
            attributes.push(("destination.workload", Text(endpoint.workload.name.to_string())));
        }
        if let Some(identity) = &self.connection.caller.identity {
            attributes.push(("source.principal", Text(identity.to_string())));
        }
        attributes
    }

    fn log(&self, end: End, figures: RequestFigures) {
        access::log(&RequestLog {
            line: self.asked.as_deref(),
            end,
            figures,
            flag: self.flag,
            reason: self.reason.as_deref(),
            retries: self.retries,
            rule: self.rule.as_ref().map(|rule| &*rule.shares.name),
            connection: &self.connection,
            destination: self.destination.as_deref(),
            endpoint: self.endpoint.as_deref(),
        });
    }
}

impl Drop for Exchange {
    /// The codec lets go of a request whose client has gone, wherever it stands.
    fn drop(&mut self) {
        if !self.told {
            self.flag = RequestFlag::DownstreamGone;
            self.tell(End::default());
        }
    }
}
