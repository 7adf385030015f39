//! Delta xDS streams: one task for each, between the client's requests, the published states and the response body.

mod clients;

use std::sync::Arc;
use std::time::Instant;

use ambit_proto::discovery::DeltaDiscoveryRequest;
use ambit_xds::ResourceType;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::blocks::Wholes;
use super::body::{Outgoing, PushBody};
use super::metrics::short;
use super::subscriber::{Push, Reaction, Refusal, Subscriber};
use super::{Caller, Metrics, Published, Subscription, Tokens};

use clients::Joined;
pub use clients::{Client, Clients};

/// At most one unanswered push for each type, one that goes ahead, and the end of the stream.
const OUTGOING: usize = ResourceType::ALL.len() + 2;

/// The discovery service.
#[derive(Clone)]
pub struct Discovery {
    /// Who may ask.
    pub tokens: Tokens,
    /// What is distributed.
    pub published: Subscription,
    /// What those who have just connected are sent.
    pub(crate) wholes: Wholes,
    /// Who is connected.
    pub clients: Clients,
    /// Counts what comes of it.
    pub metrics: Metrics,
    /// Ends all streams.
    pub closing: CancellationToken,
}

/// One stream.
struct Stream {
    subscriber: Subscriber,
    caller: Caller,
    joined: Option<Joined>,
    /// The last generation that was noted down.
    noted: Option<u64>,
    outgoing: mpsc::Sender<Outgoing>,
    service: Discovery,
}

// === impl Discovery ===

impl Discovery {
    /// Who asks, by the headers of the request.
    pub(crate) async fn caller(&self, headers: &http::HeaderMap) -> Result<Caller, Status> {
        self.tokens.caller(headers).await.map_err(|unknown| {
            self.metrics.stream_refused("token");
            tracing::warn!(reason = %unknown, "refused an xDS stream");
            unknown.status()
        })
    }

    /// Waits until the first state is published. `None` if none will be.
    pub(crate) async fn started(&self) -> Option<()> {
        let mut published = self.published.clone();
        published.wait_for(|published| published.generation > 0).await.ok()?;
        Some(())
    }

    /// Answers the requests of one stream.
    pub(crate) fn open(
        &self,
        caller: Caller,
        requests: Streaming<DeltaDiscoveryRequest>,
    ) -> PushBody {
        let (outgoing, receiver) = mpsc::channel(OUTGOING);
        let stream = Stream {
            subscriber: Subscriber::new(caller.clone()),
            caller,
            joined: None,
            noted: None,
            outgoing,
            service: self.clone(),
        };
        tokio::spawn(stream.run(requests));
        PushBody::new(receiver, self.wholes.clone(), self.metrics.clone())
    }
}

// === impl Stream ===

impl Stream {
    async fn run(mut self, requests: Streaming<DeltaDiscoveryRequest>) {
        let status = self.serve(requests).await;
        if let Some(status) = status {
            // The client may be gone, which is as good.
            let _ = self.outgoing.send(Outgoing::End(status)).await;
        }
    }

    /// Serves until either side ends the stream. Returns the reason where it is ours.
    async fn serve(&mut self, mut requests: Streaming<DeltaDiscoveryRequest>) -> Option<Status> {
        let mut published = self.service.published.clone();
        let closing = self.service.closing.clone();
        let gone = self.outgoing.clone();
        published.borrow_and_update();
        loop {
            tokio::select! {
                request = requests.message() => match request {
                    Ok(Some(request)) => {
                        let state = published.borrow().clone();
                        if let Err(refusal) = self.request(request, &state).await {
                            return Some(self.refuse(refusal));
                        }
                    }
                    Ok(None) => return Some(Status::ok("")),
                    Err(status) => {
                        tracing::debug!(node = self.subscriber.node(), %status, "xDS stream failed");
                        return None;
                    }
                },
                changed = published.changed() => {
                    changed.ok()?;
                    let state = published.borrow_and_update().clone();
                    for push in self.subscriber.published(&state) {
                        self.push(push).await;
                    }
                    self.acked();
                }
                () = closing.cancelled() => return Some(Status::unavailable("the controller is ending")),
                () = gone.closed() => return None,
            }
        }
    }

    async fn request(
        &mut self,
        request: DeltaDiscoveryRequest,
        state: &Arc<Published>,
    ) -> Result<(), Refusal> {
        let kind = ResourceType::from_url(&request.type_url);
        let Reaction { push, refused } = self.subscriber.request(request, state)?;
        if self.joined.is_none()
            && let Some(node) = self.subscriber.node()
        {
            let client = Client::new(node, &self.caller);
            let joined = Joined::new(&self.service, client, state.generation);
            tracing::info!(node, caller = ?self.caller, "a proxy has connected");
            self.joined = Some(joined);
        }
        if let (Some(reason), Some(kind)) = (refused, kind) {
            self.service.metrics.push_refused(short(kind));
            tracing::warn!(
                node = self.subscriber.node(),
                kind = short(kind),
                reason,
                "a proxy refused a push"
            );
            self.joined.iter().for_each(|joined| joined.refused(&reason));
        }
        if let Some(push) = push {
            self.push(push).await;
        }
        self.acked();
        Ok(())
    }

    async fn push(&self, push: Push) {
        self.service.metrics.pushed(push.kind);
        tracing::debug!(
            node = self.subscriber.node(),
            kind = short(push.kind),
            resources = push.content.len(),
            removed = push.removed.len(),
            nonce = push.nonce,
            "push"
        );
        // The client may be gone; the loop finds out.
        let _ = self.outgoing.send(Outgoing::Push(push)).await;
    }

    fn acked(&mut self) {
        if let (Some(joined), Some(generation)) = (&self.joined, self.subscriber.acked())
            && self.noted != Some(generation)
        {
            joined.acked(generation, Instant::now());
            self.noted = Some(generation);
        }
    }

    fn refuse(&self, refusal: Refusal) -> Status {
        self.service.metrics.stream_refused(refusal.reason());
        tracing::warn!(caller = ?self.caller, %refusal, "refused an xDS stream");
        match refusal {
            Refusal::NoNode => Status::invalid_argument(refusal.to_string()),
            Refusal::OtherNamespace | Refusal::OtherServiceAccount | Refusal::OtherGateway => {
                Status::unauthenticated(refusal.to_string())
            }
            Refusal::UnknownGateway => Status::not_found(refusal.to_string()),
        }
    }
}
