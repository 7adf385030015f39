//! A simulated node proxy: subscribes to everything, counts, and acknowledges.

mod counter;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use ambit_proto::discovery::{DeltaDiscoveryRequest, Node};
use ambit_proto::{ADDRESS_TYPE, AUTHORIZATION_TYPE};
use anyhow::{Context as _, bail, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::Request;
use http_body_util::BodyExt as _;
use hyper::HeaderMap;
use hyper::body::Incoming;
use prost::Message as _;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tokio::sync::mpsc::UnboundedSender;

use super::http2::{Growing, Server};
use super::ledger::{Ledger, Synced};
use super::objects::SYSTEM;
use super::shape;
use counter::{Counter, Response};

const PATH: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const TYPES: [&str; 2] = [ADDRESS_TYPE, AUTHORIZATION_TYPE];

/// A proxy before it connects.
pub(crate) struct Proxy {
    pub(crate) node: u32,
    pub(crate) token: String,
    pub(crate) server: Server,
    pub(crate) ledger: Arc<Ledger>,
}

/// A proxy with its stream.
struct Stream {
    requests: UnboundedSender<Bytes>,
    ledger: Arc<Ledger>,
    began: Instant,
    bytes: u64,
    resources: u64,
    /// Types of which no response has come yet.
    awaited: Vec<&'static str>,
}

// === impl Proxy ===

impl Proxy {
    /// Connects, and acknowledges whatever comes until it is stopped.
    ///
    /// # Errors
    /// The control plane refuses or ends the stream.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let mut connection = self.server.connect().await?;
        let (requests, body) = Growing::new();
        let began = Instant::now();
        for kind in TYPES {
            requests.send(frame(&self.subscription(kind)))?;
        }
        let request = Request::post(format!("https://{}{PATH}", self.server.address()))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("clusterid", "Kubernetes")
            .header("authorization", format!("Bearer {}", self.token))
            .body(body.boxed_unsync())?;
        let response = connection.send_request(request).await?;
        check(response.status().as_u16(), response.headers())?;
        let stream = Stream {
            requests,
            ledger: self.ledger,
            began,
            bytes: 0,
            resources: 0,
            awaited: TYPES.to_vec(),
        };
        stream.follow(response.into_body()).await
    }

    fn subscription(&self, kind: &str) -> DeltaDiscoveryRequest {
        let (pod, ip) = (shape::proxy(self.node), shape::proxy_ip(self.node).to_string());
        let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
        let node = shape::node(self.node);
        let metadata = [("NAME", &*pod), ("NAMESPACE", SYSTEM), ("INSTANCE_IPS", &*ip)];
        let metadata = metadata.into_iter().chain([("NODE_NAME", &*node)]);
        let fields: BTreeMap<String, Value> =
            metadata.map(|(name, value)| (name.to_owned(), text(value))).collect();
        let node = Node {
            id: format!("ztunnel~{ip}~{pod}.{SYSTEM}~{SYSTEM}.svc.cluster.local"),
            metadata: Some(Struct { fields }),
            ..Node::default()
        };
        DeltaDiscoveryRequest {
            node: Some(node),
            type_url: kind.to_owned(),
            ..DeltaDiscoveryRequest::default()
        }
    }
}

// === impl Stream ===

impl Stream {
    async fn follow(mut self, mut body: Incoming) -> anyhow::Result<()> {
        let (mut counter, mut responses) = (Counter::default(), Vec::new());
        while let Some(frame) = body.frame().await {
            match frame?.into_data() {
                Ok(data) => {
                    self.bytes += data.len() as u64;
                    counter.feed(&data, |response| responses.push(response))?;
                    for response in responses.drain(..) {
                        self.take(response)?;
                    }
                }
                Err(frame) => check(200, frame.trailers_ref().context("a frame of no kind")?)?,
            }
        }
        bail!("the control plane has ended the stream")
    }

    fn take(&mut self, response: Response) -> anyhow::Result<()> {
        let Response { type_url, nonce, resources, names } = response;
        let first = self.awaited.iter().position(|kind| *kind == type_url);
        let ack = DeltaDiscoveryRequest { type_url, response_nonce: nonce, ..Default::default() };
        self.requests.send(frame(&ack))?;
        let now = Instant::now();
        self.resources += resources;
        match first {
            Some(position) => {
                self.awaited.remove(position);
                if self.awaited.is_empty() {
                    let Self { bytes, resources, .. } = *self;
                    self.ledger.synced(Synced {
                        took: now - self.began,
                        at: now,
                        bytes,
                        resources,
                    });
                }
            }
            None => self.ledger.acked(&names, now),
        }
        Ok(())
    }
}

/// A message with gRPC's prefix.
fn frame(message: &DeltaDiscoveryRequest) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    bytes.extend_from_slice(&message.encode_to_vec());
    bytes.freeze()
}

/// What the headers of a response say, or its trailers.
fn check(status: u16, headers: &HeaderMap) -> anyhow::Result<()> {
    ensure!(status == 200, "the control plane answers with status {status}");
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        None | Some("0") => Ok(()),
        Some(code) => {
            let message = text("grpc-message").unwrap_or_default();
            bail!("the control plane refuses the stream: code {code}: {message}")
        }
    }
}
