//! Pushes as the body of a gRPC response. Bytes of resources are copied only as fast as the client takes them, so that
//! a first synchronisation never exists once for each client.

use std::pin::Pin;
use std::task::{Context, Poll};

use ambit_proto::discovery::DeltaDiscoveryResponse;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::HeaderMap;
use hyper::body::{Body, Frame};
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::Status;

use super::metrics::Metrics;
use super::subscriber::Push;

/// How much is copied at a time.
const CHUNK: usize = 64 * 1024;

/// What is sent on a stream.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// A response.
    Push(Push),
    /// The end, and why.
    End(Status),
}

/// The body.
pub(crate) struct PushBody {
    outgoing: mpsc::Receiver<Outgoing>,
    metrics: Metrics,
    sending: Option<Sending>,
    ended: bool,
}

/// A response on its way out.
struct Sending {
    /// Length prefix and the small fields; empty once sent.
    head: Bytes,
    push: Push,
    next: usize,
}

// === impl PushBody ===

impl PushBody {
    pub(crate) fn new(outgoing: mpsc::Receiver<Outgoing>, metrics: Metrics) -> Self {
        Self { outgoing, metrics, sending: None, ended: false }
    }

    fn end(&mut self, status: &Status) -> Option<Result<Frame<Bytes>, Status>> {
        self.ended = true;
        let mut trailers = HeaderMap::new();
        Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers)))
    }
}

impl Body for PushBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if let Some(sending) = &mut self.sending {
                if let Some(chunk) = sending.chunk() {
                    self.metrics.sent(chunk.len());
                    return Poll::Ready(Some(Ok(Frame::data(chunk))));
                }
                self.sending = None;
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match std::task::ready!(self.outgoing.poll_recv(cx)) {
                Some(Outgoing::Push(push)) => match Sending::new(push) {
                    Ok(sending) => self.sending = Some(sending),
                    Err(status) => return Poll::Ready(self.end(&status)),
                },
                Some(Outgoing::End(status)) => return Poll::Ready(self.end(&status)),
                None => return Poll::Ready(self.end(&Status::ok(""))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

// === impl Sending ===

impl Sending {
    fn new(push: Push) -> Result<Self, Status> {
        let fields = DeltaDiscoveryResponse {
            system_version_info: push.generation.to_string(),
            type_url: push.kind.url().to_owned(),
            nonce: push.nonce.clone(),
            removed_resources: push.removed.iter().map(ToString::to_string).collect(),
            resources: Vec::new(),
        }
        .encode_to_vec();
        // Fields of a message may come in any order: the resources follow.
        let length = fields.len() + push.resources.iter().map(|r| r.wire.len()).sum::<usize>();
        let length = u32::try_from(length)
            .map_err(|_| Status::resource_exhausted("the response exceeds 4 GiB"))?;
        let mut head = BytesMut::with_capacity(5 + fields.len());
        head.put_u8(0);
        head.put_u32(length);
        head.put_slice(&fields);
        Ok(Self { head: head.freeze(), push, next: 0 })
    }

    fn chunk(&mut self) -> Option<Bytes> {
        let rest = self.push.resources.get(self.next..).unwrap_or_default();
        if rest.is_empty() {
            return Some(std::mem::take(&mut self.head)).filter(|head| !head.is_empty());
        }
        let mut chunk = BytesMut::with_capacity(CHUNK);
        chunk.put_slice(&std::mem::take(&mut self.head));
        for resource in rest {
            if !chunk.is_empty() && chunk.len() + resource.wire.len() > CHUNK {
                break;
            }
            chunk.put_slice(&resource.wire);
            self.next += 1;
        }
        Some(chunk.freeze())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ambit_model::Workload;
    use ambit_xds::ResourceType;
    use ambit_xds::encode::Encoded;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::index::Resource;

    fn push(count: usize) -> Push {
        let resource = |i| {
            let uid = format!("c//Pod/ns/{i}").into();
            Arc::new(Resource::from(Encoded::workload(&Workload { uid, ..Workload::default() })))
        };
        Push {
            kind: ResourceType::Address,
            generation: 7,
            nonce: "7-1".to_owned(),
            resources: (0..count).map(resource).collect(),
            removed: vec!["gone".into()],
        }
    }

    #[tokio::test]
    async fn pushes_come_out_as_messages_in_bounded_chunks() {
        let (sender, receiver) = mpsc::channel(4);
        for count in [0, 1, 5_000] {
            sender.send(Outgoing::Push(push(count))).await.unwrap();
        }
        drop(sender);
        let mut body = PushBody::new(receiver, Metrics::default());
        let (mut bytes, mut trailers) = (Vec::new(), None);
        while let Some(frame) = body.frame().await {
            match frame.unwrap().into_data() {
                Ok(data) => {
                    assert!(data.len() <= CHUNK);
                    bytes.extend(data);
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        assert_eq!(trailers.unwrap()["grpc-status"], "0");
        let mut rest = &bytes[..];
        for count in [0, 1, 5_000] {
            let length = u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize;
            let message = DeltaDiscoveryResponse::decode(&rest[5..5 + length]).unwrap();
            assert_eq!((rest[0], message.resources.len()), (0, count));
            assert_eq!(message.removed_resources, ["gone"]);
            assert_eq!(
                (message.nonce.as_str(), message.system_version_info.as_str()),
                ("7-1", "7")
            );
            rest = &rest[5 + length..];
        }
        assert!(rest.is_empty());
    }

    #[tokio::test]
    async fn an_error_ends_the_stream_with_its_status() {
        let (sender, receiver) = mpsc::channel(1);
        sender.send(Outgoing::End(Status::unauthenticated("no"))).await.unwrap();
        let mut body = PushBody::new(receiver, Metrics::default());
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "16");
        assert!(body.frame().await.is_none());
    }
}
