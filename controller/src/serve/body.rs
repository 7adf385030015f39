//! Pushes as the body of a gRPC response. Bytes of resources are copied only as fast as the client takes them, so that
//! a first synchronisation never exists once for each client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ambit_proto::discovery::DeltaDiscoveryResponse;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::HeaderMap;
use hyper::body::{Body, Frame};
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::Status;

use super::blocks::{Whole, Wholes};
use super::metrics::Metrics;
use super::subscriber::{Content, Push};
use crate::index::Resource;

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
    wholes: Wholes,
    metrics: Metrics,
    sending: Option<Sending>,
    ended: bool,
}

/// A response on its way out.
struct Sending {
    /// Length prefix and the small fields; empty once sent.
    head: Bytes,
    content: Remaining,
    next: usize,
}

/// The resources of a response on their way out.
enum Remaining {
    Whole(Arc<Whole>),
    Some {
        resources: Vec<Arc<Resource>>,
        /// Their bytes, as far as they have not been sent.
        bytes: usize,
    },
}

// === impl PushBody ===

impl PushBody {
    pub(crate) fn new(
        outgoing: mpsc::Receiver<Outgoing>,
        wholes: Wholes,
        metrics: Metrics,
    ) -> Self {
        Self { outgoing, wholes, metrics, sending: None, ended: false }
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
                Some(Outgoing::Push(push)) => match Sending::new(push, &self.wholes) {
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
    fn new(push: Push, wholes: &Wholes) -> Result<Self, Status> {
        let fields = DeltaDiscoveryResponse {
            system_version_info: push.generation.to_string(),
            type_url: push.kind.url().to_owned(),
            nonce: push.nonce.clone(),
            removed_resources: push.removed.iter().map(ToString::to_string).collect(),
            resources: Vec::new(),
        }
        .encode_to_vec();
        let (content, bytes) = match push.content {
            Content::Everything(resources) => {
                let whole = wholes.of(push.kind, &resources);
                let bytes = whole.len();
                (Remaining::Whole(whole), bytes)
            }
            Content::Some(resources) => {
                let bytes = resources.iter().map(|resource| resource.wire.len()).sum();
                (Remaining::Some { resources, bytes }, bytes)
            }
        };
        // Fields of a message may come in any order: the resources follow.
        let length = u32::try_from(fields.len() + bytes)
            .map_err(|_| Status::resource_exhausted("the response exceeds 4 GiB"))?;
        let mut head = BytesMut::with_capacity(5 + fields.len());
        head.put_u8(0);
        head.put_u32(length);
        head.put_slice(&fields);
        Ok(Self { head: head.freeze(), content, next: 0 })
    }

    fn chunk(&mut self) -> Option<Bytes> {
        let head = Some(std::mem::take(&mut self.head)).filter(|head| !head.is_empty());
        match &mut self.content {
            Remaining::Whole(whole) => {
                // A block is sent as it is, so the head goes ahead of it.
                if head.is_some() {
                    return head;
                }
                self.next += 1;
                whole.block(self.next - 1)
            }
            Remaining::Some { resources, bytes } => {
                let rest = resources.get(self.next..).unwrap_or_default();
                if rest.is_empty() {
                    return head;
                }
                let head = head.unwrap_or_default();
                let mut chunk = BytesMut::with_capacity(CHUNK.min(head.len() + *bytes));
                chunk.put_slice(&head);
                for resource in rest {
                    if !chunk.is_empty() && chunk.len() + resource.wire.len() > CHUNK {
                        break;
                    }
                    chunk.put_slice(&resource.wire);
                    *bytes -= resource.wire.len();
                    self.next += 1;
                }
                Some(chunk.freeze())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ambit_model::Workload;
    use ambit_xds::ResourceType;
    use ambit_xds::encode::Encoded;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::index::Snapshot;

    /// A push of so many resources, or of everything where that is so many.
    fn push(count: usize, everything: bool) -> Push {
        let mut snapshot = Snapshot::default();
        for i in 0..count {
            let uid = format!("c//Pod/ns/{i}").into();
            snapshot.add(Encoded::workload(&Workload { uid, ..Workload::default() }).into());
        }
        let resources = snapshot.addresses;
        Push {
            kind: ResourceType::Address,
            generation: 7,
            nonce: "7-1".to_owned(),
            content: if everything {
                Content::Everything(resources)
            } else {
                Content::Some(resources.iter().cloned().collect())
            },
            removed: vec!["gone".into()],
        }
    }

    #[tokio::test]
    async fn pushes_come_out_as_messages_in_bounded_chunks() {
        let (sender, receiver) = mpsc::channel(8);
        let pushes = [(0, false), (1, false), (5_000, false), (0, true), (1, true), (5_000, true)];
        for (count, everything) in pushes {
            sender.send(Outgoing::Push(push(count, everything))).await.unwrap();
        }
        drop(sender);
        let mut body = PushBody::new(receiver, Wholes::default(), Metrics::default());
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
        for (count, _) in pushes {
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
        let mut body = PushBody::new(receiver, Wholes::default(), Metrics::default());
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "16");
        assert!(body.frame().await.is_none());
    }
}
